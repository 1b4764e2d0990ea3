"""The process of a command: started in a shell, told to stop in time, and with nothing left behind."""

import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import psutil

from ablations.commands.output import Output
from ablations.runs.attempts import Stopped

log = logging.getLogger(__name__)

# How often the command is looked at while it runs.
POLL_S = 1.0
# After SIGTERM a command has this long to write its checkpoint and to exit.
GRACE_S = 60.0
# Processes that a command left behind have this long to end by themselves, and again after SIGTERM.
LEFT_GRACE_S = 5.0
PR_SET_CHILD_SUBREAPER = 36

# Bash would end at SIGTERM, and its job with it, before the command has written its checkpoint. With a trap
# it waits for the program that it executes, and executes no further one.
PREAMBLE = "trap 'exit 143' TERM\nset -eo pipefail\n"


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit status as a shell gives it, and the last line of its output.

    `left` is the number of processes that it left behind, which were ended. `stopped` is why it was told to
    stop, if it was.
    """

    status: int
    last_line: str
    left: int
    stopped: Stopped | None


class Command:
    """A command in a shell, with its own session."""

    def __init__(self, deadline: float | None) -> None:
        self._deadline, self._signal = deadline, ""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: object) -> None:
        self._signal = signal.Signals(number).name

    @property
    def reason_to_stop(self) -> Stopped | None:
        """Why the command has to stop now, or None."""
        if self._signal:
            return Stopped(f"it was told to stop ({self._signal})", "stopped")
        if self._deadline is not None and time.time() > self._deadline:
            return Stopped("its job is about to reach its time limit", "time-out")
        return None

    def execute(
        self, text: str, environment: Mapping[str, str], held: int, poll: Callable[[], None]
    ) -> Ended:
        """Execute `text` until it ends or has to stop; call `poll` about once a second meanwhile.

        `held` is a file descriptor that the command's processes keep open as long as they live.
        """
        adopt_orphans()
        process = subprocess.Popen(
            ["bash", "-c", PREAMBLE + text],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environment),
            start_new_session=True,
            pass_fds=(held,),
        )
        output = Output(process, sys.stderr.buffer)
        try:
            status, stopped = self._supervise(process, poll)
        except BaseException:
            _signal_group(process.pid, signal.SIGKILL)
            raise
        left = end_children()
        output.close()
        poll()
        return Ended(status if status >= 0 else 128 - status, output.last_line, left, stopped)

    def _supervise(
        self, process: "subprocess.Popen[bytes]", poll: Callable[[], None]
    ) -> tuple[int, Stopped | None]:
        """Wait for the end of the command; return its status, and why it was told to stop, if it was."""
        stopped, told_at = None, 0.0
        while True:
            try:
                status = process.wait(POLL_S)
                # SLURM and the executor tell all processes of a job: the command may have ended at once.
                return status, stopped or (self.reason_to_stop if self._signal else None)
            except subprocess.TimeoutExpired:
                poll()
            if stopped is None and (stopped := self.reason_to_stop):
                log.info("%s; the command is sent SIGTERM", stopped)
                told_at = time.monotonic()
                _signal_group(process.pid, signal.SIGTERM)
            elif stopped is not None and time.monotonic() - told_at > GRACE_S:
                log.warning("the command has not ended %.0f s after SIGTERM, and is killed", GRACE_S)
                _signal_group(process.pid, signal.SIGKILL)


def adopt_orphans() -> None:
    """Make this process the parent of its descendants that lose theirs, so that it can find them."""
    # Linux alone knows it; elsewhere only the descendants with a parent are found.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_children() -> int:
    """End every descendant of this process, and return how many did not end by themselves."""
    _, left = psutil.wait_procs(psutil.Process().children(recursive=True), LEFT_GRACE_S)
    alive = left
    for number in (signal.SIGTERM, signal.SIGKILL):
        for child in alive:
            _send(child, number)
        _, alive = psutil.wait_procs(alive, LEFT_GRACE_S)
    return len(left)


def _send(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except psutil.Error as error:
        log.debug("%s", error)


def _signal_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        log.debug("the command has ended already")
