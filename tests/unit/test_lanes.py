"""Trainings in turn compute what each computes alone, and one that fails takes no other with it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from ablations.runs.attempts import Stopped
from ablations.training import setup
from ablations.training import trainer as training
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
