"""The comparison of a study with its published values: each difference with a verdict."""

from pathlib import Path

import pandas as pd

from ablations.analysis.cells import cell
from ablations.analysis.measurements import Records, items_of
from ablations.analysis.published import Reason, Verdict, compare, last_digit, read_published
from ablations.config.studies import Study
from ablations.errors import AblationsError
from ablations.kinds.metrics import Metric
from ablations.presentation.document import Table
from ablations.presentation.study_table import cell_text
from ablations.presentation.wording import marked

# The reasons for the verdicts: the footnotes of the table.
REASONS: dict[Reason, str] = {
    "exact": (
        "Not random: reproduced if the measured value rounds to the printed one, or differs from it by at "
        "most half a unit of its last digit."
    ),
    "one_run": (
        "One run: within noise if the difference is at most the half-width of its 95 % interval, 1.96 "
        "standard errors. It includes the binomial errors of both values on this many {noun}. It "
        "excludes the noise of seeds; more seeds would show it."
    ),
    "seeds": (
        "Several seeds: within noise if the difference is at most the half-width of its 95 % interval. It "
        "includes the binomial errors of both values on this many {noun}. It also includes the "
        "variance of one seed (published) and of the mean over seeds (measured), by Student's t: few seeds "
        "make it wide."
    ),
    "seeds_alone": (
        "Several seeds: within noise if the difference is at most the half-width of its 95 % interval, or "
        "half a unit of the last printed digit. The interval includes the variance of one seed (published) "
        "and of the mean over seeds (measured), by Student's t: few seeds make it wide."
    ),
    "machine": "Times and memory depend on the machine: a ratio without a verdict.",
    "no_measure": "These runs do not show the noise of this metric: a difference without a verdict.",
    "diverged": "All runs of this point diverged: their loss became NaN or infinite.",
    "missing": "The run is missing.",
    "not_in_the_grid": "The study has no such run.",
}


def verdict_fields(verdict: Verdict, published: str, metric: Metric) -> dict[str, str]:
    """A verdict as TSV fields, with the decimals of the published value or of the metric, if it has more."""
    printed = max(0, -last_digit(published))
    decimals = max(printed, metric.decimals)
    difference = "" if verdict.difference is None else f"{verdict.difference:+.{decimals}f}"
    # Half a unit of the last printed digit has one more digit.
    decimals = printed + 1 if verdict.reason == "exact" else decimals
    return {
        "difference": difference if verdict.ratio is None else f"×{verdict.ratio:.2f}",
        "allowed": "" if verdict.allowed is None else f"±{verdict.allowed:.{decimals}f}",
        "verdict": verdict.outcome,
        "reason": REASONS[verdict.reason].format(noun=metric.noun),
    }


def published_table(name: str, study: Study, records: Records, path: Path) -> Table:
    """Every published value next to the measured one, with their difference and a verdict with its reason."""
    rows = []
    for value in read_published(study, path):
        metric = study.kind.metrics[value.metric]
        verdict, measured = Verdict("not comparable", "not_in_the_grid"), "not in the grid"
        if value.runs:
            found = [records.get(run) for run in value.runs]
            content = cell(metric, found)
            items = next((items_of(metric, record) for record in found if record), 0)
            verdict, measured = compare(value.text, content, study.kind, items), cell_text(content)
        rows.append(
            {
                **value.where,
                "metric": value.metric,
                "published": value.text,
                "measured": measured,
                **verdict_fields(verdict, value.text, metric),
            }
        )
    if not rows:
        raise AblationsError(f"{path}: the file contains no published value")
    data = pd.DataFrame(rows).fillna("")
    levels = [factor for factor in study.factors if factor in data]
    data = data[[*levels, *(column for column in rows[0] if column not in value.where)]]
    notes = list(dict.fromkeys(data["reason"]))
    display = data.assign(
        metric=[marked(study.kind.metrics[name]) for name in data["metric"]],
        verdict=[
            f"{verdict} [{notes.index(reason) + 1}]"
            for verdict, reason in zip(data["verdict"], data["reason"], strict=True)
        ],
    ).drop(columns="reason")
    display.columns = [
        study.kind.label(column) if column in levels else column.capitalize() for column in display
    ]
    notes += dict.fromkeys(note for name in data["metric"] if (note := study.kind.metrics[name].note))
    title = f"{study.title}: comparison with the published values"
    return Table(title, f"{name}_vs_published", data, display, notes)
