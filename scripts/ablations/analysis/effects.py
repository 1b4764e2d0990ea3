"""Effects: every two levels of a hyperparameter, compared between runs that differ in nothing else."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from statistics import fmean
from typing import Any

import numpy as np

from ablations.analysis.equivalence import with_margin_of
from ablations.analysis.inference import Comparison, holm
from ablations.analysis.items import Hits, compare_items, variance_of_items
from ablations.analysis.linear_model import LinearModel
from ablations.analysis.measurements import (
    Record,
    Records,
    available,
    comparable,
    conditions,
    duplicate_label,
    items_of,
    on_scale,
    unit_of,
)
from ablations.analysis.model_matrix import Continuous, model_matrix, varying_levels
from ablations.analysis.paired import compare_pairs
from ablations.analysis.paired_tests import retested
from ablations.config.studies.questions import Test
from ablations.config.studies.study import Study
from ablations.kinds import Kind
from ablations.kinds.hits import unpack
from ablations.kinds.metrics import Metric
from ablations.runs.run import Run

# The levels of a factor with more levels are compared with its first level only.
MOST_LEVELS = 8

# The pairs of one setting by seed.
Pairs = Mapping[Any, tuple[Record, Record]]


@dataclass(frozen=True)
class Effect:
    """Two levels of a factor, and their comparison: of times the logarithm of their ratio.

    `pairs` counts the pairs of runs in the grid that differ in this factor only. `comparison` uses those with
    available values, or a linear model if the grid has no pair. It is None if neither is possible. `apart`
    counts the pairs, or the runs of the linear model, that it leaves out because their times are not
    comparable, and `alone` the pairs that it leaves out because their setting has no other seed. A factor
    that had no effect on the metric `is_idle`: a linear model would credit it with what it cannot explain.
    """

    factor: str
    first: Any
    second: Any
    pairs: int
    apart: int
    alone: int
    comparison: Comparison | None
    is_idle: bool = False


class Pairing:
    """The pairs of runs of a study that differ in one factor alone, with their values of a metric."""

    def __init__(self, study: Study, records: Records, name: str) -> None:
        self.study, self.metric = study, study.kind.metrics[name]
        self.found = available(self.metric, study.runs(), records)
        self.unit = unit_of(study.kind, self.metric, self.found)
        self._name = name
        self._settings = cache(self._settings_of)

    @cached_property
    def levels(self) -> dict[str, tuple[Any, ...]]:
        """The levels of each factor that varies."""
        return varying_levels(self.study)

    def compare(self, factor: str, first: Any, second: Any, where: tuple[str, Any] | None = None) -> Effect:
        """The effect of a factor, of all pairs or of those that have this level of another factor."""
        metric, found = self.metric, self.found
        paired = [
            {seed: (by[first], by[second]) for seed, by in seeds.items() if first in by and second in by}
            for levels, seeds in self._settings(factor)
            if where is None or levels[where[0]] == where[1]
        ]
        both = [
            {seed: (found[a], found[b]) for seed, (a, b) in pairs.items() if a in found and b in found}
            for pairs in paired
        ]
        alike = [
            {s: (a, b) for s, (a, b) in pairs.items() if conditions(metric, a) == conditions(metric, b)}
            for pairs in both
        ]
        settings = [pairs for pairs in alike if pairs]
        comparison = compare_settings(
            self.study.kind, metric, settings, self.unit, sized=where is None, test=self.study.test
        )
        apart = sum(map(len, both)) - sum(map(len, alike))
        alone = sum(map(len, alike)) - comparison.pairs if comparison else 0
        return Effect(
            factor, first, second, sum(map(len, paired)), apart, alone, self.with_margin(comparison)
        )

    def with_margin(self, comparison: Comparison | None) -> Comparison | None:
        """A comparison with the test of equivalence, if the study has a margin for the metric."""
        return with_margin_of(self.study, self._name, comparison)

    def _settings_of(self, factor: str) -> list[tuple[dict[str, Any], dict[Any, dict[Any, Run]]]]:
        """Each combination of the levels of all other factors, with its runs by seed and level."""
        settings: dict[tuple[Any, ...], dict[Any, dict[Any, Run]]] = {}
        names = [name for name in self.study.factors if name != factor]
        for run in self.study.runs():
            setting = settings.setdefault(tuple(map(run.value, names)), {})
            setting.setdefault(run.values().get("seed"), {})[run.value(factor)] = run
        return [(dict(zip(names, levels, strict=True)), seeds) for levels, seeds in settings.items()]


def effects(study: Study, records: Records, name: str) -> Iterator[Effect]:
    """The comparisons of a metric between the levels of each factor that varies."""
    pairing = Pairing(study, records, name)
    of_model = comparable(pairing.metric, pairing.found)
    main_effects = _MainEffects(study, pairing.metric, of_model, pairing.unit)
    for factor, levels in pairing.levels.items():
        for first, second in _compared(levels):
            # Of a range, no two runs show what the line through all of them shows.
            none = Effect(factor, first, second, pairs=0, apart=0, alone=0, comparison=None)
            is_line = isinstance(levels, Continuous) and not {first, second} <= {*levels.apart}
            effect = none if is_line else pairing.compare(factor, first, second)
            if not effect.pairs:
                comparison = pairing.with_margin(main_effects.compare(factor, first, second))
                is_idle = factor in main_effects.idle
                apart = 0 if is_idle else len(pairing.found) - len(of_model)
                effect = replace(effect, apart=apart, comparison=comparison, is_idle=is_idle)
            yield effect


def _compared(levels: Sequence[Any]) -> Iterable[tuple[Any, Any]]:
    if isinstance(levels, Continuous):
        of_middle = ((levels.middle, level) for level in levels.apart)
        return [(levels[0], levels[-1]), *of_middle, *itertools.combinations(levels.apart, 2)]
    if len(levels) <= MOST_LEVELS:
        return itertools.combinations(levels, 2)
    return ((levels[0], level) for level in levels[1:])


def compare_settings(
    kind: Kind, metric: Metric, settings: Sequence[Pairs], unit: float, sized: bool = True, test: Test = "t"
) -> Comparison | None:
    """The comparison of the pairs of some settings by seed, second minus first; None without a pair.

    `sized` asks for the effect size. `test` is that of the differences of seeds or settings.
    """
    pairs = [pair for of_setting in settings for pair in of_setting.values()]
    if not pairs:
        return None
    differences = [
        {seed: (on_scale(metric, b) - on_scale(metric, a)) / unit for seed, (a, b) in of_setting.items()}
        for of_setting in settings
    ]
    if metric.noise == "exact":
        mean = fmean(difference for of_setting in differences for difference in of_setting.values())
        found = Comparison(len(pairs), len(pairs), "exact", mean, None, None)
        return in_unit(metric, found, unit)
    # Settings whose runs got the same items right are duplicates, and count as one unit.
    alike = [
        tuple(
            (seed, *(duplicate_label(kind, metric, record, i) for record in pair))
            for seed, pair in of_setting.items()
        )
        for i, of_setting in enumerate(settings)
    ]
    known = metric.answers and all(metric.answers in record for pair in pairs for record in pair)
    # The settings of a kind that is not random are not a sample, so the items are the units.
    if known and (not kind.is_random or (len(set(alike)) == 1 and len(alike[0]) == 1)):
        compared = pairs[:1] if kind.is_random else pairs
        found = compare_items(
            [(_hits(metric, one), _hits(metric, other)) for one, other in compared], metric.whole
        )
        return replace(found, pairs=len(pairs))
    found = in_unit(metric, retested(compare_pairs(differences, alike, sized), test), unit)
    if known and found.noise == "seeds" and found.p is not None:
        found = found.with_items(_variance_of_items(metric, settings, found.pairs))
    return found


def _variance_of_items(metric: Metric, settings: Sequence[Pairs], count: int) -> float:
    """The variance of the mean difference over so many pairs of settings with several seeds, due to items."""
    seeds = list(dict.fromkeys(seed for of_setting in settings for seed in of_setting))
    # Test set -> the mean difference of each seed in each item, which the mean over seeds adds up.
    scores: dict[Any, np.ndarray] = {}
    for of_setting in settings:
        for seed, pair in of_setting.items() if len(of_setting) > 1 else ():
            for sign, record in zip((-1, 1), pair, strict=True):
                test_set, hits = _hits(metric, record)
                of_set = scores.setdefault(test_set, np.zeros((len(seeds), len(hits))))
                of_set[seeds.index(seed)] += sign * len(seeds) / count * hits
    return sum(map(variance_of_items, scores.values())) * metric.whole**2


def in_unit(metric: Metric, comparison: Comparison, unit: float) -> Comparison:
    """A comparison of values analysed in `unit`, in the table's unit. The ratio of two times has none."""
    if metric.noise == "time":
        return comparison
    low, high = metric.bounds
    return comparison.scaled(metric.scale * unit).within(high - low)


