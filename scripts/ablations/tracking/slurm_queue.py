"""What SLURM knows of the user's jobs: those in the queue by `squeue`, and those that ended by `sacct`."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from ablations.readable import readable

SLURM_PATIENCE_S = 20
# The state of a run in the queue whose job executes other runs too.
IN_A_PACK = "in a running job"
RUNNING = ("RUNNING", "COMPLETING")


@dataclass(frozen=True)
class Slurm:
    """The user's jobs in the queue, and the runs of one directory in them.

    `jobs` has the state of each job by its id, with the reason of one that waits. `runs` has the state of
    each run, by the wildcards in the comment of its job; or, if a job executes several runs, by its record.
    `ended` has the runs that ended in a job of several, by record: the log of the job for a run that failed,
    None for one that succeeded.
    `answered` is false where there is no SLURM, or where it does not answer; then `problem` is a sentence.
    """

    jobs: Mapping[str, str] = field(default_factory=dict)
    runs: Mapping[str, str] = field(default_factory=dict)
    ended: Mapping[str, Path | None] = field(default_factory=dict)
    answered: bool = False
    problem: str | None = None

    @classmethod
    def ask(cls, root: Path = Path()) -> "Slurm":
        """One `squeue` for all jobs of the user; those submitted in `root` count."""
        if not shutil.which("squeue"):
            return cls()
        try:
            lines = _call(
                "squeue", "--me", "--noheader", "--array", "--format=%A|%i|%T|%r|%Z|%k"
            ).splitlines()
        except (OSError, subprocess.SubprocessError) as error:
            return cls(
                problem=f"squeue does not answer ({_reason(error)}): what is in the queue is not known"
            )
        jobs, runs = {}, {}
        for line in lines:
            number, job, state, reason, folder, comment = (line.split("|", 5) + [""] * 5)[:6]
            if state == "PENDING" and reason not in ("", "None"):
                state = f"{state}: {reason}"
            jobs[number] = jobs[job] = state = readable(state)
            if Path(folder).resolve() == root.resolve():
                runs[comment.partition("_wildcards_")[2]] = state
        packed, ended = packed_runs(root, jobs)
        return cls(jobs, runs | packed, ended, answered=True)


def packed_runs(root: Path, jobs: Mapping[str, str]) -> tuple[dict[str, str], dict[str, Path | None]]:
    """The runs in the packs of executor `submitit`, as in `Slurm`: those in the queue, and those that ended.

    Both are empty where the executor was not used, or is not installed.
    """
    if not (root / ".snakemake/submitit").is_dir():
        return {}, {}
    try:
        # An optional package; its module imports neither Snakemake nor submitit.
        holdings = import_module("snakemake_executor_plugin_submitit.holdings")
    except ImportError:
        return {}, {}
    in_queue: dict[str, str] = {}
    ended: dict[str, Path | None] = {}
    for output, member in holdings.read_packs(root).items():
        if not member.has_ended:
            # A run in a running job may still wait for its turn; its own state file tells.
            in_queue[output] = jobs.get(member.job, "").replace("RUNNING", IN_A_PACK)
        elif all((root / name).exists() for name in member.outputs) or member.exit_code == 0:
            ended[output] = None
        else:
            ended[output] = _log_in(root, member.log)
    return in_queue, ended


def _log_in(root: Path, log: Path) -> Path:
    """A log that a file of the executor names, if it is one of this directory; otherwise an empty one."""
    found = (root / log).resolve()
    is_own = found.suffix == ".log" and found.is_relative_to(root.resolve())
    return found if is_own else Path(os.devnull)


def ended_jobs(ids: Sequence[str]) -> dict[str, str]:
    """The final states of jobs by `sacct`; empty where there is no accounting."""
    if not ids or not shutil.which("sacct"):
        return {}
    try:
        lines = _call("sacct", "-X", "-n", "-P", "-o", "JobIDRaw,State", "-j", ",".join(ids)).splitlines()
    except (OSError, subprocess.SubprocessError):
        return {}
    return {job: state.split()[0] for job, _, state in (line.partition("|") for line in lines) if state}


def _call(*command: str) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, errors="replace", timeout=SLURM_PATIENCE_S, check=True
    )
    return done.stdout


def _reason(error: Exception) -> str:
    text = getattr(error, "stderr", None) or str(error)
    return readable(text.strip()).splitlines()[-1] if text.strip() else type(error).__name__
