"""Attempts at a run: one at a time, counted, timed, and ended before their job ends.

Several processes may begin a run: a job that was requeued, a job that the last call of Snakemake left
behind when it was killed, and the job that the next call submits.
"""

import logging
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ablations.errors import AblationsError, on_gpu_memory
from ablations.files import refuse_links
from ablations.kinds.record import Record
from ablations.readable import readable
from ablations.runs import state
from ablations.runs.energy import Meter
from ablations.runs.provenance import seconds_of_attempt, seconds_since_start
from ablations.runs.records import read_record, write_record
from ablations.runs.run import Run

log = logging.getLogger(__name__)

# A run stops this early before the end of its job, or a quarter of the limit if that is less: it
# has to complete a step, write its checkpoint, and exit.
MARGIN_S = 90.0
# The least time between two writes of a run's progress, and at the end of an epoch.
PROGRESS_S = 10.0
EPOCH_PROGRESS_S = 1.0
# An attempt that reports no progress notes its time this often: what is known if it is killed.
NOTE_S = 60.0


class Stopped(AblationsError):
    """A run has to stop before its end, without an error of its own; `why` is the class of the failure."""

    def __init__(self, text: str, why: state.Why = "stopped") -> None:
        super().__init__(text)
        self.why = why


class HeldError(AblationsError):
    """Another process executes the run."""


@contextmanager
def attempt(
    record: Path, run: Run, deadline: float | None = None, *, wait: bool = True
) -> Iterator["Attempt | None"]:
    """Execute `run` in the block, which no other process executes at the same time.

    Waits for a process that executes the run already, or raises HeldError if it may not `wait`. Yields None
    if that process has written `record` meanwhile. `deadline` is in seconds of the epoch. An exception that
    ends the block is stored in the run's state file, and raised again.

    Raises AblationsError if the other process still executes the run at the deadline, or if the state file
    cannot be written.
    """
    refuse_links(record.with_name("run.lock"))
    record.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(record.with_name("run.lock"), fallback_to_soft=False)
    before = _version(record)
    try:
        waited_s = _acquire(lock, record, deadline, wait)
        if waited_s and _version(record) not in (None, before) and _is_of(record, run):
            log.info("%s has been written meanwhile", record)
            yield None
            return
        own = Attempt(record, run, waited_s)
        try:
            yield own
        except BaseException as error:
            own.fail(error)
            raise
    finally:
        # The kernel releases the lock of a process that dies, however it dies.
        lock.release()


def _acquire(lock: FileLock, record: Path, deadline: float | None, wait: bool) -> float:
    """Acquire `lock`, and return the seconds of waiting for another process; 0 if there was none."""
    try:
        if _acquired(lock, timeout_s=0):
            return 0.0
        found = state.read(record.with_name(state.NAME))
        holder = str(found.process) if found else "another process"
        if not wait:
            raise HeldError(f"{holder} is at this run")
        log.info("%s is at this run; waiting for it to end", holder)
        start = time.monotonic()
        if not _acquired(lock, -1 if deadline is None else max(0.0, deadline - time.time())):
            raise AblationsError(
                f"{holder} is still at this run, and the job of this one is about to reach its time limit; "
                "end that process (a job: scancel), or wait for it, and call the same command again"
            )
        return time.monotonic() - start
    except OSError as error:
        log.warning(
            "%s cannot be locked (%s): nothing keeps a second process from this run", lock.lock_file, error
        )
        return 0.0


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
        return read_record(record, {run.kind.name: run.kind})[0] == run
    except AblationsError as error:
        log.warning("%s", error)
        return False


