"""Missing points: the fewest that a grid needs to separate its effects."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from ablations.analysis.model_matrix import Levels, Points, model_matrix, rank_of
from ablations.config.studies.study import Study
from ablations.runs.run import Run

# The search stops after this many points.
MOST_CANDIDATES = 10_000
Point = Mapping[str, Any]
# Which points were searched: until there were enough; all of the product of the levels, or all that differ
# from the grid in one level, or the first of those, without finding enough.
Searched = Literal["enough", "all points", "all neighbours", "some neighbours"]


def missing_points(
    study: Study,
    points: Points,
    levels: Levels,
    gram: np.ndarray,
    rules: Sequence[tuple[str, Sequence[str]]],
) -> tuple[tuple[Point, ...], Searched]:
    """The fewest points that make all main effects separable, none if there are none, and what was searched.

    `rules` lists the factors that other factors determine, with those.

    A point raises the rank by at most one, and any points that raise it can be completed to a basis (the
    exchange property of a matroid). The greedy choice is therefore minimal. It prefers points that break
    many dependencies between levels, then points of short runs (few epochs). Points that differ from the
    grid in one level come first; all others follow if the whole product of levels is small.
    """
    goal, rank = len(gram), rank_of(gram)
    factors, basis = list(levels), _Basis(gram)
    seen = [(factor, of, levels_by(points, factors, of, factor)) for factor, of in rules]

    def broken(point: tuple[Any, ...]) -> int:
        values = dict(zip(factors, point, strict=True))
        return sum(
            known.get(tuple(values[name] for name in of), values[factor]) != values[factor]
            for factor, of, known in seen
            if known is not None
        )

    chosen: list[Point] = []
    near = _neighbours(points, levels)
    for found in (near, _others(points, levels, near)):
        candidates = [point for point in found if _is_run(study, levels, point)]
        candidates.sort(key=lambda point: (-broken(point), _length(study, levels, point)))
        rows = model_matrix(candidates, levels) if candidates else ()
        for point, row in zip(candidates, rows, strict=True):
            if rank + len(chosen) < goal and basis.extends(row):
                chosen.append(dict(zip(levels, point, strict=True)))
        if rank + len(chosen) == goal:
            return tuple(chosen), "enough"
    if _is_small(levels):
        return (), "all points"
    return (), "some neighbours" if len(near) >= MOST_CANDIDATES else "all neighbours"


def _is_small(levels: Levels) -> bool:
    return math.prod(map(len, levels.values())) <= MOST_CANDIDATES


def _others(points: Points, levels: Levels, near: Points) -> Points:
    """The points of the whole product that are neither in the grid nor near it; none if it is large."""
    if not _is_small(levels):
        return []
    known = {*points, *near}
    return [point for point in itertools.product(*levels.values()) if point not in known]


def _neighbours(points: Points, levels: Levels) -> Points:
    """Points outside the grid that differ from one of its points in one level.

    The neighbours of a single point suffice for full rank if all of them can be trained. If some cannot,
    neighbours of other points may replace them.
    """
    found: dict[tuple[Any, ...], None] = {}
    in_grid = set(points)
    for point in points:
        for i, values in enumerate(levels.values()):
            for value in values:
                other = (*point[:i], value, *point[i + 1 :])
                if other not in in_grid:
                    found[other] = None
        if len(found) >= MOST_CANDIDATES:
            break
    return list(found)


class _Basis:
    """An orthonormal basis of the rows so far, which starts with the row space of a Gram matrix."""

    def __init__(self, gram: np.ndarray) -> None:
        sizes, directions = np.linalg.eigh(gram)
        self.vectors = directions.T[sizes > sizes.max() * len(gram) * np.finfo(float).eps]

    def extends(self, row: np.ndarray) -> bool:
        """Add `row` to the basis if it is linearly independent of its rows, and return whether it is."""
        rest = row - self.vectors.T @ (self.vectors @ row)
        rest -= self.vectors.T @ (self.vectors @ rest)
        size = np.linalg.norm(rest)
        if size <= 1e-9 * np.linalg.norm(row):
            return False
        self.vectors = np.vstack([self.vectors, rest / size])
        return True


def levels_by(
    points: Points, factors: Sequence[str], of: Sequence[str], factor: str
) -> dict[tuple[Any, ...], Any] | None:
    """The level of `factor` for each combination of levels of `of`; None if a combination has several."""
    at, places = factors.index(factor), [factors.index(name) for name in of]
    seen: dict[tuple[Any, ...], Any] = {}
    for point in points:
        if seen.setdefault(tuple(point[i] for i in places), point[at]) != point[at]:
            return None
    return seen


def _is_run(study: Study, levels: Levels, point: Sequence[Any]) -> bool:
    """Whether a point can be trained (only sgd has momentum), and the study does not exclude it."""
    runs = [run_of(study, dict(zip(levels, point, strict=True)), seed) for seed in study.seeds or [0]]
    return runs[0].hyperparameters.conflict(runs[0].model) is None and not all(map(study.excludes, runs))


def run_of(study: Study, point: Point, seed: int = 0) -> Run:
    """The run of a point, which takes the values that do not vary from the study's first run."""
    values = {**study.runs()[0].values(), "seed": seed, **point}
    cls = study.kind.hyperparameters
    own = {name: values[name] for name in cls.model_fields}
    return Run(study.kind, values["dataset"], values["model"], cls.model_construct(**own))


def _length(study: Study, levels: Levels, point: Sequence[Any]) -> int:
    """How often a run of this point repeats what takes its time."""
    repeats = dict(zip(levels, point, strict=True)).get(study.kind.duration.repeats or "", 0)
    return repeats if isinstance(repeats, int) else 0
