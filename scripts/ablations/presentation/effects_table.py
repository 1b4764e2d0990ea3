"""The effects table of a study: every comparison of two levels, with a verdict."""

import math
from collections.abc import Callable

import pandas as pd

from ablations.analysis.effects import Effect, Pairing, effects
from ablations.analysis.inference import Comparison, Interval
from ablations.analysis.measurements import Records
from ablations.analysis.simple_effects import Replication, replications, simple_effects
from ablations.analysis.variance import interactions
from ablations.config.studies.study import Study
from ablations.kinds.hyperparameters import spell
from ablations.kinds.metrics import Metric
from ablations.presentation.document import Table
from ablations.presentation.effect_notes import gap_notes, is_constant, method_notes
from ablations.presentation.effect_verdicts import Corrected, corrections, judged_by, verdict
from ablations.presentation.question_notes import question_notes
from ablations.presentation.simple_notes import normality_notes, replication_note, simple_notes
from ablations.presentation.wording import (
    difference_text,
    in_sentence,
    interval_text,
    marked,
    merged,
    signed,
)

DATA = (
    "metric", "hyperparameter", "first", "second", "pairs", "judged_by", "units",
    "difference", "difference_ci_low", "difference_ci_high", "ratio", "ratio_ci_low", "ratio_ci_high",
    "p_holm", "p_items_holm", "effect_size", "effect_ci_low", "effect_ci_high", "verdict",
)  # fmt: skip
DISPLAY = (
    "Metric", "Hyperparameter", "From", "To", "Pairs", "Judged by", "Difference", "95 % interval", "p (Holm)",
    "p of equivalence", "Effect size d", "95 % interval of d", "Datasets", "Verdict",
)  # fmt: skip

PRINTED = (
    "Comparison", "Difference, 95 % interval", "p (Holm), by", "p of equivalence",
    "Effect size d, 95 % interval", "Datasets", "Verdict",
)  # fmt: skip
# Columns only of studies whose questions or datasets fill them.
IF_FILLED = ("p_equivalent_holm", "family", "datasets", "datasets_same_sign", "datasets_clear")


def _units_text(metric: Metric, comparison: Comparison) -> str:
    """What gives the noise of a comparison, with the number of units where these are counted."""
    name = judged_by(metric, comparison)
    if comparison.noise in ("model", "exact"):
        return name
    return f"{comparison.units:,} {name.removesuffix('s') if comparison.units == 1 else name}"


def effects_table(name: str, study: Study, records: Records) -> Table:
    """All comparisons of each metric, with Holm's correction over them and a verdict for each."""
    rows, shown, notes = [], [], {}
    for metric_name in study.analysed:
        metric = study.kind.metrics[metric_name]
        found = list(effects(study, records, metric_name))
        depends, pairing = interactions(study, records, metric_name), Pairing(study, records, metric_name)
        judged = corrections(study, metric_name, found, depends)
        replicated = replications(pairing, found)
        for effect, its, on in zip(found, judged, replicated, strict=True):
            comparison = effect.comparison
            if comparison and not is_constant(comparison):
                words = verdict(study, metric, effect, its)
                family = ("exploratory" if its.is_exploratory else "primary") if study.primary else ""
                fields = _fields(metric, effect, comparison, its, words)
                fields |= {"family": family, **_replicated(on)}
                rows.append({"metric": metric_name, **fields})
                ends = [study.level_label(effect.factor, end) for end in (effect.first, effect.second)]
                readable = _display(metric, study.label(effect.factor), effect, comparison, its, words)
                of_datasets = f"{on.clear} of {on.datasets}" if on else ""
                shown.append(readable | {"From": ends[0], "To": ends[1], "Datasets": of_datasets})
        notes[metric.label] = [
            *method_notes(study, metric, found, judged),
            *question_notes(study, metric_name, found, judged),
            *normality_notes(study, found),
            *simple_notes(study, metric, simple_effects(pairing, found, depends)),
            *replication_note(study, replicated),
            *gap_notes(study, found),
        ]
    asked = [name for name in IF_FILLED if any(row[name] for row in rows)]
    data = pd.DataFrame(rows, columns=[*DATA, *asked])
    display = pd.DataFrame(shown, columns=DISPLAY)
    # Without the columns that no comparison of this study fills; a table without any keeps the usual ones.
    usual = set(display) - {"p of equivalence", "Datasets"} if display.empty else set()
    display = display[[column for column in display if column in usual or (display[column] != "").any()]]
    of_one = ""
    if len(study.analysed) == 1:
        display = display.drop(columns="Metric")
        of_one = f" on the {in_sentence(metric.label)}"
    title = f"{study.title}: effect of each hyperparameter{of_one}"
    return Table(title, f"{name}_effects", data, display, merged(notes), printed=_printed(display))


