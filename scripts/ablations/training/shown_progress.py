"""Progress of a training, as people see it: a bar on a terminal, lines in a log."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)


@contextmanager
def shown_progress() -> Iterator[Callable[[int, int], None]]:
    """An `on_step` that shows how many of all steps are done, on what standard error is."""
    if not sys.stderr.isatty():
        yield progress_lines()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    shown = (TextColumn("steps"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*shown, console=Console(stderr=True)) as bar:
        task = bar.add_task("steps", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


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
