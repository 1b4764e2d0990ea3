"""The design of a study: which effects its grid can separate, known before any run is trained.

An effect is that of one hyperparameter (or of the dataset or model) on the mean of a metric. Two effects
are aliased if the grid never varies them separately. Additional seeds do not separate them.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ablations.config.studies import Study
from ablations.runs.run import Run

# The search for missing points stops after this many.
MOST_CANDIDATES = 10_000
# The largest set of factors that is checked for determining another factor.
MOST_FACTORS = 3

Point = Mapping[str, Any]


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
    of those. `missing` are the fewest additional points that make all main effects separable; `impossible`
    tells that there are none. `spare` is the number of points beyond those that the main effects need;
    they can show interactions or noise.
    """

    levels: Mapping[str, tuple[Any, ...]]
    points: int
    seeds: int
    separable: tuple[str, ...]
    aliased_with: Mapping[str, tuple[str, ...]]
    follows: tuple[Follows, ...]
    missing: tuple[Point, ...]
    impossible: bool
    spare: int

    @property
    def pure(self) -> tuple[str, ...]:
        """The separable factors whose levels no other factors determine."""
        mixed = {each.factor for each in self.follows}
        return tuple(factor for factor in self.separable if factor not in mixed)


def varying_levels(study: Study) -> dict[str, tuple[Any, ...]]:
    """The levels of each factor that has several in the study, in the order of the config."""
    runs = study.runs()
    levels = {factor: tuple(dict.fromkeys(run.value(factor) for run in runs)) for factor in study.factors}
    return {factor: found for factor, found in levels.items() if len(found) > 1}


def design(study: Study) -> Design:
    """The design of a study, from its grid only."""
    levels = varying_levels(study)
    factors = list(levels)
    points = list(dict.fromkeys(tuple(map(run.value, factors)) for run in study.runs()))
    rows = model_matrix(points, levels)
    # The Gram matrix has the same rank and stays small for any number of points.
    gram = rows.T @ rows
    rank = _rank(gram)
    separable, aliased = [], {}
    for factor in factors:
        if _gain(gram, rank, levels, [factor]) == len(levels[factor]) - 1:
            separable.append(factor)
        else:
            aliased[factor] = _mixed_with(factor, gram, rank, levels)
    follows = tuple(_dependencies(points, factors))
    missing, impossible = _missing(study, points, levels, gram, follows) if aliased else ((), False)
    return Design(
        levels=levels,
        points=len(points),
        seeds=len(study.seeds) or 1,
        separable=tuple(separable),
        aliased_with=aliased,
        follows=follows,
        missing=missing,
        impossible=impossible,
        spare=len(points) - rank,
    )


# --- which effects are separable -----------------------------------------------------------------


def model_matrix(points: Sequence[tuple[Any, ...]], levels: Mapping[str, Sequence[Any]]) -> np.ndarray:
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


def _rank(gram: np.ndarray) -> int:
    return int(np.linalg.matrix_rank(gram, hermitian=True))


def _columns(levels: Mapping[str, Sequence[Any]], factors: Sequence[str]) -> list[int]:
    found: list[int] = []
    at = 1
    for factor, values in levels.items():
        if factor in factors:
            found += range(at, at + len(values) - 1)
        at += len(values) - 1
    return found


def _without(gram: np.ndarray, columns: Sequence[int]) -> np.ndarray:
    kept = np.delete(np.arange(len(gram)), columns)
    return gram[np.ix_(kept, kept)]


def _gain(gram: np.ndarray, rank: int, levels: Mapping[str, Sequence[Any]], factors: Sequence[str]) -> int:
    """How much the columns of some factors add to the rank of all others."""
    return rank - _rank(_without(gram, _columns(levels, factors)))


def _mixed_with(
    factor: str, gram: np.ndarray, rank: int, levels: Mapping[str, Sequence[Any]]
) -> tuple[str, ...]:
    """The factors that `factor` is aliased with: without any one of them, it adds more to the rank."""
    own = _gain(gram, rank, levels, [factor])
    mixed = []
    for other in levels:
        if other != factor:
            without = _without(gram, _columns(levels, [other]))
            kept = {name: values for name, values in levels.items() if name != other}
            if _gain(without, _rank(without), kept, [factor]) > own:
                mixed.append(other)
    return tuple(mixed)


