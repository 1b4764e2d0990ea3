"""Records: the one-row TSV that a run leaves, checked when written and again when merged."""

import csv
import io
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ablations.errors import AblationsError, one_line
from ablations.files import atomic_path, read_text, write_text
from ablations.kinds import KINDS, Kind
from ablations.kinds.hyperparameters import spell
from ablations.kinds.kind import PROFILE_COLUMNS
from ablations.kinds.record import Record
from ablations.readable import as_field, readable
from ablations.runs.run import Run

log = logging.getLogger(__name__)

PLACES = ("kind", "dataset", "model")
# What numbers the rows of a history: the first of these that it has.
AXES = ("step", "epoch")
MOST_STEPS = 2**53
# Milliseconds: 30,000 years.
MOST_MS = 1e15
# A count in a profile.
COUNT = re.compile(r"[0-9]{1,18}")


def columns(kind: Kind) -> list[str]:
    """The columns of a record of that kind, in order."""
    return [*PLACES, *kind.hyperparameters.model_fields, *kind.record.columns()]


def write_record(path: Path, run: Run, record: Record) -> None:
    """Write the record of `run` to `path`, atomically."""
    write_table(path, columns(run.kind), [{**run.values(), **_rounded(dict(record), record.DECIMALS)}])


def write_table(path: Path, names: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as TSV, atomically; a value that is None or absent leaves its field empty."""
    out = io.StringIO()
    writer = csv.writer(
        out, dialect="excel-tab", lineterminator="\n", quoting=csv.QUOTE_NONE, escapechar=None
    )
    writer.writerow(map(_field, names))
    for row in rows:
        writer.writerow([_field(row.get(name)) for name in names])
    write_text(path, out.getvalue())


def write_parquet(path: Path, names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as Parquet, atomically, each column in the type of its values.

    A column of several types (`train_samples` is a number or `all`) is text.
    """
    import pyarrow
    from pyarrow import parquet

    columns = {}
    for name in names:
        values = [row.get(name) for row in rows]
        kinds = {type(value) for value in values} - {type(None)}
        if len(kinds) > 1 and kinds != {int, float}:
            values = [None if value is None else spell(value) for value in values]
        columns[name] = pyarrow.array(values)
    with atomic_path(path) as temporary:
        parquet.write_table(pyarrow.table(columns), temporary)


def _field(value: Any) -> str:
    if value is None:
        return ""
    # A host or device may have any name; a record has one line and its columns.
    return as_field(spell(value)).replace('"', "'")


def write_history(path: Path, epochs: Sequence[Any], epoch_type: type) -> None:
    """Write a run's history, one row per epoch (a dataclass), atomically; it may have no rows.

    A column that is optional in `epoch_type` is left out where no epoch has a value of it.
    """
    rows = [_rounded(asdict(epoch), Record.DECIMALS) for epoch in epochs]
    names = [
        field.name
        for field in fields(epoch_type)
        if field.default is MISSING or any(row[field.name] is not None for row in rows)
    ]
    write_table(path, names, rows)


def read_history(path: Path) -> list[dict[str, float]]:
    """The rows of a run's history; none where there is none that can be read whole."""
    try:
        table = csv.DictReader(io.StringIO(read_text(path), newline=""), delimiter="\t")
        rows = [{name: float(value) for name, value in row.items() if value != ""} for row in table]
        if not all(0 <= next((row[axis] for axis in AXES if axis in row), -1) < MOST_STEPS for row in rows):
            raise ValueError("its rows are not numbered")
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, csv.Error) as error:
        log.warning("%s", one_line(f"{path} is not a history, and is not used ({error})"))
        return []
    return rows


def _rounded(measured: Mapping[str, Any], decimals: int | None) -> dict[str, Any]:
    """Measured numbers without the digits that mean nothing; a hyperparameter keeps all of its own."""
    if decimals is None:
        return dict(measured)
    return {k: round(v, decimals) if isinstance(v, float) else v for k, v in measured.items()}


def quick_record(path: Path) -> dict[str, str] | None:
    """The columns of a record as text, unchecked, or None where there is none that can be read.

    For a glance at thousands of them; what enters a table goes through `read_record`.
    """
    try:
        names, values = read_text(path).split("\n", 2)[:2]
        record = dict(zip(names.split("\t"), map(readable, values.split("\t")), strict=True))
        times = [abs(float(value)) for name, value in record.items() if name.endswith("_ms") and value]
    except (OSError, ValueError):
        return None
    is_one = {*PLACES, "status"} <= record.keys() and all(time < MOST_MS for time in times)
    return record if is_one else None


