"""The status of runs, from the files that they leave and from what SLURM knows of their jobs."""

import errno
import os
import platform
import re
import stat
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import psutil

from ablations.readable import readable
from ablations.runs import state as run_state
from ablations.runs.records import quick_record
from ablations.runs.run import Run
from ablations.runs.state import RunState
from ablations.tracking.slurm_queue import RUNNING, Slurm, ended_jobs

# A run is `queued` if SLURM has its job; `to do` are those that nothing has begun, or that were stopped.
What = Literal["done", "diverged", "running", "queued", "to do", "failed"]
# A run writes its state every ten seconds while it trains. If nothing else is known of its process, and the
# file is older than this, the run does not count as running.
SILENCE_S = 120.0
# A log that has been empty for longer than this belongs to a run that could not start.
STARTING_S = 60.0
# Of a log, the end that is read.
TAIL_BYTES = 8192
STAMP = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ")

# The final state of a job in SLURM -> the class of a failure.
CLASSES = {
    "OUT_OF_MEMORY": "out of memory",
    "TIMEOUT": "time-out",
    "DEADLINE": "time-out",
    "PREEMPTED": "preempted",
    "NODE_FAIL": "node",
    "BOOT_FAIL": "node",
    "CANCELLED": "cancelled",
}


@dataclass(frozen=True)
class RunStatus:
    """The status of a run.

    `why` is the class of a failure, the state in SLURM's queue, or `stopped` for a run that is to do. For a
    running run, `share` of its steps are done, and `eta_s` seconds are left if its state file has an ETA.
    `job` is the SLURM job of the last attempt of a run that failed.
    """

    run: Run
    what: What
    why: str = ""
    epoch: str = ""
    share: float = 0.0
    eta_s: float | None = None
    last_line: str = ""
    record: Mapping[str, str] = field(default_factory=dict)
    job: str | None = None


def statuses(runs: Iterable[Run], slurm: Slurm, root: Path = Path()) -> list[RunStatus]:
    """The status of each run, in the order given; their paths are relative to `root`."""
    found = [_status(run, root, slurm) for run in runs]
    # One question for all that failed in a job.
    jobs = {status.job for status in found if status.what == "failed" and status.job}
    ended = ended_jobs(sorted(jobs))
    judged = [_by_slurm(status, ended.get(status.job or "", "")) for status in found]
    # Stopped by a person or by a signal, and by no class of failure that SLURM knows: it resumes.
    return [replace(s, what="to do") if (s.what, s.why) == ("failed", "stopped") else s for s in judged]


def failed_records(runs: Iterable[Run]) -> list[str]:
    """The records that runs which have ended did not write."""
    missing = [run for run in runs if not Path(run.record).exists()]
    if not missing:
        return []
    return [status.run.record for status in statuses(missing, Slurm.ask()) if status.what == "failed"]