def _dependencies(points: Sequence[tuple[Any, ...]], factors: Sequence[str]) -> list[Follows]:
    """Which factors determine which, with the smallest sets for each."""
    found = []
    for factor in factors:
        others = [other for other in factors if other != factor]
        for size in range(1, min(len(others), MOST_FACTORS) + 1):
            sets = []
            for of in itertools.combinations(others, size):
                seen = _levels_by(points, factors, of, factor)
                if seen is not None:
                    sets.append(Follows(factor, of, often=2 * len(seen) <= len(points)))
            if sets:
                found += sets
                break
    return found


def _levels_by(
    points: Sequence[tuple[Any, ...]], factors: Sequence[str], of: Sequence[str], factor: str
) -> dict[tuple[Any, ...], Any] | None:
    """The level of `factor` for each combination of levels of `of`; None if a combination has several."""
    at, places = factors.index(factor), [factors.index(name) for name in of]
    seen: dict[tuple[Any, ...], Any] = {}
    for point in points:
        if seen.setdefault(tuple(point[i] for i in places), point[at]) != point[at]:
            return None
    return seen


# --- what is missing -----------------------------------------------------------------------------


def _missing(
    study: Study,
    points: Sequence[tuple[Any, ...]],
    levels: Mapping[str, Sequence[Any]],
    gram: np.ndarray,
    follows: Sequence[Follows],
) -> tuple[tuple[Point, ...], bool]:
    """The fewest points that make all main effects separable, and whether there are none.

    A point raises the rank by at most one, and any points that raise it can be completed to a basis (the
    exchange property of a matroid). The greedy choice is therefore minimal. It prefers points that break
    many dependencies between levels, then points of short runs (few epochs).
    """
    goal, rank = len(gram), _rank(gram)
    factors = list(levels)
    rules = [(each, _levels_by(points, factors, each.of, each.factor)) for each in follows]

    def broken(point: tuple[Any, ...]) -> int:
        values = dict(zip(factors, point, strict=True))
        return sum(
            seen.get(tuple(values[name] for name in each.of), values[each.factor]) != values[each.factor]
            for each, seen in rules
            if seen is not None
        )

    found = _candidates(points, levels)
    candidates = [point for point in found if _is_run(study, levels, point)]
    candidates.sort(key=lambda point: (-broken(point), _length(study, levels, point)))
    basis = _Basis(gram)
    chosen: list[Point] = []
    for point, row in zip(candidates, model_matrix(candidates, levels) if candidates else (), strict=True):
        if rank + len(chosen) == goal:
            break
        if basis.extends(row):
            chosen.append(dict(zip(levels, point, strict=True)))
    if rank + len(chosen) == goal:
        return tuple(chosen), False
    return (), len(found) < MOST_CANDIDATES


def _candidates(
    points: Sequence[tuple[Any, ...]], levels: Mapping[str, Sequence[Any]]
) -> list[tuple[Any, ...]]:
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


def _is_run(study: Study, levels: Mapping[str, Sequence[Any]], point: Sequence[Any]) -> bool:
    """Whether a point can be trained (only sgd has momentum), and the study does not exclude it."""
    runs = [run_of(study, dict(zip(levels, point, strict=True)), seed) for seed in study.seeds or [0]]
    return runs[0].hyperparameters.conflict() is None and not all(map(study.excludes, runs))


def run_of(study: Study, point: Point, seed: int = 0) -> Run:
    """The run of a point, which takes the values that do not vary from the study's first run."""
    values = {**study.runs()[0].values(), "seed": seed, **point}
    cls = study.kind.hyperparameters
    own = {name: values[name] for name in cls.model_fields}
    return Run(study.kind, values["dataset"], values["model"], cls.model_construct(**own))


def _length(study: Study, levels: Mapping[str, Sequence[Any]], point: Sequence[Any]) -> int:
    """How often a run of this point repeats what takes its time."""
    repeats = dict(zip(levels, point, strict=True)).get(study.kind.duration.repeats or "", 0)
    return repeats if isinstance(repeats, int) else 0
