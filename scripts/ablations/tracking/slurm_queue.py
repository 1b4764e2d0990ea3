"""What SLURM knows of the user's jobs: those in the queue by `squeue`, and those that ended by `sacct`."""

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SLURM_PATIENCE_S = 20
# Of a run: the job that it shares with others runs.
IN_A_PACK = "in a running job"


@dataclass(frozen=True)
class Slurm:
    """What SLURM says of the user's jobs in a directory: their states by id, and of the runs in them.

    A run is named as in the comment of its job, or, in a job that several share, by its record.
    `answered` is false where there is no SLURM, or where it does not answer; then `problem` is a sentence.
    """

    jobs: Mapping[str, str] = field(default_factory=dict)
    runs: Mapping[str, str] = field(default_factory=dict)
    answered: bool = False
    problem: str | None = None

    @classmethod
    def ask(cls, root: Path = Path()) -> "Slurm":
        """One `squeue` for all jobs of the user; those submitted in `root` count."""
        if not shutil.which("squeue"):
            return cls()
        try:
            lines = _call("squeue", "--me", "--noheader", "--array", "--format=%A|%i|%T|%Z|%k").splitlines()
        except (OSError, subprocess.SubprocessError) as error:
            return cls(
                problem=f"squeue does not answer ({_reason(error)}): what is in the queue is not known"
            )
        jobs, runs = {}, {}
        for line in lines:
            number, job, state, folder, comment = (line.split("|", 4) + [""] * 4)[:5]
            jobs[number] = jobs[job] = state
            if Path(folder).resolve() == root.resolve():
                runs[comment.partition("_wildcards_")[2]] = state
        return cls(jobs, runs | _packed(root, jobs), answered=True)


def _packed(root: Path, jobs: Mapping[str, str]) -> dict[str, str]:
    """The states of runs that share jobs, by their records, as executor `submitit` keeps them."""
    runs = {}
    # The later count more: an earlier one may be of an attempt that failed.
    for path in sorted(root.glob(".snakemake/submitit/*/manifest.json"), key=_modified_at):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            for p, (job, pack) in enumerate(zip(content["jobs"], content["packs"], strict=False)):
                for m, member in enumerate(pack):
                    result = path.parent / f"results/{p}-{m}.json"
                    # In a job that runs, a run may still wait for its turn: its own log says.
                    state = jobs.get(job, "").replace("RUNNING", IN_A_PACK)
                    if result.exists():
                        failed = not all((root / output).exists() for output in member["outputs"])
                        failed = failed and json.loads(result.read_text(encoding="utf-8"))["exit"] != 0
                        state = f"FAILED {member['log']}" if failed else "ENDED"
                    runs |= dict.fromkeys(member["outputs"], state)
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return runs


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
    done = subprocess.run(command, capture_output=True, text=True, timeout=SLURM_PATIENCE_S, check=True)
    return done.stdout


def _reason(error: Exception) -> str:
    text = getattr(error, "stderr", None) or str(error)
    return text.strip().splitlines()[-1] if text.strip() else type(error).__name__


def _modified_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
