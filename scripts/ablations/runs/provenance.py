"""Where a record came from: versions, machine, and times."""

import hashlib
import os
import platform
import resource
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil

from ablations import __version__
from ablations.errors import AblationsError
from ablations.files import digest

# Distribution -> column: the libraries whose version can change a result.
LIBRARIES = {
    "numpy": "numpy_version",
    "torch": "torch_version",
    "torchvision": "torchvision_version",
    "scikit-learn": "scikit_learn_version",
}


def describe(libraries: Iterable[str], threads: int) -> dict[str, object]:
    """The provenance columns of a record, of the process that calls."""
    created = psutil.Process().create_time()
    return {
        "threads": threads,
        "host": platform.node(),
        "started_at": datetime.fromtimestamp(created, UTC).isoformat(timespec="seconds"),
        "workflow_version": __version__,
        "python_version": platform.python_version(),
        **{LIBRARIES[name]: version(name) for name in libraries},
    }


def code_digest(paths: Sequence[str]) -> str | None:
    """A digest of the content of files, and of every Python file in directories; None for no paths.

    Raises AblationsError for a path that is missing or cannot be read.
    """
    found = hashlib.sha256()
    for path in map(Path, paths):
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            try:
                found.update(f"{file}\n{digest(file, 'sha256')}\n".encode())
            except OSError as error:
                raise AblationsError(
                    f"{file}: it cannot be read ({error.strerror}); it is a part of `code`"
                ) from None
    return found.hexdigest()[:16] if paths else None


def seconds_since_start() -> float:
    """Seconds since this process was started, its imports included."""
    # Not by psutil's time of creation: it counts from a time of boot in whole seconds.
    try:
        stat = Path("/proc/self/stat").read_text(encoding="utf-8")
    except OSError:
        return time.time() - psutil.Process().create_time()
    ticks = int(stat.rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def peak_memory_mb() -> float:
    """The largest resident memory of this process so far, in MB."""
    # Not getrusage: it starts at the memory of the process that started this one, a large Snakemake.
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        status = ""
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def processor_name() -> str:
    """The CPU's name as the operating system gives it."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
