"""The folder that a controller and its jobs share: one subfolder for each submission.

<folder>/<submission>/manifest.json       written by the controller before it submits
<folder>/<submission>/controller          the process and the call that have it (see `calls`)
<folder>/<submission>/reported            members whose end was reported to Snakemake
<folder>/<submission>/cancelled           jobs that were cancelled
<folder>/<submission>/results/P-M.json    written by the job: how member M of pack P ended
<folder>/<submission>/places/             runs that were handed to its packs later: see `places`
<folder>/<submission>/jobs/               submitit's: the script, the pickles and the log of each job
"""

import fcntl
import os
import platform
import re
import shutil
import uuid
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path

import psutil
from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface

from snakemake_executor_plugin_submitit.calls import is_alive, own_call
from snakemake_executor_plugin_submitit.descriptors import check_left
from snakemake_executor_plugin_submitit.manifest import (
    SUBMISSION_ID,
    ManifestMember,
    is_member,
    read_manifest,
)
from snakemake_executor_plugin_submitit.places import (
    FOLDER,
    HANDED,
    WITHDRAWN,
    claim,
    handed_members,
    list_places,
)
from snakemake_executor_plugin_submitit.private_folder import make_private, opened_private
from snakemake_executor_plugin_submitit.results import (
    has_result,
    parse_result_name,
    read_bytes,
    refresh,
    write_json,
)

# The submissions that this process has taken, by id.
_HELD: set[str] = set()


# Of a job's own log, the lines that an error quotes.
LAST_LINES = 5


