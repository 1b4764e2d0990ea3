"""Where packs are submitted to, and what is known of them there: a SLURM cluster, or this machine."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import psutil
import submitit
from snakemake_interface_common.exceptions import WorkflowError

from snakemake_executor_plugin_submitit.folder import Submission
from snakemake_executor_plugin_submitit.pack import MEMBER_OF, Pack
from snakemake_executor_plugin_submitit.resources import Request

QUERY_TIMEOUT_S = 60
# What a process on this machine may take to end in order.
ENDING_S = 60.0
# What submitit runs for a job on this machine: its supervisor.
LOCAL_PROGRAM = "submitit.local._local"
PACK_PROGRAM = "snakemake_executor_plugin_submitit.job"
CANCEL_TRIES = 4
# Besides those of a job: what sbatch would take from the environment in place of this executor's own.
OVERRIDING = (
    "timelimit",
    "time",
    "signal",
    "output",
    "error",
    "array-inx",
    "requeue",
    "no-requeue",
    "job-name",
    "open-mode",
)


class Phase(Enum):
    """What is to be thought of a job: it goes on, it has ended, or the cluster does not know it."""

    ALIVE = "alive"
    ENDED = "ended"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class State:
    """A job's phase, the cluster's word for it, and its reason while it waits."""

    phase: Phase
    word: str = ""
    reason: str = ""


# After these a job never runs again under its number. What is in no list is taken to go on: only a result
# that the job itself wrote is success, so that an unknown word can delay but never deceive.
ENDED = {
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED",
    "REVOKED", "TIMEOUT",
}  # fmt: skip
UNKNOWN = State(Phase.UNKNOWN)
# Of jobs that go on only to end: SLURM's word, and this executor's own for a process.
ENDING = ("COMPLETING", "ENDING")
# What a job waits for that may never come, unless somebody does something: squeue's reasons.
HELD = re.compile(
    r"held|JobHold|SPECIAL_EXIT|REQUEUE_HOLD|BadConstraints|Partition(TimeLimit|NodeLimit|Inactive)"
    r"|Invalid(Account|QOS)|DependencyNeverSatisfied|Max\w+Per(Job|Node)",
    re.I,
)


class Cluster(ABC):
    """What an executor has to know of a place that runs jobs."""

    name: str
    # How many packs one submission may hold.
    most_packs: int

    @abstractmethod
    def room(self, request: Request) -> int | None:
        """How many of such jobs one node has processors and memory for; None where that is not known."""

    @abstractmethod
    def longest_min(self, request: Request) -> int | None:
        """The time limit in minutes that such a job may have; None where that is not known."""

    @abstractmethod
    def submit(
        self, submission: Submission, packs: Sequence[Pack], options: dict[str, Any], parallel: int
    ) -> list[str]:
        """Submit packs that ask for the same, and return an id for each."""

    @abstractmethod
    def states(self, submissions: Iterable[Submission]) -> dict[str, State] | None:
        """The state of each job of these, by id; None when the cluster does not answer."""

    @abstractmethod
    def find(self, submission: Submission) -> list[str] | None:
        """The jobs of a submission whose ids were never noted; None when the cluster does not answer."""

    @abstractmethod
    def cancel(self, jobs: Sequence[str]) -> list[str]:
        """End these jobs and no others, and return those that are not to be ended."""


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
        tasks = re.search(r"^SchedulerParameters\s*=.*\bmax_array_tasks=(\d+)", config, re.M)
        limits = [int(each.group(1)) for each in (found, tasks) if each]
        self.most_packs = max(1, min([array_size, *limits] if limits else [array_size, 1000]))
        self._nodes: list[_Nodes] | None = None
        # The environment of a job that this runs in is none of the jobs that it submits.
        for name in [name for name in os.environ if re.match(r"SLURM_(?!CONF|CLUSTERS$|JWT$)", name)]:
            del os.environ[name]

    def room(self, request: Request) -> int | None:
        rooms = [nodes.room(request) for nodes in self._suitable(request)]
        # Of nodes that are chosen by what is not understood here, any may be meant.
        return (max if is_understood(request) else min)(rooms, default=None)

    def longest_min(self, request: Request) -> int | None:
        limits = [nodes.limit_min() for nodes in self._suitable(request)]
        return max(limits, default=None) if None not in limits else None

    def _suitable(self, request: Request) -> list["_Nodes"]:
        if self._nodes is None:
            listed = _call("sinfo", "--noheader", "--exact", "--format=%P|%c|%m|%G|%f|%l") or ""
            rows = (line.strip().split("|") for line in listed.splitlines())
            self._nodes = [_Nodes(*row) for row in rows if len(row) == 6]
        return [nodes for nodes in self._nodes if nodes.suit(request)]

    def submit(
        self, submission: Submission, packs: Sequence[Pack], options: dict[str, Any], parallel: int
    ) -> list[str]:
        runtime_min, delay_s = packs[0].runtime_min, packs[0].delay_s
        try:
            executor = _SlurmExecutor(folder=submission.folder / "jobs", max_num_timeout=10**6)
        except RuntimeError as error:
            raise WorkflowError(f"nothing can be submitted from here: {error}") from None
        executor.update_parameters(
            time=runtime_min,
            job_name=submission.name,
            # Without a step of its own, the job's script is this executor's process, and is told first.
            use_srun=False,
            array_parallelism=parallel,
            # submitit's own would be refused where such keys are checked.
            wckey=None,
            additional_parameters={"signal": f"B:USR2@{delay_s}", "requeue": True, **options},
        )
        # In the environment sbatch's options count more than in its script.
        names = {f"SBATCH_{option.upper().replace('-', '_')}" for option in {*options, *OVERRIDING}}
        hidden = {name: os.environ.pop(name) for name in names if name in os.environ}
        try:
            return [job.job_id for job in executor.submit_array(packs)]
        except Exception as error:
            said = getattr(error.__cause__, "stderr", None) or str(error)
            lines = [line.strip() for line in str(said).splitlines() if "sbatch" in line]
            # The reason may stand before the line that says what it means.
            reason = "; ".join(dict.fromkeys(lines)) or str(error).strip()
            raise WorkflowError(f"SLURM did not take the job: {reason}") from None
        finally:
            os.environ.update(hidden)

    def states(self, submissions: Iterable[Submission]) -> dict[str, State] | None:
        rows = self._queue()
        if rows is None:
            return None
        wanted = list(submissions)
        jobs = {job for submission in wanted for job in submission.jobs}
        found = {row.job: _state(row.word, row.reason) for row in rows if row.job in jobs}
        if missing := sorted(jobs - found.keys()):
            found |= self._accounts(missing)
        return {job: found.get(job, UNKNOWN) for job in jobs}

    def _queue(self) -> list["_Row"] | None:
        """Each of the user's jobs; None when the queue cannot be seen.

        By the user, and not by ids: one query for thousands of jobs, of which some are forgotten already.
        """
        user = f"--user={os.getuid()}"
        # `--all`: jobs in partitions that are hidden too.
        form = "--format=%i|%T|%r|%j"
        listed = _call("squeue", "--all", "--noheader", "--array", "--states=all", user, form)
        if listed is None:
            return None
        rows = (line.strip().split("|", 3) for line in listed.splitlines())
        return [_Row(*row) for row in rows if len(row) == 4]

    def _accounts(self, jobs: Sequence[str]) -> dict[str, State]:
        """The states of jobs that the controller has forgotten, where there is accounting."""
        wanted = set(jobs)
        numbers = ",".join(sorted({job.partition("_")[0] for job in jobs}))
        listed = _call("sacct", "-X", "-n", "-P", "-j", numbers, "-o", "JobID,State")
        rows = (line.split("|") for line in (listed or "").splitlines())
        states = {row[0]: _state(row[1]) for row in rows if len(row) == 2 and row[0] in wanted}
        # What the controller has forgotten does not run, even where accounting has missed its end.
        return {job: state for job, state in states.items() if state.phase is Phase.ENDED}

    def cancel(self, jobs: Sequence[str]) -> list[str]:
        left = list(jobs)
        for attempt in range(CANCEL_TRIES if left else 0):
            for part in _compressed(left):
                _call("scancel", *part)
            rows = self._queue()
            if rows is not None:
                ending = {row.job for row in rows if row.word == "COMPLETING"}
                alive = {row.job for row in rows if _state(row.word).phase is Phase.ALIVE} - ending
                left = [job for job in left if job in alive]
            if not left:
                break
            time.sleep(1 + attempt)
        return left

    def find(self, submission: Submission) -> list[str] | None:
        rows = self._queue()
        if rows is None:
            return None
        found = [row.job for row in rows if row.name == submission.name]
        if not found:
            return []
        number, underscore, _ = found[0].partition("_")
        return [f"{number}_{task}" for task in range(len(submission.packs))] if underscore else found[:1]


@dataclass(frozen=True)
class _Row:
    """A job as squeue prints it."""

    job: str
    word: str
    reason: str
    name: str


# A feature, or several that a node must have all.
FEATURES = re.compile(r"[\w.:/-]+(&[\w.:/-]+)*")
# `gpu:4`, `gpu:a100:4(S:0-1)`: the model, if any, and how many.
GPUS = re.compile(r"(?:^|,)gpu(?::([^:,()]*[^:,()0-9][^:,()]*))?(?::([0-9]+))?(?=$|[,(])")


def is_understood(request: Request) -> bool:
    """Whether all that a request says of its nodes can be compared with what sinfo says of them."""
    options = dict(request.options)
    constraint = str(options.get("constraint", ""))
    return not {"nodelist", "exclude", "nodefile"} & options.keys() and (
        not constraint or FEATURES.fullmatch(constraint) is not None
    )


@dataclass(frozen=True)
class _Nodes:
    """Nodes of one kind as sinfo prints them: a default partition has a star, an uncertain count a plus."""

    partition: str
    cpus: str
    memory_mb: str
    gres: str
    features: str
    limit: str

    def suit(self, request: Request) -> bool:
        """Whether a request can go there, as far as can be told from here."""
        options = dict(request.options)
        partitions = str(options.get("partition", "")).split(",")
        default = partitions == [""] and self.partition.endswith("*")
        if not default and self.partition.rstrip("*") not in partitions:
            return False
        has = [(model.lower(), int(count or 1)) for model, count in GPUS.findall(self.gres)]
        if options.get("gpus"):
            asked = GPUS.findall(f"gpu:{options['gpus']}")
        else:
            asked = GPUS.findall(str(options.get("gres", "")))
        for model, count in asked:
            if sum(each for name, each in has if not model or name == model.lower()) < int(count or 1):
                return False
        wanted = str(options.get("constraint", ""))
        return not FEATURES.fullmatch(wanted) or set(wanted.split("&")) <= set(self.features.split(","))

    def room(self, request: Request) -> int:
        """How many of them one node has processors and memory for."""
        cpus, memory_mb = (int(text.rstrip("+") or 0) for text in (self.cpus, self.memory_mb))
        asked_mb = request.member_memory_mb()
        return min(cpus // request.cpus, memory_mb // asked_mb if asked_mb else cpus)

    def limit_min(self) -> int | None:
        """The partition's time limit; None where there is none: `30:00`, `12:00:00`, `2-00:00:00`."""
        found = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", self.limit)
        days, hours, minutes = (int(part or 0) for part in found.groups()[:3]) if found else (0, 0, 0)
        return 1440 * days + 60 * hours + minutes if found else None


