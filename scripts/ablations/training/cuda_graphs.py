"""A training step as one CUDA graph.

A step of a small network consists of hundreds of kernels, and Python needs more time to launch them than
a GPU to execute them. A graph records them once and then launches them together.
"""

from collections.abc import Callable

import torch

from ablations.errors import AblationsError

Step = Callable[[torch.Tensor, torch.Tensor], None]
# The steps before the recording, in which memory is allocated and algorithms are chosen.
WARM_UP_STEPS = 3
# Noted in an error that ended a recording, after which the process must not go on either.
WHILE_RECORDING = "This was while a step was recorded as a CUDA graph."


class CannotRecord(AblationsError):
    """A step cannot be recorded. The process must not go on: torch may take it for one that still records.

    torch 2.11 leaves its generator and its allocator in the state of a recording; torch 2.14 mends both.
    """


def record(work: Callable[[], None]) -> Callable[[], None]:
    """Record what `work` launches on the current stream, without executing it; the result executes it."""
    graph = torch.cuda.CUDAGraph()
    # On the stream of the training: cuBLAS has a workspace for each stream, and two graphs that shared one
    # could not be replayed at the same time.
    with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
        work()
    return graph.replay


class GraphedStep:
    """`step(images, labels)` as a graph for batches of `batch_size`; other batches are not graphed.

    No steps are added. The first steps of the training are the warm-up, the next one is recorded, and
    from then on the recording is replayed on the same memory. `prepare` is called before each step that
    is not replayed. All calls are made on one stream, which is not the default one: it cannot be recorded.
    """

    def __init__(
        self,
        step: Step,
        prepare: Callable[[], None],
        batch_size: int,
        recorder: Callable[[Callable[[], None]], Callable[[], None]] = record,
    ) -> None:
        self.step, self.prepare, self.batch_size = step, prepare, batch_size
        self._recorder = recorder
        self._warm_up_left = WARM_UP_STEPS
        self._replay: Callable[[], None] | None = None
        self._images = self._labels = torch.empty(0)

    @property
    def recorded(self) -> bool:
        """Whether steps are replayed."""
        return self._replay is not None

    def __call__(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        """Execute a step. Raises CannotRecord, without executing it, if it cannot be recorded."""
        if len(labels) == self.batch_size and not self._warm_up_left:
            replay = self._replay or self._record(images, labels)
            self._images.copy_(images)
            self._labels.copy_(labels)
            replay()
            return
        if len(labels) == self.batch_size:
            self._warm_up_left -= 1
        self.prepare()
        self.step(images, labels)

    def _record(self, images: torch.Tensor, labels: torch.Tensor) -> Callable[[], None]:
        self._images, self._labels = torch.empty_like(images), torch.empty_like(labels)
        self.prepare()
        try:
            self._replay = self._recorder(lambda: self.step(self._images, self._labels))
        except torch.OutOfMemoryError as error:
            error.add_note(WHILE_RECORDING)
            raise
        except RuntimeError as error:
            # Ending a failed recording raises too; the first exception is the reason.
            reason = str(error.__context__ or error).partition("\n")[0]
            raise CannotRecord(f"a step cannot be recorded as a CUDA graph ({reason})") from error
        return self._replay
