"""Checkpoints: the state from which a stopped run resumes, and ends as an undisturbed one would.

A checkpoint is a file beside the record. It is not an output of a rule: Snakemake deletes the outputs of a
failed job. It is written atomically, contains the digest of its content, and is removed when the run is
done.
"""

import hashlib
import io
import logging
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ablations.files import atomic_path, open_regular
from ablations.runs.attempts import Attempt, Stopped

log = logging.getLogger(__name__)

# A checkpoint is written at most this often, in seconds, and writing takes at most this share of the time.
INTERVAL_S = 60.0
WRITING_SHARE = 0.02
# The first line of a file: its SHA-256.
DIGEST_BYTES = 65


class Checkpoint:
    """The checkpoint of one run, written together with the state file of the attempt.

    A checkpoint is used only if its identity (run, data, device, ...) is that of `attempt`. After
    `deadline` (seconds since the epoch, or None) the run stops. If `interval_s` is zero, a checkpoint is
    written after every step.
    """

    def __init__(
        self,
        path: Path,
        attempt: Attempt,
        deadline: float | None = None,
        interval_s: float = INTERVAL_S,
    ) -> None:
        self.path = path
        self.attempt = attempt
        self.identity = attempt.identity
        self.deadline = deadline
        self._written = time.monotonic()
        self._least_interval = self._interval = interval_s
        self._signal: str | None = None

    # --- the state ---

    def load(self) -> dict[str, Any] | None:
        """The state of the last checkpoint, or None if there is none that can be used.

        A checkpoint that is damaged, or has another identity, is reported in the log and not used.
        """
        try:
            with open_regular(self.path) as file:
                expected, payload = file.readline(DIGEST_BYTES).strip(), file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("%s cannot be read (%s): the run starts over", self.path, error.strerror)
            return None
        if hashlib.sha256(payload).hexdigest().encode() != expected:
            log.warning("%s is damaged (its digest does not match): the run starts over", self.path)
            return None
        try:
            state = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
            identity = state["identity"]
        except Exception as error:  # the reader raises many types; all mean that the file is unusable
            log.warning("%s is not a checkpoint (%s): the run starts over", self.path, error)
            return None
        if identity != self.identity:
            different = [key for key in self.identity if identity.get(key) != self.identity[key]]
            log.warning(
                "%s is of another %s: the run starts over",
                self.path,
                " and ".join(different) or "run",
            )
            return None
        return state

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the last checkpoint by one of this state.

        If it cannot be written (the disk is full), the last one stays and the run continues. Raises
        AblationsError if it cannot be written and the run has to stop.
        """
        try:
            self._save(state)
        except OSError as error:
            problem = f"{self.path} cannot be written ({error.strerror})"
            if reason := self.reason_to_stop:
                raise Stopped(f"{reason}, and {problem}", reason.why) from None
            log.warning("%s: the last checkpoint is kept", problem)
            self._written = time.monotonic()

    def _save(self, state: Mapping[str, Any]) -> None:
        start = time.monotonic()
        buffer = io.BytesIO()
        torch.save({"identity": self.identity, **state}, buffer)
        payload = buffer.getbuffer()
        with atomic_path(self.path) as temporary, temporary.open("wb") as file:
            file.write(hashlib.sha256(payload).hexdigest().encode() + b"\n")
            file.write(payload)
        self.attempt.write()
        self._written = time.monotonic()
        if self._least_interval > 0:
            self._interval = max(self._least_interval, (self._written - start) / WRITING_SHARE)

    def remove(self) -> None:
        """Remove the checkpoint: the run is done. What cannot be removed costs space, and not the run."""
        try:
            self.path.unlink(missing_ok=True)
            # Attempts that were killed while they wrote a checkpoint leave temporary files.
            for left in self.path.parent.glob(f".{self.path.name}.*.tmp"):
                left.unlink(missing_ok=True)
        except OSError as error:
            log.warning("%s is no longer needed, and cannot be removed (%s)", self.path, error.strerror)

    # --- when ---

    def catch_signals(self) -> None:
        """From now on SIGTERM, SIGINT and SIGUSR2 stop the run after its current step, with a checkpoint."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: object) -> None:
        self.stop(signal.Signals(number).name)

    def stop(self, name: str) -> None:
        """Stop the run after its current step, as the signal of this name does."""
        self._signal = name

    @property
    def reason_to_stop(self) -> Stopped | None:
        """Why the run has to stop now, or None."""
        if self._signal is not None:
            return Stopped(f"it was told to stop ({self._signal})", "stopped")
        if self.deadline is not None and time.time() > self.deadline:
            return Stopped("its job is about to reach its time limit", "time-out")
        return None

    @property
    def due(self) -> bool:
        """Whether it is time for another checkpoint."""
        return time.monotonic() - self._written > self._interval
