"""A member of a pack: one job in a process of its own, by a call of Snakemake or without one."""

import atexit
import contextlib
import logging
import os
import resource
import shlex
import signal
import sys
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import psutil

from snakemake_executor_plugin_submitit.kernel_kills import kernel_kills
from snakemake_executor_plugin_submitit.private_folder import open_log
from snakemake_executor_plugin_submitit.processes import family, kill_group, memory_mb
from snakemake_executor_plugin_submitit.shell_job import ShellJob
from snakemake_executor_plugin_submitit.usage import Usage

log = logging.getLogger("submitit")

# In the environment of a member's processes: the folder in which its pack writes results.
MEMBER_OF = "SNAKEMAKE_SUBMITIT_RESULTS"
# There too: how many members run at the same time. Programs may read it; the README documents it.
PLACES = "SNAKEMAKE_SUBMITIT_PLACES"
# The GPUs of a member as nvidia-smi numbers them; with NVIDIA's service, CUDA's variable has other numbers.
GPUS = "SNAKEMAKE_SUBMITIT_GPUS"
_WITHOUT_P = [sys.executable, "-m", "snakemake"]


@dataclass(frozen=True)
class Member:
    """A Snakemake job as it runs in an allocation; `memory_mb` is its share, or None if it has no limit.

    `command` starts Snakemake for it; `direct`, if it can do without, describes it as a `ShellJob`. Members
    are pickled with their pack, and an earlier version knew no `direct`.
    """

    command: str
    log: str
    memory_mb: int | None
    direct: str = ""


@dataclass
class RunningMember:
    """A member's process. `place` is the part of the pack's processors that it uses."""

    pid: int
    number: int
    place: int
    member: Member
    status: int | None = None
    began: float = field(default_factory=time.monotonic)
    ended: float = 0.0
    largest_mb: float = 0.0
    # What the kernel tells of it and its descendants when it has ended.
    used: resource.struct_rusage | None = None
    why: str = ""
    # Whether SIGTERM was sent to what the member runs, and whether it was sent to Snakemake before that ran.
    told: bool = False
    told_early: bool = False
    # What the kernel had killed in this allocation when this member began.
    kills: int = field(default_factory=kernel_kills)

    def tell(self) -> None:
        """Send SIGTERM to what this member runs, once; processes that it starts in order to end get none.

        Snakemake itself gets it only if it runs nothing yet: it ends when its job has ended. A second
        SIGTERM during Snakemake's handler of the first, which SLURM may have sent, makes it wait forever.
        """
        processes = family(self.pid)
        below = [process for process in processes if process.pid != self.pid]
        plain = is_plain(self.member.command)
        if self.told or (plain and not below and self.told_early):
            return
        self.told, self.told_early = bool(below) or not plain, True
        for process in below if plain and below else processes:
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGCONT)
                process.send_signal(signal.SIGTERM)

    def check_memory(self) -> None:
        """Kill this member alone if it uses more memory than its share."""
        if self.member.memory_mb is None or self.status is not None:
            return
        held = memory_mb(self.pid, self.member.memory_mb)
        self.largest_mb = max(self.largest_mb, held)
        if held > self.member.memory_mb:
            self.why = (
                f"it was killed: it held {held:.0f} MB of memory, and its share is {self.member.memory_mb} MB"
            )
            log.info("member %d: %s", self.number, self.why)
            with contextlib.suppress(OSError), os.fdopen(open_log(Path(self.member.log)), "a") as file:
                print(self.why, file=file)
            for process in family(self.pid):
                with contextlib.suppress(psutil.Error):
                    process.kill()
            kill_group(self.pid)

    def reason(self) -> str:
        """Why it failed; empty if its exit status is all that is known."""
        if self.why or not self.status or kernel_kills() <= self.kills:
            return self.why
        return (
            f"the run has ended with exit status {self.status}, and since it began, the kernel killed a "
            "process of its allocation for want of memory (oom-kill event)"
        )

    def usage(self) -> Usage | None:
        """What it used; None as long as it has not ended."""
        if self.used is None:
            return None
        # The kernel's number is that of the largest process, which may have been missed between two looks.
        largest_mb = max(self.largest_mb, self.used.ru_maxrss / 1024)
        return Usage(self.ended - self.began, self.used.ru_utime + self.used.ru_stime, largest_mb)


def is_plain(command: str) -> bool:
    """Whether a command is a single call of Snakemake in the Python that runs this."""
    words = shlex.split(command)
    # An earlier version had no -P.
    called = words[:4] == [sys.executable, "-P", "-m", "snakemake"] or words[:3] == _WITHOUT_P
    return called and not {"&&", ";", "|", "||", "&"} & set(words)


def own_environment(member: Member, places: int, results: str) -> dict[str, str | None]:
    """What tells a member its pack, and its share of the CPUs and the memory of the pack's places."""
    own: dict[str, str | None] = {MEMBER_OF: results}
    cpus = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if places > 1 and cpus.isdigit():
        own["SLURM_CPUS_PER_TASK"] = str(max(1, int(cpus) // places))
        # srun refuses to start if the two variables differ.
        own["SLURM_TRES_PER_TASK"] = None
    if places > 1 and member.memory_mb and "SLURM_MEM_PER_NODE" in os.environ:
        own["SLURM_MEM_PER_NODE"] = str(member.memory_mb)
    return own


def become(member: Member, cpus: set[int], environment: dict[str, str | None]) -> NoReturn:
    """Run the member in this forked process, and end the process with its exit status."""
    status = 1
    try:
        _leave_pack(cpus)
        handle = open_log(Path(member.log))
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        direct = ShellJob.from_json(member.direct) if member.direct else None
        # What the pack says of its allocation counts more than what the Snakefile has changed elsewhere.
        _set_environment((direct.environment if direct else {}) | environment)
        job = os.environ.get("SLURM_JOB_ID")
        print(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')}{f', job {job}' if job else ''}", flush=True)
        if direct is not None:
            if obstacle := direct.obstacle():
                print(f"Snakemake is started for rule {direct.rule}: {obstacle}", flush=True)
            else:
                sys.exit(direct.run())
        if not is_plain(member.command):
            os.execv("/bin/bash", ["bash", "-c", member.command])  # noqa: S606, Snakemake's own command
        words = shlex.split(member.command)
        sys.argv = words[words.index("snakemake") :]
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


def _leave_pack(cpus: set[int]) -> None:
    """Give this process its own session, default signal handlers, and its share of the processors."""
    os.setsid()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGHUP})
    for number in (signal.SIGTERM, signal.SIGUSR2, signal.SIGCONT, signal.SIGINT, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    if cpus:
        os.sched_setaffinity(0, cpus)
    with contextlib.suppress(OSError):
        # If memory is short, the kernel should kill a member and not the pack.
        Path("/proc/self/oom_score_adj").write_text("300")


def _set_environment(environment: dict[str, str | None]) -> None:
    """Set these variables; None removes one. submitit's own are removed too."""
    for name in [name for name in os.environ if name.startswith("SUBMITIT_")]:
        del os.environ[name]
    for name, value in environment.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