def _hits(metric: Metric, record: Record) -> Hits:
    items = items_of(metric, record)
    return (record.get("dataset"), items), unpack(record[metric.answers], items)


class _MainEffects:
    """The linear model of all main effects on the available values of a metric.

    The factors in `idle` had no effect on the metric; they are no part of it.
    """

    def __init__(self, study: Study, metric: Metric, found: Records, unit: float) -> None:
        self.kind, self.metric, self.found, self.unit = study.kind, metric, found, unit
        self.test = study.test
        self.idle = study.kind.idle(found.values(), metric)
        varying = varying_levels(study).items()
        self.levels = {factor: levels for factor, levels in varying if factor not in self.idle}

    @cached_property
    def model(self) -> LinearModel:
        points = [tuple(map(run.value, self.levels)) for run in self.found]
        values = [on_scale(self.metric, record) / self.unit for record in self.found.values()]
        seeds = [run.values().get("seed") for run in self.found]
        alike = [duplicate_label(self.kind, self.metric, record, run) for run, record in self.found.items()]
        return LinearModel(model_matrix(points, self.levels), np.array(values), seeds, alike)

    def compare(self, factor: str, first: Any, second: Any) -> Comparison | None:
        if not self.found or factor in self.idle:
            return None
        usual = {name: levels[0] for name, levels in self.levels.items()}
        ends = [tuple({**usual, factor: level}.values()) for level in (first, second)]
        one, other = model_matrix(ends, self.levels)
        comparison = self.model.compare(other - one)
        if comparison is None:
            return None
        if self.metric.noise == "exact":
            comparison = replace(comparison, interval=None, p=None)
        return in_unit(self.metric, retested(comparison, self.test), self.unit)


def corrected(study: Study, found: Sequence[Effect], name: str = "p") -> list[float | None]:
    """The p-value of this name of each effect, with Holm's correction; None without a test.

    It is over all effects, or over those of the primary hyperparameters and of the others apart.
    """
    ps: list[float | None] = [getattr(effect.comparison, name, None) for effect in found]
    of_primary = [effect.factor in study.primary for effect in found]
    families = {
        is_primary: iter(
            holm([p for p, of in zip(ps, of_primary, strict=True) if of == is_primary and p is not None])
        )
        for is_primary in (True, False)
    }
    return [
        None if p is None else next(families[is_primary])
        for p, is_primary in zip(ps, of_primary, strict=True)
    ]
