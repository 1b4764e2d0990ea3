"""The comparison of a study with its published values: each difference with a verdict."""

from pathlib import Path

import pandas as pd

from ablations.analysis.agreement import Compared, Reason, Verdict, compare, last_digit, pooled_spread
from ablations.analysis.cells import cell
from ablations.analysis.measurements import Records, items_of
from ablations.config.studies.published import PublishedValue, read_published
from ablations.config.studies.study import Study
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
    "items": (
        "The noise of seeds is unknown: no point has several seeds that differ. Within noise if the "
        "difference is at most what the choice of this many {noun} explains: the binomial errors of both "
        "values, as if each had its own {noun}. A larger difference may be that of the seeds; several seeds "
        "would show it."
    ),
    "seeds": (
        "Within noise if the difference is in the prediction interval of one more run, by Student's t. "
        "The standard deviation between seeds is {sd}, pooled over the points{dataset} that have several "
        "seeds ({df} degrees of freedom). The published value is taken as that of one run{items}, with seeds "
        "that vary as much as these."
    ),
    "machine": "Times and memory depend on the machine: a ratio without a verdict.",
    "no_measure": "These runs do not show the noise of this metric: a difference without a verdict.",
    "diverged": "All runs of this point diverged: their loss became NaN or infinite.",
    "missing": "The run is missing.",
    "not_in_the_grid": "The study has no such run.",
}


def reason_text(verdict: Verdict, metric: Metric, dataset: str = "") -> str:
    """The reason for a verdict as a footnote; `dataset` where the points of several are not pooled."""
    sd, df = verdict.spread or (0.0, 0)
    return REASONS[verdict.reason].format(
        noun=metric.noun,
        sd=f"{sd:.2g}" if sd < 100 else f"{sd:,.0f}",
        df=df,
        dataset=f" of {dataset}" if dataset else "",
        items=f" on the same {metric.noun}" if metric.noise == "proportion" else "",
    )


def verdict_fields(verdict: Verdict, published: str, metric: Metric, dataset: str = "") -> dict[str, str]:
    """A verdict as TSV fields, with the decimals of the published value or of the metric, if it has more."""
    printed = max(0, -last_digit(published))
    decimals = max(printed, metric.decimals)
    difference = "" if verdict.difference is None else f"{verdict.difference:+.{decimals}f}"
    # Half a unit of the last printed digit has one more digit.
    decimals = printed + 1 if verdict.reason == "exact" else decimals
    unexplained = f"more than the {metric.noun} explain; the noise of seeds is unknown"
    return {
        "difference": difference if verdict.ratio is None else f"×{verdict.ratio:.2f}",
        "allowed": "" if verdict.allowed is None else f"±{verdict.allowed:.{decimals}f}",
        "verdict": unexplained if verdict.outcome == "more than the items explain" else verdict.outcome,
        "reason": reason_text(verdict, metric, dataset),
    }


def published_table(name: str, study: Study, records: Records, path: Path) -> Table:
    """Every published value next to the measured one, with their difference and a verdict with its reason."""
    values = list(read_published(study, path))
    compared = [_compared(study, records, value) for value in values]
    verdicts, level, tests = compare([each for each in compared if each], study.kind)
    found, rows = iter(verdicts), []
    several = len({run.dataset for run in study.runs()}) > 1
    for value, each in zip(values, compared, strict=True):
        verdict = next(found) if each else Verdict("not comparable", "not_in_the_grid")
        dataset = value.runs[0].dataset if several and value.runs else ""
        rows.append(
            {
                **value.where,
                "metric": value.metric,
                "published": value.text,
                "measured": cell_text(each.cell) if each else "not in the grid",
                **verdict_fields(verdict, value.text, study.kind.metrics[value.metric], dataset),
            }
        )
    data = pd.DataFrame(rows).fillna("")
    levels = [factor for factor in study.factors if factor in data]
    data = data[[*levels, *(column for column in rows[0] if column not in value.where)]]
    notes = list(dict.fromkeys(data["reason"]))
    display = data.assign(
        difference=[text.replace("-", "−") for text in data["difference"]],
        metric=[marked(study.kind.metrics[name]) for name in data["metric"]],
        verdict=[
            f"{verdict} [{notes.index(reason) + 1}]"
            for verdict, reason in zip(data["verdict"], data["reason"], strict=True)
        ],
    ).drop(columns="reason")
    for factor in levels:
        display[factor] = [study.level_label(factor, level) for level in display[factor]]
    display.columns = [study.label(column) if column in levels else column.capitalize() for column in display]
    if tests:
        notes.append(_correction(level, tests))
    notes += dict.fromkeys(note for name in data["metric"] if (note := study.kind.metrics[name].note))
    title = f"{study.title}: comparison with the published values"
    return Table(title, f"{name}_vs_published", data, display, notes)


def _compared(study: Study, records: Records, value: PublishedValue) -> Compared | None:
    """A published value beside its cell; None if the study has no such point."""
    if not value.runs:
        return None
    metric = study.kind.metrics[value.metric]
    found = [records.get(run) for run in value.runs]
    items = next((items_of(metric, record) for record in found if record), 0)
    same = [runs for _, runs in study.points() if runs[0].dataset == value.runs[0].dataset]
    spread = pooled_spread([cell(metric, [records.get(run) for run in runs]) for runs in same])
    return Compared(value.text, cell(metric, found), items, spread)


def _correction(level: float, tests: int) -> str:
    corrected = (
        f" with Holm's correction over the {tests} values that are judged by noise" if tests > 1 else ""
    )
    return (
        f"The allowed differences are at 95 %{corrected}: each is that of a {100 * (1 - level):.4g} % "
        "interval. Within noise does not prove equality."
    )
