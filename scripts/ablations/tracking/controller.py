"""The controller: the Snakemake process that plans a study, submits its jobs and waits for them.

Snakemake locks the files that a call works on. A call that was killed (SIGKILL, a power cut) leaves its
lock behind, and the next one is refused until somebody calls `--unlock`. Whether a controller is alive can
be known, and then the lock of a dead one can be removed.

Snakemake also marks the outputs of a job as incomplete until it has seen the job succeed. A run may have
written its record and Snakemake, or its job, may be killed before that.
"""

import base64
import fcntl
import logging
import os
import platform
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from ablations.files import open_own

log = logging.getLogger(__name__)

# A controller keeps a lock on it.
NOTE = ".snakemake/controller"


def problem_of(directory: Path) -> str:
    """Why jobs of a cluster cannot work in `directory`; empty if they can."""
    if "%" not in str(directory):
        return ""
    return (
        f"The directory {directory} has a % in its path, which SLURM replaces in the names of its logs. "
        "Rename it, or work in another one (--directory)."
    )


def lives(directory: Path) -> bool:
    """Whether a controller lives in `directory`, on this machine.

    The lock is only looked at: a controller that starts meanwhile must find it free.
    """
    try:
        inode = (directory / NOTE).stat().st_ino
        locks = Path("/proc/locks").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    return any(" FLOCK " in line and f":{inode} " in line for line in locks)


def take_over(directory: Path) -> tuple[TextIO | None, int]:
    """Note that a controller lives in `directory`, and remove what those that died have locked and marked.

    Returns a file, which is to be kept open as long as the controller lives, and the number of locks
    removed. Locks stay where another controller lives, where the last one was on another machine (not
    every shared file system tells machines of each other's locks), where the file system has none, and
    where the note is not a file of the user; Snakemake then decides, and says what it finds.
    """
    folder = directory / ".snakemake"
    remove_marks_of_finished_runs(directory)
    try:
        folder.mkdir(exist_ok=True)
        alive = os.fdopen(open_own(directory / NOTE, os.O_RDWR | os.O_APPEND | os.O_CREAT), "a+")
        removed = 0
        try:
            fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass  # another controller lives
        else:
            locks = list((folder / "locks").glob("*.lock"))
            alive.seek(0)
            if alive.read().strip() == platform.node():
                for lock in locks:
                    lock.unlink(missing_ok=True)
                removed = len(locks)
            elif not locks:
                # Only then: while there are locks, the file tells whose they are.
                alive.truncate(0)
                alive.write(platform.node())
                alive.flush()
        # Shared: of several controllers at disjoint targets, each is known to live.
        fcntl.flock(alive, fcntl.LOCK_SH)
    except OSError as error:
        log.debug("%s: whether another controller lives cannot be told (%s)", folder, error)
        return None, 0
    return alive, removed


def remove_marks_of_finished_runs(directory: Path) -> int:
    """Remove Snakemake's marks of incomplete outputs where the run has its record; return how many.

    A run writes its record last and at once, and a job removes an old one before it begins: the run is
    finished. Snakemake would take its outputs for incomplete, and train it again.
    """
    folder, removed = directory / ".snakemake/incomplete", 0
    # Unlike rglob, walk leaves out a folder that another call removes meanwhile.
    for mark in (Path(path, name) for path, _, names in os.walk(folder) for name in names):
        # Snakemake names a mark by the path in base64, in parts if that is too long for a name.
        parts = mark.relative_to(folder).parts
        with suppress(OSError, ValueError):
            output = base64.urlsafe_b64decode("".join(part.removeprefix("@") for part in parts)).decode()
            # In a module with a prefix, the prefix comes first.
            if "results/runs/" in output and (directory / output).with_name("record.tsv").is_file():
                mark.unlink()
                removed += 1
    return removed