class Attempt:
    """One attempt at a run, by a process that holds the lock of the run; it keeps the state file up to date.

    `waited_s` is the time that this process has waited for another one, in seconds.
    """

    def __init__(self, record: Path, run: Run, waited_s: float = 0.0) -> None:
        self._record, self._run, self._waited_s = record, run, waited_s
        self._path = record.with_name(state.NAME)
        earlier = state.read(self._path)
        if earlier is None and self._path.exists():
            log.warning("%s is damaged: earlier attempts are not counted", self._path)
        self._process = state.Process.current()
        self.identity: dict[str, str] = {}
        self.meter = Meter()
        # The file keeps the earlier attempts until this one knows whether they count.
        self._earlier = earlier or state.RunState(self._process)
        self._steps: tuple[int, int, int] | None = None
        self._first_step = self._reported_at = -math.inf
        self._noted_at = time.monotonic()
        self._first_done = 0
        self._completed = False
        try:
            self.write()
        except OSError as error:
            raise AblationsError(
                f"{self._path} cannot be written ({error.strerror}); make the directory writable, or free "
                "space on its disk, and call the same command again"
            ) from None

    @property
    def elapsed_s(self) -> float:
        """The seconds of this attempt in this process, without those of waiting for another one."""
        return seconds_of_attempt() - self._waited_s

    @property
    def seconds(self) -> tuple[float, ...]:
        """The seconds of each attempt that counts, the present one last."""
        if not self.identity:
            return self._earlier.attempts_s
        counted = self._earlier.identity == self.identity
        return (*(self._earlier.attempts_s if counted else ()), round(self.elapsed_s, 3))

    def identify(self, identity: Mapping[str, str]) -> None:
        """Declare what this attempt depends on besides its run, such as the device and the data.

        Earlier attempts with another identity are not counted: their times cannot be added to this one's.
        """
        self.identity = {"run": self._run.directory, **identity}
        self.write()

    def report(self, done: int, total: int, epochs: int) -> None:
        """Record that `done` of `total` steps are completed; cheap enough to be called after each step."""
        now = time.monotonic()
        if self._steps is None:
            self._first_step, self._first_done = now, done
        self._steps = done, total, epochs
        epoch_ended = done * epochs % total == 0
        if now - self._reported_at < (EPOCH_PROGRESS_S if epoch_ended else PROGRESS_S):
            return
        self._reported_at = now
        self._write_if_possible()

    def note(self) -> None:
        """Record how long this attempt has taken, once a minute; cheap enough to be called each second."""
        now = time.monotonic()
        if now - max(self._noted_at, self._reported_at) >= NOTE_S:
            self._noted_at = now
            self._write_if_possible()

    def _write_if_possible(self) -> None:
        try:
            # Training must not wait for the disk.
            self.write(to_disk=False)
        except OSError as error:
            log.warning("%s cannot be written (%s): status shows old progress", self._path, error.strerror)

    def write(self, stopped: state.Stop | None = None, *, to_disk: bool = True) -> None:
        """Bring the state file up to now: that is what is known if the process is killed next.

        Raises OSError if the file cannot be written.
        """
        self.meter.read()
        current = state.RunState(
            self._process,
            self.identity or self._earlier.identity,
            self.seconds,
            self._progress(),
            stopped,
            round(time.time(), 3),
        )
        state.write(self._path, current, to_disk=to_disk)

    def _progress(self) -> state.Progress | None:
        if self._steps is None:
            return None
        done, total, epochs = self._steps
        # Earlier attempts took none of this one's time.
        made, elapsed = done - self._first_done, time.monotonic() - self._first_step
        eta_s = round(elapsed / made * (total - done), 1) if made > 0 else None
        return state.Progress(min(done * epochs // total + 1, epochs), epochs, done, total, eta_s)

    def columns(self) -> dict[str, object]:
        """The columns of a record with the number of attempts, the seconds of each, and this one's energy."""
        texts = [f"{seconds:.3f}" for seconds in self.seconds]
        return {"attempts": len(texts), "attempt_seconds": ";".join(texts), **self.meter.columns()}

    def write_record(self, record: Record) -> None:
        """Write the record of the run, and remove the state file: the run is completed.

        What cannot be removed costs space, and not the run.
        """
        write_record(self._record, self._run, record)
        self._completed = True
        try:
            state.remove(self._path)
            # Earlier versions kept the attempts there.
            self._record.with_name("attempts.json").unlink(missing_ok=True)
        except OSError as error:
            log.warning("%s is no longer needed, and cannot be removed (%s)", self._path, error.strerror)

    def fail(self, error: BaseException) -> None:
        """Store in the state file why the attempt ended without a record."""
        if self._completed:
            return
        try:
            self.write(state.Stop(_why(error), _text(error)))
        except OSError as problem:
            log.warning("%s cannot be written (%s): it lacks the error", self._path, problem.strerror)


def _why(error: BaseException) -> state.Why:
    if isinstance(error, Stopped):
        return error.why
    if isinstance(error, KeyboardInterrupt):
        return "stopped"
    if isinstance(error, MemoryError) or on_gpu_memory(error):
        return "out of memory"
    return "error"


def _text(error: BaseException) -> str:
    if isinstance(error, AblationsError):
        text = str(error)
    else:
        text = on_gpu_memory(error) or f"{type(error).__name__}: {error}".rstrip(": ")
    # A path in it may have bytes that are no UTF-8.
    return readable(text)


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
