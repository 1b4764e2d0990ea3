"""Published values: somebody's numbers, and what the measured ones say of them."""

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pandas as pd
from pydantic import ValidationError
from scipy import stats

from ablations.analysis.inference import ALPHA
from ablations.config.studies import Study
from ablations.errors import AblationsError
from ablations.kinds import Kind
from ablations.kinds.hyperparameters import spell
from ablations.kinds.metrics import Metric
from ablations.presentation.study_table import LABELS, Cell, Table, cell
from ablations.runs.run import Run

# Half-width of a 95 % interval, in standard errors.
Z = 1.96

# Why a verdict is what it is: the footnotes of the table.
EXACT = (
    "Depends on no chance: reproduced if it rounds to what was printed, and so if the difference is no "
    "more than half a unit of the last printed digit."
)
ONE_RUN = (
    "One run: within noise if the difference is no more than the half-width of the 95 % interval of the "
    "difference of two accuracies on so many test images, 1.96 binomial standard errors. The noise of the "
    "seed is not in it: more seeds would tell."
)
SEEDS = (
    "Several seeds: within noise if the difference is no more than the half-width of the 95 % interval of "
    "the difference: the binomial errors of both on so many test images, the variance of one seed for the "
    "published run, and of their mean for the measured ones. That of the seeds is Student's, and wide where "
    "they are few."
)
MACHINE = "A time, and the memory that was used, belong to a machine: a ratio, and no verdict."
NO_MEASURE = (
    "Not measured on the test images, and so without a noise that is known: a difference, and no verdict."
)
DIVERGED = "All runs of this point diverged: their loss was no longer finite."
NOT_THERE = "The run is not there yet."
NOT_IN_THE_GRID = "The study has no such run."


@dataclass(frozen=True)
class PublishedValue:
    """One number as it was printed, the levels it belongs to, and the runs of that point, if any."""

    metric: str
    text: str
    where: Mapping[str, str]
    runs: Sequence[Run]


