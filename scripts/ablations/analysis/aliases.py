"""Aliases: by how much interactions of two factors shift the estimates of main effects."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ablations.analysis.model_matrix import Continuous, Levels, Points, coefficients
from ablations.config.studies.contrasts import contrasts

# Grids with more numbers in the columns of an interaction than this are not examined.
MOST_NUMBERS = 2_000_000


@dataclass(frozen=True)
class Alias:
    """The shift of a main effect by an interaction of two factors of the same size, between 0 and about 1."""

    size: float
    of: tuple[str, str]


def largest_aliases(points: Points, levels: Levels, factors: Sequence[str]) -> Mapping[str, Alias | None]:
    """The largest alias of each of these separable factors with an interaction of two other factors.

    It is the largest entry of the alias matrix of a model of all main effects (Box & Wilson 1951), with
    orthonormal contrasts. Where the factor itself interacts, its effect is one on average. None where there
    are no two other factors, or the grid is too large.
    """
    names = list(levels)
    pairs = list(itertools.combinations(names, 2))
    numbers = len(points) * sum(coefficients(levels[a]) * coefficients(levels[b]) for a, b in pairs)
    if len(names) < 3 or numbers > MOST_NUMBERS:
        return dict.fromkeys(factors)
    if len(points) == math.prod(map(len, levels.values())):
        return dict.fromkeys(factors, Alias(0.0, pairs[0]))
    columns = {name: _contrasts(points, levels, i) for i, name in enumerate(names)}
    inverse = np.linalg.pinv(np.column_stack([np.ones(len(points)), *columns.values()]))
    starts = np.cumsum([1, *(of_factor.shape[1] for of_factor in columns.values())])
    largest: dict[str, Alias] = {}
    for one, other in pairs:
        products = columns[one][:, :, None] * columns[other][:, None, :]
        matrix = np.abs(inverse @ products.reshape(len(points), -1))
        for name, start, end in zip(names, starts[:-1], starts[1:], strict=True):
            size = float(matrix[start:end].max())
            if (
                name in factors
                and name not in (one, other)
                and (name not in largest or size > largest[name].size + 1e-9)
            ):
                largest[name] = Alias(size, (one, other))
    return largest


def _contrasts(points: Points, levels: Levels, i: int) -> np.ndarray:
    """Orthonormal contrasts of the levels of factor i at each point, of shape (points, coefficients)."""
    values, at = list(levels.values())[i], [point[i] for point in points]
    if not isinstance(values, Continuous):
        return contrasts(at, values)
    columns = np.column_stack(values.columns(at))
    return np.linalg.qr(columns - columns.mean(axis=0))[0] * math.sqrt(len(at))