@dataclass
class Submission:
    """One call of sbatch: an array of packs, each a list of members.

    The name of the jobs contains `id`, so that they can be found in the queue. Only the controller that
    holds the submission writes to its folder, apart from `results`, `places` and `jobs`, where its packs
    write too. Both threads of that controller append to `cancelled`, each in one write.
    """

    folder: Path
    id: str
    name: str
    cluster: str
    packs: list[list[ManifestMember]]
    # One job id for each pack; empty until the submission is confirmed.
    jobs: list[str] = field(default_factory=list)

    @classmethod
    def create(
        cls, folder: Path, prefix: str, cluster: str, packs: list[list[ManifestMember]]
    ) -> "Submission":
        """A new submission, not yet on disk."""
        number = uuid.uuid4().hex[:12]
        return cls(folder / number, number, f"{prefix}-{number}", cluster, packs)

    def hold(self) -> bool:
        """Take this submission for the life of this call; False if another live call has it.

        On a file system without locks, the recorded holder counts as alive unless it is known to be dead.
        """
        if self.id in _HELD:
            return True
        try:
            handle = os.open(self.folder / "controller", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            check_left(error)
            return False
        try:
            if not self._is_free(handle):
                return False
            call = own_call(self.folder.parent)
            os.truncate(handle, 0)
            os.write(handle, f"process {os.getpid()} on {platform.node()}\n{call}\n".encode())
        finally:
            os.close(handle)
        _HELD.add(self.id)
        return True

    def _is_free(self, handle: int) -> bool:
        """Whether no live call has it. The lock on `handle` is kept: two calls never take it at once."""
        alive: bool | None = False
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # Another call is about to take it, or one of an earlier version has it.
            return False
        except OSError:
            alive = None
        lines = self._recorded()
        if alive is not None and len(lines) > 1 and SUBMISSION_ID.fullmatch(lines[1]):
            alive = is_alive(self.folder.parent, lines[1])
        return _is_dead(self.holder()) if alive is None else not alive

    def _recorded(self) -> list[str]:
        """What the call that has it recorded: its process, and its id."""
        with suppress(OSError, UnicodeDecodeError):
            return read_bytes(self.folder / "controller").decode().splitlines()
        return []

    def holder(self) -> str:
        """The process that has this submission, as it recorded itself."""
        return next(iter(self._recorded()), "unknown")

    def made_at(self, pack: int | None = None, member: int = 0) -> float:
        """When it, or a member, was made, by the clock of its file system; 0 if it has no manifest."""
        if pack is not None and "made_at" in self.packs[pack][member]:
            return self.packs[pack][member]["made_at"]
        with suppress(OSError):
            return (self.folder / "manifest.json").stat().st_mtime
        return 0.0

    def note_reported(self, pack: int, member: int) -> None:
        """Record that the end of a member was reported to Snakemake."""
        self._note("reported", [f"{pack}-{member}.json\n"])

    def read_reported(self) -> set[tuple[int, int]]:
        """The members whose end was reported to Snakemake, as (pack, member)."""
        try:
            lines = read_bytes(self.folder / "reported").decode("ascii").splitlines()
        except (OSError, UnicodeDecodeError):
            return set()
        return {found for line in lines if (found := parse_result_name(line))}

    def note_cancelled(self, jobs: Iterable[str]) -> None:
        """Record that these jobs were cancelled, even if they take long to end."""
        self._note("cancelled", [f"{job}\n" for job in jobs])

    def _note(self, name: str, lines: list[str]) -> None:
        """Append lines to a file of this submission, in one write."""
        with suppress(OSError):
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
            handle = os.open(self.folder / name, flags, 0o600)
            try:
                os.write(handle, "".join(lines).encode("ascii"))
            finally:
                os.close(handle)

    def named(self, jobs: Iterable[str]) -> dict[str, str]:
        """The jobs with the name that they have in the queue, for `Cluster.cancel`."""
        return dict.fromkeys(jobs, self.name)

    def read_cancelled(self) -> set[str]:
        """The jobs that were cancelled."""
        try:
            return set(read_bytes(self.folder / "cancelled").decode("ascii").split())
        except (OSError, UnicodeDecodeError):
            return set()

    def is_current(self, pack: int, member: int, job: JobExecutorInterface) -> bool:
        """Whether a member was submitted after the last change of `job`'s inputs and still has its outputs.

        The age of an `ancient` input does not count, as in Snakemake.
        """
        made_at = self.made_at(pack, member)
        try:
            if self.has_result(pack, member):
                for output in job.output:
                    Path(output).stat()
            return all(
                Path(path).stat().st_mtime <= made_at
                for path in job.input
                if not getattr(path, "is_ancient", False)
            )
        except OSError:
            return False

    def has_result(self, pack: int, member: int) -> bool:
        """Whether a member has ended and will not run again."""
        return has_result(self.results, pack, member)

    @property
    def results(self) -> Path:
        """The folder in which its jobs write how their members ended."""
        return self.folder / "results"

    def save(self) -> None:
        """Write the manifest, and create the folders if they do not exist."""
        make_private(self.folder)
        self.results.mkdir(exist_ok=True)
        make_private(self.folder / "jobs")
        self.hold()
        content = asdict(self)
        del content["folder"]
        write_json(self.folder / "manifest.json", content)

    @classmethod
    def load(cls, folder: Path) -> "Submission | None":
        """The submission in `folder`; None if it has no valid manifest, or if others could write it."""
        try:
            with opened_private(folder) as checked:
                content = read_manifest(checked, folder.name)
                linked = any(each.is_symlink() for each in checked.iterdir())
            if content is None or linked or not all(map(is_member, chain(*content["packs"]))):
                return None
            return cls(folder, **content)
        except (WorkflowError, OSError, TypeError):
            return None

    def end_of_log(self, job: str) -> str:
        """The last lines that a job itself wrote to its error log, apart from those of its members."""
        for path in sorted((self.folder / "jobs").glob(f"{job}_*_log.err")):
            if path.is_symlink():
                continue
            with suppress(OSError):
                lines = read_bytes(path).decode("utf-8", "replace").splitlines()
                return " | ".join(line.strip() for line in lines[-LAST_LINES:] if line.strip())
        return ""

    def is_complete(self) -> bool:
        """Whether all its members have a result."""
        return all(
            self.has_result(p, m) or not member["key"]
            for p, pack in enumerate(self.packs)
            for m, member in enumerate(pack)
        )

    def take_back(self) -> None:
        """Withdraw what an earlier call handed over and no pack has taken; note what they have taken."""
        refresh(self.folder / FOLDER)
        for run in list_places(self.folder / FOLDER)[0]:
            if run.state == HANDED:
                claim(self.folder / FOLDER, run.pack, run.member, WITHDRAWN)
        for (pack, _), member in handed_members(self.folder, list(map(len, self.packs))).items():
            self.packs[pack].append(member)

    def refresh(self, folder: Path | None = None) -> None:
        """Make a network file system list the results, or `folder`, again: a local change ends its cache."""
        refresh(folder or self.results)

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
        _HELD.discard(self.id)


def _is_dead(holder: str) -> bool:
    """Whether a controller, as it recorded itself, is certainly dead."""
    found = re.fullmatch(r"process (\d+) on (.+)", holder)
    if found is None:
        # The file is new: its controller died before it wrote the record.
        return holder == "unknown"
    return found[2] == platform.node() and not psutil.pid_exists(int(found[1]))
