"""Model matrices: the main effects of points as columns, and what a grid varies."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ablations.config.studies import Study

Levels = Mapping[str, Sequence[Any]]
Points = Sequence[tuple[Any, ...]]


def varying_levels(study: Study) -> dict[str, tuple[Any, ...]]:
    """The levels of each factor that has several in the study, in the order of the config."""
    runs = study.runs()
    levels = {factor: tuple(dict.fromkeys(run.value(factor) for run in runs)) for factor in study.factors}
    return {factor: found for factor, found in levels.items() if len(found) > 1}


def model_matrix(points: Points, levels: Levels) -> np.ndarray:
    """The model matrix of all main effects, of shape (points, coefficients).

    It has a constant column and one 0/1 column for each level of a factor but the first. An effect can be
    estimated if and only if its columns are linearly independent of the others; the coding does not matter.
    """
    columns = [np.ones(len(points))]
    for i, values in enumerate(levels.values()):
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
            found += range(at, at + len(values) - 1)
        at += len(values) - 1
    return found
