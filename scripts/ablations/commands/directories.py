"""The files of a run that executes a command, beside its record."""

import fcntl
import logging
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ablations.errors import AblationsError
from ablations.files import refuse_links

log = logging.getLogger(__name__)

WAIT_S = 1.0


class Directories:
    """What a command is given: `files` for this attempt, `checkpoints` and `history` for all attempts."""

    def __init__(self, record: Path) -> None:
        self.files = record.with_name("files")
        self.checkpoints = record.with_name("checkpoints")
        self.history = record.with_name("history.jsonl")
        self.metrics = self.files / "metrics.json"
        self.items = self.files / "items.npy"
        self.lock = record.with_name("command.lock")

    def prepare(self) -> None:
        """Empty what belongs to an attempt, and create what is missing.

        Raises AblationsError where a link leads elsewhere what the command writes.
        """
        refuse_links(self.checkpoints, self.history)
        _remove(self.files)
        self.files.mkdir()
        self.checkpoints.mkdir(exist_ok=True)

    def clean(self, keep: Sequence[str]) -> None:
        """Remove what a finished run does not need; what matches a pattern in `keep` stays.

        The run is completed: what cannot be removed costs space, and not the run.
        """
        try:
            for path in (self.checkpoints, self.history, self.lock):
                _remove(path)
            # `results` may be a link: what a link in it points to has the other path.
            files = self.files.resolve()
            kept = {path for pattern in keep for path in files.glob(pattern)}
            # What a link that is kept points to.
            kept |= {path.resolve() for path in kept}
            for path in sorted(files.rglob("*"), reverse=True):
                if not any(path in (each, *each.parents) or each in path.parents for each in kept):
                    _remove(path)
            if not kept:
                _remove(self.files)
        except OSError as error:
            log.warning("not all files of the run could be removed (%s)", error)

    @contextmanager
    def held(self, deadline: float | None) -> Iterator[int]:
        """A descriptor of a lock that lasts as long as the last process of this attempt's command.

        If the process that supervised an earlier attempt was killed, its command may still be running, and
        writing to the same files. This waits until it has ended, at most until `deadline`.
        """
        refuse_links(self.lock)
        descriptor = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            waiting = False
            while not _lock(descriptor):
                if not waiting:
                    log.info("the command of an earlier attempt is still running; waiting for it to end")
                waiting = True
                if deadline is not None and time.time() > deadline:
                    raise AblationsError(
                        f"{self.lock}: the command of an earlier attempt is still running; end its "
                        "processes, and run the same command to resume"
                    )
                time.sleep(WAIT_S)
            yield descriptor
        finally:
            os.close(descriptor)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        log.warning("the file system has no locks (%s): an earlier command may still be running", error)
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
