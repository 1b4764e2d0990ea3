"""Results that were made elsewhere: a table with one row per run, as CSV, TSV or Parquet."""

import csv
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ablations.errors import AblationsError, nearest
from ablations.files import open_regular, read_text
from ablations.kinds import Kind
from ablations.kinds.hyperparameters import SAFE_NAME, SAFE_NAME_RULE, spell
from ablations.runs.run import Run

# W&B and MLflow put one of these before the names of hyperparameters and metrics in their exports.
PREFIXES = ("", "params.", "metrics.", "config.", "summary.", "config/", "summary/")
# What a column `status` holds for a run that has ended; a row with another word is not used.
FINISHED = ("", "ok", "finished", "completed", "success")

# Of the columns of a table, those that a sentence names.
SHOWN_COLUMNS = 100
# Of a table. A line is held whole, and a file of Parquet of a few kilobytes can stand for a billion rows, or
# for a long text in each.
MOST_BYTES, MOST_CELLS, LONGEST_LINE = 2**28, 50_000_000, 2**20


def read_results(
    kind: Kind, path: Path, columns: Mapping[str, str], where: Mapping[str, Any], metrics: Sequence[str]
) -> dict[Run, dict[str, Any]]:
    """The runs in a table, each with the columns of its record that the table has.

    `columns` names the table's columns where they differ, and `where` gives the levels that it leaves out.
    `metrics` must be there. Rows of runs that did not finish are not used.

    Raises AblationsError, with the line, for what is missing, mistyped or there twice.
    """
    header, rows = _read(path)
    for name, given in columns.items():
        if given not in header:
            raise AblationsError(_no_column(path, given, header) + f"; it is to hold {name}")
    column = {name: _column(path, name, header, columns) for name in _names(kind)}
    for name in (*kind.required, *(["seed"] if kind.is_random else []), *metrics):
        if name not in where and column[name] is None:
            raise AblationsError(_no_column(path, name, header))
    found: dict[Run, dict[str, Any]] = {}
    lines: dict[Run, int] = {}
    for line, row in rows:
        texts = {name: row[place].strip() for name, place in column.items() if place is not None}
        for name, level in where.items():
            own = texts.get(name) or spell(level)
            if not _equal(kind, name, own, spell(level)):
                raise AblationsError(
                    f"{path}, line {line}, {column[name]}: it is '{own}', and `where` says {spell(level)}; "
                    "leave one of them out"
                )
            texts[name] = spell(level)
        status = texts.get("status", "").lower()
        if status not in (*FINISHED, "diverged"):
            continue
        run = _run(kind, texts, f"{path}, line {line}")
        if run in lines:
            raise AblationsError(
                f"{path}, line {line}: it is the same run as line {lines[run]}; leave one out"
            )
        lines[run] = line
        diverged = status == "diverged"
        found[run] = {"status": "diverged" if diverged else "ok"}
        needed = () if diverged else metrics
        for name in set(_measured(kind)) & texts.keys():
            if texts[name] or name in needed:
                place = f"{path}, line {line}, {column[name]}"
                found[run][name] = number = _number(texts[name], place)
                if name in kind.metrics and (objection := kind.metrics[name].objection(number)):
                    raise AblationsError(f"{place}: {number:g} is not possible; {objection}")
    return found


def _equal(kind: Kind, name: str, one: str, other: str) -> bool:
    """Whether two texts spell the same level of a hyperparameter; others are compared as they are."""
    if one == other or name not in kind.hyperparameters.model_fields:
        return one == other
    try:
        parse = kind.hyperparameters.parse_value
        return bool(parse(name, one) == parse(name, other))
    except ValidationError:
        return False


def _no_column(path: Path, name: str, header: Sequence[str]) -> str:
    there = ", ".join(header[:SHOWN_COLUMNS]) + (", …" if len(header) > SHOWN_COLUMNS else "")
    return f"{path}: it has no column '{name}'{nearest(name, header[:SHOWN_COLUMNS])} (there are {there})"


def _names(kind: Kind) -> list[str]:
    return [*kind.places, *kind.hyperparameters.model_fields, "status", *_measured(kind)]


