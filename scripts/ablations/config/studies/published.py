"""Published files: the values of a paper with their levels, read and checked before any run."""

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from ablations.config.studies.printed import read_printed
from ablations.config.studies.study import Study
from ablations.errors import AblationsError, nearest
from ablations.files import read_text
from ablations.kinds.hyperparameters import spell
from ablations.runs.run import Run

# Of a file, and of the problems in it that one call names.
MOST_BYTES, MOST_CELLS, MOST_PROBLEMS = 2**23, 250_000, 50


@dataclass(frozen=True)
class PublishedValue:
    """One number as printed, its levels, and the runs of that point, if the study has any.

    `text` has the digits of the number and nothing else, and `spread` those behind its `±`.
    """

    metric: str
    text: str
    where: Mapping[str, str]
    runs: Sequence[Run]
    spread: str = ""


@dataclass(frozen=True)
class _Column:
    """A column of the file: the levels of a factor, or the values of a metric, perhaps of one level."""

    factor: str = ""
    metric: str = ""
    level: str = ""


def read_published(study: Study, path: Path) -> list[PublishedValue]:
    """The values of a study's published file, in its order.

    A column is a hyperparameter, a metric, or a level of the factor in the table's columns.

    Raises AblationsError with one line for each problem: of the file, else of its header, else of its rows.
    """
    header, rows = _read(path)
    levels = _Levels(study)
    columns = _columns(study, header, levels, path)
    general = _general(study, columns, levels)
    found: list[PublishedValue] = []
    problems: list[str] = []
    for line, texts in rows:
        if len(problems) >= MOST_PROBLEMS:
            break
        try:
            where = _where(columns, texts, general, levels)
        except ValueError as error:
            problems.append(f"{path}, line {line}, {error}")
            continue
        for name, column, text in zip(header, columns, texts, strict=True):
            if column.factor and not column.metric:
                continue
            try:
                printed = read_printed(text, study.kind.metrics[column.metric])
                if printed is not None:
                    at = where | ({column.factor: column.level} if column.factor else {})
                    runs = levels.runs(at)
                    found.append(PublishedValue(column.metric, printed.number, at, runs, printed.spread))
            except ValueError as error:
                problems.append(f"{path}, line {line}, {name}: {error}")
    if not found and not problems:
        problems = [f"{path}: the file contains no published value"]
    if problems:
        raise AblationsError("\n".join(problems))
    return found


def _read(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header of a TSV, and its rows with their line numbers, without blanks around the fields."""
    try:
        reader = csv.reader(io.StringIO(read_text(path, MOST_BYTES)), delimiter="\t", strict=True)
        lines: list[tuple[int, list[str]]] = []
        for fields in filter(None, reader):
            lines.append((reader.line_num, [text.strip() for text in fields]))
            if len(lines) * max(len(fields), len(lines[0][1])) > MOST_CELLS:
                raise ValueError(f"it has more than {MOST_CELLS:,} cells")
    except OSError as error:
        raise AblationsError(f"{path}: cannot read the file as TSV ({error.strerror})") from None
    except (ValueError, csv.Error) as error:
        reason = "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else error
        raise AblationsError(f"{path}: cannot read the file as TSV ({reason})") from None
    if not lines:
        raise AblationsError(f"{path}: the file is empty")
    (_, header), *rows = lines
    problems = [
        f"{path}, line {line}: {len(texts)} fields, but the first line has {len(header)}"
        for line, texts in rows
        if len(texts) > len(header)
    ]
    if problems:
        raise AblationsError("\n".join(problems[:MOST_PROBLEMS]))
    return header, [(line, [*texts, *[""] * (len(header) - len(texts))]) for line, texts in rows]


class _Levels:
    """The levels of a study, each in its one spelling, and the points that have them."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.points = [
            ({factor: spell(values[factor]) for factor in study.factors}, runs)
            for values, runs in study.points()
        ]
        self.of = {factor: {point[factor] for point, _ in self.points} for factor in study.factors}
        self._found: dict[tuple[str, ...], dict[tuple[str, ...], list[list[Run]]]] = {}

    def canonical(self, factor: str, text: str) -> str:
        """The one spelling of a level: `0.0010` becomes `0.001`. Raises ValueError for what is none."""
        if factor in self.study.kind.places:
            alike = {level.lower(): level for level in self.of[factor]}
            if (own := alike.get(text.lower(), text)) != text:
                raise ValueError(f"{factor} is '{text}'; in the study it is '{own}'")
            return text
        try:
            return spell(self.study.kind.hyperparameters.parse_value(factor, text))
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]["msg"]
            raise ValueError(f"{factor} is '{text}' ({problem})") from None

    def is_level(self, factor: str, text: str) -> bool:
        """Whether the study has this level, in whatever spelling."""
        try:
            return self.canonical(factor, text) in self.of[factor]
        except ValueError:
            return False

    def runs(self, where: Mapping[str, str]) -> list[Run]:
        """The runs of the point with these levels, if there is one. Raises ValueError for several points."""
        factors = tuple(where)
        if factors not in self._found:
            index = self._found.setdefault(factors, {})
            for point, runs in self.points:
                index.setdefault(tuple(point[factor] for factor in factors), []).append(runs)
        points = self._found[factors].get(tuple(where.values()), [])
        if len(points) > 1:
            named = ", ".join(f"{factor}={level}" for factor, level in where.items())
            raise ValueError(
                f"{named} matches {len(points)} different runs of the study; choose one with "
                "`published.where`"
            )
        return points[0] if points else []


