"""Where packs are submitted to, and what is known of them there: a SLURM cluster, or this machine."""

import os
import re
import shlex
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import psutil
import submitit
from snakemake_interface_common.exceptions import WorkflowError

from snakemake_executor_plugin_submitit.folder import Submission
from snakemake_executor_plugin_submitit.pack import Pack
from snakemake_executor_plugin_submitit.resources import Request

QUERY_TIMEOUT_S = 60


class Phase(Enum):
    """What is to be thought of a job: it goes on, it has ended, or the cluster does not know it."""

    ALIVE = "alive"
    ENDED = "ended"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class State:
    """A job's phase, and the cluster's word for it."""

    phase: Phase
    word: str = ""


# After these a job never runs again under its number. What is in no list is taken to go on: only a result
# that the job itself wrote is success, so that an unknown word can delay but never deceive.
ENDED = {
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED",
    "REVOKED", "TIMEOUT",
}  # fmt: skip
UNKNOWN = State(Phase.UNKNOWN)


class Cluster(ABC):
    """What an executor has to know of a place that runs jobs."""

    name: str
    # How many packs one submission may hold.
    most_packs: int

    @abstractmethod
    def room(self, request: Request) -> int | None:
        """How many of such jobs one node has processors and memory for; None where that is not known."""

    @abstractmethod
    def submit(
        self, submission: Submission, packs: Sequence[Pack], options: dict[str, Any], parallel: int
    ) -> list[str]:
        """Submit packs that ask for the same, and return an id for each."""

    @abstractmethod
    def states(self, submissions: Iterable[Submission]) -> dict[str, State] | None:
        """The state of each job of these, by id; None when the cluster does not answer."""

    @abstractmethod
    def find(self, submission: Submission) -> list[str]:
        """The jobs of a submission whose controller died before it had noted their ids."""

    @abstractmethod
    def cancel(self, jobs: Sequence[str]) -> None:
        """End these jobs and no others; those that have ended already do not matter."""


