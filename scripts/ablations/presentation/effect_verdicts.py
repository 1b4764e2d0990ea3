"""Verdicts on effects: which level is better, and what that rests on."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ablations.analysis.effects import Effect
from ablations.analysis.inference import ALPHA, Comparison
from ablations.analysis.sample_size import MOST_PAIRS, units_needed
from ablations.config.studies import Study
from ablations.kinds.hyperparameters import spell
from ablations.kinds.metrics import Metric
from ablations.presentation.wording import better_text, difference_unit, in_sentence, listed, ratio_text


@dataclass(frozen=True)
class Corrected:
    """The p-values of an effect after Holm's correction over so many tests, and the factors it depends on."""

    p: float | None
    p_over_items: float | None
    tests: int
    depends_on: Sequence[str] = ()


def judged_by(metric: Metric, comparison: Comparison) -> str:
    """What gives the noise of a comparison."""
    names = {"items": metric.noun, "model": "linear model", "exact": "exact values"}
    return names.get(comparison.noise, comparison.noise)


def verdict(study: Study, metric: Metric, effect: Effect, found: Corrected) -> str:
    """The verdict on an effect that has a comparison."""
    comparison = effect.comparison
    assert comparison is not None
    better = better_text(metric, spell(effect.first), spell(effect.second), comparison.difference)
    if_additive = "" if effect.pairs else ", if there are no interactions"
    if comparison.noise == "exact":
        return f"{better}{if_additive}"
    if found.p is None:
        if comparison.pairs == 1:
            return "not tested: a single pair" + "; add seeds" * study.kind.is_random
        return f"{'' if comparison.difference else 'no difference; '}not tested: the differences do not vary"
    others = listed(in_sentence(study.label(name)) for name in found.depends_on or [""])
    depends = f"depends on {others} (see the variance table)"
    if found.p < ALPHA:
        limits = f"{_limits(study, metric, comparison, found)}{if_additive}"
        return f"{better} on average{limits}; {depends}" if others else f"{better}{limits}"
    if others:
        return f"not significant on average; {depends}"
    if comparison.noise == "items":
        return f"not significant on these {metric.noun}"
    return "; ".join([f"not significant{if_additive}", *_missed(metric, comparison, found.tests)])


def _limits(study: Study, metric: Metric, comparison: Comparison, found: Corrected) -> str:
    """What a significant difference holds for."""
    if not study.kind.is_random:
        return ""
    if comparison.noise == "items":
        return f", in {'these two runs' if comparison.pairs == 1 else 'these runs'}"
    limits = []
    if metric.noise != "time" and (comparison.noise == "settings" or not comparison.by_seeds):
        limits.append("this seed" if len(study.seeds) == 1 else "these seeds")
    if metric.noise == "proportion" and (found.p_over_items is None or found.p_over_items >= ALPHA):
        limits.append(f"these {metric.noun}")
    return f", for {' and '.join(limits)}" if limits else ""


def _missed(metric: Metric, comparison: Comparison, tests: int) -> list[str]:
    """What a comparison that is not significant excludes, and how many units detect what it does not."""
    texts = []
    if interval := comparison.interval:
        largest = max(abs(interval.low), abs(interval.high))
        size = f"differences above {largest:.{metric.decimals}f} {difference_unit(metric)}".rstrip()
        if metric.noise == "time":
            size = f"ratios above {ratio_text(math.exp(largest))}"
        texts.append(f"{size} are excluded")
    if comparison.effect_interval:
        unit = "seeds" if comparison.noise == "seeds" else "pairs"
        few, many = units_needed(comparison, tests)
        if few is None:
            texts.append(f"to detect it takes more than {MOST_PAIRS:,} {unit}")
        else:
            few = max(few, comparison.units + 1)
            to = " or more" if many is None else f" to {max(many, few):,}"
            texts.append(f"to detect it takes {few:,}{to} {unit}")
    return texts
