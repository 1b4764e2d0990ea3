"""Published values: somebody's numbers, and what the measured ones say of them."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from pydantic import ValidationError

from ablations.config import Study
from ablations.errors import AblationsError
from ablations.hyperparameters import KINDS, spell
from ablations.metrics import METRICS
from ablations.runs import Run
from ablations.tables import LABELS, Cell, Table, cell, group_runs

# Half-width of a 95 % interval, in standard errors.
Z = 1.96

VERDICTS = (
    "reproduced: depends on no chance, and rounds to what was printed. within noise: differs by no "
    "more than the 95 % interval of the difference of two accuracies on the test images, and of the "
    "seeds where there are several. differs: by more. not comparable: a time belongs to its machine, "
    "and is given as a ratio; or there is no such run."
)


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
    try:
        given = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, index_col=False)
    except (OSError, ValueError) as error:
        raise AblationsError(f"{path}: it cannot be read as TSV ({error})") from None
    pivot = study.table.columns
    groups = group_runs(study)
    general = {key: spell(value) for key, value in study.published.where.items()}
    for line, row in enumerate(given.to_dict("records"), 2):
        levels = {name: text for name, text in row.items() if name in study.factors} | general
        for column, text in row.items():
            if column in study.factors or text == "":
                continue
            place = f"{path}, line {line}, {column}"
            where, metric = dict(levels), column
            if column not in METRICS:
                assert pivot is not None
                where[pivot], metric = column, study.table.values[0]
            where = {key: _canonical(study, key, level, place) for key, level in where.items()}
            if not _is_number(text, positive=METRICS[metric].comparison == "time"):
                raise AblationsError(f"{place}: '{text}' is no number that {metric} can have")
            points = [runs for values, runs in groups if all(spell(values[k]) == v for k, v in where.items())]
            if len(points) > 1:
                named = ", ".join(f"{key}={level}" for key, level in where.items())
                raise AblationsError(
                    f"{place}: {named} names {len(points)} different runs of the study; say which "
                    "with `published.where`"
                )
            yield PublishedValue(metric, text, where, points[0] if points else [])


def _is_number(text: str, positive: bool) -> bool:
    try:
        number = float(text)
    except ValueError:
        return False
    return math.isfinite(number) and (number > 0 or not positive)


def _canonical(study: Study, name: str, text: str, place: str) -> str:
    """A level as a run spells it: `0.0010` is `0.001`."""
    if name not in KINDS[study.kind].model_fields:
        return text
    try:
        return spell(KINDS[study.kind].parse_value(name, text))
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]["msg"]
        raise AblationsError(f"{place}: {name} is '{text}' ({problem})") from None


@dataclass(frozen=True)
class Verdict:
    """What a measured value says of a published one: `text` is one of the four verdicts."""

    text: str
    difference: str


def compare(published: str, content: Cell, kind: str, test_samples: int | None) -> Verdict:
    """Hold a cell against a published value, given as it was printed.

    What depends on no chance (counts, support vector machines) is `reproduced` if it rounds to
    what was printed. An accuracy of a network is `within noise` if it differs by no more than the
    95 % interval of a difference: the binomial variance of each value, and that of the seeds where
    there are several. A time belongs to a machine, and is `not comparable`.
    """
    if content.mean is None:
        return Verdict("differs" if content.diverged else "not comparable", "")
    expected = float(published)
    decimals = len(published.partition(".")[2])
    metric = content.metric
    if metric.comparison == "time":
        return Verdict("not comparable", f"×{content.mean / expected:.2f}")
    difference = content.mean - expected
    text = f"{difference:+.{max(decimals, metric.decimals)}f}"
    if metric.comparison == "exact" or kind == "svm":
        # Half a unit of the last printed digit, and what float arithmetic may add.
        same = abs(difference) <= 0.5 * 10**-decimals + 1e-9
        return Verdict("reproduced" if same else "differs", text)
    if not test_samples:
        return Verdict("not comparable", text)
    variance = sum(p * (100 - p) / test_samples for p in (expected, content.mean))
    if content.sd is not None:
        variance += content.sd**2 * (1 + 1 / len(content.values))
    within = abs(difference) <= Z * math.sqrt(variance)
    return Verdict("within noise" if within else "differs", text)


def published_table(name: str, study: Study, records: Mapping[Run, Mapping[str, str]], path: Path) -> Table:
    """Every published value beside the measured one, with their difference and a verdict."""
    rows = []
    for value in read_published(study, path):
        row = {**value.where, "metric": value.metric, "published": value.text}
        if value.runs:
            found = [records.get(run) for run in value.runs]
            content = cell(METRICS[value.metric], value.metric, found)
            # What is not measured on the test images has not their noise.
            samples = next((int(record["test_samples"]) for record in found if record), None)
            samples = samples if value.metric == "test_accuracy" else None
            verdict = compare(value.text, content, study.kind, samples)
            measured = (content.text(), verdict.difference, verdict.text)
        else:
            measured = ("not in the grid", "", "not comparable")
        rows.append(row | dict(zip(("measured", "difference", "verdict"), measured, strict=True)))
    if not rows:
        raise AblationsError(f"{path}: it holds no published value")
    data = pd.DataFrame(rows).fillna("")
    levels = [factor for factor in study.factors if factor in data]
    data = data[[*levels, "metric", "published", "measured", "difference", "verdict"]]
    display = data.assign(metric=[METRICS[metric].label for metric in data["metric"]])
    display.columns = [LABELS.get(column, column.capitalize()) for column in data]
    notes = [VERDICTS]
    if {"gmacs", "gflops"} & set(data["metric"]):
        notes.append("The published FLOPs are multiply-accumulates, and stand here as MACs.")
    title = f"{study.title}: against the published values"
    return Table(title, f"{name}_vs_published", data, display, notes)
