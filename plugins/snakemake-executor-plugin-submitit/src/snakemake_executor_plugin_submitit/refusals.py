"""What an error of sbatch means: whether the same submission may succeed later."""

import re

# A limit on the number of submitted jobs. It has room again when other jobs end.
LIMIT = re.compile(r"(QOS|Assoc)\w*Submit\w*Limit|MaxJobCount|too many", re.I)
# Any other limit that SLURM names is one that the job itself exceeds.
EXCEEDED = re.compile(r"(QOS|Assoc)(Max|Grp|Min)\w*Limit", re.I)
TRANSIENT = re.compile(
    "timed out|unable to contact|connect|communication|temporarily|try again|submit limit|zero bytes|standby|"
    "message (receive|send)|unexpected message|unspecified error|i/o error|socket|plugin initialization",
    re.I,
)


def is_job_limit(error: str) -> bool:
    """Whether the number of submitted jobs has reached a limit."""
    return LIMIT.search(error) is not None


def may_pass(error: str) -> bool:
    """Whether the error may be gone at a later attempt."""
    return is_job_limit(error) or (TRANSIENT.search(error) is not None and not EXCEEDED.search(error))
