"""Published values: the numbers of a study's published file, with the runs that they belong to."""

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from ablations.config.studies import Study
from ablations.errors import AblationsError
from ablations.kinds.hyperparameters import spell
from ablations.kinds.metrics import Metric
from ablations.runs.run import Run


@dataclass(frozen=True)
class PublishedValue:
    """One number as printed, its levels, and the runs of that point, if the study has any."""

    metric: str
    text: str
    where: Mapping[str, str]
    runs: Sequence[Run]


def read_published(study: Study, path: Path) -> Iterator[PublishedValue]:
    """The values of a study's published file, in its order.

    A column is a hyperparameter, a metric, or a level of the factor in the table's columns.

    Raises AblationsError, with the line and column, for an invalid number or level, and for a row that
    matches several points of the study.
    """
    assert study.published is not None
    pivot = study.table.columns
    groups = study.points()
    general = {key: spell(value) for key, value in study.published.where.items()}
    for line, row in _rows(path):
        levels = {name: text for name, text in row.items() if name in study.factors} | general
        for column, text in row.items():
            if column in study.factors or text == "":
                continue
            place = f"{path}, line {line}, {column}"
            where, metric = dict(levels), column
            if column not in study.kind.metrics:
                assert pivot is not None
                where[pivot], metric = column, study.values[0]
            where = {key: _canonical(study, key, level, place) for key, level in where.items()}
            if not _is_value(text, study.kind.metrics[metric]):
                raise AblationsError(f"{place}: '{text}' is not a valid number for {metric}")
            points = [runs for values, runs in groups if all(spell(values[k]) == v for k, v in where.items())]
            if len(points) > 1:
                named = ", ".join(f"{key}={level}" for key, level in where.items())
                raise AblationsError(
                    f"{place}: {named} matches {len(points)} different runs of the study; choose one "
                    "with `published.where`"
                )
            yield PublishedValue(metric, text, where, points[0] if points else [])


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a TSV with their line numbers, without blanks around the fields."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, delimiter="\t", restval="", strict=True)
            for row in reader:
                if None in row:
                    header = len(row) - 1
                    raise AblationsError(
                        f"{path}, line {reader.line_num}: {header + len(row[None])} fields, but the first "
                        f"line has {header}"
                    )
                yield reader.line_num, {name.strip(): text.strip() for name, text in row.items()}
    except (OSError, ValueError, csv.Error) as error:
        raise AblationsError(f"{path}: cannot read the file as TSV ({error})") from None


def _is_value(text: str, metric: Metric) -> bool:
    try:
        number = float(text)
    except ValueError:
        return False
    if metric.noise == "proportion":
        return 0 <= number <= metric.whole
    return math.isfinite(number) and (number > 0 or metric.noise != "time")


def _canonical(study: Study, name: str, text: str, place: str) -> str:
    """The canonical spelling of a level: `0.0010` becomes `0.001`."""
    if name in study.kind.places:
        alike = {level.lower(): level for level in (spell(run.value(name)) for run in study.runs())}
        if (own := alike.get(text.lower(), text)) != text:
            raise AblationsError(f"{place}: {name} is '{text}'; in the study it is '{own}'")
        return text
    try:
        return spell(study.kind.hyperparameters.parse_value(name, text))
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]["msg"]
        raise AblationsError(f"{place}: {name} is '{text}' ({problem})") from None
