"""The table of a study against its published values: each difference with a verdict."""

from pathlib import Path

import pandas as pd

from ablations.analysis.cells import Records, cell
from ablations.analysis.published import Reason, Verdict, compare, last_digit, read_published
from ablations.config.studies import Study
from ablations.errors import AblationsError
from ablations.kinds.metrics import Metric
from ablations.presentation.document import LABELS, Table
from ablations.presentation.study_table import cell_text

# Why a verdict is what it is: the footnotes of the table.
REASONS: dict[Reason, str] = {
    "exact": (
        "Depends on no chance: reproduced if it rounds to what was printed, and so if the difference is no "
        "more than half a unit of the last printed digit."
    ),
    "one_run": (
        "One run: within noise if the difference is no more than the half-width of the 95 % interval of "
        "the difference of two accuracies on so many test images, 1.96 binomial standard errors. The noise "
        "of the seed is not in it: more seeds would tell."
    ),
    "seeds": (
        "Several seeds: within noise if the difference is no more than the half-width of the 95 % interval "
        "of the difference: the binomial errors of both on so many test images, the variance of one seed "
        "for the published run, and of their mean for the measured ones. That of the seeds is Student's, "
        "and wide where they are few."
    ),
    "machine": "A time, and the memory that was used, belong to a machine: a ratio, and no verdict.",
    "no_measure": (
        "Not measured on the test images, and so without a noise that is known: a difference, and no verdict."
    ),
    "diverged": "All runs of this point diverged: their loss was no longer finite.",
    "not_there": "The run is not there yet.",
    "not_in_the_grid": "The study has no such run.",
}


def verdict_fields(verdict: Verdict, published: str, metric: Metric) -> dict[str, str]:
    """A verdict as TSV fields, with as many decimals as the published value has or the metric."""
    printed = max(0, -last_digit(published))
    decimals = max(printed, metric.decimals)
    difference = "" if verdict.difference is None else f"{verdict.difference:+.{decimals}f}"
    # A half of the last printed digit has one digit more.
    decimals = printed + 1 if verdict.reason == "exact" else decimals
    return {
        "difference": difference if verdict.ratio is None else f"×{verdict.ratio:.2f}",
        "allowed": "" if verdict.allowed is None else f"±{verdict.allowed:.{decimals}f}",
        "verdict": verdict.outcome,
        "reason": REASONS[verdict.reason],
    }


def published_table(name: str, study: Study, records: Records, path: Path) -> Table:
    """Every published value beside the measured one: their difference, a verdict, and its reason below."""
    rows = []
    for value in read_published(study, path):
        verdict, measured = Verdict("not comparable", "not_in_the_grid"), "not in the grid"
        if value.runs:
            found = [records.get(run) for run in value.runs]
            content = cell(study.kind.metrics[value.metric], value.metric, found)
            # What is not measured on the test images has not their noise.
            samples = next((int(record["test_samples"]) for record in found if record), None)
            samples = samples if value.metric == "test_accuracy" else None
            verdict, measured = compare(value.text, content, study.kind, samples), cell_text(content)
        rows.append(
            {
                **value.where,
                "metric": value.metric,
                "published": value.text,
                "measured": measured,
                **verdict_fields(verdict, value.text, study.kind.metrics[value.metric]),
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