def _printed(display: pd.DataFrame) -> pd.DataFrame:
    """The same with fewer columns, for a page: what belongs together is in one cell."""
    rows = []
    for row in display.to_dict("records"):
        change = f"{row['From']} → {row['To']}"
        effect = row.get("Effect size d", "")
        count = row.get("Pairs", "")
        pairs = f"{count} pair{'s' * (count != '1')}" * bool(count)
        rows.append(
            {
                "Comparison": _lines(row.get("Metric", ""), row["Hyperparameter"], change),
                "Difference, 95 % interval": _lines(row["Difference"], row.get("95 % interval", "")),
                "p (Holm), by": _lines(row.get("p (Holm)", ""), row.get("Judged by", ""), pairs),
                "p of equivalence": row.get("p of equivalence", ""),
                "Effect size d, 95 % interval": _lines(effect, row.get("95 % interval of d", "")),
                "Datasets": row.get("Datasets", ""),
                "Verdict": row["Verdict"],
            }
        )
    found = pd.DataFrame(rows, columns=PRINTED)
    filled = [column for column in found if (found[column] != "").any()]
    return found[filled] if rows else found[[*PRINTED[:3], PRINTED[-1]]]


def _lines(*parts: str) -> str:
    return "\n".join(filter(None, parts))


def _fields(
    metric: Metric, effect: Effect, comparison: Comparison, its: Corrected, words: str
) -> dict[str, str]:
    is_ratio = metric.noise == "time"
    size = _numbers(comparison.difference, comparison.interval, math.exp if is_ratio else float)
    ends = zip(("", "_ci_low", "_ci_high"), size, strict=True)
    d = _numbers(comparison.effect, comparison.effect_interval, float)
    return {
        "hyperparameter": effect.factor,
        "first": spell(effect.first),
        "second": spell(effect.second),
        "pairs": str(comparison.pairs),
        "units": str(comparison.units),
        "judged_by": judged_by(metric, comparison),
        **{f"{'ratio' if is_ratio else 'difference'}{end}": text for end, text in ends},
        "p_holm": "" if its.p is None else f"{its.p:.4g}",
        "p_items_holm": "" if its.p_over_items is None else f"{its.p_over_items:.4g}",
        **dict(zip(("effect_size", "effect_ci_low", "effect_ci_high"), d, strict=True)),
        "verdict": words,
        "p_equivalent_holm": "" if its.p_equivalent is None else f"{its.p_equivalent:.4g}",
    }


def _replicated(found: Replication | None) -> dict[str, str]:
    counts = (found.datasets, found.same_sign, found.clear) if found else ("", "", "")
    return dict(zip(("datasets", "datasets_same_sign", "datasets_clear"), map(str, counts), strict=True))


def p_text(p: float | None) -> str:
    """A p-value for readers."""
    return "" if p is None else ("< 0.001" if p < 0.001 else f"{p:.3f}")


def _numbers(
    value: float | None, interval: Interval | None, scale: Callable[[float], float]
) -> tuple[str, str, str]:
    """A value and the ends of its interval as text."""
    ends = (interval.low, interval.high) if interval else (None, None)
    one, low, high = ("" if each is None else f"{scale(each):.4f}" for each in (value, *ends))
    return one, low, high


def _display(
    metric: Metric, label: str, effect: Effect, comparison: Comparison, its: Corrected, words: str
) -> dict[str, str]:
    d = comparison.effect_interval
    return {
        "Metric": marked(metric),
        "Hyperparameter": label,
        "From": spell(effect.first),
        "To": spell(effect.second),
        "Pairs": str(comparison.pairs or ""),
        "Judged by": _units_text(metric, comparison),
        "Difference": difference_text(metric, comparison.difference),
        "95 % interval": interval_text(metric, comparison.interval),
        "p (Holm)": p_text(its.p),
        "p of equivalence": p_text(its.p_equivalent),
        "Effect size d": "" if comparison.effect is None else signed(comparison.effect, 2),
        "95 % interval of d": "" if d is None else f"{signed(d.low, 1)} to {signed(d.high, 1)}",
        "Verdict": words,
    }
