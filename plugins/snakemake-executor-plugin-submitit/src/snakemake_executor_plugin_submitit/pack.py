"""What runs inside an allocation: the members of a pack, side by side, each on its own.

A member is one Snakemake call for one job. Snakemake is imported once, and each member is forked from
there: a process with its own session, log, processors and exit status. How it ended is written to a file
as soon as it has. What has such a file is never run again, however often the allocation is requeued.
"""

import atexit
import contextlib
import logging
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import psutil
from submitit.core.utils import DelayedSubmission

from snakemake_executor_plugin_submitit.folder import Result, has_result, write_result
from snakemake_executor_plugin_submitit.packing import share_cpus

log = logging.getLogger("submitit")

# In the environment of a member's processes: where its pack writes results.
MEMBER_OF = "SNAKEMAKE_SUBMITIT_RESULTS"
POLL_S = 0.05
MEMORY_EVERY_S = 0.25
# A member that was told by the same signal as the pack may end before the pack has heard it.
HEARING_S = 1.0
# Kept of the time between the signal and the limit: to be written down and requeued.
AFTERWARDS_S = 5.0
KILLING_S = 3.0
REQUEUE_TRIES = 5
# A result that cannot be written is given up after this: the controller then hears nothing of that member.
WRITING_S = 120.0
# SLURM may send the signal this much too early.
EARLY_S = 65.0
# Where SLURM does not say when a job ends: what may have passed of its limit before its process began.
PROLOG_S = 15.0


@dataclass(frozen=True)
class Member:
    """A job of Snakemake as it is run in an allocation."""

    command: str
    log: str
    memory_mb: int | None


