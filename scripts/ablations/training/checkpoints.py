"""Checkpoints: what a run needs to go on where it was stopped, as if it had not been.

A checkpoint lies beside the record, where Snakemake, which deletes the outputs of a failed job, does
not know of it. It is written atomically, holds the digest of its content, and is removed when the
run is done.
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

from ablations.files import atomic_path
from ablations.runs.attempts import Attempt, Stopped

log = logging.getLogger(__name__)

# A checkpoint is written when this many seconds passed, and writing takes no more than this share.
INTERVAL_S = 60.0
WRITING_SHARE = 0.02


class Checkpoint:
    """The checkpoint of one run, written together with the state file of the attempt.

    The identity of the attempt is what has to be the same for a checkpoint to be used: the run and its
    data. Where `interval_s` is zero, there is a checkpoint after every step, whatever it costs.
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
        """The state of the last checkpoint, or None where there is none that can be used.

        One that is damaged, or of another run or other data, is reported and not used.
        """
        try:
            with self.path.open("rb") as file:
                expected, payload = file.readline().strip(), file.read()
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
        except Exception as error:  # the reader raises many kinds; all mean that the file is no good
            log.warning("%s is no checkpoint (%s): the run starts over", self.path, error)
            return None
        if identity != self.identity:
            different = [key for key in self.identity if identity.get(key) != self.identity[key]]
            log.warning(
                "%s is of another %s: the run starts over", self.path, " and ".join(different) or "run"
            )
            return None
        return state

    def save(self, state: Mapping[str, Any]) -> None:
        """Write a checkpoint in place of the last one.

        Where the disk is full, a run that goes on goes on; one that has to stop says that it could not
        write.
        """
        try:
            self._save(state)
        except OSError as error:
            problem = f"{self.path} cannot be written ({error.strerror})"
            if reason := self.reason_to_stop:
                raise Stopped(f"{reason}, and {problem}", reason.why) from None
            log.warning("%s: the last checkpoint stays", problem)
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
        """Remove the checkpoint: the run is done."""
        self.path.unlink(missing_ok=True)
        # What an attempt that was killed while it wrote has left.
        for left in self.path.parent.glob(f".{self.path.name}.*.tmp"):
            left.unlink(missing_ok=True)

    # --- when ---

    def catch_signals(self) -> None:
        """From now on SIGTERM, SIGINT and SIGUSR2 stop the run at its next step, with a checkpoint."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: object) -> None:
        self._signal = signal.Signals(number).name

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
