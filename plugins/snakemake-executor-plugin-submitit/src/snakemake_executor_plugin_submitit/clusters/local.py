"""This machine as a cluster: each pack is a process that outlives its controller."""

import os
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import submitit

from snakemake_executor_plugin_submitit.clusters.base import (
    PACK_PROGRAM,
    PROCESS_ENDING,
    Cluster,
    Phase,
    State,
    pack_command,
)
from snakemake_executor_plugin_submitit.folder import Submission
from snakemake_executor_plugin_submitit.member import MEMBER_OF
from snakemake_executor_plugin_submitit.pack import Pack
from snakemake_executor_plugin_submitit.resources import Request

# How long a process on this machine may take to end after SIGTERM, before it is killed.
ENDING_S = 60.0
# What submitit runs for a job on this machine: its supervisor.
SUPERVISOR = "submitit.local._local"
SAFE_PATH = "PYTHONSAFEPATH"


class Local(Cluster):
    """This machine.

    Only `states` uses `_terminated`. The main thread calls it while the executor starts and once the watching
    thread has ended; the watching thread calls it in between.
    """

    name = "local"
    most_packs = 1

    def __init__(self) -> None:
        # When SIGTERM was sent to the processes that a dead pack left behind, by submission id.
        self._terminated: dict[str, float] = {}

    def room(self, request: Request) -> int | None:
        return None

    def longest_min(self, request: Request) -> int | None:
        return None

    def submit(
        self, submission: Submission, packs: Sequence[Pack], options: dict[str, Any], parallel: int
    ) -> list[str]:
        executor = _LocalExecutor(folder=submission.folder / "jobs", max_num_timeout=10**6)
        executor.update_parameters(timeout_min=packs[0].runtime_min, signal_delay_s=packs[0].delay_s)
        for pack in packs:
            # submitit hides the GPUs.
            pack.environment["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES")
            pack.environment[SAFE_PATH] = os.environ.get(SAFE_PATH)
        # Ctrl-C in a terminal reaches all its processes; only the controller may stop the jobs.
        # submitit starts its supervisor where a module `submitit` may be planted.
        safe = os.environ.get(SAFE_PATH)
        os.environ[SAFE_PATH] = safe or "1"
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
        try:
            return [executor.submit(pack).job_id for pack in packs]
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            if safe is None:
                del os.environ[SAFE_PATH]

    def states(self, submissions: Iterable[Submission]) -> dict[str, State] | None:
        wanted = list(submissions)
        states = {job: _process_state(s, job) for s in wanted for job in s.jobs}
        # Members survive when their pack is killed, for example for its memory. Such a job has ended only
        # when its members have.
        incomplete = [
            s
            for s in wanted
            if any(states[job].phase is Phase.ENDED for job in s.jobs) and not s.is_complete()
        ]
        for submission in incomplete:
            processes = _left_behind(submission)
            self._end(submission, processes)
            for job in submission.jobs if processes else ():
                if states[job].phase is Phase.ENDED:
                    states[job] = State(Phase.ALIVE, PROCESS_ENDING)
        return states

    def _end(self, submission: Submission, processes: Sequence[psutil.Process]) -> None:
        """Send SIGTERM once, and SIGKILL to processes that take too long to end after it."""
        now = time.monotonic()
        first = self._terminated.setdefault(submission.id, now)
        for process in processes if first == now or now > first + ENDING_S else ():
            with suppress(psutil.Error):
                process.terminate() if first == now else process.kill()

    def find(self, submission: Submission) -> list[str] | None:
        lines = ((p.pid, p.info["cmdline"] or []) for p in psutil.process_iter(["cmdline"]))
        return [str(pid) for pid, line in lines if _is_supervisor(line, submission.name)]

    def cancel(self, jobs: Mapping[str, str]) -> list[str]:
        for job, name in jobs.items():
            with suppress(psutil.Error, ValueError):
                process = psutil.Process(int(job))
                # The number may belong to another process by now.
                if _is_supervisor(process.cmdline(), name):
                    # The supervisor passes the signal to the pack, and the pack to its members.
                    process.terminate()
        return []


class _LocalExecutor(submitit.LocalExecutor):
    """submitit's executor for processes, with a job that checks the folder before it unpickles anything."""

    @property
    def _submitit_command_str(self) -> str:
        return pack_command(self.folder)


def _is_supervisor(line: Sequence[str], name: str) -> bool:
    """Whether this is the command line of submitit's supervisor of a submission with this name."""
    return SUPERVISOR in line and name.rpartition("-")[2] in Path(line[-1]).parts


def _process_state(submission: Submission, job: str) -> State:
    try:
        process = psutil.Process(int(job))
        # The number may belong to another process by now.
        alive = _is_supervisor(process.cmdline(), submission.name)
        alive = alive and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, ValueError):
        return State(Phase.ENDED, "gone")
    return State(Phase.ALIVE, "running") if alive else State(Phase.ENDED, "gone")


def _left_behind(submission: Submission) -> list[psutil.Process]:
    """The processes of packs, and of their members, that outlived the supervisor of their job."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            # The command of a pack and of its forks names the folder; the environment of what these start
            # names the results.
            line = " ".join(process.cmdline())
            own = PACK_PROGRAM in line and str(submission.folder) in line
            own = own or process.environ().get(MEMBER_OF) == str(submission.results)
            if own and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found
