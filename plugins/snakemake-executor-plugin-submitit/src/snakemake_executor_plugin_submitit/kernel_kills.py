"""Processes of this allocation that the kernel has killed for want of memory, where SLURM uses cgroups."""

import os
import re
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
# By the controllers in a line of /proc/self/cgroup: version 1 of cgroups, and version 2.
COUNTS = {"memory": "memory/{path}/memory.oom_control", "": "{path}/memory.events"}


def kernel_kills(own: Path = Path("/proc/self/cgroup"), cgroups: Path = CGROUPS) -> int:
    """How many they are so far; 0 if the cgroup of this process is not that of its job alone."""
    job = f"/job_{os.environ.get('SLURM_JOB_ID')}/"
    found = 0
    try:
        for line in own.read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers in COUNTS and job in f"{path}/":
                file = cgroups / COUNTS[controllers].format(path=path.lstrip("/"))
                count = re.search(r"^oom_kill (\d+)$", file.read_text(encoding="ascii"), re.M)
                found = max(found, int(count[1]) if count else 0)
    except (OSError, ValueError):
        return found
    return found
