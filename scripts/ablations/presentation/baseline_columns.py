"""Columns of a study's table with the differences to its baseline, and the notes on them."""

import math
from collections.abc import Mapping, Sequence

from ablations.analysis.inference import ALPHA, Comparison
from ablations.analysis.points import Contrast
from ablations.config.studies import Study
from ablations.kinds.metrics import Metric
from ablations.presentation.changes import base_text
from ablations.presentation.wording import difference_unit, in_sentence, signed

NONE = "–"
# What the names of its columns in a TSV end in.
CONTRAST = ("difference", "difference_ci_low", "ratio", "ratio_ci_low", "p_holm")


def heading(metric: Metric, label: str = "") -> str:
    """The heading of the differences in a metric, or in the column of a level."""
    unit = "×" if metric.noise == "time" else difference_unit(metric)
    return f"Δ {label}" if label else f"Δ {metric.label}" + (f" ({unit})" if unit else "")


def contrast_text(study: Study, metric: Metric, contrast: Contrast | None) -> str:
    """A difference for readers: `−0.52 (−0.80 to −0.24) *`; nothing for the baseline."""
    if contrast is None:
        return ""
    if (comparison := contrast.comparison) is None:
        return NONE
    numbers = [comparison.difference]
    numbers += [comparison.interval.low, comparison.interval.high] if comparison.interval else []
    text, *ends = (_number(metric, number) for number in numbers)
    text += f" ({ends[0]} to {ends[1]})" if ends else ""
    text += " *" if contrast.p is not None and contrast.p < ALPHA else ""
    return f"{text} (n = {comparison.pairs})" if _is_partial(study, metric, contrast) else text


def _is_partial(study: Study, metric: Metric, contrast: Contrast | None) -> bool:
    """Whether a difference has fewer pairs of runs than the study has seeds."""
    comparison = contrast.comparison if contrast else None
    return comparison is not None and metric.noise != "exact" and comparison.pairs < len(study.seeds)


def _number(metric: Metric, number: float) -> str:
    if metric.noise == "time":
        return f"{math.exp(number):.3g}"
    return signed(number, metric.decimals)


def contrast_fields(metric: Metric, contrast: Contrast | None, name: str, separator: str) -> dict[str, str]:
    """A difference as TSV fields; of times the ratio, as in the table of effects."""
    ratio, comparison = metric.noise == "time", contrast and contrast.comparison
    numbers: list[float | None] = [None, None, None]
    if comparison:
        interval = comparison.interval
        numbers = [comparison.difference, *((interval.low, interval.high) if interval else (None, None))]
    texts = ["" if n is None else f"{math.exp(n) if ratio else n:.4f}" for n in numbers]
    p = contrast.p if contrast else None
    what = f"{name}{separator}{'ratio' if ratio else 'difference'}"
    ends = zip(("", "_ci_low", "_ci_high"), texts, strict=True)
    tested = {} if metric.noise == "exact" else {f"{name}{separator}p_holm": "" if p is None else f"{p:.4g}"}
    return {f"{what}{end}": text for end, text in ends} | tested


def baseline_notes(study: Study, found: Mapping[str, Sequence[Contrast | None]]) -> list[str]:
    """What the differences in each metric are, and what judges them."""
    if not found:
        return []
    metrics = [study.kind.metrics[name] for name in found]
    contrasts = [each for of_metric in found.values() for each in of_metric if each]
    notes = [f"The baseline has {base_text(study)}. Δ is the difference to it{_units(study, metrics)}."]
    for metric, of_metric in zip(metrics, found.values(), strict=True):
        notes += _judged(study, metric, [each.comparison for each in of_metric if each and each.comparison])
    tests = max(sum(each.p is not None for each in of_metric if each) for of_metric in found.values())
    if any(each.p is not None and each.p < ALPHA for each in contrasts):
        notes.append(
            f"* marks a difference that is significant at 5 %, with Holm's correction over {tests} tests; "
            "the intervals are without correction."
        )
    if any(each.comparison is None for each in contrasts):
        notes.append(
            f"{NONE} instead of a difference: the baseline or the other point has no completed run with the "
            "same seed, or their times are not comparable."
        )
    pairs = ((metric, each) for metric, of in zip(metrics, found.values(), strict=True) for each in of)
    if any(_is_partial(study, metric, each) for metric, each in pairs):
        notes.append(
            "A difference with n is that of so many seeds; a run of the others is missing or diverged."
        )
    return list(dict.fromkeys(notes))


def _units(study: Study, metrics: Sequence[Metric]) -> str:
    if any(metric.noise == "time" for metric in metrics):
        return ", and of a time the ratio (×)"
    unit = difference_unit(metrics[0])
    return f", in {unit}" if study.table.columns and unit else ""


def _judged(study: Study, metric: Metric, compared: Sequence[Comparison]) -> list[str]:
    """What the intervals of the differences in a metric rest on."""
    if not compared or metric.noise == "exact":
        return []
    if any(each.noise == "seeds" for each in compared):
        paired = (
            "Differences are paired over seeds, with Student's 95 % interval. There is none if they are all "
            "equal, or if only one pair is completed."
        )
        of_items = f"The intervals of the {in_sentence(metric.label)} hold for these {metric.noun}."
        return [paired, *([of_items] if metric.noise == "proportion" else [])]
    label = in_sentence(metric.label)
    if not any(each.interval for each in compared):
        return [f"Single runs do not show the noise of the {label}: these differences have no interval."]
    of_seeds = "; other seeds may differ more" if study.kind.is_random else ""
    return [
        f"The 95 % intervals of the differences in {label} are for the choice of the {metric.noun}{of_seeds}."
    ]
