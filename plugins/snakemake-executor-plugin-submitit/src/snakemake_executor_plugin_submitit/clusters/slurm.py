"""A SLURM cluster, used through SLURM's commands."""

import os
import re
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import submitit
from snakemake_interface_common.exceptions import WorkflowError

from snakemake_executor_plugin_submitit.clusters.base import UNKNOWN, Cluster, Phase, State, pack_command
from snakemake_executor_plugin_submitit.clusters.nodes import SINFO_FORMAT, Nodes, is_understood
from snakemake_executor_plugin_submitit.clusters.partitions import (
    Choice,
    Limits,
    choose,
    parse_limits,
    room_within,
)
from snakemake_executor_plugin_submitit.descriptors import check_left
from snakemake_executor_plugin_submitit.folder import Submission
from snakemake_executor_plugin_submitit.pack import Pack
from snakemake_executor_plugin_submitit.resources import Request

# How long one of SLURM's commands may take.
QUERY_TIMEOUT_S = 60
CANCEL_TRIES = 4
# A job in one of these states never runs again under its number. Any other state counts as alive: only a
# result that the job itself wrote is a success, so an unknown state can cause a delay but no wrong result.
ENDED = {
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED",
    "REVOKED", "TIMEOUT",
}  # fmt: skip
# Besides the options of a job: what sbatch would read from the environment instead of the job's script.
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
# Variables by which a user changes what SLURM's commands print or do.
FILTERING = re.compile("(SQUEUE|SACCT|SCANCEL|SINFO)_")


class Slurm(Cluster):
    """SLURM, through its commands.

    `_nodes` and `_limits` are read once, by the watching thread; there is no other state.
    """

    name = "slurm"

    def __init__(self, array_size: int) -> None:
        config = call("scontrol", "show", "config")
        if config is None:
            raise WorkflowError(
                "scontrol does not answer: SLURM is not installed here, or its controller is down "
                "(without SLURM: --submitit-cluster local)"
            )
        found = re.search(r"^MaxArraySize\s*=\s*(\d+)", config, re.M)
        tasks = re.search(r"^SchedulerParameters\s*=.*\bmax_array_tasks=(\d+)", config, re.M)
        limits = [int(each.group(1)) for each in (found, tasks) if each]
        self.most_packs = max(1, min([array_size, *limits] if limits else [array_size, 1000]))
        self._nodes: list[Nodes] | None = None
        self._limits: dict[str, Limits] | None = None
        # Where the controller itself runs in a SLURM job, the jobs must not inherit that job's variables.
        for name in [name for name in os.environ if re.match(r"SLURM_(?!CONF|CLUSTERS$|JWT$)", name)]:
            del os.environ[name]

    def room(self, request: Request) -> int | None:
        rooms = [room_within(nodes, self._all_limits(), request) for nodes in self._suitable(request)]
        # If the request selects nodes in a way that is not understood here, it may mean any of them.
        return (max if is_understood(request) else min)(rooms, default=None)

    def longest_min(self, request: Request) -> int | None:
        limits = [nodes.limit_min() for nodes in self._suitable(request)]
        known = [limit for limit in limits if limit is not None]
        return max(known, default=None) if len(known) == len(limits) else None

    def choose_partition(self, request: Request) -> Choice | None:
        if "," not in str(dict(request.options).get("partition", "")):
            return None
        return choose(request, self._all_nodes(), self._all_limits())

    def _all_limits(self) -> dict[str, Limits]:
        if self._limits is None:
            self._limits = parse_limits(call("scontrol", "--oneliner", "show", "partition") or "")
        return self._limits

    def _suitable(self, request: Request) -> list[Nodes]:
        return [nodes for nodes in self._all_nodes() if nodes.suit(request)]

    def _all_nodes(self) -> list[Nodes]:
        if self._nodes is None:
            listed = call("sinfo", "--noheader", "--exact", f"--format={SINFO_FORMAT}") or ""
            rows = (line.strip().split("|") for line in listed.splitlines())
            self._nodes = [Nodes(*row) for row in rows if len(row) == 6]
        return self._nodes

    def submit(
        self, submission: Submission, packs: Sequence[Pack], options: dict[str, Any], parallel: int
    ) -> list[str]:
        runtime_min, delay_s = packs[0].runtime_min, packs[0].delay_s
        try:
            executor = _SlurmExecutor(folder=submission.folder / "jobs", max_num_timeout=10**6)
        except RuntimeError as error:
            raise WorkflowError(f"cannot submit from this machine: {error}") from None
        executor.update_parameters(
            time=runtime_min,
            job_name=submission.name,
            # Without srun, the job's script becomes the pack's process, which SLURM signals first.
            use_srun=False,
            array_parallelism=parallel,
            # A cluster that checks such keys would refuse submitit's own.
            wckey=None,
            additional_parameters={"signal": f"B:USR2@{delay_s}", "requeue": True, **options},
        )
        # sbatch prefers options from the environment to those in its script.
        names = {f"SBATCH_{option.upper().replace('-', '_')}" for option in {*options, *OVERRIDING}}
        hidden = {name: os.environ.pop(name) for name in names if name in os.environ}
        try:
            return [job.job_id for job in executor.submit_array(packs)]
        except Exception as error:
            printed = getattr(error.__cause__, "stderr", None) or str(error)
            lines = [line.strip() for line in str(printed).splitlines() if "sbatch" in line]
            # The reason may be printed before the line that explains it.
            reason = "; ".join(dict.fromkeys(lines)) or str(error).strip()
            raise WorkflowError(f"SLURM did not take the job: {reason}") from None
        finally:
            os.environ.update(hidden)

    def states(self, submissions: Iterable[Submission]) -> dict[str, State] | None:
        rows = _queue()
        if rows is None:
            return None
        jobs = {job: submission.name for submission in submissions for job in submission.jobs}
        found = {row.job: _state(row.word, row.reason) for row in rows if row.name == jobs.get(row.job)}
        if missing := sorted(jobs - found.keys()):
            found |= _accounted_states(missing)
        return {job: found.get(job, UNKNOWN) for job in jobs}

    def cancel(self, jobs: Mapping[str, str]) -> list[str]:
        # By number alone, a manifest could mean any job of the user.
        foreign = {row.job for row in _queue() or () if row.name != jobs.get(row.job)} if jobs else set()
        left = [job for job in jobs if job not in foreign]
        for attempt in range(CANCEL_TRIES if left else 0):
            for part in _compressed(left):
                call("scancel", *part)
            rows = _queue()
            if rows is not None:
                ending = {row.job for row in rows if row.word == "COMPLETING"}
                alive = {row.job for row in rows if _state(row.word).phase is Phase.ALIVE} - ending
                left = [job for job in left if job in alive]
            if not left:
                break
            time.sleep(1 + attempt)
        return left

    def find(self, submission: Submission) -> list[str] | None:
        rows = _queue()
        if rows is None:
            return None
        found = [row.job for row in rows if row.name == submission.name]
        if not found:
            return []
        number, underscore, _ = found[0].partition("_")
        return [f"{number}_{task}" for task in range(len(submission.packs))] if underscore else found[:1]


