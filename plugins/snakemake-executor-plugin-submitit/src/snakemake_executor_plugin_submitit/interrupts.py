"""The handlers of SIGTERM and SIGINT: a call is interrupted once, and then cancels its jobs in peace."""

import os
import signal
from types import FrameType


def interrupt_once(number: int, frame: FrameType | None) -> None:
    """As Ctrl-C, which still works; SLURM and its script of this call may both send SIGTERM at once."""
    signal.signal(signal.SIGTERM, ask_for_patience)
    raise KeyboardInterrupt


def ask_for_patience(number: int, frame: FrameType | None) -> None:
    """Say that the jobs are being cancelled, and let that continue."""
    # Not through the logger: the signal may have interrupted it.
    os.write(2, b"The jobs are being cancelled; this takes a moment.\n")
