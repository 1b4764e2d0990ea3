"""A job whose rule is a shell command, as it is carried out in an allocation without Snakemake.

The controller describes the job (see `direct`). What Snakemake would do before and after its command is done
here: waiting for inputs, the removal of old outputs, folders, variables, the checks of the outputs, and their
removal after a failure. The controller judges the outputs once more, as those of any job.

This module imports the standard library only. It asks for files by `os.path`, as Snakemake does: on a shared
file system, `Path.exists` may raise where a file is late.
"""
# ruff: noqa: PTH110, PTH112, PTH114

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

# The variables by which libraries learn how many threads they may use, and where temporary files belong.
THREADS = (
    "OMP_NUM_THREADS", "GOTO_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS",
)  # fmt: skip
TEMPORARY = ("TMPDIR", "TMP", "TEMPDIR", "TEMP")
# Snakemake's file in a folder, whose age is that of the folder.
TIMESTAMP = ".snakemake_timestamp"


class JobError(Exception):
    """What the job's log says about its failure."""


@dataclass(frozen=True)
class Output:
    """An output: its path, Snakemake's mark that it is incomplete, and what the rule says of it.

    `checksum` is "ALGORITHM:DIGEST", or nothing.
    """

    path: str
    mark: str
    directory: bool = False
    touch: bool = False
    protected: bool = False
    non_empty: bool = False
    checksum: str = ""


@dataclass(frozen=True)
class ShellJob:
    """A job as the controller describes it; it travels as JSON.

    `command` has the shell's prefix and suffix. `tmpdir` is empty for the temporary folder of the node, and
    None for none. `environment` has the variables that the Snakefile sets; None removes one.
    """

    rule: str
    command: str
    executable: str | None
    threads: int
    tmpdir: str | None
    inputs: list[str]
    outputs: list[Output]
    logs: list[str]
    latency_s: float
    keep_incomplete: bool
    environment: dict[str, str | None]

    def to_json(self) -> str:
        """The description as text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "ShellJob | None":
        """Read a description again; None for one of another version."""
        try:
            content = json.loads(text)
            return cls(**content | {"outputs": [Output(**each) for each in content["outputs"]]})
        except (TypeError, ValueError, KeyError):
            return None

    def obstacle(self) -> str | None:
        """Why Snakemake must run this job here: it would choose fewer threads, or another shell."""
        here = len(os.sched_getaffinity(0))
        if here < self.threads:
            return f"it has {self.threads} threads, and {here} processors are here"
        if self.executable is not None and shutil.which(self.executable) is None:
            return f"{self.executable} is not here"
        return None

    def run(self) -> int:
        """Carry out the job and return its exit status: 0 or 1, as that of Snakemake."""
        begun = False
        try:
            self._prepare()
            begun = True
            self._execute()
            self._finish()
        except (JobError, OSError) as error:
            _say(f"Error in rule {self.rule}:\n    {error}")
            if begun:
                self._abandon()
            return 1
        return 0

    def _prepare(self) -> None:
        """What comes before the command."""
        _wait_for(self.inputs, self.latency_s)
        for output in self.outputs:
            _mark(Path(output.mark))
        if protected := [each.path for each in self.outputs if _is_protected(Path(each.path))]:
            raise JobError(f"these outputs are write-protected: {', '.join(protected)}")
        for output in self.outputs:
            _remove(Path(output.path), whole=output.directory)
        for log in self.logs:
            _remove(Path(log))
        for path in (*(each.path for each in self.outputs), *self.logs):
            Path(path).parent.mkdir(parents=True, exist_ok=True)

    def _execute(self) -> None:
        """Run the command. A SIGTERM is for the command alone: this process waits for its end."""
        _say(f"rule {self.rule}, without Snakemake:")
        environment = os.environ | dict.fromkeys(THREADS, str(self.threads))
        if self.tmpdir is not None:
            tempfile.tempdir = None
            folder = self.tmpdir or tempfile.gettempdir()
            Path(folder).mkdir(parents=True, exist_ok=True)
            environment |= dict.fromkeys(TEMPORARY, folder)
        # A function and not SIG_IGN, which the command would inherit.
        signal.signal(signal.SIGTERM, lambda number, frame: None)
        status = subprocess.run(  # noqa: S602, the rule's own command
            self.command, shell=True, executable=self.executable, env=environment, check=False
        ).returncode
        if status:
            how = f"by signal {-status}" if status < 0 else f"with exit status {status}"
            raise JobError(f"the command has ended {how}: {self.command}")

    def _finish(self) -> None:
        """What follows a command that succeeded."""
        for output in self.outputs:
            if output.touch:
                _touch_or_create(Path(output.path), output.directory)
        self._create_logs()
        _wait_for([each.path for each in self.outputs], self.latency_s)
        for output in self.outputs:
            _check(output)
        for output in self.outputs:
            _touch(Path(output.path), output.directory)
        for output in self.outputs:
            if output.protected:
                _protect(Path(output.path))
        self._unmark()

    def _abandon(self) -> None:
        """What follows a failure: corrupted outputs are removed."""
        with contextlib.suppress(OSError):
            self._create_logs()
        try:
            for output in [] if self.keep_incomplete else self.outputs:
                if os.path.exists(output.path):
                    _remove(Path(output.path), whole=output.directory)
        except OSError as error:
            # Their marks are left, so that nobody takes them for complete.
            _say(f"outputs may be left that are incomplete: {error}")
            return
        self._unmark()

    def _create_logs(self) -> None:
        for log in map(Path, self.logs):
            if not os.path.exists(log):
                _touch_or_create(log)

    def _unmark(self) -> None:
        for output in self.outputs:
            # The controller removes what is left.
            with contextlib.suppress(OSError):
                Path(output.mark).unlink()


def _say(line: str) -> None:
    """Write a line to the job's log, in any encoding; a job does not fail because its log is full."""
    with contextlib.suppress(OSError):
        os.write(1, f"{line}\n".encode(errors="backslashreplace"))


