"""What runs in an allocation: the members of a pack, side by side, each in its own process.

Each member is forked from the process that runs the pack, which has imported Snakemake if a member needs it.
When a member has ended, its pack writes a result file. A member with a result never runs again, however often
the allocation is requeued.
"""

import contextlib
import importlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from submitit.core.utils import DelayedSubmission

from snakemake_executor_plugin_submitit.allocation import ends_at, is_preempted, signal_due
from snakemake_executor_plugin_submitit.free_places import FreePlaces
from snakemake_executor_plugin_submitit.gpus import Share, shares_of
from snakemake_executor_plugin_submitit.lanes import shared_folder
from snakemake_executor_plugin_submitit.member import (
    Member,
    RunningMember,
    become,
    is_plain,
    own_environment,
)
from snakemake_executor_plugin_submitit.mps import multi_process_service
from snakemake_executor_plugin_submitit.processes import group_is_alive, kill_group
from snakemake_executor_plugin_submitit.results import Result, has_result, refresh, write_result
from snakemake_executor_plugin_submitit.usage import write_usage

log = logging.getLogger("submitit")

POLL_S = 0.05
MEMORY_EVERY_S = 0.25
# A signal to the whole job may end a member before the pack has received it too.
HEARING_S = 1.0
# Kept of the time between the signal and the limit, to write results and requeue.
AFTERWARDS_S = 5.0
# How long to wait for a member after SIGKILL.
KILLING_S = 3.0
REQUEUE_TRIES = 5
# A result that cannot be written is given up after this; the controller then learns nothing of that member.
WRITING_S = 120.0
# SLURM may send the signal this much too early.
EARLY_S = 65.0


