"""Effects: every two levels of a hyperparameter, compared between runs that differ in nothing else."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from ablations.analysis.cells import Records
from ablations.analysis.design import model_matrix, varying_levels
from ablations.analysis.inference import Comparison, Hits, LinearModel, compare_images, compare_pairs, holm
from ablations.config.studies import Study
from ablations.kinds.hits import unpack
from ablations.runs.run import Run

# The levels of a factor with more levels are compared with its first level only.
MOST_LEVELS = 8


@dataclass(frozen=True)
class Effect:
    """Two levels of a factor, and their comparison.

    `pairs` counts the pairs of runs in the grid that differ in this factor only. `comparison` uses those
    with available accuracies, or a linear model if the grid has no pair. It is None if neither is possible.
    """

    factor: str
    first: Any
    second: Any
    pairs: int
    comparison: Comparison | None


def effects(study: Study, records: Records) -> Iterator[Effect]:
    """The comparisons of test accuracy between the levels of each factor that varies."""
    runs = study.runs()
    available = {run: record for run in runs if (record := records.get(run)) and "test_accuracy" in record}
    main_effects = _MainEffects(study, available)
    for factor, levels in varying_levels(study).items():
        # All factors but this one -> seed -> level -> the record, if it has an accuracy.
        alike: dict[tuple[Any, ...], dict[Any, dict[Any, Mapping[str, str] | None]]] = {}
        names = [name for name in study.factors if name != factor]
        for run in runs:
            setting = alike.setdefault(tuple(map(run.value, names)), {})
            setting.setdefault(run.values().get("seed"), {})[run.value(factor)] = available.get(run)
        for first, second in _compared(levels):
            paired = [
                {seed: (by[first], by[second]) for seed, by in seeds.items() if first in by and second in by}
                for seeds in alike.values()
            ]
            both = [{seed: (a, b) for seed, (a, b) in pairs.items() if a and b} for pairs in paired]
            count = sum(map(len, paired))
            comparison = (
                _compare(study.kind.is_random, [pairs for pairs in both if pairs])
                if count
                else main_effects.compare(factor, first, second)
            )
            yield Effect(factor, first, second, count, comparison)


def _compared(levels: Sequence[Any]) -> Iterable[tuple[Any, Any]]:
    if len(levels) <= MOST_LEVELS:
        return itertools.combinations(levels, 2)
    return ((levels[0], level) for level in levels[1:])


def _compare(
    random: bool, settings: Sequence[Mapping[Any, tuple[Mapping[str, str], Mapping[str, str]]]]
) -> Comparison | None:
    pairs = [pair for of_setting in settings for pair in of_setting.values()]
    if not pairs:
        return None
    # Settings whose runs classified the same images correctly are duplicates, and count as one unit.
    alike = [
        tuple(
            (seed, *(record.get("test_correct", i) for record in pair)) for seed, pair in of_setting.items()
        )
        for i, of_setting in enumerate(settings)
    ]
    known = all("test_correct" in record for pair in pairs for record in pair)
    # The settings of a kind that is not random are not a sample, so the test images are the units.
    if known and (not random or (len(set(alike)) == 1 and len(alike[0]) == 1)):
        compared = pairs[:1] if random else pairs
        found = compare_images([(_hits(one), _hits(other)) for one, other in compared])
        return replace(found, pairs=len(pairs))
    return compare_pairs(
        [
            {
                seed: float(b["test_accuracy"]) - float(a["test_accuracy"])
                for seed, (a, b) in of_setting.items()
            }
            for of_setting in settings
        ],
        alike,
    )


def _answers(run: Run, record: Mapping[str, str]) -> tuple[Any, ...]:
    """A label that duplicate runs share: which images are correct; the run itself if unknown."""
    return (record["dataset"], record["test_correct"]) if "test_correct" in record else (run,)


def _hits(record: Mapping[str, str]) -> Hits:
    images = int(record["test_samples"])
    return (record["dataset"], images), unpack(record["test_correct"], images)


class _MainEffects:
    """The linear model of all main effects on the available accuracies."""

    def __init__(self, study: Study, available: Records) -> None:
        self.levels = varying_levels(study)
        self.available = available

    @cached_property
    def model(self) -> LinearModel:
        points = [tuple(map(run.value, self.levels)) for run in self.available]
        values = [float(record["test_accuracy"]) for record in self.available.values()]
        seeds = [run.values().get("seed") for run in self.available]
        alike = [_answers(run, record) for run, record in self.available.items()]
        return LinearModel(model_matrix(points, self.levels), np.array(values), seeds, alike)

    def compare(self, factor: str, first: Any, second: Any) -> Comparison | None:
        if not self.available:
            return None
        usual = {name: levels[0] for name, levels in self.levels.items()}
        ends = [tuple({**usual, factor: level}.values()) for level in (first, second)]
        one, other = model_matrix(ends, self.levels)
        return self.model.compare(other - one)


def corrected(found: Sequence[Effect]) -> list[float | None]:
    """The p-value of each effect with Holm's correction over all of them; None without a test."""
    tested = [i for i, e in enumerate(found) if e.comparison and e.comparison.p is not None]
    ps: list[float | None] = [None] * len(found)
    for i, p in zip(tested, holm([found[i].comparison.p for i in tested]), strict=True):  # type: ignore
        ps[i] = p
    return ps
