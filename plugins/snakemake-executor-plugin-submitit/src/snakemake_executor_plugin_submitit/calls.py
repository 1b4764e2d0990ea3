"""The calls of Snakemake that share a folder: each holds one lock while it lives, whatever it submits.

<folder>/calls/<id>    locked while that call is alive; the kernel releases the lock of one that dies
"""

import fcntl
import os
import uuid
from contextlib import suppress
from pathlib import Path

from snakemake_executor_plugin_submitit.private_folder import make_private

# The calls of this process by their folder: an id, and the descriptor that keeps the lock.
_OWN: dict[Path, tuple[str, int]] = {}


def own_call(folder: Path) -> str:
    """The id of this call in `folder`, locked as long as this process lives. Raises OSError."""
    if folder not in _OWN:
        calls = folder / "calls"
        make_private(calls)
        for path in calls.iterdir():
            if not path.name.startswith(".") and is_alive(folder, path.name) is False:
                path.unlink(missing_ok=True)
        number = uuid.uuid4().hex[:12]
        # Named when it is locked: another call removes a file that nobody has locked.
        new = calls / f".{number}"
        handle = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        with suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        new.rename(calls / number)
        _OWN[folder] = number, handle
    return _OWN[folder][0]


def is_alive(folder: Path, call: str) -> bool | None:
    """Whether a call lives; None where the file system has no locks."""
    try:
        handle = os.open(folder / "calls" / call, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(handle)
    return False