def _mark(mark: Path) -> None:
    """Mark an output as incomplete, as Snakemake does when its own job begins. The controller has marked the
    first attempt; one that follows a requeue may begin when no controller lives.
    """
    if not os.path.exists(mark):
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.write_text(json.dumps({"external_jobid": None}), encoding="utf-8")


def _wait_for(paths: Sequence[str], latency_s: float) -> None:
    """Wait until all exist; a shared file system may show them late. Raises JobError if some do not."""
    end, pause_s = time.monotonic() + latency_s, max(latency_s / 10, 1)
    while missing := [path for path in paths if not os.path.exists(path)]:
        if time.monotonic() >= end:
            raise JobError(f"missing files after {latency_s:g} seconds: {', '.join(missing)}")
        time.sleep(pause_s)


def _is_protected(path: Path) -> bool:
    return os.path.exists(path) and not os.access(path, os.W_OK) and not os.path.islink(path)


def _remove(path: Path, whole: bool = False) -> None:
    """Remove a file or a link; a folder only if it is empty or `whole`, with the empty ones around it."""
    if os.path.isdir(path) and not os.path.islink(path):
        if whole:
            shutil.rmtree(path)
            return
        try:
            os.removedirs(path)
        except OSError as error:
            _say(f"the folder {path} is not removed ({error.strerror})")
    elif path != Path(os.devnull):
        path.unlink(missing_ok=True)


def _check(output: Output) -> None:
    """Raise JobError if an output is not what its rule says."""
    path = Path(output.path)
    if output.directory != os.path.isdir(path):
        expected = "a folder, as its directory() says" if output.directory else "a file"
        raise JobError(f"the output {path} is not {expected}")
    if output.non_empty and path.stat().st_size == 0:
        raise JobError(f"the output {path} is empty, and its rule ensures that it is not")
    if output.checksum:
        algorithm = output.checksum.partition(":")[0]
        with path.open("rb") as file:
            found = f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"
        if found != output.checksum:
            raise JobError(
                f"the output {path} has the checksum {found}, and its rule ensures {output.checksum}"
            )


def _touch(path: Path, directory: bool = False) -> None:
    """Give an existing output the present time: to a link itself, and to a folder by its timestamp."""
    if directory and not os.path.islink(path):
        path = path / TIMESTAMP
        path.touch()
    os.utime(path, follow_symlinks=False)


def _touch_or_create(path: Path, directory: bool = False) -> None:
    try:
        _touch(path, directory)
    except FileNotFoundError:
        path = path / TIMESTAMP if directory else path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def _protect(path: Path) -> None:
    """Take everybody's right to write into an output, and into all that a folder contains."""
    mode = path.lstat().st_mode & 0o7555
    if os.path.isdir(path):
        for folder, folders, files in os.walk(path, topdown=False):
            for name in (*folders, *files):
                Path(folder, name).chmod(mode)
    path.chmod(mode)
