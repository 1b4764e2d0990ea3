"""File descriptors: each open file and each command needs some, and a process has only so many."""

import errno
import resource

from snakemake_interface_common.exceptions import WorkflowError

# The soft limit is usually 1024. What this executor and Snakemake need does not grow with the jobs.
WANTED = 4096


def raise_limit() -> None:
    """Raise this process's soft limit of open files, as far as the hard limit allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def check_left(error: OSError) -> None:
    """Raise WorkflowError if `error` says that no descriptors are left: nothing else would work either."""
    if error.errno in (errno.EMFILE, errno.ENFILE):
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        raise WorkflowError(
            f"no more files can be opened ({error.strerror}; the limit of this process is {limit}), so "
            "neither the queue nor results can be read. Jobs in the queue are left there. Raise the limit "
            "(ulimit -n) and run the same command again; it takes them over."
        ) from None
