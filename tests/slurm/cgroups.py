"""The cgroups (version 1) by which a test cluster limits the memory, cores and devices of its jobs."""

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MOUNT = Path("/sys/fs/cgroup")
CONTROLLERS = ("cpuset", "memory", "devices", "freezer", "cpuacct")
# Of slurm.conf. The memory of a step is measured for `sacct` alone: the kernel limits it.
SLURM_CONF = """\
ProctrackType=proctrack/cgroup
TaskPlugin=task/cgroup
JobAcctGatherType=jobacct_gather/cgroup
JobAcctGatherFrequency=task=1
# The groups of two clusters have the same names: slurm_n1/uid_0/job_4711. A port is taken once.
FirstJobId={slurmctld}
"""
CGROUP_CONF = f"""\
CgroupPlugin=cgroup/v1
CgroupMountpoint={MOUNT}
ConstrainRAMSpace=yes
ConstrainDevices=yes
"""


def obstacle() -> str | None:
    """Why no cluster can use cgroups here; None if one can."""
    missing = [name for name in CONTROLLERS if not (MOUNT / name / "cgroup.procs").exists()]
    if missing:
        return f"no cgroups of version 1 at {MOUNT} for {', '.join(missing)}"
    if os.geteuid() != 0 or not all(os.access(MOUNT / name, os.W_OK) for name in CONTROLLERS):
        return f"the cgroups at {MOUNT} cannot be written"
    return None


def write_configuration(root: Path, cpus: int) -> None:
    """Write cgroup.conf beside the slurm.conf of a cluster whose nodes claim so many processors."""
    # A job cannot be bound to a processor that the machine does not have.
    cores = "yes" if cpus <= (os.cpu_count() or 1) else "no"
    (root / "cgroup.conf").write_text(f"{CGROUP_CONF}ConstrainCores={cores}\n")


@contextmanager
def groups_of(nodes: Iterable[str]) -> Iterator[None]:
    """Leave no group of these nodes behind: SLURM keeps empty ones. The last cluster removes those of all."""
    handle = os.open(MOUNT, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH)
        try:
            yield
        finally:
            with suppress(BlockingIOError):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(nodes)
    finally:
        os.close(handle)


def _remove(nodes: Iterable[str]) -> None:
    for node in nodes:
        for top in MOUNT.glob(f"*/slurm_{node}"):
            for folder, _, _ in os.walk(top, topdown=False):
                # One that has processes is in use.
                with suppress(OSError):
                    Path(folder).rmdir()


def thaw(pid: int) -> None:
    """Let a process end that SLURM has frozen, as it does while it signals all processes of a step."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "freezer" and path.startswith("/slurm_"):
                (MOUNT / f"freezer{path}" / "freezer.state").write_text("THAWED")