def _compressed(jobs: Sequence[str]) -> Iterator[list[str]]:
    """Arguments of scancel: the tasks of an array as one, and a thousand of them at most in a call."""
    tasks: dict[str, list[str]] = {}
    for job in jobs:
        number, _, task = job.partition("_")
        tasks.setdefault(number, []).append(task)
    for number, of_array in tasks.items():
        for i in range(0, len(of_array), 1000):
            part = ",".join(of_array[i : i + 1000])
            yield [f"{number}_[{part}]" if part else number]


class _SlurmExecutor(submitit.SlurmExecutor):
    """submitit's, with a job that checks the folder before it unpickles anything."""

    @property
    def _submitit_command_str(self) -> str:
        # `exec`: the batch script becomes the process that SLURM signals.
        return f"exec {_command(self.folder)}"


class Local(Cluster):
    """This machine: each pack is a process that outlives its controller."""

    name = "local"
    most_packs = 1

    def __init__(self) -> None:
        #: When what a dead pack has left behind was told to end, by the submission's id.
        self._told: dict[str, float] = {}

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
        # Ctrl-C in a terminal reaches all of its processes; jobs are told by their controller alone.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
        try:
            return [executor.submit(pack).job_id for pack in packs]
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def states(self, submissions: Iterable[Submission]) -> dict[str, State] | None:
        wanted = list(submissions)
        states = {job: _process_state(s, job) for s in wanted for job in s.jobs}
        # Of a pack that was killed, as for its memory, the members live on: a job has ended when they have.
        silent = [
            s for s in wanted if any(states[job].phase is Phase.ENDED for job in s.jobs) and not s.is_told()
        ]
        for submission in silent:
            processes = _left_behind(submission)
            self._end(submission, processes)
            for job in submission.jobs if processes else ():
                if states[job].phase is Phase.ENDED:
                    states[job] = State(Phase.ALIVE, ENDING[1])
        return states

    def _end(self, submission: Submission, processes: Sequence[psutil.Process]) -> None:
        """Tell these to end, once; what they start to end well is left alone, until it takes too long."""
        now = time.monotonic()
        told = self._told.setdefault(submission.id, now)
        for process in processes if told == now or now > told + ENDING_S else ():
            with suppress(psutil.Error):
                process.terminate() if told == now else process.kill()

    def find(self, submission: Submission) -> list[str] | None:
        lines = ((p.pid, p.info["cmdline"] or []) for p in psutil.process_iter(["cmdline"]))
        return [str(pid) for pid, line in lines if LOCAL_PROGRAM in line and submission.id in line[-1]]

    def cancel(self, jobs: Sequence[str]) -> list[str]:
        for job in jobs:
            with suppress(psutil.Error, ValueError):
                process = psutil.Process(int(job))
                # Another process may have got the number meanwhile.
                if LOCAL_PROGRAM in process.cmdline():
                    # It tells the pack, which tells its members.
                    process.terminate()
        return []


