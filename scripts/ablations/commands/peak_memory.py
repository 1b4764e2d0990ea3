"""The most memory that a command takes: of the node by its processes, and of its GPU by NVML."""

import ctypes
import os
import resource
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import psutil

from ablations.runs.energy import NVML, check, handle_of
from ablations.runs.provenance import runs_per_job


class Sizes(ctypes.Structure):
    """`nvmlMemory_t`, in bytes."""

    _fields_ = [(name, ctypes.c_ulonglong) for name in ("total", "free", "used")]


class PeakMemory:
    """The most that was seen from now on, of several GPUs that of the fullest; `gpus` are numbers or UUIDs.

    NVML tells how much of a GPU all processes use. So it is looked at only if no other run has it.
    """

    def __init__(self, gpus: Sequence[str] = (), library: Any = None) -> None:
        self._host = 0
        self._nvml, self._handles = library, list[ctypes.c_void_p]()
        if gpus and runs_per_job(os.environ) == 1:
            with suppress(OSError, AttributeError):
                self._nvml = library or ctypes.CDLL(NVML)
                check(self._nvml.nvmlInit_v2())
                self._handles = [handle_of(self._nvml, gpu) for gpu in gpus]
        self._before = self._used()
        self._gpu = 0

    def _used(self) -> list[int]:
        """What is used of each GPU; nothing from the first time on that one does not tell it."""
        found = list[int]()
        for handle in self._handles:
            sizes = Sizes()
            try:
                check(self._nvml.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(sizes)))
            except (OSError, AttributeError):
                self._handles = []
                return []
            found.append(sizes.used)
        return found

    def look(self) -> None:
        """Look at the processes and GPUs; to be called about once a second."""
        used = 0
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                used += process.memory_info().rss
        self._host = max(self._host, used)
        more = (used - before for used, before in zip(self._used(), self._before, strict=False))
        self._gpu = max(self._gpu, *more, 0)

    def columns(self) -> dict[str, object]:
        """The columns of a record, in MB."""
        # The largest process that has ended: a short command may never have been looked at.
        largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        of_gpu = {"gpu_peak_mb": self._gpu / 1e6} if self._gpu else {}
        return {"host_peak_mb": max(self._host, largest) / 1e6, **of_gpu}
