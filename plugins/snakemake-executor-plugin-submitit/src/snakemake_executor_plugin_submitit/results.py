"""How a member of a pack ended: one small file for each, written by the job and read by the controller.

    results/P-M.json    member M of pack P, as {"exit": 0, "why": ""}

This module imports the standard library only.
"""

import errno
import json
import os
import re
import stat
import tempfile
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

# In bytes: a manifest of 100,000 members has about 30 million.
LARGEST_FILE = 2**27


@dataclass(frozen=True)
class Result:
    """The final exit status of a member, and the reason if the executor itself ended it."""

    exit: int
    why: str = ""


def read_bytes(path: Path) -> bytes:
    """The content of a regular file. Raises OSError, also for one of more than LARGEST_FILE bytes."""
    # Without O_NONBLOCK, opening a pipe would wait for its writer.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode) or found.st_size > LARGEST_FILE:
        os.close(handle)
        raise OSError(errno.EINVAL, f"it is not a regular file of at most {LARGEST_FILE:,} bytes", str(path))
    with os.fdopen(handle, "rb") as file:
        return file.read(found.st_size)


def read_json(path: Path) -> Any:
    """The content of a JSON file; None if there is none that can be read."""
    try:
        return json.loads(read_bytes(path))
    except (OSError, ValueError, RecursionError):
        return None


def result_path(results: Path, pack: int, member: int) -> Path:
    """Where the result of a member is written."""
    return results / f"{pack}-{member}.json"


def parse_result_name(name: str) -> tuple[int, int] | None:
    """The pack and the member that a file name stands for; None for any other file."""
    found = re.fullmatch(r"([0-9]{1,9})-([0-9]{1,9})\.json", name)
    return (int(found[1]), int(found[2])) if found else None


def write_result(results: Path, pack: int, member: int, result: Result) -> None:
    """Write how a member ended. It will not run again."""
    write_json(result_path(results, pack, member), asdict(result))


def has_result(results: Path, pack: int, member: int) -> bool:
    """Whether a member has ended and will not run again."""
    return result_path(results, pack, member).exists()


def read_result(path: Path) -> Result | None:
    """The result in a file; None if the file is missing, incomplete or of another version."""
    try:
        result = Result(**read_json(path))
    except TypeError:
        return None
    return result if isinstance(result.exit, int) and isinstance(result.why, str) else None


def refresh(folder: Path) -> None:
    """Make a network file system list a folder again: a local change ends its cache, if one is possible."""
    probe = folder / f".probe-{uuid.uuid4().hex}"
    with suppress(OSError):
        probe.touch()
        probe.unlink()


def write_json(path: Path, content: object) -> None:
    """Write `content` durably, so that a reader sees either all of it or the earlier content."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(content, file)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
