"""The folder that a controller and its jobs share: what is submitted, and how it ended.

    <folder>/<submission>/manifest.json       written by the controller, before it submits
    <folder>/<submission>/controller          locked while that controller lives
    <folder>/<submission>/reported            members that Snakemake was told of
    <folder>/<submission>/cancelled           jobs that were told to end
    <folder>/<submission>/results/P-M.json    written by the job: how member M of pack P ended
    <folder>/<submission>/jobs/               submitit's: the script, pickles, and the log of each job

Pickles are code. So the folder belongs to its owner alone, and what does not is refused.
"""

import fcntl
import json
import os
import platform
import re
import shutil
import stat
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil
from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface


def make_private(folder: Path) -> None:
    """Create `folder` for its owner alone, or check that it is so.

    Raises WorkflowError for one that is somebody else's, that others can enter, or that is a link.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    with opened_private(folder):
        pass


@contextmanager
def opened_private(folder: Path) -> Iterator[Path]:
    """A path to `folder` that stays with this very folder, whatever is renamed meanwhile.

    Raises WorkflowError for one that is somebody else's, that others can enter, or that is a link.
    """
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise WorkflowError(f"{folder} is no folder that jobs can be kept in ({error.strerror})") from None
    try:
        found = os.fstat(handle)
        if found.st_uid != os.getuid():
            raise WorkflowError(
                f"{folder} belongs to user {found.st_uid}, and this is user {os.getuid()}: what lies in it "
                "could run anything here. Move it away."
            )
        if stat.S_IMODE(found.st_mode) & 0o077:
            raise WorkflowError(
                f"{folder} is open to others (mode {stat.S_IMODE(found.st_mode):o}), and what lies in it is "
                f"run: they could run anything as you. If nobody has changed it: chmod 700 {folder}"
            )
        # Linux has a name for the open folder itself; elsewhere the check has to do.
        alias = Path(f"/proc/self/fd/{handle}")
        yield alias if alias.exists() else folder
    finally:
        os.close(handle)


def write_json(path: Path, content: object) -> None:
    """Write `content` so that a reader sees all of it or nothing, and it survives a crash."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(content, file)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


# The submissions of this process. The kernel lets go of them when it dies, however it dies.
_HELD: dict[str, int] = {}


@dataclass(frozen=True)
class Result:
    """How a member of a pack ended for good: its exit status, and why, if that is not its own doing."""

    exit: int
    why: str = ""


