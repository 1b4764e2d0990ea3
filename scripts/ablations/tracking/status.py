"""How far a study is: the state of every run, from what it left on disk and what SLURM says."""

import os
import platform
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import psutil

from ablations.runs.records import quick_record
from ablations.runs.run import Run
from ablations.tracking.slurm_queue import Slurm, ended_jobs

__all__ = ["Slurm", "State", "states"]

What = Literal["done", "diverged", "running", "queued", "failed"]
# A run's log grows every ten seconds while it trains; older than this, it is no sign of life.
SILENCE_S = 120.0
# A log that is empty for longer than this was left by a run that could not start.
STARTING_S = 60.0
# Of a log, the end that is read.
TAIL_BYTES = 8192

HOLDER = re.compile(r"process (\d+) on (\S+)(?: \(job (\d+)\))?")
STEP = re.compile(r"step (\d+) of (\d+), .*ETA (\d+):(\d\d):(\d\d)")
EPOCH = re.compile(r"epoch (\d+)/(\d+): loss")
STAMP = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ")
# What SLURM calls the end of a job -> the class of a failure.
CLASSES = {
    "OUT_OF_MEMORY": "out of memory",
    "TIMEOUT": "time-out",
    "DEADLINE": "time-out",
    "PREEMPTED": "preempted",
    "NODE_FAIL": "node",
    "BOOT_FAIL": "node",
    "CANCELLED": "cancelled",
}
# What a log says of the end of a run, where SLURM says nothing more.
SIGNS = (
    ("out of memory", re.compile(r"out of memory|MemoryError|oom.kill", re.I)),
    ("time-out", re.compile(r"about to reach its time limit|DUE TO TIME LIMIT")),
    ("stopped", re.compile(r"it was told to stop")),
)


@dataclass(frozen=True)
class State:
    """Where a run stands.

    `why` is the class of a failure, or what SLURM says of a run in its queue. Of a run that is running,
    `share` of its steps are done, and `eta_s` seconds are left where its log says so.
    """

    run: Run
    what: What
    why: str = ""
    epoch: str = ""
    share: float = 0.0
    eta_s: float | None = None
    last_line: str = ""
    record: Mapping[str, str] = field(default_factory=dict)


def states(runs: Iterable[Run], slurm: Slurm, root: Path = Path()) -> list[State]:
    """The state of each run, in the order given; their paths are relative to `root`."""
    found = [_state(run, root / run.directory, slurm) for run in runs]
    # One question for all that failed in a job.
    jobs = {job for state in found if state.what == "failed" and (job := _job(root / state.run.directory))}
    ended = ended_jobs(sorted(jobs))
    return (
        [_by_slurm(state, ended.get(_job(root / state.run.directory) or "", "")) for state in found]
        if ended
        else found
    )


def _state(run: Run, folder: Path, slurm: Slurm) -> State:
    record = quick_record(folder / "record.tsv")
    if record is not None:
        return State(run, "diverged" if record.get("status") == "diverged" else "done", record=record)
    # As the executor writes the wildcards of a run's rule into the comment of its job.
    names = (*(str(run.value(place)) for place in run.kind.places), folder.name)
    in_queue = slurm.runs.get("_".join(names), "") or slurm.runs.get(run.record, "")
    ended, _, log_of_job = in_queue.partition(" ")
    if ended := ended if ended in ("ENDED", "FAILED") else "":
        in_queue = ""
    if not folder.is_dir() and ended != "FAILED":
        return State(run, "queued", why=in_queue.lower())
    lines = list(_tail(folder / "run.log"))
    # A run writes its log as soon as it holds its lock; Snakemake makes the file when it starts it.
    starting = not lines and _age(folder / "run.log") < STARTING_S
    if not ended and (starting or _is_alive(folder, slurm, in_queue)):
        epoch, share, eta_s = _where(lines, folder / "run.log")
        last = _last(lines)
        return State(run, "running", epoch=epoch, share=share, eta_s=eta_s, last_line=last)
    if in_queue:
        return State(run, "queued", why=in_queue.lower())
    if not lines and not (folder / "attempts.json").exists():
        if ended != "FAILED":
            return State(run, "queued")
        # Its job could not even start it, and said so elsewhere.
        return State(run, "failed", "error", last_line=_last(list(_tail(Path(log_of_job)))))
    why = next((why for why, sign in SIGNS if any(sign.search(line) for line in lines[-5:])), "")
    why = why or (
        "error" if any(line.startswith("error: ") or line[:9] == "Traceback" for line in lines) else "killed"
    )
    return State(run, "failed", why, last_line=_last(lines))


def _is_alive(folder: Path, slurm: Slurm, in_queue: str) -> bool:
    """Whether a process is at the run: the one that its lock names, by all that can be known from here."""
    if in_queue in ("RUNNING", "COMPLETING"):
        return True
    try:
        holder = HOLDER.search((folder / "run.lock").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return False
    if holder is None:
        return False
    pid, host, job = holder.groups()
    if host == platform.node():
        try:
            words = psutil.Process(int(pid)).cmdline()
        except psutil.Error:
            return False
        return any(word.endswith(f"{folder.name}/record.tsv") for word in words)
    if job and slurm.answered:
        return slurm.jobs.get(job, "") in ("RUNNING", "COMPLETING")
    return _age(folder / "run.log") < SILENCE_S


def _job(folder: Path) -> str | None:
    try:
        holder = HOLDER.search((folder / "run.lock").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return None
    return holder.group(3) if holder else None


def _by_slurm(state: State, ended: str) -> State:
    if state.what != "failed" or ended not in CLASSES:
        return state
    return State(state.run, "failed", CLASSES[ended], last_line=state.last_line)


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return float("inf")


def _tail(path: Path) -> Iterator[str]:
    """The last lines of a log, the first of them whole."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            cut = max(0, file.tell() - TAIL_BYTES)
            file.seek(cut)
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return
    yield from (line for line in lines[1 if cut else 0 :] if line.strip())


def _last(lines: Sequence[str]) -> str:
    # A terminal is not to be told what to do by a log.
    return "".join(c for c in STAMP.sub("", lines[-1]) if c.isprintable()) if lines else ""


def _where(lines: Sequence[str], log: Path) -> tuple[str, float, float | None]:
    """How far a running run is, as text and share, and its ETA in seconds, from the end of its log."""
    epoch, share, eta_s = "", 0.0, None
    for line in reversed(lines):
        if step := STEP.search(line):
            hours, minutes, seconds = (int(text) for text in step.groups()[2:])
            if eta_s is None:
                since = _age(log) + _seconds_between(line, lines[-1])
                eta_s = max(0.0, 3600 * hours + 60 * minutes + seconds - since)
            if not epoch:
                epoch, share = (
                    f"step {step.group(1)}/{step.group(2)}",
                    int(step.group(1)) / int(step.group(2)),
                )
        elif (done := EPOCH.search(line)) and not epoch.startswith("epoch"):
            number, total = int(done.group(1)), int(done.group(2))
            epoch, share = f"epoch {min(number + 1, total)}/{total}", max(share, number / total)
        if epoch.startswith("epoch") and eta_s is not None:
            break
    return epoch, share, eta_s


def _seconds_between(earlier: str, later: str) -> float:
    """Between two lines of a log, by their stamps; 0 where one has none."""
    try:
        one, other = (time.mktime(time.strptime(line[:19], "%Y-%m-%d %H:%M:%S")) for line in (earlier, later))
    except ValueError:
        return 0.0
    return max(0.0, other - one)
