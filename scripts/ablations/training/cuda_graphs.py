"""A training step as one CUDA graph.

A step of a small network is hundreds of kernels that take a GPU less time than Python takes to launch
them. Recorded once, they are launched together.
"""

import logging
from collections.abc import Callable

import torch

log = logging.getLogger(__name__)

Step = Callable[[torch.Tensor, torch.Tensor], None]
# Steps before the recording: memory is allocated and algorithms are chosen in them.
WARM_UP_STEPS = 3


def record(work: Callable[[], None]) -> Callable[[], None]:
    """Record what `work` launches on the current GPU, without running it; what is returned runs it."""
    graph = torch.cuda.CUDAGraph()
    # A recording that fails would leave its own stream behind as the current one.
    with torch.cuda.stream(torch.cuda.current_stream()), torch.cuda.graph(graph):
        work()
    return graph.replay


def on_side_stream(work: Callable[[], None]) -> None:
    """Run `work` on another stream than the default one, on which nothing can be recorded."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        work()
    torch.cuda.current_stream().wait_stream(stream)


class GraphedStep:
    """`step(images, labels)`, as a graph for batches of `batch_size`; others run as they are.

    No step is added for its sake: the first ones of the training warm up, then one is recorded, and
    from then on it is replayed on the same memory. `prepare` is run before a step that is not replayed.
    A step that cannot be recorded is run as it is for good, and `recorded` says so.
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
            # The end of a recording that failed fails too; what came first is the reason.
            reason = str(error.__context__ or error).partition("\n")[0]
            log.warning("a step cannot be recorded as a CUDA graph (%s); each is launched as it is", reason)
        return self._replay
