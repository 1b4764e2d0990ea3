"""Columns of a study's table with the differences to its baseline, and the notes on them."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

import pandas as pd

from ablations.analysis.inference import ALPHA, Comparison
from ablations.analysis.paired_tests import smallest_p
from ablations.analysis.points import Contrast, Point
from ablations.config.studies.question_checks import margins
from ablations.config.studies.questions import Test
from ablations.config.studies.study import Study
from ablations.kinds.metrics import Metric
from ablations.presentation.changes import base_text, spelt
from ablations.presentation.effect_verdicts import margin_text
from ablations.presentation.layout import is_wide
from ablations.presentation.question_notes import unreachable
from ablations.presentation.simple_notes import doubts
from ablations.presentation.wording import difference_unit, in_sentence, labels, ratio_text, signed

NONE = "–"
# A difference, its interval, and its marks.
_WITH_INTERVAL = re.compile(r"^(\S+) (\(\S+ to \S+\))(.*)$")
# What the names of its columns in a TSV end in.
CONTRAST = (
    "difference", "difference_ci_low", "difference_ci_high", "ratio", "ratio_ci_low", "ratio_ci_high",
    "p_holm", "p_equivalent_holm", "family",
)  # fmt: skip
# What marks a significant difference of the declared comparisons, and one of the exploratory others.
STARS = ("*", "†")
# How the differences of seeds are tested.
PAIRED: dict[Test, str] = {
    "t": ", with Student's 95 % interval",
    "wilcoxon": ": each is the median of the means of every two seeds (Hodges and Lehmann), with the test "
    "and the 95 % interval of Wilcoxon's signed ranks",
    "permutation": ", with the test that flips their signs, and its 95 % interval",
    "bootstrap": ", with a bootstrap of the seeds, and its 95 % interval",
}


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
    text += f" {STARS[contrast.is_exploratory]}" * _is_below(contrast.p)
    text += " ≈" * _is_below(contrast.p_equivalent)
    return f"{text} (n = {comparison.pairs})" if _is_partial(study, metric, contrast) else text


def stacked(display: pd.DataFrame) -> pd.DataFrame | None:
    """A wide display with each interval of a difference below it, for a page; None where it is not wide."""
    if not is_wide(display):
        return None
    return display.apply(
        lambda texts: (
            texts.str.replace(_WITH_INTERVAL, r"\1\3\n\2", regex=True)
            if str(texts.name).startswith("Δ ")
            else texts
        )
    )


def _is_below(p: float | None) -> bool:
    return p is not None and p < ALPHA


def _is_partial(study: Study, metric: Metric, contrast: Contrast | None) -> bool:
    """Whether a difference has fewer pairs of runs than the study has seeds."""
    comparison = contrast.comparison if contrast else None
    return comparison is not None and metric.noise != "exact" and comparison.pairs < len(study.seeds)


def _number(metric: Metric, number: float) -> str:
    if metric.noise == "time":
        return ratio_text(math.exp(number)).removeprefix("×")
    return signed(number, metric.decimals)


def contrast_fields(
    study: Study, metric_name: str, contrast: Contrast | None, name: str, separator: str = "_"
) -> dict[str, str]:
    """A difference as TSV fields, in columns of this name; of times the ratio, as in the table of effects."""
    metric = study.kind.metrics[metric_name]
    ratio, comparison = metric.noise == "time", contrast and contrast.comparison
    numbers: list[float | None] = [None, None, None]
    if comparison:
        interval = comparison.interval
        numbers = [comparison.difference, *((interval.low, interval.high) if interval else (None, None))]
    texts = ["" if n is None else f"{math.exp(n) if ratio else n:.4f}" for n in numbers]
    what = f"{name}{separator}{'ratio' if ratio else 'difference'}"
    ends = zip(("", "_ci_low", "_ci_high"), texts, strict=True)
    ps = {"p_holm": contrast and contrast.p} if metric.noise != "exact" else {}
    if metric_name in margins(study):
        ps["p_equivalent_holm"] = contrast and contrast.p_equivalent
    tested = {f"{name}{separator}{key}": "" if p is None else f"{p:.4g}" for key, p in ps.items()}
    if study.primary:
        family = "exploratory" if contrast and contrast.is_exploratory else "primary"
        tested[f"{name}{separator}family"] = family if contrast and contrast.p is not None else ""
    return {f"{what}{end}": text for end, text in ends} | tested


def baseline_notes(
    study: Study, found: Mapping[str, Sequence[Contrast | None]], points: Sequence[Point]
) -> list[str]:
    """What the differences in each metric are, and what judges them, given those of each point."""
    if not found:
        return []
    metrics = [study.kind.metrics[name] for name in found]
    contrasts = [each for of_metric in found.values() for each in of_metric if each]
    notes = [f"The baseline has {base_text(study)}. Δ is the difference to it{_units(study, metrics)}."]
    if study.chosen:
        notes.append(
            "Each difference is between two chosen points. Its interval and test take the choices as given."
        )
    for metric, of_metric in zip(metrics, found.values(), strict=True):
        notes += _judged(study, metric, [each.comparison for each in of_metric if each and each.comparison])
    notes += _starred(study, [[each for each in of_metric if each] for of_metric in found.values()])
    changed = spelt(study, [values for values, _ in points])
    for name, of_metric in found.items():
        notes += _equivalent(study, name, [each for each in of_metric if each])
        notes += _doubts(study, study.kind.metrics[name], zip(changed, of_metric, strict=True))
        notes += _reach(study, [each for each in of_metric if each])
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


def _starred(study: Study, found: Sequence[Sequence[Contrast]]) -> list[str]:
    """What the marks of significant differences mean, given the contrasts of each metric."""
    marks, corrected = [], "with Holm's correction over"
    families = [
        [[c for c in of if c.is_exploratory == is_other] for of in found] for is_other in (False, True)
    ]
    for star, kind, family in zip(STARS, ("a", "an exploratory"), families, strict=True):
        if any(_is_below(each.p) for of_metric in family for each in of_metric):
            tests = _count(_most_tests(family), "test")
            marks.append(f"{star} marks {kind} difference that is significant at 5 %, {corrected} {tests}")
    notes = [f"{'; '.join(marks)}; the intervals are without correction."] if marks else []
    if count := _most_tests(families[1]):
        notes.append(
            f"The study declares {labels(study, study.primary)} as primary. Differences of other "
            f"hyperparameters alone ({count}) are exploratory, and corrected apart: they suggest what a "
            "further study may confirm."
        )
    return notes


def _most_tests(family: Sequence[Sequence[Contrast]]) -> int:
    return max(sum(each.p is not None for each in of_metric) for of_metric in family)


def _equivalent(study: Study, name: str, contrasts: Sequence[Contrast]) -> list[str]:
    """Which differences in a metric are smaller than its margin."""
    judged = [each for each in contrasts if each.p_equivalent is not None]
    if not judged:
        return []
    metric = study.kind.metrics[name]
    within = margin_text(metric, margins(study)[name])
    tests = f"two one-sided tests, with Holm's correction over {_families(judged)}"
    if not any(_is_below(each.p_equivalent) for each in judged):
        return [f"No difference in {in_sentence(metric.label)} is shown to be within {within}, by {tests}."]
    limit = f", for these {metric.noun}" * (metric.noise == "proportion")
    if any(each.comparison and each.comparison.noise == "items" for each in judged):
        limit = ", in these runs" * study.kind.is_random
    return [f"≈ marks a difference in {in_sentence(metric.label)} within {within}{limit}: {tests}."]


def _doubts(study: Study, metric: Metric, found: Iterable[tuple[str, Contrast | None]]) -> Iterator[str]:
    """Which differences in a metric do not look normal over the seeds."""
    of_metric = f" in {in_sentence(metric.label)}" * (len(study.values) > 1)
    compared = [(f"{change}{of_metric}", each.comparison) for change, each in found if each]
    yield from doubts(study, compared)


def _families(judged: Sequence[Contrast]) -> str:
    """Over how many differences a correction is made: over the primary ones, and the others apart."""
    exploratory = sum(each.is_exploratory for each in judged)
    counts = (len(judged) - exploratory, exploratory)
    return " and over ".join(_count(count, "difference") for count in counts if count)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number > 1)}"


def _reach(study: Study, contrasts: Sequence[Contrast]) -> list[str]:
    """That the declared test cannot find any difference of so few seeds."""
    tested = [
        each.comparison.units
        for each in contrasts
        if each.comparison and each.comparison.values and not each.is_exploratory
    ]
    if not tested or smallest_p(study.test, max(tested)) * len(tested) < ALPHA:
        return []
    why = unreachable(study.test, max(tested), len(tested), "seeds")
    return [f"{why[0].upper()}{why[1:]}."]


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
        few = ", or if the test needs more seeds" * (study.test != "t")
        paired = (
            f"Differences are paired over seeds{PAIRED[study.test]}. The interval is left out if they are "
            f"all equal, or if only one pair is completed{few}."
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