class Slurm(Cluster):
    """SLURM by its commands."""

    name = "slurm"

    def __init__(self, array_size: int) -> None:
        config = _call("scontrol", "show", "config")
        if config is None:
            raise WorkflowError(
                "scontrol does not answer: there is no SLURM here, or its controller is down "
                "(without SLURM: --submitit-cluster local)"
            )
        found = re.search(r"^MaxArraySize\s*=\s*(\d+)", config, re.M)
        self.most_packs = min(array_size, int(found.group(1)) if found else 1000)
        self._nodes: list[tuple[str, int, int]] | None = None
        # The environment of a job that this runs in is none of the jobs that it submits.
        for name in [name for name in os.environ if re.match(r"SLURM_(?!CONF$|CLUSTERS$)|SBATCH_", name)]:
            del os.environ[name]

    def room(self, request: Request) -> int | None:
        if self._nodes is None:
            # Kinds of nodes: partition (with a star: the default one), processors, memory in MB.
            listed = _call("sinfo", "--noheader", "--exact", "--format=%P|%c|%m") or ""
            rows = (line.strip().split("|") for line in listed.splitlines())
            found = [(row[0], row[1].rstrip("+"), row[2].rstrip("+")) for row in rows if len(row) == 3]
            self._nodes = [(name, int(cpus), int(mb)) for name, cpus, mb in found if (cpus + mb).isdigit()]
        partitions = str(dict(request.options).get("partition", "")).split(",")
        memory_mb = request.member_memory_mb()
        rooms = [
            min(cpus // request.cpus, mb // memory_mb if memory_mb else cpus)
            for name, cpus, mb in self._nodes
            if name.rstrip("*") in partitions or (partitions == [""] and name.endswith("*"))
        ]
        return max(rooms) if rooms else None

    def submit(
        self, submission: Submission, packs: Sequence[Pack], options: dict[str, Any], parallel: int
    ) -> list[str]:
        executor = _SlurmExecutor(folder=submission.folder / "jobs", max_num_timeout=10**6)
        runtime_min, delay_s = packs[0].runtime_min, packs[0].delay_s
        executor.update_parameters(
            time=runtime_min,
            job_name=submission.name,
            # Without a step of its own, the job's script is this executor's process, and is told first.
            use_srun=False,
            array_parallelism=parallel,
            additional_parameters={"signal": f"B:USR2@{delay_s}", "requeue": True, **options},
        )
        try:
            return [job.job_id for job in executor.submit_array(packs)]
        except Exception as error:
            said = getattr(error.__cause__, "stderr", None) or str(error)
            lines = [line for line in str(said).splitlines() if "sbatch" in line] or [str(error).strip()]
            raise WorkflowError(f"SLURM did not take the job: {lines[-1]}") from None

    def states(self, submissions: Iterable[Submission]) -> dict[str, State] | None:
        rows = self._queue()
        if rows is None:
            return None
        wanted = list(submissions)
        names = {submission.name for submission in wanted}
        found = {job: _state(word) for job, name, word in rows if name in names}
        jobs = [job for submission in wanted for job in submission.jobs]
        if missing := [job for job in jobs if job not in found]:
            found |= self._accounts(missing)
        return {job: found.get(job, UNKNOWN) for job in jobs}

    def _queue(self) -> list[tuple[str, str, str]] | None:
        """Id, name and state of each of the user's jobs; None when the queue cannot be seen.

        By the user, and not by ids: one query for thousands of jobs, of which some are forgotten already.
        """
        user = f"--user={os.getuid()}"
        listed = _call("squeue", "--noheader", "--array", "--states=all", user, "--format=%i|%j|%T")
        if listed is None:
            return None
        rows = (line.strip().split("|") for line in listed.splitlines())
        return [(row[0], row[1], row[2]) for row in rows if len(row) == 3]

    def _accounts(self, jobs: Sequence[str]) -> dict[str, State]:
        """The states of jobs that the controller has forgotten, where there is accounting."""
        numbers = ",".join(sorted({job.partition("_")[0] for job in jobs}))
        listed = _call("sacct", "-X", "-n", "-P", "-j", numbers, "-o", "JobID,State")
        rows = (line.split("|") for line in (listed or "").splitlines())
        return {job: _state(word) for job, word in rows if job in jobs}

    def cancel(self, jobs: Sequence[str]) -> None:
        for i in range(0, len(jobs), 500):
            _call("scancel", *jobs[i : i + 500])

    def find(self, submission: Submission) -> list[str]:
        found = [job for job, name, _ in self._queue() or [] if name == submission.name]
        if not found:
            return []
        number, underscore, _ = found[0].partition("_")
        return [f"{number}_{task}" for task in range(len(submission.packs))] if underscore else found[:1]


class _SlurmExecutor(submitit.SlurmExecutor):
    """submitit's, with a job that checks the folder before it unpickles anything."""

    @property
    def _submitit_command_str(self) -> str:
        # `exec`: the batch script becomes the process that SLURM signals.
        return f"exec {_command(self.folder)}"

    def submit_array(self, packs: Sequence[Pack]) -> list[submitit.Job]:
        """Submit all of these at once, as one array."""
        with self.batch():
            jobs = [self.submit(pack) for pack in packs]
        return jobs


class Local(Cluster):
    """This machine: each pack is a process that outlives its controller."""

    name = "local"
    most_packs = 1

    def room(self, request: Request) -> int | None:
        return None

    def submit(
        self, submission: Submission, packs: Sequence[Pack], options: dict[str, Any], parallel: int
    ) -> list[str]:
        executor = _LocalExecutor(folder=submission.folder / "jobs", max_num_timeout=10**6)
        executor.update_parameters(timeout_min=packs[0].runtime_min, signal_delay_s=packs[0].delay_s)
        for pack in packs:
            # submitit hides the GPUs.
            pack.environment["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES")
        return [executor.submit(pack).job_id for pack in packs]

    def states(self, submissions: Iterable[Submission]) -> dict[str, State] | None:
        return {job: _process_state(s, job) for s in submissions for job in s.jobs}

    def find(self, submission: Submission) -> list[str]:
        lines = ((p.pid, p.info["cmdline"] or []) for p in psutil.process_iter(["cmdline"]))
        name = "submitit.local._local"
        return [str(pid) for pid, line in lines if name in line and submission.id in line[-1]]

    def cancel(self, jobs: Sequence[str]) -> None:
        for job in jobs:
            for process in _below(int(job)):
                try:
                    process.terminate()
                except psutil.Error:
                    continue


class _LocalExecutor(submitit.LocalExecutor):
    @property
    def _submitit_command_str(self) -> str:
        return _command(self.folder)


def _command(folder: Path) -> str:
    return shlex.join([sys.executable, "-u", "-m", "snakemake_executor_plugin_submitit.job", str(folder)])


def _state(word: str) -> State:
    # sacct writes "CANCELLED by 1000".
    word = word.split()[0].rstrip("+") if word.split() else ""
    return State(Phase.ENDED if word in ENDED else Phase.ALIVE, word)


def _process_state(submission: Submission, job: str) -> State:
    try:
        process = psutil.Process(int(job))
        line = " ".join(process.cmdline())
    except (psutil.Error, ValueError):
        return State(Phase.ENDED, "gone")
    # Another process may have got the number meanwhile.
    alive = process.status() != psutil.STATUS_ZOMBIE and submission.id in line
    return State(Phase.ALIVE, "running") if alive else State(Phase.ENDED, "gone")


def _below(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [*process.children(recursive=True), process]
    except psutil.Error:
        return []


def _call(*command: str) -> str | None:
    """What a command prints, or None when it fails, hangs, or is not there."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=QUERY_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