def _columns(study: Study, header: Sequence[str], levels: _Levels, path: Path) -> list[_Column]:
    # A column of the file is one level.
    pivot = study.table.columns[0] if len(study.table.columns) == 1 else ""
    columns: list[_Column] = []
    problems: list[str] = []
    for name in header:
        if len(problems) >= MOST_PROBLEMS:
            break
        if name in study.factors:
            columns.append(_Column(name))
        elif name in study.kind.metrics:
            columns.append(_Column(metric=study.reported(name)))
        elif pivot and levels.is_level(pivot, name):
            columns.append(_Column(pivot, study.values[0], levels.canonical(pivot, name)))
        else:
            of_pivot = f" nor a {pivot} of the study" if pivot else ""
            known = [*study.factors, *study.kind.metrics, *(levels.of[pivot] if pivot else ())]
            advice = nearest(name, known)
            if len(header) == 1 and any(sign in name for sign in ",;"):
                advice = "; its columns are to be separated by tabs"
            problems.append(
                f"{path}: it has a column '{name}', which is neither a hyperparameter nor a metric{of_pivot}"
                f"{advice}"
            )
    if not problems:
        counts = Counter(columns)
        twice = [name for name, column in zip(header, columns, strict=True) if counts[column] > 1]
        problems = [f"{path}: it has the column '{name}' twice" for name in dict.fromkeys(twice)]
        if _Column(pivot or "") in columns and any(column.level for column in columns):
            problems.append(f"{path}: it has a column '{pivot}' and columns of its levels; leave one out")
    if problems:
        raise AblationsError("\n".join(problems))
    return columns


def _general(study: Study, columns: Sequence[_Column], levels: _Levels) -> dict[str, str]:
    """The levels that `published.where` adds to every row."""
    assert study.published is not None
    general, problems = {}, []
    for key, value in study.published.where.items():
        if key not in study.factors:
            problems.append(f"where: '{key}' is not a hyperparameter{nearest(key, study.factors)}")
            continue
        try:
            general[key] = levels.canonical(key, spell(value))
        except ValueError as error:
            problems.append(f"where.{key}: {error}")
            continue
        if general[key] not in levels.of[key]:
            problems.append(f"where.{key}: no run of the study has {general[key]}")
        elif any(column.level and column.factor == key for column in columns):
            problems.append(f"where.{key}: the file has a column for each {key}; leave `where` out")
    if problems:
        raise AblationsError("\n".join(problems))
    return general


def _where(
    columns: Sequence[_Column], texts: Sequence[str], general: Mapping[str, str], levels: _Levels
) -> dict[str, str]:
    """The levels of a row. An empty one is not given. Raises ValueError for one that `where` contradicts."""
    where = dict(general)
    for column, text in zip(columns, texts, strict=True):
        if column.metric or not text:
            continue
        level = levels.canonical(column.factor, text)
        if where.setdefault(column.factor, level) != level:
            raise ValueError(
                f"{column.factor}: it is '{text}', and `where` says {where[column.factor]}; leave one "
                "of them out"
            )
    return where
