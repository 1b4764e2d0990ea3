"""Progress of a training as lines in a log."""

import logging
import time
from collections.abc import Callable

log = logging.getLogger(__name__)


def progress_lines(every_s: float = 10.0) -> Callable[[int, int], None]:
    """An `on_step` that logs the number of steps and an ETA, at most every `every_s` seconds."""
    start = last = time.monotonic()
    before: int | None = None  # the steps of earlier attempts, which do not count for the speed

    def on_step(done: int, total: int) -> None:
        nonlocal last, before
        now = time.monotonic()
        if before is None:
            before = done - 1
        if now - last >= every_s:
            last = now
            speed = (done - before) / (now - start)
            eta = _clock((total - done) / speed)
            log.info("step %d of %d, %.1f steps/s, ETA %s", done, total, speed, eta)

    return on_step


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
