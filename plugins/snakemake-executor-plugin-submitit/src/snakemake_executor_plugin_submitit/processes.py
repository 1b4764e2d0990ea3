"""Processes of a member on this node: its family, their memory, and the processors they may use."""

import contextlib
import os
import signal
from pathlib import Path

import psutil


def kill_group(pid: int) -> None:
    """Kill a member and all it has started; a member leads its own session and process group."""
    with contextlib.suppress(OSError):
        os.killpg(pid, signal.SIGKILL)


def group_is_alive(pid: int) -> bool:
    """Whether a member, or anything that it started, is still running."""
    try:
        os.killpg(pid, 0)
    except OSError:
        return False
    for other in psutil.pids():
        with contextlib.suppress(OSError, psutil.Error):
            if os.getpgid(other) == pid and psutil.Process(other).status() != psutil.STATUS_ZOMBIE:
                return True
    return False


def family(pid: int) -> list[psutil.Process]:
    """A process and all its descendants.

    It reads the kernel's lists of children: a search of all processes is slow on a full node. One that ends
    meanwhile has no children left here.
    """
    pids, found = [pid], []
    while pids:
        # Its folder may be gone before its threads are listed.
        with contextlib.suppress(psutil.Error, OSError):
            found.append(psutil.Process(each := pids.pop()))
            for listed in Path(f"/proc/{each}/task").glob("*/children"):
                with contextlib.suppress(OSError):
                    pids += map(int, listed.read_text(encoding="ascii").split())
    return found


def memory_mb(pid: int, at_least_mb: float = 0.0) -> float:
    """The memory of a process and all its descendants, in MiB.

    Shared memory is divided among the processes that share it. Mapped files do not count: the kernel can
    free that memory when it needs it. This number is slow to compute. If the resident memory, which is never
    smaller, is at most `at_least_mb`, the resident memory is returned instead.
    """
    processes = family(pid)
    resident = sum(map(_resident, processes)) / 2**20
    return resident if resident <= at_least_mb else sum(map(_proportional, processes)) / 2**20


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def _proportional(process: psutil.Process) -> int:
    for name, parts in (("smaps_rollup", ("Pss_Anon", "Pss_Shmem")), ("status", ("RssAnon", "RssShmem"))):
        try:
            lines = Path(f"/proc/{process.pid}/{name}").read_text(encoding="utf-8").splitlines()
            held = {line.partition(":")[0]: line.split()[1] for line in lines if line.startswith(parts)}
            return sum(int(held[part]) * 1024 for part in parts)
        except (OSError, KeyError, ValueError, IndexError):
            continue
    return _resident(process)


def bound_cpus() -> list[int]:
    """The processors that SLURM bound the allocation to, with the threads of a core side by side.

    The list is empty if SLURM bound no processors: then all allocations on the node would divide the same.
    """
    bound = os.sched_getaffinity(0)
    if os.environ.get("SLURM_CPUS_ON_NODE") != str(len(bound)):
        return []
    return sorted(bound, key=_core)


def _core(cpu: int) -> tuple[int, int, int]:
    topology = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology")
    try:
        package, core = (int((topology / name).read_text()) for name in ("physical_package_id", "core_id"))
    except (OSError, ValueError):
        package, core = 0, cpu
    return package, core, cpu
