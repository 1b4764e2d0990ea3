"""What a grid can show: which effects its runs tell apart, known before any of them is trained.

An effect is that of one hyperparameter (or of the dataset or model) on the mean of a metric. Two are
aliased where the grid never varies one without the other: no number of seeds separates them.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ablations.config.studies import Study
from ablations.runs.run import Run

# Points of the full product that are looked at for what is missing.
MOST_CANDIDATES = 10_000
# Factors that another is looked at to follow from.
MOST_FACTORS = 3

Point = Mapping[str, Any]


@dataclass(frozen=True)
class Follows:
    """In this grid the levels of `factor` follow from those of `of`, and of no fewer.

    `often` says that the same levels come several times, and not once each, as in a grid of few points.
    """

    factor: str
    of: tuple[str, ...]
    often: bool


@dataclass(frozen=True)
class Design:
    """What a study's grid varies, and what it can tell apart.

    `levels` are those of each factor that varies. `separable` are the factors whose main effect can be
    told from all others'; for the rest, `aliased_with` names what they are mixed with. `follows` says
    which levels follow from which: of a separable factor, that its effect is also an interaction of
    those. `missing` are the fewest additional points with which all main effects are separable;
    `impossible` that none were found. `spare` is how many points are left over when all main effects
    have been told apart: by them, interactions or noise may show.
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
        """The separable factors whose levels follow from no others'."""
        mixed = {each.factor for each in self.follows}
        return tuple(factor for factor in self.separable if factor not in mixed)


def design(study: Study) -> Design:
    """The design of a study, from its grid alone."""
    runs = study.runs()
    factors = [factor for factor in study.factors if len({run.value(factor) for run in runs}) > 1]
    levels = {factor: tuple(dict.fromkeys(run.value(factor) for run in runs)) for factor in factors}
    points = list(dict.fromkeys(tuple(run.value(factor) for factor in factors) for run in runs))
    rows = model_matrix(points, levels)
    # Of the same rank, and of few columns however many points there are.
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
    """The model matrix of all main effects: a constant, and for each level but the first of a factor 0 or 1.

    Its rank does not depend on the coding: an effect can be estimated from some points if and only if
    its columns are independent of all others' over these points (any text on linear models).
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
    found, at = [], 1
    for factor, values in levels.items():
        if factor in factors:
            found += range(at, at + len(values) - 1)
        at += len(values) - 1
    return found


def _without(gram: np.ndarray, columns: Sequence[int]) -> np.ndarray:
    kept = np.delete(np.arange(len(gram)), columns)
    return gram[np.ix_(kept, kept)]


def _gain(gram: np.ndarray, rank: int, levels: Mapping[str, Sequence[Any]], factors: Sequence[str]) -> int:
    """What the columns of some factors add to the rank of the others'."""
    return rank - _rank(_without(gram, _columns(levels, factors)))


def _mixed_with(
    factor: str, gram: np.ndarray, rank: int, levels: Mapping[str, Sequence[Any]]
) -> tuple[str, ...]:
    """The factors that share what `factor` loses: leaving any of them out gives some of it back."""
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
    """Which factors follow from which, the smallest sets of each."""
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
    """The level of `factor` for each combination of the levels of `of`; None where there are several."""
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
    """The fewest points of the full product that make all main effects separable, and whether none do.

    A point raises the rank by one at most, and what raises it can always be completed to a basis (a
    matroid's exchange property): so whatever is taken first, the number is the least. Those that break
    most of what follows from other levels come first, then those of fewest epochs.
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
    candidates.sort(key=lambda point: (-broken(point), _epochs(levels, point)))
    basis = _Basis(gram)
    chosen = []
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
    """Points that are not there and differ in one level from one that is.

    Those of a single point are enough for full rank, where all of them can be trained; where some cannot,
    those of others may be.
    """
    found: dict[tuple[Any, ...], None] = {}
    there = set(points)
    for point in points:
        for i, values in enumerate(levels.values()):
            for value in values:
                other = (*point[:i], value, *point[i + 1 :])
                if other not in there:
                    found[other] = None
        if len(found) >= MOST_CANDIDATES:
            break
    return list(found)


class _Basis:
    """An orthonormal basis of the rows so far, begun with those of a Gram matrix."""

    def __init__(self, gram: np.ndarray) -> None:
        sizes, directions = np.linalg.eigh(gram)
        self.vectors = directions.T[sizes > sizes.max() * len(gram) * np.finfo(float).eps]

    def extends(self, row: np.ndarray) -> bool:
        """Whether `row` is independent of the rows so far; if so, it is one of them from now on."""
        rest = row - self.vectors.T @ (self.vectors @ row)
        rest -= self.vectors.T @ (self.vectors @ rest)
        size = np.linalg.norm(rest)
        if size <= 1e-9 * np.linalg.norm(row):
            return False
        self.vectors = np.vstack([self.vectors, rest / size])
        return True


def _is_run(study: Study, levels: Mapping[str, Sequence[Any]], point: Sequence[Any]) -> bool:
    """Whether a point can be trained (momentum is for sgd alone), and is not one that the study excludes."""
    runs = [run_of(study, dict(zip(levels, point, strict=True)), seed) for seed in study.seeds or [0]]
    return runs[0].hyperparameters.conflict() is None and not all(map(study.excludes, runs))


def run_of(study: Study, point: Point, seed: int = 0) -> Run:
    """The run of a point; what the grid does not vary is as in the study's first run."""
    values = {**study.runs()[0].values(), "seed": seed, **point}
    cls = study.kind.hyperparameters
    own = {name: values[name] for name in cls.model_fields}
    return Run(study.kind, values["dataset"], values["model"], cls.model_construct(**own))


def _epochs(levels: Mapping[str, Sequence[Any]], point: Sequence[Any]) -> float:
    values = dict(zip(levels, point, strict=True))
    epochs = values.get("epochs", 0)
    return epochs if isinstance(epochs, int) else 0
