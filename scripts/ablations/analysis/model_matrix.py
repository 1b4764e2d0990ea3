"""Model matrices: the main effects of points as columns, and what a grid varies."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ablations.config.studies.ranges import position
from ablations.config.studies.study import Study

Levels = Mapping[str, Sequence[Any]]


class Continuous(tuple[Any, ...]):
    """The levels of a factor that are drawn from a range, from the lowest: its effect is one slope.

    The slope is over their logarithms if `is_log`. `apart` are levels of other blocks that have no place on
    this scale, such as a text: each has an effect of its own.
    """

    is_log = False
    apart: tuple[Any, ...] = ()

    def shares(self, values: Sequence[Any]) -> np.ndarray:
        """Where values lie between the lowest level, at 0, and the highest, at 1; 0 for those apart."""
        low, high = (position(value, self.is_log) for value in (self[0], self[-1]))
        found = [low if value in self.apart else position(value, self.is_log) for value in values]
        return (np.array(found) - low) / (high - low)

    def columns(self, values: Sequence[Any]) -> list[np.ndarray]:
        """The columns of a model matrix: the shares, and a 0/1 column for each level apart."""
        apart = [np.array([value == level for value in values], float) for level in self.apart]
        return [self.shares(values), *apart]

    @property
    def middle(self) -> Any:
        """The level that is nearest to the middle of the scale."""
        return self[int(np.argmin(np.abs(self.shares(self) - 0.5)))]


Points = Sequence[tuple[Any, ...]]


def varying_levels(study: Study) -> dict[str, tuple[Any, ...]]:
    """The levels of each factor that has several in the study, in the order of the config."""
    runs = study.runs()
    levels = {factor: tuple(dict.fromkeys(run.value(factor) for run in runs)) for factor in study.factors}
    varying = {factor: found for factor, found in levels.items() if len(found) > 1}
    ranges = {name: bool(given.log_uniform) for name, given in study.ranges.items() if name in varying}
    return varying | {name: _continuous(varying[name], is_log) for name, is_log in ranges.items()}


def _continuous(levels: tuple[Any, ...], is_log: bool) -> tuple[Any, ...]:
    """The levels of a range; as they are where only one has a place on its scale."""
    apart = tuple(level for level in levels if isinstance(level, str) or (is_log and level <= 0))
    if len(levels) - len(apart) < 2:
        return levels
    found = Continuous(sorted(level for level in levels if level not in apart))
    found.is_log, found.apart = is_log, apart
    return found


def model_matrix(points: Points, levels: Levels) -> np.ndarray:
    """The model matrix of all main effects, of shape (points, coefficients).

    It has a constant column and one 0/1 column for each level of a factor but the first, or those of a
    continuous factor. An effect can be estimated if and only if its columns are linearly independent of the
    others; the coding does not matter.
    """
    columns = [np.ones(len(points))]
    for i, values in enumerate(levels.values()):
        if isinstance(values, Continuous):
            columns += values.columns([point[i] for point in points])
            continue
        place = {value: number for number, value in enumerate(values)}
        number = np.array([place[point[i]] for point in points])
        columns += [(number == level).astype(float) for level in range(1, len(values))]
    return np.column_stack(columns)


def rank_of(gram: np.ndarray) -> int:
    """The rank of a model matrix, from its Gram matrix."""
    return int(np.linalg.matrix_rank(gram, hermitian=True))


def columns_of(levels: Levels, factors: Sequence[str]) -> list[int]:
    """The places of the columns of some factors in a model matrix."""
    found: list[int] = []
    at = 1
    for factor, values in levels.items():
        if factor in factors:
            found += range(at, at + coefficients(values))
        at += coefficients(values)
    return found


def coefficients(values: Sequence[Any]) -> int:
    """How many columns the main effect of a factor with these levels has."""
    return 1 + len(values.apart) if isinstance(values, Continuous) else len(values) - 1