@dataclass
class Pack:
    """The callable that submitit runs: all members that have not ended, `places` at a time."""

    number: int
    members: list[Member]
    places: int
    results: str
    workdir: str
    # None stands for a variable that is not set.
    environment: dict[str, str | None]
    runtime_min: int
    delay_s: int
    requeues: int
    mps: bool = False
    requeued: int = 0
    _running: dict[int, "_Running"] = field(default_factory=dict, repr=False)
    _signals: set[int] = field(default_factory=set, repr=False)
    _told: bool = field(default=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_running": {}, "_signals": set(), "_told": False}

    def __call__(self) -> None:
        """Run the members until all have ended, or the allocation is told to stop."""
        os.chdir(self.workdir)
        requeue = self._listen()
        waiting = deque(i for i in range(len(self.members)) if not self._has_ended(i))
        if any(_is_plain(self.members[i].command) for i in waiting):
            # Once for all: each member is a fork of this process.
            import snakemake.cli  # noqa: F401
        shares = share_cpus(_bound_cpus(), self.places)
        free = deque(range(self.places))
        looked = 0.0
        with _mps(self.mps and self.places > 1) as environment, self._none_left_behind():
            while (waiting and not self._told) or self._running:
                while waiting and free and not self._signals:
                    place = free.popleft()
                    self._start(waiting.popleft(), place, shares[place], environment)
                free.extend(self._collect())
                if time.monotonic() > looked + MEMORY_EVERY_S:
                    looked = time.monotonic()
                    for running in self._running.values():
                        running.check_memory()
                    if self._told:
                        self._tell()
                # What a signal asks for is done here: its handler may come between any two steps.
                if signal.SIGUSR2 in self._signals and not self._told:
                    requeue()
                if signal.SIGTERM in self._signals and not self._told:
                    # A job that ends within the grace of its preemption has ended for good, unless it asks.
                    requeue() if _is_preempted() else self._tell()
                time.sleep(POLL_S)

    @contextlib.contextmanager
    def _none_left_behind(self) -> Iterator[None]:
        try:
            yield
        finally:
            for pid in self._running:
                _kill_group(pid, signal.SIGKILL)

    def _has_ended(self, member: int) -> bool:
        return has_result(Path(self.results), self.number, member)

    def _start(self, number: int, place: int, cpus: set[int], environment: dict[str, str]) -> None:
        member = self.members[number]
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            _become(member, cpus, {**self.environment, **environment, **self._own_share(member)})
        log.info("member %d is process %d", number, pid)
        self._running[pid] = _Running(pid, number, place, member)

    def _own_share(self, member: Member) -> dict[str, str | None]:
        """What a member has to know: whose it is, and of the pack's processors and memory, its own."""
        own: dict[str, str | None] = {MEMBER_OF: self.results}
        cpus = os.environ.get("SLURM_CPUS_PER_TASK", "")
        if self.places > 1 and cpus.isdigit():
            own["SLURM_CPUS_PER_TASK"] = str(max(1, int(cpus) // self.places))
            # srun refuses two that differ.
            own["SLURM_TRES_PER_TASK"] = None
        if self.places > 1 and member.memory_mb and "SLURM_MEM_PER_NODE" in os.environ:
            own["SLURM_MEM_PER_NODE"] = str(member.memory_mb)
        return own

    def _collect(self) -> list[int]:
        """Take note of the members that have ended, and return their places."""
        free = []
        for pid, running in list(self._running.items()):
            if running.status is None:
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended == 0:
                    continue
                running.status = os.waitstatus_to_exitcode(status)
                running.ended = time.monotonic()
            interrupted = running.status != 0 and not running.why and bool(self._signals)
            failed = running.status != 0 and not running.why and not interrupted
            if failed and time.monotonic() < running.ended + HEARING_S:
                continue
            # A shell that was told dies at once, and what it runs may still be at its checkpoint.
            if interrupted and _group_lives(pid):
                continue
            _kill_group(pid, signal.SIGKILL)
            # What was interrupted has not failed: it goes on when the allocation does.
            if not interrupted and not self._write(running):
                continue
            log.info("member %d has ended with %d %s", running.number, running.status, running.why)
            free.append(running.place)
            del self._running[pid]
        return free

    def _write(self, running: "_Running") -> bool:
        """Write how a member ended; False where that is to be tried again, as on a disk that is full."""
        try:
            result = Result(running.status or 0, running.why)
            write_result(Path(self.results), self.number, running.number, result)
        except OSError as error:
            log.warning("the result of member %d cannot be written (%s)", running.number, error)
            time.sleep(1)
            return time.monotonic() > running.ended + WRITING_S
        return True

    def _listen(self) -> Callable[[], None]:
        """Have signals noted, and return what requeues the allocation: submitit's own handler."""
        given = os.environ.get("SLURM_JOB_END_TIME", "")  # since SLURM 23.02
        limit_s = 60 * self.runtime_min
        end = float(given) if given.isdigit() else psutil.Process().create_time() + limit_s
        # Before this process there may have been a prolog, which is in the limit too.
        slack_s = 1.0 if given.isdigit() else min(PROLOG_S, limit_s / 4)
        due = end - self.delay_s if given.isdigit() or "SLURM_JOB_ID" in os.environ else None
        handler = signal.getsignal(signal.SIGUSR2)

        def note(number: int, frame: FrameType | None) -> None:
            early = due is not None and due - EARLY_S < time.time() < due - slack_s
            if number == signal.SIGUSR2 and early:
                # SLURM's clock for this is a minute coarse; the alarm is not.
                return
            self._signals.add(signal.SIGUSR2 if number == signal.SIGALRM else number)

        # SLURM tells all processes of a job, or its script alone: preemption, scancel, the limit itself.
        signal.signal(signal.SIGTERM, note)
        if callable(handler):
            signal.signal(signal.SIGUSR2, note)
            signal.signal(signal.SIGALRM, note)
            if due is not None:
                signal.setitimer(signal.ITIMER_REAL, max(0.1, due - time.time()))

        def requeue() -> None:
            for left in reversed(range(REQUEUE_TRIES)):
                try:
                    return handler(signal.SIGUSR2, None) if callable(handler) else None
                except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
                    # SLURM's controller is busy, or just restarting.
                    log.warning("not requeued (%s)", error)
                    self.requeued -= 1
                    if not left:
                        raise
                    time.sleep(2)

        return requeue

    def _tell(self) -> None:
        if not self._told:
            log.info("the members are told to stop")
        self._told = True
        for running in self._running.values():
            running.tell()

    def checkpoint(self) -> DelayedSubmission | None:
        """Called by submitit before the allocation is requeued: have the members write their checkpoints.

        Returns None, and so ends the allocation, when nothing is left to do or it was requeued too often.
        """
        self._tell()
        self._await_members(max(2.0, self.delay_s - AFTERWARDS_S))
        for pid in self._running:
            _kill_group(pid, signal.SIGKILL)
        # One that even this does not end, as on a file system that hangs, is not waited for.
        self._await_members(KILLING_S)
        left = [i for i in range(len(self.members)) if not self._has_ended(i)]
        if not left:
            return None
        if self.requeued >= self.requeues:
            why = f"it has been requeued {self.requeued} times, which is the limit (--submitit-requeues)"
            for member in left:
                write_result(Path(self.results), self.number, member, Result(1, why))
            return None
        self.requeued += 1
        return DelayedSubmission(self)

    def _await_members(self, patience_s: float) -> None:
        end = time.monotonic() + patience_s
        while self._running and time.monotonic() < end:
            self._collect()
            self._tell()
            time.sleep(POLL_S)


@dataclass
class _Running:
    """A member's process."""

    pid: int
    number: int
    place: int
    member: Member
    status: int | None = None
    ended: float = 0.0
    why: str = ""
    # Whether it was told for good, and whether Snakemake was, which had nothing to pass that on to.
    told: bool = False
    told_early: bool = False

    def tell(self) -> None:
        """Tell what this member runs to stop, once; what that starts in order to end well is left alone.

        Snakemake itself is told only while it runs nothing yet: it ends when its job has, and a second
        SIGTERM within its handler of the first, which may be SLURM's, would make it wait for ever.
        """
        family = _family(self.pid)
        below = [process for process in family if process.pid != self.pid]
        plain = _is_plain(self.member.command)
        if self.told or (plain and not below and self.told_early):
            return
        self.told, self.told_early = bool(below) or not plain, True
        for process in below if plain and below else family:
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGCONT)
                process.send_signal(signal.SIGTERM)

    def check_memory(self) -> None:
        """End this member alone when it holds more than its share."""
        if self.member.memory_mb is None or self.status is not None:
            return
        held = memory_mb(self.pid, self.member.memory_mb)
        if held > self.member.memory_mb:
            self.why = (
                f"it was killed: it held {held:.0f} MB of memory, and its share is {self.member.memory_mb} MB"
            )
            log.info("member %d: %s", self.number, self.why)
            with contextlib.suppress(OSError), Path(self.member.log).open("a", encoding="utf-8") as file:
                print(self.why, file=file)
            for process in _family(self.pid):
                with contextlib.suppress(psutil.Error):
                    process.kill()
            _kill_group(self.pid, signal.SIGKILL)


def _is_preempted() -> bool:
    """Whether SLURM has told this allocation to make room, and has neither cancelled nor ended it."""
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        return False
    try:
        done = subprocess.run(
            ["scontrol", "show", "job", job], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    said = dict(word.partition("=")[::2] for word in done.stdout.split())
    return said.get("JobState") == "RUNNING" and said.get("PreemptTime", "None") not in ("None", "")


def _is_plain(command: str) -> bool:
    """Whether a command is Snakemake in this very Python, and nothing around it."""
    words = shlex.split(command)
    return words[:3] == [sys.executable, "-m", "snakemake"] and not {"&&", ";", "|", "||", "&"} & set(words)


def _become(member: Member, cpus: set[int], environment: dict[str, str | None]) -> None:
    """In the forked process: be the member, and never return."""
    status = 1
    try:
        os.setsid()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGHUP})
        for number in (signal.SIGTERM, signal.SIGUSR2, signal.SIGCONT, signal.SIGINT, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        if cpus:
            os.sched_setaffinity(0, cpus)
        with contextlib.suppress(OSError):
            # Where memory is short, the kernel should end a member and not the pack.
            Path("/proc/self/oom_score_adj").write_text("300")
        Path(member.log).parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(member.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        for name in [name for name in os.environ if name.startswith("SUBMITIT_")]:
            del os.environ[name]
        for name, value in environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        job = os.environ.get("SLURM_JOB_ID")
        print(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')}{f', job {job}' if job else ''}", flush=True)
        if not _is_plain(member.command):
            os.execv("/bin/bash", ["bash", "-c", member.command])  # noqa: S606, Snakemake's own command
        sys.argv = ["snakemake", *shlex.split(member.command)[3:]]
        from snakemake.cli import main

        main(sys.argv[1:])
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status & 0xFF)


def _kill_group(pid: int, number: signal.Signals) -> None:
    # A member leads its own session and group.
    with contextlib.suppress(OSError):
        os.killpg(pid, number)


def _group_lives(pid: int) -> bool:
    """Whether anything goes on that a member has started, itself included."""
    try:
        os.killpg(pid, 0)
    except OSError:
        return False
    for other in psutil.pids():
        with contextlib.suppress(OSError, psutil.Error):
            if os.getpgid(other) == pid and psutil.Process(other).status() != psutil.STATUS_ZOMBIE:
                return True
    return False


def _family(pid: int) -> list[psutil.Process]:
    """A process and all below it, by the kernel's lists: to search all processes is slow on a full node."""
    pids, found = [pid], []
    while pids:
        with contextlib.suppress(psutil.Error):
            found.append(psutil.Process(each := pids.pop()))
            for listed in Path(f"/proc/{each}/task").glob("*/children"):
                with contextlib.suppress(OSError):
                    pids += map(int, listed.read_text(encoding="ascii").split())
    return found


def memory_mb(pid: int, at_least_mb: float = 0.0) -> float:
    """The memory that a process and all below it hold, in MiB.

    What they share with other processes is divided among all, and files that are mapped do not count: the
    kernel takes their memory back when it needs it. That is slow to know: where even the whole of it
    comes to no more than `at_least_mb`, the whole is returned.
    """
    family = _family(pid)
    whole = sum(map(_resident, family)) / 2**20
    return whole if whole <= at_least_mb else sum(map(_proportional, family)) / 2**20


def _resident(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.Error:
        return 0


def _proportional(process: psutil.Process) -> int:
    for name, parts in (("smaps_rollup", ("Pss_Anon", "Pss_Shmem")), ("status", ("RssAnon", "RssShmem"))):
        try:
            lines = Path(f"/proc/{process.pid}/{name}").read_text(encoding="utf-8").splitlines()
            held = {line.partition(":")[0]: line.split()[1] for line in lines if line.startswith(parts)}
            return sum(int(held[part]) * 1024 for part in parts)
        except (OSError, KeyError, ValueError, IndexError):
            continue
    return _resident(process)


def _bound_cpus() -> list[int]:
    """The processors that SLURM bound the allocation to, those of one core together.

    Empty where it bound it to nothing: every allocation on the node would divide the same processors.
    """
    bound = os.sched_getaffinity(0)
    if os.environ.get("SLURM_CPUS_ON_NODE") != str(len(bound)):
        return []
    return sorted(bound, key=_core)


def _core(cpu: int) -> tuple[int, int, int]:
    place = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology")
    try:
        package, core = (int((place / name).read_text()) for name in ("physical_package_id", "core_id"))
    except (OSError, ValueError):
        package, core = 0, cpu
    return package, core, cpu


def _renumbered() -> dict[str, str]:
    """The GPUs of this allocation as clients of its MPS see them: those that the service sees, from 0 on."""
    devices = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    numbered = all(device.strip().isdigit() for device in devices)
    return {"CUDA_VISIBLE_DEVICES": ",".join(map(str, range(len(devices))))} if numbered else {}


@contextlib.contextmanager
def _mps(wanted: bool) -> Iterator[dict[str, str]]:
    """NVIDIA's multi-process service for this allocation alone, and what members have to know of it."""
    if not wanted:
        yield {}
        return
    # Not a TemporaryDirectory: each member, which is a fork of this process, would remove it at its end.
    folder = tempfile.mkdtemp(prefix="mps-")
    own = {"CUDA_MPS_PIPE_DIRECTORY": f"{folder}/pipe", "CUDA_MPS_LOG_DIRECTORY": f"{folder}/log"}
    for path in own.values():
        Path(path).mkdir()
    control, environment = ["nvidia-cuda-mps-control"], {**os.environ, **own}
    try:
        try:
            subprocess.run([*control, "-d"], env=environment, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            log.warning("no CUDA MPS (%s): the members share the GPU in turns", error)
            yield {}
            return
        try:
            yield own | _renumbered()
        finally:
            with contextlib.suppress(subprocess.TimeoutExpired):
                subprocess.run(control, env=environment, input=b"quit\n", check=False, timeout=30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
