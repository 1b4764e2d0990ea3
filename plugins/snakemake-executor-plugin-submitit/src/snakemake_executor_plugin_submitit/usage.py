"""What a member of a pack used: one small file beside its result, unless its allocation was requeued.

    results/P-M.usage    member M of pack P, as {"seconds": 81.2, "cpu_seconds": 80.1, "memory_mb": 900.0}

This module imports the standard library only.
"""

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from snakemake_executor_plugin_submitit.results import read_json


@dataclass(frozen=True)
class Usage:
    """What a member used in one attempt; its memory is the largest that was seen, in MiB."""

    seconds: float
    cpu_seconds: float
    memory_mb: float


def write_usage(results: Path, pack: int, member: int, usage: Usage) -> None:
    """Write what a member used; without it, a summary lacks this member."""
    with suppress(OSError):
        _path(results, pack, member).write_text(json.dumps(asdict(usage)), encoding="utf-8")


def read_usage(results: Path, pack: int, member: int) -> Usage | None:
    """What a member used; None if that is not known."""
    content = read_json(_path(results, pack, member))
    try:
        usage = Usage(**content)
        plausible = all(isinstance(number, float) and 0 <= number < 1e12 for number in asdict(usage).values())
    except TypeError:
        return None
    return usage if plausible else None


def _path(results: Path, pack: int, member: int) -> Path:
    return results / f"{pack}-{member}.usage"
