"""The state of a run that is not completed: `state.json`, which the run writes beside its record.

The run replaces the file as it proceeds and removes it with its last step. The file of a run whose process
was killed stays as it was.
"""

import json
import os
import platform
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from ablations.files import read_bytes, write_text
from ablations.runs.provenance import ASKED, seconds_since_start
from ablations.runs.run import Run

NAME = "state.json"
# Many times what a run writes.
MOST_BYTES = 2**22

Why = Literal["error", "out of memory", "time-out", "stopped"]
Count = Annotated[int, Field(ge=0, lt=2**53)]
# Of the epoch, until the year 5138.
Seconds = Annotated[float, Field(ge=0, lt=1e11, allow_inf_nan=False)]


@dataclass(frozen=True)
class Process:
    """A process that executes a run: its id on its host, and its SLURM job if it has one.

    `started_at` is in seconds of the epoch.
    """

    id: Annotated[int, Field(gt=0, lt=2**31)]
    host: str
    job: str | None
    started_at: Seconds

    @classmethod
    def current(cls) -> "Process":
        """The process that calls, or the one that asked it for the run whose turn it is."""
        job, asked = os.environ.get("SLURM_JOB_ID"), ASKED.get()
        number = asked.process if asked else os.getpid()
        return cls(number, platform.node(), job, round(time.time() - seconds_since_start(), 3))

    def __str__(self) -> str:
        return f"process {self.id} on {self.host}" + (f" (job {self.job})" if self.job else "")


@dataclass(frozen=True)
class Progress:
    """The current epoch of `epochs`, and the steps completed of all `steps`.

    `eta_s` is the time left in seconds, from when the file was written; None until it can be estimated.
    """

    epoch: Count
    epochs: Count
    step: Count
    steps: Annotated[int, Field(gt=0, lt=2**53)]
    eta_s: Seconds | None = None


@dataclass(frozen=True)
class Stop:
    """Why an attempt ended without a record, and its error as text."""

    why: Why
    error: str


@dataclass(frozen=True)
class RunState:
    """The content of `state.json`.

    process: the process that executes the run, or that was the last to do so.
    identity: what must be equal for attempts to be added up, such as the device and the data.
    attempts_s: the seconds of each attempt with this identity. The last one is that of `process`, once the
        process knows its own identity.
    updated_at: when the file was written, in seconds of the epoch.
    """

    process: Process
    identity: dict[str, str] = field(default_factory=dict)
    attempts_s: tuple[Seconds, ...] = ()
    progress: Progress | None = None
    stopped: Stop | None = None
    updated_at: Seconds = 0.0


_reader = TypeAdapter(RunState)


def read(path: Path) -> RunState | None:
    """The state in `path`; None where there is none, or where the file is damaged or of another format."""
    try:
        return _reader.validate_json(read_bytes(path, MOST_BYTES))
    except (OSError, ValidationError):
        return None


def last_notes(runs: Iterable[Run]) -> dict[str, int]:
    """When each of the runs that have a state file last wrote it, in nanoseconds, by its directory."""
    found = {}
    for run in runs:
        # A run that ends meanwhile removes it.
        with suppress(OSError):
            found[run.directory] = Path(run.directory, NAME).stat().st_mtime_ns
    return found


def write(path: Path, state: RunState, *, to_disk: bool = True) -> None:
    """Write `state` to `path` atomically.

    Without `to_disk` the file may be lost if the machine crashes, but the caller does not wait for the disk.
    """
    write_text(path, json.dumps(asdict(state), indent=1) + "\n", to_disk=to_disk)


def remove(path: Path) -> None:
    """Remove the file, and what a process that was killed while writing it has left."""
    for left in (path, *path.parent.glob(f".{path.name}.*.tmp")):
        left.unlink(missing_ok=True)
