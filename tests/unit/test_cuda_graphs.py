"""Steps are recorded and replayed. Here a recording is a closure, which needs no GPU."""

from collections.abc import Callable

import pytest
import torch
from ablations.training.cuda_graphs import WARM_UP_STEPS, WHILE_RECORDING, CannotRecord, GraphedStep


def as_a_graph(work: Callable[[], None]) -> Callable[[], None]:
    """What a recording promises: nothing is run by it, and a replay runs all of it on the same memory."""
    return work


class Steps:
    """Notes the calls of a step, and the memory that it is given."""

    def __init__(self, recorder: Callable = as_a_graph) -> None:
        self.seen: list[list[int]] = []
        self.memory: set[int] = set()
        self.prepared = 0
        self.graphed = GraphedStep(self.step, self.prepare, 4, recorder)

    def step(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        assert torch.equal(images, labels)
        self.seen.append(labels.tolist())
        self.memory.add(labels.data_ptr())

    def prepare(self) -> None:
        self.prepared += 1

    def take(self, *batches: list[int]) -> None:
        for batch in batches:
            self.graphed(torch.tensor(batch), torch.tensor(batch))


def test_every_step_is_run_once_and_in_order():
    steps = Steps()
    batches = [[4 * i, 4 * i + 1, 4 * i + 2, 4 * i + 3] for i in range(8)]
    steps.take(*batches)
    assert steps.seen == batches
    # Before each step that is run as it is, and before the recording; a replay needs no more.
    assert steps.prepared == WARM_UP_STEPS + 1
    assert steps.graphed.recorded


def test_replays_use_the_same_memory():
    steps = Steps()
    kept = [torch.tensor([i, i, i, i]) for i in range(10)]
    for batch in kept[:WARM_UP_STEPS]:
        steps.graphed(batch, batch)
    steps.memory.clear()
    for batch in kept[WARM_UP_STEPS:]:
        steps.graphed(batch, batch)
    assert len(steps.memory) == 1


def test_a_shorter_batch_is_run_as_it_is():
    steps = Steps()
    steps.take([0, 1, 2, 3], [4, 5])
    assert not steps.graphed.recorded, "and is no part of the warm-up"
    steps.take(*[[i, i, i, i] for i in range(5)], [8, 9], [1, 2, 3, 4])
    assert steps.seen[-2:] == [[8, 9], [1, 2, 3, 4]]
    assert len(steps.seen) == 9
    assert steps.prepared == WARM_UP_STEPS + 1 + 2


def test_a_step_that_cannot_be_recorded_is_not_executed():
    """The process starts again without a graph, from a checkpoint or from the beginning."""

    def refuse(work):
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    steps = Steps(refuse)
    with pytest.raises(CannotRecord, match=r"recorded as a CUDA graph \(operation not permitted [a-z ]*\)"):
        steps.take(*[[i, i, i, i] for i in range(6)])
    assert [seen[0] for seen in steps.seen] == list(range(WARM_UP_STEPS))
    assert not steps.graphed.recorded


def test_a_recording_for_which_memory_is_short_says_so_in_its_error():
    def recorder(work):
        raise torch.OutOfMemoryError("no memory")

    graphed = GraphedStep(lambda images, labels: None, lambda: None, 2, recorder)
    batch = torch.zeros(2, 1), torch.zeros(2)
    for _ in range(WARM_UP_STEPS):
        graphed(*batch)
    with pytest.raises(torch.OutOfMemoryError, match="no memory") as raised:
        graphed(*batch)
    assert raised.value.__notes__ == [WHILE_RECORDING]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="NO GPU HERE: no real CUDA graph was recorded")
def test_a_real_graph_replays_a_step():
    total = torch.zeros(2, device="cuda")

    def step(images, labels):
        total.add_(images * labels)

    graphed = GraphedStep(step, lambda: None, 2)
    with torch.cuda.stream(torch.cuda.Stream()):
        for i in range(6):
            graphed(torch.tensor([i, 1.0], device="cuda"), torch.tensor([2.0, 1.0], device="cuda"))
    torch.cuda.synchronize()
    assert graphed.recorded
    assert total.tolist() == [30.0, 6.0]
