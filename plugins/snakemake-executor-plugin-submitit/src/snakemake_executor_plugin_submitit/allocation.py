"""What SLURM tells a pack of its allocation: when it ends, and whether it is preempted."""

import os
import subprocess

import psutil

# If SLURM does not report when a job ends: how much of its limit may have passed before its process began.
PROLOG_S = 15.0


def ends_at(runtime_min: int) -> float:
    """When this allocation ends, in seconds since the epoch."""
    return _end_time() or psutil.Process().create_time() + 60 * runtime_min


def signal_due(runtime_min: int, delay_s: int) -> tuple[float | None, float]:
    """When the members must be told to stop (None without a limit), and how far that may be off."""
    given = _end_time()
    # A prolog may have run before this process; it counts towards the limit too.
    slack_s = 1.0 if given else min(PROLOG_S, 60 * runtime_min / 4)
    due = ends_at(runtime_min) - delay_s if given or "SLURM_JOB_ID" in os.environ else None
    return due, slack_s


def _end_time() -> float | None:
    given = os.environ.get("SLURM_JOB_END_TIME", "")  # since SLURM 23.02
    return float(given) if given.isdigit() else None


def is_preempted() -> bool:
    """Whether SLURM preempts this allocation, and neither cancelled nor ended it."""
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        return False
    try:
        done = subprocess.run(
            ["scontrol", "show", "job", job],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    shown = dict(word.partition("=")[::2] for word in done.stdout.split())
    return shown.get("JobState") == "RUNNING" and shown.get("PreemptTime", "None") not in ("None", "")
