"""The results that a command leaves: its metrics, and its results per test item."""

import csv
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ablations.errors import AblationsError
from ablations.files import open_regular, read_text
from ablations.kinds.command import CommandKind, MetricSource
from ablations.kinds.metrics import Metric

# Larger files are not what they should be: metrics as JSON, and a log of metrics as a table.
MOST_JSON_BYTES, MOST_TABLE_BYTES = 1_000_000, 64_000_000
STATUSES = ("ok", "diverged")
# A share of items is computed in floats.
SHARE_TOLERANCE = 1e-6


def read_metrics(kind: CommandKind, given: Path, directory: Path, last_line: str) -> dict[str, Any]:
    """The status and the metrics of a command that has ended well, as columns of its record.

    They are read from `given` where the command wrote that file, and otherwise from the last line of its
    output; the metrics with a file of their own from there, in `directory`. A run that declares that it
    diverged needs no metrics.

    Raises AblationsError, naming the file and the key, for what is missing or not a number.
    """
    own_files = all(source.file for source in kind.sources.values())
    content, place = _given(given, last_line, optional=own_files)
    status = content.get("status", "ok")
    if status not in STATUSES:
        raise AblationsError(f"{place}: status is {_show(status)}; it may be {' or '.join(STATUSES)}")
    tables: dict[str, Any] = {}
    columns: dict[str, Any] = {"status": status}
    for name, source in kind.sources.items():
        where = place
        found = content
        if source.file:
            where = str(directory / source.file)
            found = tables[where] = tables.get(where) or _read_file(directory / source.file, status)
        value = _value(found, source, where, status)
        columns[name] = (
            None if value is None else _number(value, kind.metrics[name], f"{where}: {source.key}")
        )
    return columns


def _given(path: Path, last_line: str, optional: bool) -> tuple[dict[str, Any], str]:
    """The metrics, and where they were found; nothing if they are `optional` and not there."""
    if path.exists():
        return _parse(_text(path, MOST_JSON_BYTES), str(path)), str(path)
    place = "the last line of the output"
    if optional:
        try:
            return _parse(last_line, place), place
        except AblationsError:
            return {}, place
    if not last_line.startswith("{"):
        raise AblationsError(
            f"{path}: the command wrote no metrics there, and {place} is not JSON with them either"
        )
    return _parse(last_line, place), place


def _read_file(path: Path, status: str) -> dict[str, Any]:
    if not path.exists():
        if status == "diverged":
            return {}
        raise AblationsError(f"{path}: the command did not write this file")
    if path.suffix in (".tsv", ".csv"):
        return _last_values(path)
    return _parse(_text(path, MOST_JSON_BYTES), str(path))


def _text(path: Path, most: int) -> str:
    try:
        return read_text(path, most)
    except UnicodeDecodeError:
        raise AblationsError(f"{path}: it is not UTF-8 text") from None
    except OSError as error:
        raise AblationsError(f"{path}: it cannot be read ({error.strerror})") from None


def _parse(text: str, place: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        what = "more than one JSON value" if error.msg == "Extra data" else f"no JSON ({error})"
        raise AblationsError(f"{place}: it holds {what}; metrics are one JSON object") from None
    except RecursionError:
        raise AblationsError(f"{place}: its JSON is nested too deeply; metrics are one JSON object") from None
    except ValueError:  # of Python's limit of digits
        raise AblationsError(f"{place}: it has a number of thousands of digits") from None
    if not isinstance(content, dict):
        raise AblationsError(f"{place}: it holds {_show(content)}; metrics are one JSON object")
    return content


def _last_values(path: Path) -> dict[str, Any]:
    """The last value in each column of a table."""
    rows = csv.DictReader(
        _text(path, MOST_TABLE_BYTES).splitlines(), delimiter="\t" if path.suffix == ".tsv" else ","
    )
    try:
        return {name: value for row in rows for name, value in row.items() if name and value}
    except csv.Error as error:
        raise AblationsError(f"{path}: it is not a table ({error})") from None


def _value(content: Mapping[str, Any], source: MetricSource, where: str, status: str) -> Any:
    found: Any = content
    if source.key in content:
        found = content[source.key]
    else:
        for part in source.key.split("/"):
            found = found.get(part) if isinstance(found, Mapping) else None
    if found is None and status != "diverged":
        there = ", ".join(map(str, list(content)[:20])) or "nothing"
        raise AblationsError(f"{where}: the metric {source.key} is missing (there is {there})")
    return found


def _number(value: Any, metric: Metric, place: str) -> float | None:
    """The value as a number that its metric can have; None for the NaN of a run that diverged."""
    in_table = place.partition(": ")[0].endswith((".tsv", ".csv"))
    if isinstance(value, bool) or not isinstance(value, (int, float, str) if in_table else (int, float)):
        raise AblationsError(f"{place} is {_show(value)}, which is not a number")
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise AblationsError(f"{place} is {_show(value)}, which is not a number") from None
    if not math.isfinite(number):
        raise AblationsError(
            f"{place} is {number}; if the training diverged, its metrics hold the status diverged instead"
        )
    if objection := metric.objection(number):
        raise AblationsError(f"{place} is {number:g}; {objection}")
    return number


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def read_items(path: Path, metric: Metric, value: float | None) -> np.ndarray:
    """The results per test item, of shape (items,): booleans for a proportion, and otherwise scores.

    Raises AblationsError for a file that is missing, of another shape or type, or that contradicts the
    metric's `value`.
    """
    try:
        with open_regular(path) as file:
            found = np.load(file, allow_pickle=False)
    except FileNotFoundError:
        raise AblationsError(f"{path}: the command did not write its results per test item") from None
    except Exception as error:  # numpy's reader raises many types for what is damaged
        raise AblationsError(f"{path}: it is not an array that numpy.save wrote ({error})") from None
    if (
        not isinstance(found, np.ndarray)
        or found.ndim != 1
        or not found.size
        or found.dtype.kind not in "biuf"
    ):
        raise AblationsError(f"{path}: it does not hold one number or boolean for each test item")
    if metric.noise != "proportion":
        if not np.isfinite(found).all():
            raise AblationsError(f"{path}: not all of its scores are finite")
        return found.astype(np.float64)
    if len(found) != metric.items or not np.isin(found, (0, 1)).all():
        raise AblationsError(f"{path}: it does not hold true or false for each of the {metric.items:,} items")
    share = metric.whole * float(found.mean())
    if value is not None and abs(share - value) > SHARE_TOLERANCE * metric.whole:
        raise AblationsError(f"{path}: {share:g} of its items are correct, and {metric.column} is {value:g}")
    return found.astype(bool)
