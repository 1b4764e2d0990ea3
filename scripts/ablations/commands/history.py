"""The history that a command writes while it runs: JSON lines, or a table with a header."""

import csv
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ablations.files import read_bytes
from ablations.runs.records import AXES, write_table

Row = dict[str, float]
# Of a history; it is read whole, and again while the command runs.
MOST_BYTES = 2**28


def read_rows(path: Path) -> list[Row]:
    """The rows of a history, one for each step or epoch, in its order; a later value replaces an earlier one.

    Training and validation may each write a row for the same step, as Lightning does. A line that cannot be
    read is skipped: the last one may be incomplete while the command writes.
    """
    try:
        lines = read_bytes(path, MOST_BYTES).decode("utf-8", "replace").splitlines()
    except OSError:
        return []
    lines = [line for line in lines if line.strip()]
    table = bool(lines) and not lines[0].lstrip().startswith("{")
    rows: dict[tuple[str, float], Row] = {}
    for given in _table(lines) if table else map(_object, lines):
        row = {str(name): number for name, value in given.items() if (number := _number(value)) is not None}
        # With both, an epoch may have several steps.
        axis = next((name for name in AXES if name in row), None)
        if axis is not None:
            rows[axis, row[axis]] = rows.get((axis, row[axis]), {}) | row
    return [rows[at] for at in sorted(rows, key=lambda at: at[1])]


def _table(lines: list[str]) -> Iterable[Mapping[str, Any]]:
    delimiter = "\t" if "\t" in lines[0] else ","
    try:
        return list(csv.DictReader(lines, delimiter=delimiter))
    except csv.Error:
        return []


def _object(line: str) -> Mapping[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _number(value: object) -> float | None:
    if value is None or isinstance(value, (bool, list, dict)):
        return None
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def write_rows(path: Path, rows: list[Row]) -> None:
    """Write the rows as a history of the project, with the axis first; a column may be empty in some rows."""
    names = dict.fromkeys(name for row in rows for name in row)
    ordered = [*(name for name in AXES if name in names), *(name for name in names if name not in AXES)]
    write_table(path, ordered or AXES[:1], rows)


def progress(rows: list[Row], repeats: int | None) -> tuple[int, int, int] | None:
    """The steps or epochs that are completed, of how many, and of how many epochs (1 for steps).

    None where the history does not tell.

    `repeats` is the number of epochs or steps of the run, if its hyperparameters have it; otherwise each row
    may have it as `epochs` or `steps`.
    """
    if not rows:
        return None
    row = rows[-1]
    done = row.get("epoch", row.get("step", 0.0))
    total = repeats or row.get("epochs" if "epoch" in row else "steps", 0.0)
    if not (0 <= done <= total and total >= 1):
        return None
    return int(done), int(total), int(total) if "epoch" in row else 1