class _SlurmExecutor(submitit.SlurmExecutor):
    """submitit's executor for SLURM, with a job that checks the folder before it unpickles anything."""

    @property
    def _submitit_command_str(self) -> str:
        # With `exec` the batch script becomes the process that SLURM signals.
        return f"exec {pack_command(self.folder)}"

    @staticmethod
    def _get_job_id_from_submission_command(string: bytes | str) -> str:
        text = string if isinstance(string, str) else string.decode(errors="replace")
        # A site's wrapper of sbatch may print the bare number, as `sbatch --parsable` does.
        bare = re.search(r"^(\d+)(?:;\S+)?\s*$", text, re.M)
        found: str = bare[1] if bare else submitit.SlurmExecutor._get_job_id_from_submission_command(text)
        return found


@dataclass(frozen=True)
class _Row:
    """A job as squeue prints it."""

    job: str
    word: str
    reason: str
    name: str


def _queue() -> list[_Row] | None:
    """All jobs of the user; None if squeue does not answer.

    The query names the user and not the jobs: one query serves thousands of jobs, and squeue would fail for
    ids that SLURM has already forgotten.
    """
    user = f"--user={os.getuid()}"
    # `--all` includes jobs in hidden partitions.
    form = "--format=%i|%T|%r|%j"
    listed = call("squeue", "--all", "--noheader", "--array", "--states=all", user, form)
    if listed is None:
        return None
    rows = (line.strip().split("|", 3) for line in listed.splitlines())
    return [_Row(*row) for row in rows if len(row) == 4]


def _accounted_states(jobs: Sequence[str]) -> dict[str, State]:
    """The states of jobs that SLURM's controller has forgotten, from sacct where there is accounting."""
    wanted = set(jobs)
    numbers = ",".join(sorted({job.partition("_")[0] for job in jobs}))
    listed = call("sacct", "-X", "-n", "-P", "-j", numbers, "-o", "JobID,State")
    rows = (line.split("|") for line in (listed or "").splitlines())
    states = {row[0]: _state(row[1]) for row in rows if len(row) == 2 and row[0] in wanted}
    # A job that the controller has forgotten does not run, even if accounting missed its end.
    return {job: state for job, state in states.items() if state.phase is Phase.ENDED}


def _state(word: str, reason: str = "") -> State:
    # sacct writes "CANCELLED by 1000".
    word = word.split()[0].rstrip("+") if word.split() else ""
    return State(Phase.ENDED if word in ENDED else Phase.ALIVE, word, reason)


def _compressed(jobs: Sequence[str]) -> Iterator[list[str]]:
    """Arguments for scancel: the tasks of an array in one argument, at most a thousand of them per call."""
    tasks: dict[str, list[str]] = {}
    for job in jobs:
        number, _, task = job.partition("_")
        tasks.setdefault(number, []).append(task)
    for number, of_array in tasks.items():
        for i in range(0, len(of_array), 1000):
            part = ",".join(of_array[i : i + 1000])
            yield [f"{number}_[{part}]" if part else number]


def call(*command: str) -> str | None:
    """The output of a command; None if the command fails, hangs or is not installed.

    Raises WorkflowError if it could not be started for want of file descriptors.
    """
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=QUERY_TIMEOUT_S,
            check=False,
            env={name: value for name, value in os.environ.items() if not FILTERING.match(name)},
            # Ctrl-C in a terminal must not reach the command.
            start_new_session=True,
        )
    except OSError as error:
        check_left(error)
        return None
    except subprocess.TimeoutExpired:
        return None
    return done.stdout if done.returncode == 0 else None