def _status(run: Run, root: Path, slurm: Slurm) -> RunStatus:
    folder = root / run.directory
    record = quick_record(folder / "record.tsv")
    if record is not None:
        return RunStatus(run, "diverged" if record.get("status") == "diverged" else "done", record=record)
    # As the executor writes the wildcards of a run's rule into the comment of its job.
    names = (*(str(run.value(place)) for place in run.kind.places), folder.name)
    job_of_its_own = slurm.runs.get("_".join(names), "")
    ended = not job_of_its_own and run.record in slurm.ended
    job_log = slurm.ended[run.record] if ended else None
    in_queue = "" if ended else job_of_its_own or slurm.runs.get(run.record, "")
    if not folder.is_dir() and not job_log:
        return RunStatus(run, "queued" if in_queue else "to do", why=in_queue.lower())
    begun = run_state.read(folder / run_state.NAME)
    log = folder / "run.log"
    last_line = last_line_of(log)
    # A run writes its state as soon as it holds its lock; Snakemake creates the log when it starts the run.
    starting = not last_line and _age(log) < STARTING_S
    if not ended and (starting or in_queue in RUNNING or _is_alive(begun, folder, slurm)):
        return _running(run, begun, last_line)
    if in_queue:
        return RunStatus(run, "queued", why=in_queue.lower())
    if last_line.endswith("record.tsv") and "wrote " in last_line:
        # It was completed, and its record was deleted.
        return RunStatus(run, "to do")
    if last_line == "KeyboardInterrupt":
        # While Python started: the run itself has not noted it.
        return RunStatus(run, "to do", "stopped")
    if begun is not None and begun.stopped is not None:
        error = _last(readable(begun.stopped.error).splitlines()) or last_line
        return RunStatus(run, "failed", begun.stopped.why, last_line=error, job=begun.process.job)
    if begun is not None or (folder / run_state.NAME).exists():
        last_line = last_line or ("" if begun else f"its {run_state.NAME} cannot be read")
        return RunStatus(
            run, "failed", "killed", last_line=last_line, job=begun.process.job if begun else None
        )
    if not last_line and not job_log:
        return RunStatus(run, "to do")
    # It ended before it held its lock: its options were refused, or its job could not start it.
    return RunStatus(
        run, "failed", "error", last_line=last_line or (last_line_of(job_log) if job_log else "")
    )


def _running(run: Run, begun: RunState | None, last_line: str) -> RunStatus:
    # What an attempt that has stopped wrote does not tell how far the next one is.
    if begun is None or begun.stopped is not None or begun.progress is None:
        return RunStatus(run, "running", last_line=last_line)
    progress, eta_s = begun.progress, begun.progress.eta_s
    if eta_s is not None:
        eta_s = max(0.0, eta_s - max(0.0, time.time() - begun.updated_at))
    epoch, share = f"epoch {progress.epoch}/{progress.epochs}", progress.step / progress.steps
    if progress.epochs == 1:
        epoch = f"step {progress.step}/{progress.steps}"
    return RunStatus(run, "running", epoch=epoch, share=share, eta_s=eta_s, last_line=last_line)


def _is_alive(begun: RunState | None, folder: Path, slurm: Slurm) -> bool:
    """Whether the process of the last attempt still executes the run, by all that can be known from here."""
    if begun is None or begun.stopped is not None:
        return False
    process = begun.process
    if process.host == platform.node():
        try:
            words = psutil.Process(process.id).cmdline()
        except psutil.Error:
            return False
        # Another process may have its id by now.
        return any(word.endswith(f"{folder.name}/record.tsv") for word in words)
    if process.job and slurm.answered:
        return slurm.jobs.get(process.job, "") in RUNNING
    return time.time() - begun.updated_at < SILENCE_S


def _by_slurm(status: RunStatus, ended: str) -> RunStatus:
    """The status with the class of the failure that SLURM knows, if the run itself could not tell."""
    if status.what != "failed" or status.why not in ("killed", "stopped") or ended not in CLASSES:
        return status
    return replace(status, why=CLASSES[ended])


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return float("inf")


def last_line_of(log: Path) -> str:
    """The last line of a log that is not empty, for people to read."""
    try:
        return _last(end_of(log))
    except OSError:
        return ""


def end_of(log: Path, size: int = TAIL_BYTES) -> list[str]:
    """The lines in the last `size` bytes of a log, for people to read. Raises OSError.

    A link is refused, as it would show another file, and so is what is no regular file, such as a pipe.
    """
    with open(os.open(log, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:  # noqa: PTH123, a descriptor
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is not a file", str(log))
        file.seek(max(0, file.seek(0, os.SEEK_END) - size))
        return [readable(line) for line in file.read(size).decode("utf-8", "replace").splitlines()]


def _last(lines: Sequence[str]) -> str:
    stripped = (line.replace("\t", " ").strip() for line in reversed(lines))
    return STAMP.sub("", next((line for line in stripped if line), ""), count=1)
