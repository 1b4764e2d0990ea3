"""The design of a study: which effects its grid can separate, known before any run is trained.

An effect is that of one hyperparameter (or of the dataset or model) on the mean of a metric. Two effects
are aliased if the grid never varies them separately. Additional seeds do not separate them.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ablations.analysis.aliases import Alias, largest_aliases
from ablations.analysis.missing_points import Point, Searched, levels_by, missing_points
from ablations.analysis.model_matrix import (
    Continuous,
    Levels,
    coefficients,
    columns_of,
    model_matrix,
    rank_of,
    varying_levels,
)
from ablations.config.studies.study import Study

# The largest set of factors that is checked for determining another factor.
MOST_FACTORS = 3

# Smaller aliases are not shown.
SMALL_ALIAS = 0.005


@dataclass(frozen=True)
class Follows:
    """The factors `of` determine `factor` in this grid: each combination of their levels has one level of it.

    No subset of them does so.

    `often` tells whether their combinations occur at least twice on average. If not, the grid may only be
    too small to show otherwise.
    """

    factor: str
    of: tuple[str, ...]
    often: bool


@dataclass(frozen=True)
class Design:
    """What a study's grid varies, and which effects it can separate.

    `levels` lists the levels of each factor that varies. `separable` lists the factors whose main effect is
    separable from all others; for the rest, `aliased_with` names the factors that they are aliased with.
    `follows` lists the factors whose levels others determine: their effect is aliased with an interaction
    of those. `missing` are the fewest additional points that make all main effects separable, of those
    `searched`. `alias` is the largest alias of each separable factor with an interaction of two others, None
    where it is not computed. `spare` is the number of points beyond those that the main effects need;
    they can show interactions or noise.
    """

    levels: Mapping[str, tuple[Any, ...]]
    points: int
    seeds: int
    separable: tuple[str, ...]
    aliased_with: Mapping[str, tuple[str, ...]]
    follows: tuple[Follows, ...]
    missing: tuple[Point, ...]
    searched: Searched
    alias: Mapping[str, Alias | None]
    spare: int

    @property
    def pure(self) -> tuple[str, ...]:
        """The separable factors whose levels no other factors determine."""
        mixed = {each.factor for each in self.follows}
        return tuple(factor for factor in self.separable if factor not in mixed)

    @property
    def pure_of_two(self) -> tuple[str, ...]:
        """The other separable factors that only interactions of three or more can be mistaken for."""
        none = {factor for factor, alias in self.alias.items() if alias and alias.size < SMALL_ALIAS}
        return tuple(factor for factor in self.separable if factor in none and factor not in self.pure)


def design(study: Study) -> Design:
    """The design of a study, from its grid only."""
    levels = varying_levels(study)
    factors = list(levels)
    points = list(dict.fromkeys(tuple(map(run.value, factors)) for run in study.runs()))
    rows = model_matrix(points, levels)
    # The Gram matrix has the same rank and stays small for any number of points.
    gram = rows.T @ rows
    rank = rank_of(gram)
    separable, aliased = [], {}
    for factor in factors:
        if _gain(gram, rank, levels, [factor]) == coefficients(levels[factor]):
            separable.append(factor)
        else:
            aliased[factor] = _mixed_with(factor, gram, rank, levels)
    follows = tuple(_dependencies(points, levels))
    rules = [(each.factor, each.of) for each in follows]
    missing, searched = missing_points(study, points, levels, gram, rules) if aliased else ((), "enough")
    return Design(
        levels=levels,
        points=len(points),
        seeds=len(study.seeds) or 1,
        separable=tuple(separable),
        aliased_with=aliased,
        follows=follows,
        missing=missing,
        searched=searched,
        alias=largest_aliases(points, levels, separable),
        spare=len(points) - rank,
    )


def _without(gram: np.ndarray, columns: Sequence[int]) -> np.ndarray:
    kept = np.delete(np.arange(len(gram)), columns)
    return gram[np.ix_(kept, kept)]


def _gain(gram: np.ndarray, rank: int, levels: Levels, factors: Sequence[str]) -> int:
    """How much the columns of some factors add to the rank of all others."""
    return rank - rank_of(_without(gram, columns_of(levels, factors)))


def _mixed_with(factor: str, gram: np.ndarray, rank: int, levels: Levels) -> tuple[str, ...]:
    """The factors that `factor` is aliased with: without any one of them, it adds more to the rank."""
    own = _gain(gram, rank, levels, [factor])
    mixed = []
    for other in levels:
        if other != factor:
            without = _without(gram, columns_of(levels, [other]))
            kept = {name: values for name, values in levels.items() if name != other}
            if _gain(without, rank_of(without), kept, [factor]) > own:
                mixed.append(other)
    return tuple(mixed)


def _dependencies(points: Sequence[tuple[Any, ...]], levels: Levels) -> list[Follows]:
    """Which factors determine which, with the smallest sets for each; no continuous ones, as none repeats."""
    found, factors = [], list(levels)
    listed = [name for name in factors if not isinstance(levels[name], Continuous)]
    for factor in listed:
        others = [other for other in listed if other != factor]
        for size in range(1, min(len(others), MOST_FACTORS) + 1):
            sets = []
            for of in itertools.combinations(others, size):
                seen = levels_by(points, factors, of, factor)
                if seen is not None:
                    sets.append(Follows(factor, of, often=2 * len(seen) <= len(points)))
            if sets:
                found += sets
                break
    return found
