"""A training step as one CUDA graph.

A step of a small network consists of hundreds of kernels, and Python needs more time to launch them than
a GPU to execute them. A graph records them once and then launches them together.
"""

import logging
from collections.abc import Callable

import torch

log = logging.getLogger(__name__)

Step = Callable[[torch.Tensor, torch.Tensor], None]
# The steps before the recording, in which memory is allocated and algorithms are chosen.
WARM_UP_STEPS = 3


def record(work: Callable[[], None]) -> Callable[[], None]:
    """Record what `work` launches on the current GPU, without executing it; the result executes it."""
    graph = torch.cuda.CUDAGraph()
    # If the recording fails, its own stream would otherwise remain the current one.
    with torch.cuda.stream(torch.cuda.current_stream()), torch.cuda.graph(graph):
        work()
    return graph.replay


def on_side_stream(work: Callable[[], None]) -> None:
    """Run `work` on a stream of its own: nothing can be recorded on the default stream."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        work()
    torch.cuda.current_stream().wait_stream(stream)


class GraphedStep:
    """`step(images, labels)` as a graph for batches of `batch_size`; other batches are not graphed.

    No steps are added. The first steps of the training are the warm-up, the next one is recorded, and
    from then on the recording is replayed on the same memory. `prepare` is called before each step that
    is not replayed. If a step cannot be recorded, all steps run without a graph, and `recorded` is false.
    """

    def __init__(
        self,
        step: Step,
        prepare: Callable[[], None],
        batch_size: int,
        recorder: Callable[[Callable[[], None]], Callable[[], None]] = record,
        warmer: Callable[[Callable[[], None]], None] = on_side_stream,
    ) -> None:
        self.step, self.prepare, self.batch_size = step, prepare, batch_size
        self._recorder, self._warmer = recorder, warmer
        self._warm_up_left = WARM_UP_STEPS
        self._replay: Callable[[], None] | None = None
        self._impossible = False
        self._images = self._labels = torch.empty(0)

    @property
    def recorded(self) -> bool:
        """Whether steps are replayed."""
        return self._replay is not None

    def __call__(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        if len(labels) != self.batch_size or self._impossible:
            self._run(images, labels)
        elif self._warm_up_left:
            self._warm_up_left -= 1
            self._warmer(lambda: self._run(images, labels))
        elif replay := self._replay or self._try_to_record(images, labels):
            self._images.copy_(images)
            self._labels.copy_(labels)
            replay()
        else:
            self._run(images, labels)

    def _run(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        self.prepare()
        self.step(images, labels)

    def _try_to_record(self, images: torch.Tensor, labels: torch.Tensor) -> Callable[[], None] | None:
        self._images, self._labels = torch.empty_like(images), torch.empty_like(labels)
        self.prepare()
        try:
            self._replay = self._recorder(lambda: self.step(self._images, self._labels))
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            self._impossible = True
            # Ending a failed recording raises too; the first exception is the reason.
            reason = str(error.__context__ or error).partition("\n")[0]
            log.warning("a step cannot be recorded as a CUDA graph (%s); steps run without one", reason)
        return self._replay
