"""Published values, and whether the measured ones agree with them."""

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Literal

from pydantic import ValidationError
from scipy import stats

from ablations.analysis.cells import Cell
from ablations.analysis.inference import ALPHA
from ablations.config.studies import Study
from ablations.errors import AblationsError
from ablations.kinds import Kind
from ablations.kinds.hyperparameters import spell
from ablations.kinds.metrics import Metric
from ablations.runs.run import Run

# Half-width of a 95 % interval, in standard errors.
Z = 1.96


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


Outcome = Literal["reproduced", "within noise", "differs", "not comparable"]
# The reason for an outcome.
Reason = Literal[
    "exact",
    "one_run",
    "seeds",
    "seeds_alone",
    "machine",
    "no_measure",
    "diverged",
    "missing",
    "not_in_the_grid",
]


@dataclass(frozen=True)
class Verdict:
    """Whether a measured value agrees with a published one, and why.

    `difference` is measured minus published, `ratio` (of times and memory) is measured over published, and
    `allowed` is the largest absolute difference that counts as agreement.
    """

    outcome: Outcome
    reason: Reason
    difference: float | None = None
    ratio: float | None = None
    allowed: float | None = None


def last_digit(published: str) -> int:
    """The power of ten of the last printed digit: -2 for `0.33`, and 1 for `12e1`."""
    exponent = Decimal(published.strip()).as_tuple().exponent
    assert isinstance(exponent, int)
    return exponent


def compare(published: str, content: Cell, kind: Kind, items: int) -> Verdict:
    """Compare a cell with a published value, given as printed.

    A value that is not random (a count, a run of a kind without seeds) is `reproduced` if it rounds to the
    printed one. A proportion of `items` of a random kind is `within noise` if its difference is at most the
    half-width of a 95 % interval. The interval combines the binomial variances of both values and, with
    several seeds, the variance of the seeds, as in Zou and Donner (2008). Other values of several seeds have
    the prediction interval of one more run, and at least the rounding of the printed value. Times and memory
    depend on the machine and are `not comparable`.
    """
    if content.mean is None:
        return Verdict("differs", "diverged") if content.diverged else Verdict("not comparable", "missing")
    expected = float(published)
    metric = content.metric
    if metric.noise == "time":
        return Verdict("not comparable", "machine", ratio=content.mean / expected)
    difference = content.mean - expected
    rounding = 0.5 * 10.0 ** last_digit(published)
    if metric.noise == "exact" or not kind.is_random:
        # A margin for rounding errors of float arithmetic.
        same = abs(difference) <= rounding + 1e-9
        return Verdict("reproduced" if same else "differs", "exact", difference, allowed=rounding)
    of_seeds = 0.0
    if content.sd:
        n = len(content.values)
        of_seeds = float(stats.t.ppf(1 - ALPHA / 2, n - 1)) ** 2 * content.sd**2 * (1 + 1 / n)
    reason: Reason = "one_run" if content.sd is None else "seeds"
    if metric.noise == "proportion" and items:
        of_items = Z**2 * sum(p * (metric.whole - p) / items for p in (expected, content.mean))
        half = math.sqrt(of_items + of_seeds)
    elif of_seeds:
        half, reason = max(math.sqrt(of_seeds), rounding), "seeds_alone"
    else:
        return Verdict("not comparable", "no_measure", difference)
    return Verdict("within noise" if abs(difference) <= half else "differs", reason, difference, allowed=half)