def _measured(kind: Kind) -> list[str]:
    """The columns of a record that a table can have: its metrics, and how many items they are of."""
    metrics = [metric for name, metric in kind.metrics.items() if metric.column == name]
    items = [metric.items for metric in metrics if isinstance(metric.items, str)]
    return list(dict.fromkeys([*(metric.column for metric in metrics), *items]))


def _column(path: Path, name: str, header: Sequence[str], columns: Mapping[str, str]) -> str | None:
    if name in columns:
        return columns[name]
    found = [prefix + name for prefix in PREFIXES if prefix + name in header]
    if len(found) > 1:
        raise AblationsError(
            f"{path}: it has several columns for {name} ({', '.join(found)}); choose one with `columns`"
        )
    return found[0] if found else None


def _read(path: Path) -> tuple[list[str], Iterator[tuple[int, dict[str, str]]]]:
    """The header of a table, and its rows with their line numbers; a row of Parquet counts as a line."""
    try:
        if path.suffix == ".parquet":
            return _parquet(path)
        lines = read_text(path, MOST_BYTES).splitlines()
        if (longest := max(map(len, lines), default=0)) > LONGEST_LINE:
            raise ValueError(f"it has a line of {longest:,} characters, and may have {LONGEST_LINE:,}")
        reader = csv.reader(lines, delimiter="\t" if path.suffix == ".tsv" else ",")
        header = [name.strip() for name in next(reader, [])]
    except Exception as error:  # Arrow raises many types for what is damaged
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise AblationsError(f"{path}: it cannot be read as a table ({reason})") from None
    for name, count in Counter(header).items():
        if count > 1:
            raise AblationsError(f"{path}: it has the column '{name}' twice")
    return header, _rows(path, header, reader)


def _parquet(path: Path) -> tuple[list[str], Iterator[tuple[int, dict[str, str]]]]:
    from pyarrow import parquet

    # In batches: what the file says of its own size need not be true.
    with open_regular(path) as opened, parquet.ParquetFile(opened) as table:
        if (cells := table.metadata.num_rows * table.metadata.num_columns) > MOST_CELLS:
            raise ValueError(f"it has {cells:,} cells, and may have {MOST_CELLS:,}")
        rows, size = [], 0
        for batch in table.iter_batches(batch_size=100):
            if (size := size + batch.nbytes) > MOST_BYTES:
                raise ValueError(f"its values have more than {MOST_BYTES:,} bytes")
            rows += [{n: "" if v is None else str(v) for n, v in r.items()} for r in batch.to_pylist()]
        return table.schema_arrow.names, iter(enumerate(rows, 1))


def _rows(path: Path, header: Sequence[str], reader: Any) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        for fields in reader:
            if len(fields) not in (0, len(header)):
                raise AblationsError(
                    f"{path}, line {reader.line_num}: it has {len(fields)} fields, and the first line has "
                    f"{len(header)}"
                )
            if fields:
                yield reader.line_num, dict(zip(header, fields, strict=True))
    except csv.Error as error:
        raise AblationsError(f"{path}, line {reader.line_num}: {error}") from None


def _run(kind: Kind, texts: Mapping[str, str], place: str) -> Run:
    """The run of a row. An empty field is the default of its hyperparameter."""
    places = {**kind.fixed, **{name: texts[name] for name in kind.places}}
    for name, text in places.items():
        if not SAFE_NAME.fullmatch(text):
            raise AblationsError(f"{place}: {name} is '{text}'; a name holds only {SAFE_NAME_RULE}")
    cls = kind.hyperparameters
    given = {name: texts[name] for name in cls.model_fields if texts.get(name)}
    try:
        hyperparameters = cls.model_validate_strings(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0])
        raise AblationsError(f"{place}: {name} is '{given.get(name, '')}' ({first['msg']})") from None
    return Run(kind, places["dataset"], places["model"], hyperparameters)


def _number(text: str, place: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise AblationsError(
            f"{place}: '{text}' is not a number; if the run diverged, its status is to be 'diverged'"
        )
    return number