@dataclass
class Submission:
    """One call of sbatch: an array of packs, each a list of members.

    A member is `{"key", "outputs", "log"}`. The name of the jobs holds `id`, by which they are found again.
    """

    folder: Path
    id: str
    name: str
    cluster: str
    packs: list[list[dict]]
    # The id of the job, or of the array, once it is submitted; locally, one for each pack.
    jobs: list[str] = field(default_factory=list)

    @classmethod
    def create(cls, folder: Path, prefix: str, cluster: str, packs: list[list[dict]]) -> "Submission":
        """A new one, not yet on disk."""
        number = uuid.uuid4().hex[:12]
        return cls(folder / number, number, f"{prefix}-{number}", cluster, packs)

    def hold(self) -> bool:
        """Take this submission for this process, while it lives; False where another that lives has it.

        On a file system without locks, where it cannot be known that the other is dead, it has it.
        """
        if self.id in _HELD:
            return True
        try:
            handle = os.open(self.folder / "controller", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            free = True
        except BlockingIOError:
            free = False
        except OSError:
            free = _is_dead(self.holder())
        if not free:
            os.close(handle)
            return False
        os.truncate(handle, 0)
        os.write(handle, f"process {os.getpid()} on {platform.node()}".encode())
        _HELD[self.id] = handle
        return True

    def holder(self) -> str:
        """Who has it, as it said itself."""
        with suppress(OSError, UnicodeDecodeError):
            return (self.folder / "controller").read_text(encoding="utf-8") or "unknown"
        return "unknown"

    def made_at(self) -> float:
        """When it was made, by the clock of its file system."""
        with suppress(OSError):
            return (self.folder / "manifest.json").stat().st_mtime
        return 0.0

    def note_reported(self, pack: int, member: int) -> None:
        """Note that Snakemake was told how a member ended."""
        with suppress(OSError), (self.folder / "reported").open("a", encoding="ascii") as file:
            file.write(f"{pack}-{member}.json\n")

    def read_reported(self) -> set[tuple[int, int]]:
        """The members that Snakemake was told of."""
        try:
            lines = (self.folder / "reported").read_text(encoding="ascii").splitlines()
        except (OSError, UnicodeDecodeError):
            return set()
        return {place for line in lines if (place := _place(line))}

    def note_cancelled(self, jobs: Iterable[str]) -> None:
        """Note that these jobs are to end, however long that takes."""
        with suppress(OSError), (self.folder / "cancelled").open("a", encoding="ascii") as file:
            file.writelines(f"{job}\n" for job in jobs)

    def read_cancelled(self) -> set[str]:
        """The jobs that were to end."""
        try:
            return set((self.folder / "cancelled").read_text(encoding="ascii").split())
        except (OSError, UnicodeDecodeError):
            return set()

    def is_current(self, pack: int, member: int, job: JobExecutorInterface) -> bool:
        """Whether a member was submitted with the inputs that `job` has now, and has not lost its outputs.

        An `ancient` input may be of any time, as it is to Snakemake.
        """
        made_at = self.made_at()
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
        """Whether a member has ended for good."""
        return has_result(self.results, pack, member)

    @property
    def results(self) -> Path:
        """Where its jobs write how their members ended."""
        return self.folder / "results"

    def save(self) -> None:
        """Write the manifest, and make the folders around it."""
        make_private(self.folder)
        self.results.mkdir(exist_ok=True)
        make_private(self.folder / "jobs")
        self.hold()
        content = asdict(self)
        del content["folder"]
        write_json(self.folder / "manifest.json", content)

    @classmethod
    def load(cls, folder: Path) -> "Submission | None":
        """The submission whose manifest lies in `folder`, or None where there is none to read.

        Neither is there in a folder that others may have written to.
        """
        try:
            with opened_private(folder) as checked:
                content = json.loads((checked / "manifest.json").read_text(encoding="utf-8"))
            return cls(folder, **content)
        except (WorkflowError, OSError, ValueError, TypeError):
            return None

    def read_results(self, known: set[tuple[int, int]]) -> dict[tuple[int, int], Result]:
        """The results that are there and not yet `known`, by (pack, member)."""
        found = {}
        with suppress(OSError):
            for entry in os.scandir(self.results):
                place = _place(entry.name)
                if place is None or place in known:
                    continue
                with suppress(OSError, ValueError, TypeError):
                    found[place] = Result(**json.loads(Path(entry.path).read_text(encoding="utf-8")))
        return found

    def is_told(self) -> bool:
        """Whether all of its members have said how they ended."""
        return all(self.has_result(p, m) for p, pack in enumerate(self.packs) for m in range(len(pack)))

    def refresh(self) -> None:
        """Have a network file system look at the results anew: a change of one's own ends its cache."""
        probe = self.results / f".probe-{uuid.uuid4().hex}"
        with suppress(OSError):
            probe.touch()
            probe.unlink()

    def remove(self) -> None:
        """Remove all of it: nobody will ask for it again."""
        shutil.rmtree(self.folder, ignore_errors=True)
        handle = _HELD.pop(self.id, None)
        if handle is not None:
            os.close(handle)


def write_result(results: Path, pack: int, member: int, result: Result) -> None:
    """Say how a member ended for good."""
    write_json(results / f"{pack}-{member}.json", asdict(result))


def has_result(results: Path, pack: int, member: int) -> bool:
    """Whether a member has ended for good."""
    return (results / f"{pack}-{member}.json").exists()


def _is_dead(holder: str) -> bool:
    """Whether a controller, by what it says of itself, has ended for sure."""
    found = re.fullmatch(r"process (\d+) on (.+)", holder)
    if found is None:
        # It had not come to say so: the file is new.
        return holder == "unknown"
    return found[2] == platform.node() and not psutil.pid_exists(int(found[1]))


def _place(name: str) -> tuple[int, int] | None:
    stem, _, suffix = name.partition(".")
    pack, dash, member = stem.partition("-")
    if suffix != "json" or not dash or not pack.isdigit() or not member.isdigit():
        return None
    return int(pack), int(member)