def read_published(study: Study, path: Path) -> Iterator[PublishedValue]:
    """The values of a study's published file, in its order.

    A column is a hyperparameter, a metric, or a level of what the table's columns stand for.

    Raises AblationsError, with the line and column, for what is no number or no level, and for a row
    that several different points of the study fit.
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
                where[pivot], metric = column, study.table.values[0]
            where = {key: _canonical(study, key, level, place) for key, level in where.items()}
            if not _is_value(text, study.kind.metrics[metric]):
                raise AblationsError(f"{place}: '{text}' is no number that {metric} can have")
            points = [runs for values, runs in groups if all(spell(values[k]) == v for k, v in where.items())]
            if len(points) > 1:
                named = ", ".join(f"{key}={level}" for key, level in where.items())
                raise AblationsError(
                    f"{place}: {named} names {len(points)} different runs of the study; say which "
                    "with `published.where`"
                )
            yield PublishedValue(metric, text, where, points[0] if points else [])


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a TSV with their lines, without the blanks around a field."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, delimiter="\t", restval="", strict=True)
            for row in reader:
                if None in row:
                    fields = len(row) - 1 + len(row[None])
                    raise AblationsError(
                        f"{path}, line {reader.line_num}: it has {fields} fields, and the first line has "
                        f"{len(row) - 1}"
                    )
                yield reader.line_num, {name.strip(): text.strip() for name, text in row.items()}
    except (OSError, ValueError, csv.Error) as error:
        raise AblationsError(f"{path}: it cannot be read as TSV ({error})") from None


def _is_value(text: str, metric: Metric) -> bool:
    try:
        number = float(text)
    except ValueError:
        return False
    if metric.comparison == "accuracy":
        return 0 <= number <= 100
    return math.isfinite(number) and number >= 0 and (number > 0 or metric.comparison != "machine")


def _canonical(study: Study, name: str, text: str, place: str) -> str:
    """A level as a run spells it: `0.0010` is `0.001`."""
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


@dataclass(frozen=True)
class Verdict:
    """What a measured value says of a published one.

    `text` is `reproduced`, `within noise`, `differs` or `not comparable`, `reason` the footnote that says
    why, and `allowed` the largest difference that would not be called one.
    """

    text: str
    reason: str
    difference: str = ""
    allowed: str = ""


def compare(published: str, content: Cell, kind: Kind, test_samples: int | None) -> Verdict:
    """Hold a cell against a published value, given as it was printed.

    What depends on no chance (counts, support vector machines) is `reproduced` if it rounds to
    what was printed. An accuracy of a network is `within noise` if it differs by no more than the
    95 % interval of a difference: the binomial variance of each value, and that of the seeds where
    there are several, their half-widths combined as Zou and Donner (2008) do. A time or a memory belongs
    to a machine, and is `not comparable`.
    """
    if content.mean is None:
        return Verdict("differs", DIVERGED) if content.diverged else Verdict("not comparable", NOT_THERE)
    expected = float(published)
    exponent = Decimal(published.strip()).as_tuple().exponent
    decimals = max(0, -exponent) if isinstance(exponent, int) else 0
    metric = content.metric
    if metric.comparison == "machine":
        return Verdict("not comparable", MACHINE, f"×{content.mean / expected:.2f}")
    difference = content.mean - expected
    decimals_shown = max(decimals, metric.decimals)
    text = f"{difference:+.{decimals_shown}f}"
    if metric.comparison == "exact" or not kind.is_random:
        half = 0.5 * 10.0**exponent
        # What float arithmetic may add.
        same = abs(difference) <= half + 1e-9
        return Verdict("reproduced" if same else "differs", EXACT, text, f"±{half:.{decimals + 1}f}")
    if not test_samples:
        return Verdict("not comparable", NO_MEASURE, text)
    of_images = Z**2 * sum(p * (100 - p) / test_samples for p in (expected, content.mean))
    of_seeds = 0.0
    if content.sd:
        n = len(content.values)
        of_seeds = float(stats.t.ppf(1 - ALPHA / 2, n - 1)) ** 2 * content.sd**2 * (1 + 1 / n)
    half = math.sqrt(of_images + of_seeds)
    reason = ONE_RUN if content.sd is None else SEEDS
    verdict = "within noise" if abs(difference) <= half else "differs"
    return Verdict(verdict, reason, text, f"±{half:.{decimals_shown}f}")


def published_table(name: str, study: Study, records: Mapping[Run, Mapping[str, str]], path: Path) -> Table:
    """Every published value beside the measured one: their difference, a verdict, and its reason below."""
    rows = []
    for value in read_published(study, path):
        verdict, measured = Verdict("not comparable", NOT_IN_THE_GRID), "not in the grid"
        if value.runs:
            found = [records.get(run) for run in value.runs]
            content = cell(study.kind.metrics[value.metric], value.metric, found)
            # What is not measured on the test images has not their noise.
            samples = next((int(record["test_samples"]) for record in found if record), None)
            samples = samples if value.metric == "test_accuracy" else None
            verdict, measured = compare(value.text, content, study.kind, samples), content.text()
        rows.append(
            {
                **value.where,
                "metric": value.metric,
                "published": value.text,
                "measured": measured,
                "difference": verdict.difference,
                "allowed": verdict.allowed,
                "verdict": verdict.text,
                "reason": verdict.reason,
            }
        )
    if not rows:
        raise AblationsError(f"{path}: it holds no published value")
    data = pd.DataFrame(rows).fillna("")
    levels = [factor for factor in study.factors if factor in data]
    data = data[[*levels, *(column for column in rows[0] if column not in value.where)]]
    notes = list(dict.fromkeys(data["reason"]))
    display = data.assign(
        metric=[study.kind.metrics[metric].label for metric in data["metric"]],
        verdict=[
            f"{verdict} [{notes.index(reason) + 1}]"
            for verdict, reason in zip(data["verdict"], data["reason"], strict=True)
        ],
    ).drop(columns="reason")
    display.columns = [LABELS.get(column, column.capitalize()) for column in display]
    if {"gmacs", "gflops"} & set(data["metric"]):
        notes.append("The published FLOPs are multiply-accumulates, and stand here as MACs.")
    title = f"{study.title}: against the published values"
    return Table(title, f"{name}_vs_published", data, display, notes)
