"""Attempts at a run: one at a time, counted, timed, and ended before their job is.

A run may be begun by several processes: a job that was requeued, one that the last call of Snakemake
left behind when it was killed, and the one that the next call submits.
"""

import json
import logging
import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path

from filelock import FileLock, Timeout

from ablations.errors import AblationsError
from ablations.files import write_text
from ablations.runs.provenance import seconds_since_start
from ablations.runs.records import read_record
from ablations.runs.run import Run

log = logging.getLogger(__name__)

# Before the end of its job a run stops this early, or a quarter of the limit where that is less: it
# has to finish a step, write, and be seen to end.
MARGIN_S = 90.0


def sole_writer(record: Path, run: Run, deadline: float | None = None) -> FileLock | None:
    """Wait until no other process is at `run`, and keep others from it while this process lives.

    Returns what holds the run, or None where the other process has written the record meanwhile.
    `deadline` is in seconds of the epoch.

    Raises AblationsError when the other process is still at it then.
    """
    path = record.with_name("run.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    # The kernel lets go of it when its holder dies, however it dies.
    lock = FileLock(path, fallback_to_soft=False)
    before = _version(record)
    try:
        if _acquired(lock, timeout_s=0):
            path.write_text(f"{_myself()}\n", encoding="utf-8")
            return lock
        holder = _holder(path)
        log.info("%s is at this run; waiting for it to end", holder)
        if not _acquired(lock, -1 if deadline is None else max(0.0, deadline - time.time())):
            raise AblationsError(
                f"{holder} is still at this run, and the job of this one is about to reach its time limit; "
                "end that process (a job: scancel), or wait for it, and call the same command again"
            )
        path.write_text(f"{_myself()}\n", encoding="utf-8")
    except OSError as error:
        log.warning("%s cannot be locked (%s): nothing keeps a second process from this run", path, error)
    if _version(record) not in (None, before) and _is_of(record, run):
        log.info("%s has been written meanwhile", record)
        return None
    return lock


def _acquired(lock: FileLock, timeout_s: float) -> bool:
    try:
        # The file stays when the run is done: whoever unlinks a lock that others wait for splits them.
        lock.acquire(timeout=timeout_s, poll_interval=0.5)
    except Timeout:
        return False
    return True


def _version(record: Path) -> tuple[int, int] | None:
    try:
        status = record.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _is_of(record: Path, run: Run) -> bool:
    try:
        return read_record(record)[0] == run
    except AblationsError as error:
        log.warning("%s", error)
        return False


def _myself() -> str:
    job = os.environ.get("SLURM_JOB_ID")
    return f"process {os.getpid()} on {platform.node()}" + (f" (job {job})" if job else "")


def _holder(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip() or "another process"
    except (OSError, UnicodeDecodeError):
        return "another process"


class Attempts:
    """The seconds of every attempt at a run, the present one last, kept in a file until it is done.

    Attempts whose `identity` (run, data, device, …) was another do not add up with this one's, and are
    not counted. `waited_s` seconds this process has only waited for another.
    """

    def __init__(self, path: Path, identity: Mapping[str, str], waited_s: float = 0.0) -> None:
        self.path = path
        self._waited_s = waited_s
        self.identity = dict(identity)
        self.seconds = [*self._read(), 0.0]
        self.write()

    def _read(self) -> list[float]:
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
            return [float(seconds) for seconds in found["seconds"]] if found["run"] == self.identity else []
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("%s is not readable (%s): earlier attempts are not counted", self.path, error)
            return []

    def write(self) -> None:
        """Bring the file up to now: what is known of this attempt if it is killed next."""
        self.seconds[-1] = round(seconds_since_start() - self._waited_s, 3)
        write_text(self.path, json.dumps({"run": self.identity, "seconds": self.seconds}))

    def columns(self) -> dict[str, object]:
        """The columns of a record that say how many attempts there were, and how long each took."""
        seconds = [*self.seconds[:-1], seconds_since_start() - self._waited_s]
        return {"attempts": len(seconds), "attempt_seconds": ";".join(f"{s:.3f}" for s in seconds)}

    def remove(self) -> None:
        """Remove the file: the run is done."""
        self.path.unlink(missing_ok=True)


def job_deadline(environment: Mapping[str, str], limit_s: float | None) -> float | None:
    """When a run has to stop, in seconds of the epoch, with a margin before its job is ended.

    SLURM tells a job its end; where it was stripped from the environment, the limit counts from
    the start of this process. Outside a SLURM job nothing ends a run, and there is no deadline.
    """
    if "SLURM_JOB_ID" not in environment:
        return None
    now, lived = time.time(), seconds_since_start()
    if environment.get("SLURM_JOB_END_TIME", "").isdigit():
        end = float(environment["SLURM_JOB_END_TIME"])
        limit_s = limit_s or end - now + lived
    elif limit_s:
        end = now - lived + limit_s
    else:
        return None
    return end - min(MARGIN_S, limit_s / 4)
