"""Verdicts on effects: which level is better, and what that rests on."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ablations.analysis.effects import Effect, corrected
from ablations.analysis.inference import ALPHA, Comparison, Noise
from ablations.analysis.sample_size import MOST_PAIRS, units_needed
from ablations.config.studies.question_checks import margins
from ablations.config.studies.study import Study
from ablations.kinds.hyperparameters import spell
from ablations.kinds.metrics import Metric
from ablations.presentation.wording import better_text, difference_unit, in_sentence, listed, ratio_text


@dataclass(frozen=True)
class Corrected:
    """The p-values of an effect after Holm's correction over so many tests, and the factors it depends on.

    `margin` is that of the metric, as it is written in the config, and `p_equivalent` are its p-values.
    """

    p: float | None
    p_over_items: float | None
    tests: int
    depends_on: Sequence[str] = ()
    margin: float | None = None
    p_equivalent: float | None = None
    p_equivalent_over_items: float | None = None
    is_exploratory: bool = False


def corrections(
    study: Study, name: str, found: Sequence[Effect], depends: Mapping[str, Sequence[str]]
) -> list[Corrected]:
    """What the verdicts on the effects on a metric need; `depends` names what a factor depends on."""
    names = ("p", "p_over_items", "p_equivalent", "p_equivalent_over_items")
    ps = [corrected(study, found, each) for each in names]
    exploratory = [bool(study.primary) and effect.factor not in study.primary for effect in found]
    tests = Counter(of for of, p in zip(exploratory, ps[0], strict=True) if p is not None)
    return [
        Corrected(
            **dict(zip(names, own, strict=True)),
            tests=tests[is_exploratory],
            depends_on=depends.get(effect.factor, ()) if _noise(effect) == "seeds" else (),
            margin=margins(study).get(name),
            is_exploratory=is_exploratory,
        )
        for effect, is_exploratory, *own in zip(found, exploratory, *ps, strict=True)
    ]


def _noise(effect: Effect) -> Noise | None:
    return effect.comparison.noise if effect.comparison else None


def judged_by(metric: Metric, comparison: Comparison) -> str:
    """What gives the noise of a comparison."""
    names = {"items": metric.noun, "model": "linear model", "exact": "exact values"}
    return names.get(comparison.noise, comparison.noise)


def verdict(study: Study, metric: Metric, effect: Effect, found: Corrected) -> str:
    """The verdict on an effect that has a comparison."""
    words = _judged(study, metric, effect, found)
    return f"exploratory: {words}" if found.is_exploratory and found.p is not None else words


def _judged(study: Study, metric: Metric, effect: Effect, found: Corrected) -> str:
    comparison = effect.comparison
    assert comparison is not None
    better = better_text(metric, spell(effect.first), spell(effect.second), comparison.difference)
    if_additive = "" if effect.pairs else ", if there are no interactions"
    if metric.noise == "exact":
        return f"{better}{if_additive}"
    if found.p is None:
        if comparison.pairs == 1:
            return "not tested: a single pair" + "; add seeds" * study.kind.is_random
        return f"{'' if comparison.difference else 'no difference; '}not tested: the differences do not vary"
    others = listed(in_sentence(study.label(name)) for name in found.depends_on or [""])
    on_average, depends = (" on average", f"; depends on {others}") if others else ("", "")
    is_equivalent = found.p_equivalent is not None and found.p_equivalent < ALPHA
    within = margin_text(metric, found.margin) if found.margin else ""
    p_over_items = [found.p_over_items] * (found.p < ALPHA) + [found.p_equivalent_over_items] * is_equivalent
    limits = f"{_limits(study, metric, comparison, p_over_items)}{if_additive}"
    if found.p < ALPHA:
        return f"{better}{on_average}{f', by less than {within}' * is_equivalent}{limits}{depends}"
    if is_equivalent:
        return f"equivalent within {within}{on_average}{limits}{depends}"
    unclear = "undecided" if found.margin else "not significant"
    if others:
        return f"{unclear}{on_average}{depends}"
    if comparison.noise == "items":
        return f"{unclear} on these {metric.noun}"
    return "; ".join([f"{unclear}{if_additive}", *_missed(study, metric, comparison, found.tests)])


def margin_text(metric: Metric, margin: float) -> str:
    """A margin with its unit: `0.2 points`, or `×1.05` for times."""
    if metric.noise == "time":
        return f"×{margin:g}"
    unit = difference_unit(metric)
    return f"{margin:g} {'point' if unit == 'points' and margin == 1 else unit}".rstrip()


def _limits(
    study: Study, metric: Metric, comparison: Comparison, p_over_items: Sequence[float | None]
) -> str:
    """What a significant difference holds for, or an equivalence, given their p-values for other items."""
    if not study.kind.is_random:
        return ""
    if comparison.noise == "items":
        return f", in {'these two runs' if comparison.pairs == 1 else 'these runs'}"
    limits = []
    if metric.noise != "time" and (comparison.noise == "settings" or not comparison.by_seeds):
        limits.append("this seed" if len(study.seeds) == 1 else "these seeds")
    if metric.noise == "proportion" and any(p is None or p >= ALPHA for p in p_over_items):
        limits.append(f"these {metric.noun}")
    return f", for {' and '.join(limits)}" if limits else ""


def _missed(study: Study, metric: Metric, comparison: Comparison, tests: int) -> list[str]:
    """What a comparison that is not significant excludes, and how many units detect what it does not."""
    texts = []
    if interval := comparison.interval:
        largest = max(abs(interval.low), abs(interval.high))
        size = f"differences above {largest:.{metric.decimals}f} {difference_unit(metric)}".rstrip()
        if metric.noise == "time":
            size = f"ratios above {ratio_text(math.exp(largest))}"
        texts.append(f"{size} are excluded")
    if comparison.effect_interval and study.test == "t":
        unit = "seeds" if comparison.noise == "seeds" else "pairs"
        few, many = units_needed(comparison, tests)
        if few is None:
            texts.append(f"to detect it takes more than {MOST_PAIRS:,} {unit}")
        else:
            few = max(few, comparison.units + 1)
            to = " or more" if many is None else f" to {max(many, few):,}"
            texts.append(f"to detect it takes {few:,}{to} {unit}")
    return texts
