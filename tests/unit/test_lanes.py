"""Trainings in turn compute what each computes alone, and one that fails takes no other with it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import torch
from ablations.runs.attempts import Stopped
from ablations.training import setup
from ablations.training import trainer as training
from ablations.training.cuda_graphs import GraphedStep
from ablations.training.lanes import Lane, Steps, take_all
from ablations.training.models import build_model
from test_checkpoints import checkpoint_at
from trainings import SHAPE, digits, hyperparameters


def steps_of(
    model: str, folder: Path | None = None, fail_at: int = 0, deadline: float | None = None, **changes
) -> Steps[training.Trainer]:
    """A training with all that belongs to it, in a lane or alone; with `folder`, it writes checkpoints."""
    hp = hyperparameters(**changes)
    setup.configure(hp, threads=1)

    def on_step(done: int, total: int) -> None:
        if done == fail_at:
            raise ZeroDivisionError

    checkpoint = folder and checkpoint_at(folder / "checkpoint.pt", interval_s=0, deadline=deadline)
    net = build_model(model, SHAPE, 10)
    trainer = training.Trainer(net, digits(), hp, torch.device("cpu"), on_step, checkpoint)
    trainer.outcome = yield from trainer.steps()
    return trainer


def in_turn(*lanes: Lane[training.Trainer]) -> list[type[Exception] | None]:
    """Let all take their steps in turn, and tell what ended each that has no result."""
    left, ends = list(lanes), dict.fromkeys(lanes)
    while left:
        for lane in list(left):
            try:
                more = lane.turn()
            except Exception as error:
                more, ends[lane] = False, type(error)
            if not more:
                left.remove(lane)
    return list(ends.values())


def check_equal(one: training.Trainer, other: training.Trainer) -> None:
    pairs = zip(one.model.state_dict().items(), other.model.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for (_, a), b in pairs), [name for (name, a), b in pairs]
    assert one.outcome.status == other.outcome.status
    assert [(row.train_loss, row.test_accuracy) for row in one.outcome.history] == [
        (row.train_loss, row.test_accuracy) for row in other.outcome.history
    ]


WITH_DROPOUT = {"model": "mobilenet_v2", "optimizer": "adam", "lr": 1e-3}
OTHERS: list[Callable[[Path], dict]] = [
    lambda path: WITH_DROPOUT | {"seed": 1, "folder": path},
    lambda path: {"model": "shufflenet_v2_x0_5", "augment": "crop_flip", "momentum": 0.9},
    lambda path: {"model": "shufflenet_v2_x0_5", "epochs": 1},
    lambda path: {"model": "shufflenet_v2_x0_5", "lr": 100},
]


def test_trainings_in_turn_have_the_bits_of_each_alone(tmp_path):
    settings = [WITH_DROPOUT, *(other(tmp_path / str(i)) for i, other in enumerate(OTHERS))]
    lanes = [Lane(steps_of(**each)) for each in settings]
    # Lanes are made before and after others have drawn numbers, and are not alike long.
    assert in_turn(*lanes) == [None] * len(lanes)
    assert lanes[-1].result.outcome.status == "diverged"
    for each, lane in zip(settings, lanes, strict=True):
        each["folder"] = None
        check_equal(lane.result, take_all(steps_of(**each)))


@pytest.mark.parametrize("fault", ["fails", "time is up"])
def test_a_training_that_ends_by_a_fault_takes_no_other_with_it(tmp_path, fault):
    ending = {"fail_at": 2} if fault == "fails" else {"folder": tmp_path / "other", "deadline": 1.0}
    whole, other = Lane(steps_of(**WITH_DROPOUT)), Lane(steps_of("mobilenet_v2", **ending))
    expected = ZeroDivisionError if fault == "fails" else Stopped
    assert in_turn(other, whole) == [expected, None]
    check_equal(whole.result, take_all(steps_of(**WITH_DROPOUT)))
    if expected is Stopped:
        resumed = Lane(steps_of("mobilenet_v2", folder=tmp_path / "other"))
        in_turn(Lane(steps_of(**WITH_DROPOUT)), resumed)
        check_equal(resumed.result, take_all(steps_of("mobilenet_v2")))


class Streams:
    """Stands for the streams of a GPU: which of them is in use."""

    def __init__(self) -> None:
        self.in_use: list[Stream] = [Stream("default")]

    @contextmanager
    def use(self, stream: "Stream") -> Iterator[None]:
        self.in_use.append(stream)
        yield
        self.in_use.pop()

    def current(self) -> "Stream":
        return self.in_use[-1]


class Stream:
    """A stream, and those whose work it has waited for."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.waited_for: list[str] = []

    def wait_stream(self, other: "Stream") -> None:
        self.waited_for.append(other.name)

    def synchronize(self) -> None:
        """There is nothing to wait for on a CPU."""


class Graph:
    """Stands for a CUDA graph: what is recorded is executed, and a replay does nothing."""

    def replay(self) -> None:
        """Do nothing."""


@contextmanager
def streams_of_trainings(monkeypatch) -> Iterator[Streams]:
    """torch.cuda with streams; whoever waits for the whole device fails."""
    streams = Streams()

    def refuse() -> None:
        raise AssertionError("a training waits for the work of others")

    def capture(graph: Graph, stream: Stream) -> AbstractContextManager[None]:
        return streams.use(stream)

    for name, stub in (
        ("stream", streams.use), ("current_stream", streams.current), ("synchronize", refuse),
        ("CUDAGraph", Graph), ("graph", capture),
    ):  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, stub)
    # A recording is executed here, before a batch is copied to its place: labels must be labels.
    monkeypatch.setattr(torch, "empty_like", torch.zeros_like)
    yield streams
    assert [stream.name for stream in streams.in_use] == ["default"]


@pytest.mark.parametrize("graph", [False, True])
def test_a_training_does_all_its_work_on_one_stream_of_its_own(graph, tmp_path, monkeypatch):
    """Warm-up, recording, replays, the shorter batch, evaluations, and checkpoints."""
    used: dict[int, set[tuple[str, str]]] = {0: set(), 1: set()}

    def training_on(number: int, streams: Streams) -> Steps[Stream]:
        setup.configure(hp := hyperparameters(batch_size=40), threads=1)

        def note(work: str) -> None:
            used[number].add((work, streams.current().name))

        checkpoint = checkpoint_at(tmp_path / str(number) / "checkpoint.pt", interval_s=0)
        net = build_model("shufflenet_v2_x0_5", SHAPE, 10)
        trainer = training.Trainer(net, digits(train=210), hp, torch.device("cpu"), checkpoint=checkpoint)
        trainer.on_step = lambda done, total: note("step")
        stream = trainer._stream = Stream(f"stream {number}")
        if graph:
            trainer._step = GraphedStep(trainer._forward_and_back, trainer._clear_gradients, hp.batch_size)
        net.register_forward_pre_hook(lambda module, given: note("train" if module.training else "test"))
        trainer.optimizer.register_step_pre_hook(lambda *given: note("optimizer"))
        monkeypatch.setattr(checkpoint, "save", lambda state: note("checkpoint"))
        yield from trainer.steps()
        assert trainer.graphed == graph
        return stream

    with streams_of_trainings(monkeypatch) as streams:
        lanes = [Lane(training_on(number, streams)) for number in (0, 1)]
        assert in_turn(*lanes) == [None, None]
    for number, lane in enumerate(lanes):
        works = ("step", "train", "test", "optimizer", "checkpoint")
        assert used[number] == {(work, f"stream {number}") for work in works}
        assert lane.result.waited_for == ["default"], "what made the model and the images"