@dataclass
class Pack:
    """The callable that submitit runs: all members without a result, `places` at a time.

    It is pickled with the submission and unpickled in each attempt, so its fields are a file format: a job in
    the queue may have been submitted by an earlier version. One thread runs it. Signal handlers only add to
    `_signals`; the loop in `__call__` does what they ask for.
    """

    number: int
    members: list[Member]
    places: int
    results: str
    workdir: str
    # None removes a variable.
    environment: dict[str, str | None]
    runtime_min: int
    delay_s: int
    requeues: int
    mps: bool = False
    lanes: int = 1
    requeued: int = 0
    # Seconds for which it waits for further runs when nothing runs; 0 if it takes none.
    refill_s: float = 0.0
    # Those that ask for the same as its members: see `kind_of`.
    kind: str = ""
    # How many members share a GPU if they are spread over several; 0 if all have all GPUs.
    per_gpu: int = 0
    _further: FreePlaces | None = field(default=None, repr=False)
    _running: dict[int, RunningMember] = field(default_factory=dict, repr=False)
    _signals: set[int] = field(default_factory=set, repr=False)
    # Whether the members were told to stop.
    _stopping: bool = field(default=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_running": {}, "_signals": set(), "_stopping": False, "_further": None}

    def __call__(self) -> None:
        """Run the members until all have ended, or until the allocation is told to stop."""
        os.chdir(self.workdir)
        requeue = self._listen()
        further = self._further = FreePlaces(
            Path(self.results).parent, self.number, self.refill_s, ends_at(self.runtime_min)
        )
        if self.refill_s:
            further.open(self.places, self.kind)
        refresh(Path(self.results))
        waiting = deque(i for i in self._numbers() if not self._has_ended(i))
        self._import_for(waiting)
        free = deque(range(self.places))
        looked = 0.0
        # A pack without a GPU has nothing to share. SLURM names the GPUs of an allocation in this variable.
        wanted = self.mps and self.places > 1 and bool(os.environ.get("CUDA_VISIBLE_DEVICES"))
        with (
            multi_process_service(wanted) as service,
            shared_folder(self.lanes, self.places) as shared,
            self._none_left_behind(),
        ):
            shares = shares_of(self.places, self.per_gpu, {**self.environment, **service, **shared})
            while self._running or (not self._stopping and (waiting or further.await_more(busy=False))):
                if not waiting and not self._signals and (taken := further.take(len(free))):
                    self._import_for(taken)
                    waiting.extend(taken)
                while waiting and free and not self._signals:
                    place = free.popleft()
                    self._start(waiting.popleft(), place, shares[place])
                further.await_more(busy=bool(self._running))
                free.extend(self._collect())
                if time.monotonic() > looked + MEMORY_EVERY_S:
                    looked = time.monotonic()
                    for running in self._running.values():
                        running.check_memory()
                    if self._stopping:
                        self._tell()
                # Signals are handled here and not in their handlers, which may interrupt any step.
                if signal.SIGUSR2 in self._signals and not self._stopping:
                    requeue()
                if signal.SIGTERM in self._signals and not self._stopping:
                    # SLURM does not requeue a preempted job that ends within its grace time, unless asked to.
                    requeue() if is_preempted() else self._tell()
                time.sleep(POLL_S)

    @contextlib.contextmanager
    def _none_left_behind(self) -> Iterator[None]:
        try:
            yield
        finally:
            for pid in self._running:
                kill_group(pid)

    def _numbers(self) -> list[int]:
        """The numbers of all members, with those that were taken later."""
        return [*range(len(self.members)), *(self._further.members if self._further else ())]

    def _member(self, number: int) -> Member:
        further = self._further.members if self._further else {}
        return self.members[number] if number < len(self.members) else further[number]

    def _import_for(self, numbers: Iterable[int]) -> None:
        """Import Snakemake if one of these members needs it: once, as members are forks of this process."""
        members = map(self._member, numbers)
        if any(is_plain(member.command) and not member.direct for member in members):
            # Snakemake loads this plugin in each.
            for name in ("snakemake.cli", f"{__package__}.executor"):
                importlib.import_module(name)

    def _has_ended(self, member: int) -> bool:
        return has_result(Path(self.results), self.number, member)

    def _start(self, number: int, place: int, share: Share) -> None:
        member = self._member(number)
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            own = own_environment(member, self.places, self.results)
            become(member, share.cpus, {**share.environment, **own})
        log.info("member %d is process %d", number, pid)
        self._running[pid] = RunningMember(pid, number, place, member)

    def _collect(self) -> list[int]:
        """Write the results of the members that have ended, and return their places."""
        free = []
        for pid, running in list(self._running.items()):
            if running.status is None:
                ended, status, running.used = os.wait4(pid, os.WNOHANG)
                if ended == 0:
                    continue
                running.status = os.waitstatus_to_exitcode(status)
                running.ended = time.monotonic()
            interrupted = running.status != 0 and not running.why and bool(self._signals)
            failed = running.status != 0 and not running.why and not interrupted
            if failed and time.monotonic() < running.ended + HEARING_S:
                continue
            # A shell dies of SIGTERM at once, while its children may still write a checkpoint.
            if interrupted and group_is_alive(pid):
                continue
            kill_group(pid)
            # An interrupted member has not failed: it resumes when the allocation runs again.
            if not interrupted and not self._write(running):
                continue
            log.info("member %d has ended with %d %s", running.number, running.status, running.why)
            free.append(running.place)
            del self._running[pid]
        return free

    def _write(self, running: RunningMember) -> bool:
        """Write the result of a member; False if that must be tried again, for example on a full disk."""
        try:
            result = Result(running.status or 0, running.reason())
            # What earlier attempts used is not known.
            again = self.requeued or os.environ.get("SLURM_RESTART_COUNT", "0") != "0"
            if result.exit == 0 and not again and (usage := running.usage()):
                # First: whoever sees the result may read it.
                write_usage(Path(self.results), self.number, running.number, usage)
            write_result(Path(self.results), self.number, running.number, result)
        except OSError as error:
            log.warning("the result of member %d cannot be written (%s)", running.number, error)
            time.sleep(1)
            return time.monotonic() > running.ended + WRITING_S
        return True

    def _listen(self) -> Callable[[], None]:
        """Record signals from now on, and return a function that requeues by submitit's own handler."""
        due, slack_s = signal_due(self.runtime_min, self.delay_s)
        handler = signal.getsignal(signal.SIGUSR2)

        def note(number: int, frame: FrameType | None) -> None:
            early = due is not None and due - EARLY_S < time.time() < due - slack_s
            if number == signal.SIGUSR2 and early:
                # SLURM sends it up to a minute early. The alarm comes at the right time.
                return
            self._signals.add(signal.SIGUSR2 if number == signal.SIGALRM else number)

        # At preemption, scancel and the limit, SLURM signals all processes of a job or its script alone.
        signal.signal(signal.SIGTERM, note)
        if callable(handler):
            signal.signal(signal.SIGUSR2, note)
            signal.signal(signal.SIGALRM, note)
            if due is not None:
                signal.setitimer(signal.ITIMER_REAL, max(0.1, due - time.time()))

        def requeue() -> None:
            for left in reversed(range(REQUEUE_TRIES)):
                before = self.requeued
                try:
                    if callable(handler):
                        handler(signal.SIGUSR2, None)
                    return
                except (OSError, subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
                    # SLURM's controller is busy or restarting, or this node lacks scontrol.
                    log.warning("not requeued (%s)", error)
                    self.requeued = before
                    if not left or isinstance(error, FileNotFoundError):
                        self._give_up(f"the job could not be requeued on its node: {error}")
                        raise
                    time.sleep(2)

        return requeue

    def _give_up(self, why: str) -> None:
        """Write that the members without a result have failed; the job is about to end."""
        for member in self._numbers():
            if not self._has_ended(member):
                write_result(Path(self.results), self.number, member, Result(1, why))

    def _tell(self) -> None:
        """Tell the members to stop; start no more."""
        if not self._stopping:
            log.info("the members are told to stop")
        self._stopping = True
        if self._further:
            self._further.close()
        for running in self._running.values():
            running.tell()

    def checkpoint(self) -> DelayedSubmission | None:
        """Let the members write their checkpoints; submitit calls this before it requeues the allocation.

        Returns None to end the allocation instead: all members have ended, or it was requeued too often.
        """
        self._tell()
        self._await_members(max(2.0, self.delay_s - AFTERWARDS_S))
        for pid in self._running:
            kill_group(pid)
        # A member that survives even this, for example on a file system that hangs, is not waited for.
        self._await_members(KILLING_S)
        left = [i for i in self._numbers() if not self._has_ended(i)]
        if not left:
            return None
        if self.requeued >= self.requeues:
            why = f"it has been requeued {self.requeued} times, which is the limit (--submitit-requeues)"
            self._give_up(why)
            return None
        self.requeued += 1
        return DelayedSubmission(self)

    def _await_members(self, patience_s: float) -> None:
        end = time.monotonic() + patience_s
        while self._running and time.monotonic() < end:
            self._collect()
            self._tell()
            time.sleep(POLL_S)
