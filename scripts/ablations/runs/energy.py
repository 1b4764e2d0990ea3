"""Energy that a run took, by the counters of the machine: RAPL of its sockets, NVML of its GPUs.

A counter is that of a whole socket or GPU, whoever uses it. Where none can be read, nothing is measured.
"""

import ctypes
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablations.runs.provenance import ASKED

POWERCAP = Path("/sys/class/powercap")
NVML = "libnvidia-ml.so.1"
# In watts: no socket takes more. A counter that could have come round unseen since it was read last is of
# no use; at this power, the smallest do after a minute.
MOST_W = 1000.0


@dataclass
class Counter:
    """A counter of joules that begins again after `whole` of them, and what it has counted so far."""

    source: str
    read: Callable[[], float]
    whole: float
    last: float
    read_at: float
    joules: float = 0.0

    def advance(self, now: float) -> None:
        """Count up to `now`, in seconds. Raises ValueError if it may have come round more than once."""
        value = self.read()
        if now - self.read_at > self.whole / MOST_W:
            raise ValueError("it may have begun again unseen")
        counted = value - self.last
        if counted < 0 and math.isinf(self.whole):
            raise ValueError("it began again")
        self.joules += counted if counted >= 0 else counted + self.whole
        self.last, self.read_at = value, now


class Meter:
    """The counters of a machine from now on; those of a source that fails are dropped together."""

    def __init__(self, powercap: Path | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._counters = clock, list[Counter]()
        zones = _zones(powercap or POWERCAP)
        self._add("RAPL", ((_of_file(zone / "energy_uj"), zone / "max_energy_range_uj") for zone in zones))

    def add_gpus(self, gpus: Iterable[str], library: Any = None) -> None:
        """Count the energy of these GPUs too, each given by its number or UUID, if NVML knows it."""
        try:
            nvml = library or ctypes.CDLL(NVML)
            check(nvml.nvmlInit_v2())
            readers = [_of_gpu(nvml, gpu) for gpu in gpus]
        except (OSError, AttributeError):
            return
        self._add("NVML", ((reader, None) for reader in readers))

    def _add(self, source: str, found: Iterable[tuple[Callable[[], float], Path | None]]) -> None:
        now = self._clock()
        try:
            self._counters += [
                Counter(source, read, _of_file(whole)() if whole else math.inf, read(), now)
                for read, whole in found
            ]
        except (OSError, ValueError):
            # Those of other users may not be read.
            return

    def read(self) -> None:
        """Count up to now; to be called at least once a minute."""
        now, failed = self._clock(), set()
        for counter in self._counters:
            try:
                counter.advance(now)
            except (OSError, ValueError):
                failed.add(counter.source)
        self._counters = [counter for counter in self._counters if counter.source not in failed]

    def columns(self) -> dict[str, object]:
        """The columns of a record; none where nothing counts, or where other runs share the process."""
        self.read()
        if not self._counters or ASKED.get():
            return {}
        sources = dict.fromkeys(counter.source for counter in self._counters)
        joules = sum(counter.joules for counter in self._counters)
        return {"counted_energy_j": joules, "energy_counters": ";".join(sources)}


def _zones(powercap: Path) -> list[Path]:
    """Sockets, and their memory, which is not in theirs; cores are, and the whole machine holds all."""
    try:
        zones = {zone: (zone / "name").read_text().strip() for zone in powercap.glob("intel-rapl:*")}
    except OSError:
        return []
    return sorted(zone for zone, name in zones.items() if name.startswith("package") or name == "dram")


def _of_file(path: Path) -> Callable[[], float]:
    return lambda: int(path.read_text()) / 1e6


def handle_of(nvml: Any, gpu: str) -> ctypes.c_void_p:
    """NVML's handle of a GPU, given by its number or UUID. Raises OSError where NVML does not know it."""
    handle = ctypes.c_void_p()
    if gpu.isdecimal():
        check(nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(int(gpu)), ctypes.byref(handle)))
    else:
        check(nvml.nvmlDeviceGetHandleByUUID(ctypes.c_char_p(gpu.encode()), ctypes.byref(handle)))
    return handle


def _of_gpu(nvml: Any, gpu: str) -> Callable[[], float]:
    handle = handle_of(nvml, gpu)

    def read() -> float:
        millijoules = ctypes.c_ulonglong()
        check(nvml.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(millijoules)))
        return millijoules.value / 1000

    return read


def check(status: int) -> None:
    """Raise OSError if NVML says that it cannot."""
    if status:
        raise OSError(f"NVML returned {status}")
