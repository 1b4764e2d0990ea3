"""Whether the loss of a training is still finite, without waiting for the device at every look."""

import math

import torch


class LossWatch:
    """Checks whether a sum on the device is finite, without waiting for the device.

    On a GPU the answer may be that of an earlier check. It is final at the end of an epoch, which waits.
    """

    def __init__(self, watched: torch.Tensor) -> None:
        self.watched = watched
        self._arrived: torch.cuda.Event | None = None
        self._seen = torch.zeros((), dtype=watched.dtype, pin_memory=watched.is_cuda)

    def is_finite(self) -> bool:
        if not self.watched.is_cuda:
            return math.isfinite(self.watched.item())
        finite = True
        if self._arrived is None or self._arrived.query():
            finite = math.isfinite(self._seen.item())
            self._seen.copy_(self.watched, non_blocking=True)
            self._arrived = torch.cuda.Event()
            self._arrived.record()
        return finite