class _LocalExecutor(submitit.LocalExecutor):
    @property
    def _submitit_command_str(self) -> str:
        return _command(self.folder)


def _command(folder: Path) -> str:
    return shlex.join([sys.executable, "-u", "-m", PACK_PROGRAM, str(folder)])


def _state(word: str, reason: str = "") -> State:
    # sacct writes "CANCELLED by 1000".
    word = word.split()[0].rstrip("+") if word.split() else ""
    return State(Phase.ENDED if word in ENDED else Phase.ALIVE, word, reason)


def _process_state(submission: Submission, job: str) -> State:
    try:
        process = psutil.Process(int(job))
        line = " ".join(process.cmdline())
    except (psutil.Error, ValueError):
        return State(Phase.ENDED, "gone")
    # Another process may have got the number meanwhile.
    alive = process.status() != psutil.STATUS_ZOMBIE and submission.id in line
    return State(Phase.ALIVE, "running") if alive else State(Phase.ENDED, "gone")


def _left_behind(submission: Submission) -> list[psutil.Process]:
    """The processes of packs, and of their members, that outlived the supervisor of their job."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            # A pack and its forks have its folder in their command, and what these start in its environment.
            line = " ".join(process.cmdline())
            own = PACK_PROGRAM in line and str(submission.folder) in line
            own = own or process.environ().get(MEMBER_OF) == str(submission.results)
            if own and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


# Variables by which a user has SLURM's commands show or do something else than they are asked for.
FILTERING = re.compile("(SQUEUE|SACCT|SCANCEL|SINFO)_")


def _call(*command: str) -> str | None:
    """What a command prints, or None when it fails, hangs, or is not there."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=QUERY_TIMEOUT_S,
            check=False,
            env={name: value for name, value in os.environ.items() if not FILTERING.match(name)},
            # Ctrl-C in a terminal is this process's affair.
            start_new_session=True,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
