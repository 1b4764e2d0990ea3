"""Where a record came from: versions, machine, and times."""

import hashlib
import os
import platform
import resource
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil

from ablations import __version__
from ablations.errors import AblationsError
from ablations.files import digest
from ablations.kinds import Kind

# Distribution -> column: the libraries whose version can change a result.
LIBRARIES = {
    "numpy": "numpy_version",
    "torch": "torch_version",
    "torchvision": "torchvision_version",
    "scikit-learn": "scikit_learn_version",
}
# In the environment of a job that shares its allocation: how many jobs do. The executor of
# `profiles/slurm-packed` sets it.
RUNS_PER_JOB = "SNAKEMAKE_SUBMITIT_PLACES"
SCRIPTS = Path(__file__).parents[2]
# The digits of a commit in a record.
COMMIT_DIGITS = 12
# git needs milliseconds; a run does not wait longer than this for it, in seconds.
GIT_PATIENCE_S = 10.0
# With these, git would look at another repository than that of the directory.
OTHER_REPOSITORY = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX")


@dataclass(frozen=True)
class Asked:
    """The process that asked for a run, and when it was started, in seconds since the machine was."""

    process: int
    since: float


# In a process that carries out several runs in turn: who asked for the one whose turn it is.
ASKED: ContextVar[Asked | None] = ContextVar("asked", default=None)
# In a process whose run a shared one gave back: when, in seconds since the machine was started. What was
# before is the time of another attempt.
GIVEN_BACK: ContextVar[float | None] = ContextVar("given_back", default=None)


def describe(libraries: Iterable[str], threads: int, code: Mapping[str, object]) -> dict[str, object]:
    """The provenance columns of a record, of the run whose turn it is.

    `code` is what `code_version` returned when the run began: the files may change while it runs.
    """
    created = time.time() - seconds_of_attempt()
    return {
        "threads": threads,
        "runs_per_job": runs_per_job(os.environ),
        "host": platform.node(),
        "started_at": datetime.fromtimestamp(created, UTC).isoformat(timespec="seconds"),
        "workflow_version": __version__,
        **code,
        "python_version": platform.python_version(),
        **{LIBRARIES[name]: version(name) for name in libraries},
    }


def shares_process() -> bool | None:
    """True where the times of the run whose turn it is may include turns of other runs; None elsewhere.

    None is no value in a record, as in one that is older.
    """
    return True if ASKED.get() or GIVEN_BACK.get() else None


def code_of(kind: Kind) -> dict[str, object]:
    """The columns of a record for the code of a kind: that of the scripts, or the user's where it is called.

    Raises AblationsError for a file of the user's code that cannot be read.
    """
    if kind.is_shipped:
        return code_version(SCRIPTS)
    return {**code_version(Path.cwd()), "code_digest": code_digest(kind.code)}


def code_digest(paths: Sequence[str]) -> str | None:
    """A digest of the content of files, and of every Python file in directories; None for no paths.

    Raises AblationsError for a path that is missing or cannot be read.
    """
    found = hashlib.sha256()
    for path in map(Path, paths):
        for file in _python_files(path) if path.is_dir() else [path]:
            try:
                found.update(f"{file}\n{digest(file, 'sha256')}\n".encode())
            except OSError as error:
                raise AblationsError(
                    f"{file}: it cannot be read ({error.strerror}); it is a part of `code`"
                ) from None
    return found.hexdigest()[:16] if paths else None


def _python_files(directory: Path) -> list[Path]:
    """The Python files of a directory, without those of hidden directories, results and environments."""
    found = []
    for folder, names, files in os.walk(directory):
        names[:] = [
            name
            for name in names
            if not name.startswith(".")
            and name not in ("results", "__pycache__")
            and not Path(folder, name, "pyvenv.cfg").exists()
        ]
        found += [Path(folder, name) for name in files if name.endswith(".py") and not name.startswith(".")]
    return sorted(file for file in found if file.is_file())


