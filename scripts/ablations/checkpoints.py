"""Checkpoints: what a run needs to go on where it was stopped, as if it had not been.

A checkpoint lies beside the record, where Snakemake, which deletes the outputs of a failed job, does
not know of it. It is written atomically, holds the digest of its content, and is removed when the
run is done.
"""

import hashlib
import io
import json
import logging
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ablations.errors import AblationsError
from ablations.files import atomic_path, write_text
from ablations.provenance import seconds_since_start

log = logging.getLogger(__name__)

# A checkpoint is written when this many seconds passed, and writing takes no more than this share.
INTERVAL_S = 60.0
WRITING_SHARE = 0.02
# Before the end of its job a run stops this early, or a quarter of the limit where that is less: it
# has to finish a step, write, and be seen to end.
MARGIN_S = 90.0


class Stopped(AblationsError):
    """The run was told to stop, or its job is about to end; its checkpoint is written."""


class Checkpoint:
    """The checkpoint of one run, and the account of the attempts at it.

    `identity` is what has to be the same for a checkpoint to be used: the run and its data. Where
    `interval_s` is zero, there is a checkpoint after every step, whatever it costs.
    """

    def __init__(
        self,
        path: Path,
        identity: Mapping[str, str],
        deadline: float | None = None,
        interval_s: float = INTERVAL_S,
    ) -> None:
        self.path = path
        self.identity = dict(identity)
        self.deadline = deadline
        self.attempts = [*self._read_attempts(), 0.0]
        self._written = time.monotonic()
        self._least_interval = self._interval = interval_s
        self._signal: str | None = None
        self._write_attempts()

    # --- the account of attempts ---

    @property
    def _account(self) -> Path:
        return self.path.with_name("attempts.json")

    def _read_attempts(self) -> list[float]:
        try:
            found = json.loads(self._account.read_text(encoding="utf-8"))
            return [float(seconds) for seconds in found["seconds"]] if found["run"] == self.identity else []
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("%s is not readable (%s): earlier attempts are not counted", self._account, error)
            return []

    def _write_attempts(self) -> None:
        self.attempts[-1] = round(seconds_since_start(), 3)
        write_text(self._account, json.dumps({"run": self.identity, "seconds": self.attempts}))

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
            if self.reason_to_stop:
                raise AblationsError(f"{self.reason_to_stop}, and {problem}") from None
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
        self._write_attempts()
        self._written = time.monotonic()
        if self._least_interval > 0:
            self._interval = max(self._least_interval, (self._written - start) / WRITING_SHARE)

    def remove(self) -> None:
        """Remove the checkpoint and the account: the run is done."""
        self.path.unlink(missing_ok=True)
        self._account.unlink(missing_ok=True)
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
    def reason_to_stop(self) -> str | None:
        """Why the run has to stop now, or None."""
        if self._signal is not None:
            return f"it was told to stop ({self._signal})"
        if self.deadline is not None and time.time() > self.deadline:
            return "its job is about to reach its time limit"
        return None

    @property
    def due(self) -> bool:
        """Whether it is time for another checkpoint."""
        return time.monotonic() - self._written > self._interval


def job_deadline(environment: Mapping[str, str], limit_s: float | None) -> float | None:
    """When a run has to stop, in seconds of the epoch, with a margin before its job is ended.

    SLURM tells a job its end; where it was stripped from the environment, the limit counts from
    the start of this process. Outside a SLURM job nothing ends a run, and there is no deadline.
    """
    if "SLURM_JOB_ID" not in environment:
        return None
    now, lived = time.time(), seconds_since_start()
    if environment.get("SLURM_JOB_END_TIME", "").isdigit():
        end = float(environment["SLURM_JOB_END_TIME"])
        limit_s = limit_s or end - now + lived
    elif limit_s:
        end = now - lived + limit_s
    else:
        return None
    return end - min(MARGIN_S, limit_s / 4)
