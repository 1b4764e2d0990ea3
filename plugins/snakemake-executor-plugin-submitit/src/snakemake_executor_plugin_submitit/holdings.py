"""What the packs of a workflow hold now: a public view of the executor's files, for status reports.

This module imports the standard library only, and so does the package when it is imported for this module.
It never raises for the content of the files: what is incomplete or of another version is left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from snakemake_executor_plugin_submitit.manifest import is_member, read_manifest
from snakemake_executor_plugin_submitit.places import handed_members
from snakemake_executor_plugin_submitit.results import parse_result_name, read_json, result_path

# Where the executor keeps its files, below the working directory of the workflow.
FOLDER = Path(".snakemake/submitit")


@dataclass(frozen=True)
class PackedJob:
    """A Snakemake job as a member of a pack that was submitted.

    job: the id of its allocation, as squeue prints it (`%i`); with `--submitit-cluster local`, a process id.
    outputs: the outputs of the Snakemake job, as Snakemake names them.
    log: the log of the Snakemake job. A job that could not start its command reports it here.
    has_ended: whether the job has ended and will not run again. If not, it waits or runs, or it was lost with
        its allocation: only the queue tells which.
    """

    job: str
    outputs: tuple[str, ...]
    log: Path
    has_ended: bool
    result: Path

    @property
    def exit_code(self) -> int | None:
        """The exit code; None while the job has not ended, or if its result cannot be read.

        It is negative for the number of a signal that killed the job. Each access reads a small file.
        """
        if not self.has_ended:
            return None
        content = read_json(self.result)
        code = content.get("exit") if isinstance(content, dict) else None
        return code if isinstance(code, int) else None


def read_packs(root: Path) -> dict[str, PackedJob]:
    """The jobs in the packs of the workflow whose working directory is `root`, by output.

    If several submissions contain an output, the last one counts. Submissions that have no job ids yet are
    left out. So are those that the executor has removed: it does that when all their members succeeded.
    """
    found: dict[str, PackedJob] = {}
    listed = [each for manifest in root.glob(f"{FOLDER}/*/manifest.json") for each in _packed_jobs(manifest)]
    for _, job in sorted(listed, key=lambda each: each[0]):
        found |= dict.fromkeys(job.outputs, job)
    return found


def _packed_jobs(manifest: Path) -> Iterator[tuple[float, PackedJob]]:
    """Each job, and when it was submitted or handed over."""
    content = read_manifest(manifest.parent, manifest.parent.name)
    if content is None:
        return
    results = manifest.parent / "results"
    ended, made_at = _ended_members(results), _modified_at(manifest)
    handed = handed_members(manifest.parent, list(map(len, content["packs"])))
    for (pack, _), described in handed.items():
        content["packs"][pack].append(described)
    for p, (job, pack) in enumerate(zip(content["jobs"], content["packs"], strict=False)):
        for m, member in enumerate(pack):
            if is_member(member):
                outputs, log = tuple(member["outputs"]), Path(member["log"])
                packed = PackedJob(job, outputs, log, (p, m) in ended, result_path(results, p, m))
                yield member.get("made_at", made_at), packed


def _ended_members(results: Path) -> set[tuple[int, int]]:
    """The members with a result, from one listing of the folder."""
    try:
        names = [path.name for path in results.iterdir()]
    except OSError:
        return set()
    return {member for name in names if (member := parse_result_name(name))}


def _modified_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
