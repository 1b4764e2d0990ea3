"""The notifier: a command of the config that is told how a call ended."""

import os
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ablations.config.config import Config
from ablations.readable import as_line, readable
from ablations.search_path import without_ours
from ablations.tracking.status import failed_records

# How long the command may take; after it, it is killed.
PATIENCE_S = 30.0
# Of its output, the end that is read.
TAIL_BYTES = 4096
SHOWN_STUDIES = 10


@dataclass(frozen=True)
class Outcome:
    """How a call for some studies ended, and how many of their runs are finished, failed and missing."""

    studies: Sequence[str]
    succeeded: bool
    finished: int
    failed: int
    missing: int
    directory: str

    @property
    def subject(self) -> str:
        """One line: `part_a, part_b: failed`."""
        shown = ", ".join(self.studies[:SHOWN_STUDIES])
        more = len(self.studies) - SHOWN_STUDIES
        names = f"{shown} and {more} more" if more > 0 else shown
        return f"{names}: {'succeeded' if self.succeeded else 'failed'}"

    @property
    def text(self) -> str:
        """The whole message."""
        runs = f"Runs: {self.finished:,} finished, {self.failed:,} failed, {self.missing:,} missing"
        return f"{self.subject}\n{runs}\nDirectory: {self.directory}\n"

    def environment(self) -> dict[str, str]:
        """The message in variables."""
        parts = {
            "SUBJECT": self.subject,
            "MESSAGE": self.text,
            "STUDIES": " ".join(self.studies),
            "OUTCOME": "succeeded" if self.succeeded else "failed",
            "FINISHED": str(self.finished),
            "FAILED": str(self.failed),
            "MISSING": str(self.missing),
            "DIRECTORY": self.directory,
        }
        return {f"ABLATIONS_{name}": value for name, value in parts.items()}


def outcome(config: Config, succeeded: bool) -> Outcome:
    """How a call in the working directory ended."""
    runs = config.executed_runs()
    unfinished = [run for run in runs if not Path(run.record).exists()]
    failed = len(failed_records(unfinished))
    return Outcome(
        tuple(config.studies),
        succeeded,
        len(runs) - len(unfinished),
        failed,
        len(unfinished) - failed,
        readable(str(Path.cwd())),
    )


def notify(words: Sequence[str], told: Outcome, patience_s: float = PATIENCE_S) -> str:
    """Execute the command with the message on its input and in its environment.

    Returns why the command failed, as a sentence; empty if it did not.
    """
    try:
        # Files and no pipes: whatever a command leaves running, nothing waits for it.
        with tempfile.TemporaryFile() as message, tempfile.TemporaryFile() as output:
            message.write(told.text.encode())
            message.seek(0)
            process = subprocess.Popen(
                words,
                stdin=message,
                stdout=output,
                stderr=output,
                env=without_ours(os.environ) | told.environment(),
                # A group of its own, which can be killed whole.
                start_new_session=True,
            )
            status = _status(process, patience_s)
            output.seek(max(0, output.seek(0, os.SEEK_END) - TAIL_BYTES))
            lines = output.read(TAIL_BYTES).decode("utf-8", "replace").strip().splitlines()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        return _failed(words, f"cannot be executed ({reason})")
    if status is None:
        return _failed(words, f"had not ended after {patience_s:.0f} s, and was killed")
    last = f" ({as_line(lines[-1])})" if lines else ""
    return _failed(words, f"ended with exit status {status}{last}") if status else ""


def _status(process: "subprocess.Popen[bytes]", patience_s: float) -> int | None:
    """The exit status of a process; None if it was killed because it took too long."""
    try:
        return process.wait(patience_s)
    except subprocess.TimeoutExpired:
        return None
    finally:
        # Also if the user is too impatient to wait.
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _failed(words: Sequence[str], how: str) -> str:
    return f"notify: '{as_line(words[0])}' {how}; the results are not affected"