def runs_per_job(environment: Mapping[str, str]) -> int:
    """How many runs share the job of this one at a time; 1 where nothing says otherwise."""
    value = environment.get(RUNS_PER_JOB, "")
    return max(1, int(value)) if value.isdecimal() else 1


def code_version(directory: Path) -> dict[str, object]:
    """The columns of a record for the code in `directory`: `code_commit` and `code_modified`.

    They are the commit of the git repository that tracks the directory, and whether a tracked file in the
    directory differs from it; files that git does not track are not looked at, nor those of submodules. A
    value is None if it cannot be known: git is not installed, the directory is not in a repository, or git
    does not answer in time.
    """
    # The second name fails where the repository around the directory does not track it.
    named = _git(directory, "rev-parse", "HEAD", "HEAD:./")
    if named is None or named.returncode != 0:
        return {"code_commit": None, "code_modified": None}
    # Not `git diff --quiet`: it compares the times of files too, or writes new ones into the index.
    words = ("status", "--porcelain", "--untracked-files=no", "--ignore-submodules=dirty", "--", ".")
    differs = _git(directory, *words, settings=_without_commands(directory))
    modified = bool(differs.stdout) if differs and differs.returncode == 0 else None
    return {"code_commit": named.stdout.split()[0][:COMMIT_DIGITS], "code_modified": modified}


def _without_commands(directory: Path) -> dict[str, str]:
    """Settings of git under which a repository that somebody else has made executes nothing.

    Its own settings may name programs: one that lists changed files, and filters of files.
    """
    listed = _git(directory, "config", "-z", "--show-scope", "--name-only", "--get-regexp", r"^filter\.")
    fields = listed.stdout.split("\0")[:-1] if listed else []
    filters = {
        name for scope, name in zip(fields[::2], fields[1::2], strict=True) if scope in ("local", "worktree")
    }
    return {"core.fsmonitor": "false"} | {
        name: "false" if name.endswith(".required") else "" for name in sorted(filters)
    }


def _git(
    directory: Path, *words: str, settings: Mapping[str, str] = {}
) -> subprocess.CompletedProcess[str] | None:
    """What git answers in `directory`, or None; it asks nobody, and writes nothing into the repository."""
    environment = {name: value for name, value in os.environ.items() if name not in OTHER_REPOSITORY}
    environment |= {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    # An object that is missing is not fetched, which would execute commands too.
    environment |= {"GIT_NO_LAZY_FETCH": "1", "GIT_ALLOW_PROTOCOL": ""}
    count = int(environment.get("GIT_CONFIG_COUNT") or 0)
    for i, (name, value) in enumerate(settings.items(), start=count):
        environment |= {f"GIT_CONFIG_KEY_{i}": name, f"GIT_CONFIG_VALUE_{i}": value}
    environment["GIT_CONFIG_COUNT"] = str(count + len(settings))
    try:
        return subprocess.run(
            ["git", *words],
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=GIT_PATIENCE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None


def seconds_since_start() -> float:
    """Seconds since this process was started, its imports included, or the one that asked for this run."""
    if asked := ASKED.get():
        return since_boot() - asked.since
    # Not by psutil's time of creation: it counts from a time of boot in whole seconds.
    try:
        stat = Path("/proc/self/stat").read_text(encoding="utf-8")
    except OSError:
        return time.time() - psutil.Process().create_time()
    ticks = int(stat.rpartition(")")[2].split()[19])
    return since_boot() - ticks / os.sysconf("SC_CLK_TCK")


def seconds_of_attempt() -> float:
    """Seconds since this process was started, or since it was given back the run that it had handed over."""
    given_back = GIVEN_BACK.get()
    return seconds_since_start() if given_back is None else since_boot() - given_back


def since_boot() -> float:
    """Seconds since the machine was started."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def peak_memory_mb() -> float:
    """The largest resident memory of this process so far, in MB."""
    # Not getrusage: it starts at the memory of the process that started this one, a large Snakemake.
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        status = ""
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def processor_name() -> str:
    """The CPU's name as the operating system gives it."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