def read_record(path: Path, kinds: Mapping[str, Kind] = KINDS) -> tuple[Run, Record]:
    """Read a record of one of `kinds` and check it whole.

    Raises AblationsError, naming the file and what is wrong, for a file that is missing, truncated,
    mistyped, or no record.
    """
    try:
        text = read_text(path)
    except OSError as error:
        raise AblationsError(f"{path}: the record cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise AblationsError(_advice(path, "it is not UTF-8 text")) from None
    if not text.endswith("\n"):
        raise AblationsError(_advice(path, "it is truncated: its last line is incomplete"))
    lines = text.split("\n")[:-1]
    if len(lines) != 2:
        raise AblationsError(_advice(path, f"it has {len(lines)} lines; a record has a header and one row"))
    names, values = lines[0].split("\t"), lines[1].split("\t")
    if len(names) != len(values):
        raise AblationsError(_advice(path, f"it has {len(names)} columns and {len(values)} values"))
    row = {name: value for name, value in zip(names, values, strict=True) if value != ""}
    if row.get("kind") not in kinds:
        raise AblationsError(
            _advice(path, f"its kind is '{row.get('kind', '')}'; a record's is {' or '.join(kinds)}")
        )
    kind = kinds[row["kind"]]
    # A hyperparameter that is newer than the record has its default there.
    newer = {name for name, field in kind.hyperparameters.model_fields.items() if not field.is_required()}
    newer |= {*kind.record.ADDED}
    expected = {name for name in columns(kind) if name in names or name not in newer}
    if strange := sorted(expected - set(names) if kind.record.OPEN else set(names) ^ expected):
        what = f"the columns {', '.join(strange[:20])} are too many or missing"
        raise AblationsError(_advice(path, f"it is not a record of this version: {what}"))
    try:
        hyperparameters = kind.hyperparameters.model_validate_strings(
            {name: row[name] for name in kind.hyperparameters.model_fields if name in row}
        )
        record = kind.record.model_validate_strings(
            {name: row[name] for name in kind.record.model_fields if name in row}
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0]) if first["loc"] else kind.main_metric
        raise AblationsError(_advice(path, f"its {name} is '{row.get(name, '')}' ({first['msg']})")) from None
    if "dataset" not in row or "model" not in row:
        raise AblationsError(_advice(path, "it has no dataset or no model"))
    return Run(kind, row["dataset"], row["model"], hyperparameters), record


def _advice(path: Path, problem: str) -> str:
    return f"{path}: {problem}; delete it, and run the same command to repeat that run"


# --- merging -------------------------------------------------------------------------------------


def merge(
    paths: Iterable[Path],
    root: Path,
    profiles: Mapping[tuple[str, str], Mapping[str, Any]],
    kinds: Mapping[str, Kind] = KINDS,
    results: Mapping[Run, Mapping[str, Any]] | None = None,
) -> tuple[list[str], list[dict[str, Any]]]:
    """Read all records, in order, and join the profile of each (dataset, model).

    `root` is the directory that the runs' paths are relative to, and `results` are runs that have no record
    of their own, with what is known of them. Returns the columns and the rows.

    Raises AblationsError for a record that is damaged, a duplicate, or in the directory of
    another run.
    """
    seen: dict[Run, Path] = {}
    measured: dict[Run, Mapping[str, Any]] = {}
    for path in paths:
        run, record = read_record(path, kinds)
        if run in seen:
            raise AblationsError(f"{path}: it is the same run as {seen[run]}; delete one of them")
        seen[run] = path
        if (root / run.record).resolve() != path.resolve():
            raise AblationsError(
                _advice(path, f"this record is in the wrong directory; it belongs in {run.record}")
            )
        measured[run] = dict(record)
    measured |= results or {}
    rows = [
        {
            **run.values(),
            **columns,
            **(profiles.get((run.dataset, run.model), {}) if run.kind.models_are_counted else {}),
        }
        for run, columns in measured.items()
    ]
    used = {run.kind for run in measured}
    joined = dict.fromkeys(PLACES)
    found = [kind for kind in kinds.values() if kind in used]
    for kind in found:
        joined |= dict.fromkeys(kind.hyperparameters.model_fields)
    for kind in found:
        joined |= dict.fromkeys(kind.record.columns())
    if any(kind.models_are_counted for kind in found):
        joined |= dict.fromkeys(PROFILE_COLUMNS)
    longest = {kind.record.LONGEST for kind in found}
    return sorted(joined, key=lambda name: name in longest), rows


def read_profile(path: Path) -> dict[str, int]:
    """The counts of one model, as `scripts/profile_model.py` wrote them."""
    try:
        lines = read_text(path).split("\n")
        row = dict(zip(lines[0].split("\t"), lines[1].split("\t"), strict=True))
        if wrong := [name for name in PROFILE_COLUMNS if not COUNT.fullmatch(row[name])]:
            raise ValueError(f"its {wrong[0]} is not a number of at most 18 digits")
        return {name: int(row[name]) for name in PROFILE_COLUMNS}
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise AblationsError(
            f"{path}: it is not a model's profile ({error}); delete it, and run the same command again"
        ) from None
