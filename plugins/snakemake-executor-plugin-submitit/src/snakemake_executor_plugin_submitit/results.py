"""How a member of a pack ended: one small file for each, written by the job and read by the controller.

    results/P-M.json    member M of pack P, as {"exit": 0, "why": ""}

This module imports the standard library only.
"""

import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Result:
    """The final exit status of a member, and the reason if the executor itself ended it."""

    exit: int
    why: str = ""


def result_path(results: Path, pack: int, member: int) -> Path:
    """Where the result of a member is written."""
    return results / f"{pack}-{member}.json"


def parse_result_name(name: str) -> tuple[int, int] | None:
    """The pack and the member that a file name stands for; None for any other file."""
    stem, _, suffix = name.partition(".")
    pack, dash, member = stem.partition("-")
    if suffix != "json" or not dash or not pack.isdigit() or not member.isdigit():
        return None
    return int(pack), int(member)


def write_result(results: Path, pack: int, member: int, result: Result) -> None:
    """Write how a member ended. It will not run again."""
    write_json(result_path(results, pack, member), asdict(result))


def has_result(results: Path, pack: int, member: int) -> bool:
    """Whether a member has ended and will not run again."""
    return result_path(results, pack, member).exists()


def read_result(path: Path) -> Result | None:
    """The result in a file; None if the file is missing, incomplete or of another version."""
    try:
        result = Result(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return result if isinstance(result.exit, int) else None


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
