"""Merged records: whether they still are what the last merge in this directory made of the records.

Snakemake looks at times alone. A merge leaves a note in `.snakemake`, which results from elsewhere have not.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ablations.files import digest, write_text

NOTE = Path(".snakemake/merged_records.json")
# Of a note, in bytes: it holds four digests.
LARGEST_NOTE = 4096


def described(sources: Sequence[Path]) -> dict[str, str]:
    """What tells whether `sources` are still what they are now."""
    return {"sources": _names(sources), "times": _times(sources), "contents": _contents(sources)}


def note(merged: Sequence[Path], sources: Mapping[str, str]) -> None:
    """Note that the files in `merged` were made of sources that were `described` before they were read."""
    written = {"merged": _contents(merged), **sources}
    write_text(NOTE, json.dumps(written) + "\n")


def follow(merged: Sequence[Path], sources: Sequence[Path]) -> bool:
    """Whether the files in `merged` were made here, of what `sources` hold now.

    True also where a merge follows anyway: one of these files is missing, or the sources are others.
    """
    try:
        found = _read()
        if found.get("merged") != _contents(merged):
            return False
        if found.get("sources") != _names(sources) or found.get("times") == _times(sources):
            return True
        return bool(found.get("contents") == _contents(sources))
    except FileNotFoundError:
        return True


def _read() -> dict[str, object]:
    try:
        with NOTE.open("rb") as file:
            found = json.loads(file.read(LARGEST_NOTE))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _names(files: Sequence[Path]) -> str:
    return _digest(map(str, files))


def _times(files: Sequence[Path]) -> str:
    found = ((file, file.stat()) for file in files)
    return _digest(f"{file}\t{status.st_size}\t{status.st_mtime_ns}" for file, status in found)


def _contents(files: Sequence[Path]) -> str:
    return _digest(f"{file}\t{digest(file, 'sha256')}" for file in files)


def _digest(lines: Iterable[str]) -> str:
    found = hashlib.sha256()
    for line in lines:
        found.update(f"{line}\n".encode())
    return found.hexdigest()
