"""The share of each factor and pair of factors in the variance of a metric in a study.

The method is analysis of variance on the balanced part of a study, where shares add up. Aliased factors
count as one. Seeds are blocks: every point has the same ones. Datasets are blocks as well, because their
differences in difficulty are not of interest and would dwarf all other shares.
"""

import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import stats

from ablations.analysis.design import Design, design
from ablations.analysis.inference import ROUNDING
from ablations.analysis.measurements import Records, available, comparable, on_scale, unit_of
from ablations.config.studies import Study

# Limits of the search for the largest balanced part.
MOST_STARTS, MOST_ORDERS, MOST_CELLS = 60, 24, 20_000
Factor = tuple[str, ...]
Level = tuple[Any, ...]
What = Literal["effect", "rest", "seeds"]

BLOCK: Factor = ("dataset",)


@dataclass(frozen=True)
class Source:
    """A source of variance: a factor, an interaction of two, `rest` (higher interactions), or `seeds`.

    `raw` is the share of the total sum of squares, in percent. `share` excludes the expected contribution
    of noise (Kelley's epsilon squared, at least 0); the share of the seeds is the remainder. With one seed
    both are equal. `p` is that of the F test against the variation of the source between seeds. It is None
    with one seed, or without any variation.
    """

    factors: tuple[Factor, ...]
    what: What
    share: float
    raw: float
    df: int
    p: float | None


@dataclass(frozen=True)
class Analysis:
    """The sources of variance of the balanced part, the largest first.

    `left_out` lists the levels outside that part, and `apart` counts the runs whose times cannot be compared
    with those of the others. If `blocked`, the variance is that within datasets.
    """

    sources: tuple[Source, ...]
    factors: Mapping[Factor, tuple[Level, ...]]
    left_out: Mapping[Factor, tuple[Level, ...]]
    points: int
    all_points: int
    seeds: int
    blocked: bool
    apart: int


def together(found: Design) -> list[Factor]:
    """The factors of a design, with those that it cannot separate, or only without interactions, as one."""
    group = {factor: {factor} for factor in found.levels}
    joined = [(factor, *others) for factor, others in found.aliased_with.items()]
    # In a small grid every factor is determined by others. The balanced part leaves those points out.
    joined += [(each.factor, *each.of) for each in found.follows if each.often]
    for names in joined:
        whole = set().union(*(group[name] for name in names))
        for name in whole:
            group[name] = whole
    return list(
        dict.fromkeys(tuple(f for f in found.levels if f in group[factor]) for factor in found.levels)
    )


def analyse(study: Study, records: Records, name: str) -> Analysis | None:
    """The analysis of a metric, of times on the log scale; None if no balanced part has several sources."""
    metric = study.kind.metrics[name]
    every_run = available(metric, study.runs(), records)
    found = comparable(metric, every_run)
    factors = together(design(study))
    cells: dict[tuple[Level, ...], list[float]] = {}
    groups = study.points()
    seeds = max(len(runs) for _, runs in groups)
    for values, runs in groups:
        # A point without all seeds would make the layout unbalanced.
        if len(runs) == seeds and all(run in found for run in runs):
            key = tuple(tuple(values[name] for name in factor) for factor in factors)
            cells[key] = [on_scale(metric, found[run]) for run in runs]
    levels = _balanced(cells, len(factors))
    kept = [i for i, each in enumerate(levels) if len(each) > 1]
    of_interest = [i for i in kept if factors[i] != BLOCK]
    if not of_interest or (seeds == 1 and len(kept) == 1):
        return None  # a single factor without several seeds always has all of the variance
    data = np.array([cells[key] for key in itertools.product(*levels)])
    data = data.reshape([len(levels[i]) for i in kept] + [-1]) / unit_of(study.kind, metric, found)
    every = [dict.fromkeys(tuple(values[n] for n in factor) for values, _ in groups) for factor in factors]
    return Analysis(
        sources=_sources(data, [factors[i] for i in kept]),
        factors={factors[i]: tuple(levels[i]) for i in kept},
        left_out={
            factor: tuple(level for level in every[i] if level not in levels[i])
            for i, factor in enumerate(factors)
            if len(every[i]) > len(levels[i])
        },
        points=math.prod(data.shape[:-1]),
        all_points=len(groups),
        seeds=data.shape[-1],
        blocked=len(of_interest) < len(kept),
        apart=len(every_run) - len(found),
    )


def _balanced(cells: Mapping[tuple[Level, ...], Sequence[float]], factors: int) -> list[list[Level]]:
    """The levels of each factor whose product is complete, with as many cells as the search finds.

    Finding the largest is hard in general (a biclique problem). The result is the best of many greedy
    searches, which start at different cells and add levels of the factors in different orders, and of one
    that removes the levels with the most missing cells.
    """
    levels = [list(dict.fromkeys(key[i] for key in cells)) for i in range(factors)]
    if len(cells) == math.prod(map(len, levels)):
        return levels
    # Many factors have too many orders. Each factor still comes first in some of them.
    turns = [[*range(i, factors), *range(i)] for i in range(factors)]
    few = math.factorial(factors) <= MOST_ORDERS
    orders = list(itertools.permutations(range(factors))) if few else [*turns, *(t[::-1] for t in turns)]
    keys = list(cells)
    starts = max(1, min(MOST_STARTS, MOST_CELLS // max(1, len(keys))))
    best = _pruned(cells, levels)
    for start in keys[:: -(-len(keys) // starts) or 1]:
        for order in orders:
            part = [[level] for level in start]
            for i in order:
                for level in levels[i]:
                    added = [*part[:i], [level], *part[i + 1 :]]
                    if level not in part[i] and all(key in cells for key in itertools.product(*added)):
                        part[i].append(level)
            if math.prod(map(len, part)) > math.prod(map(len, best)):
                best = part
    return [[level for level in levels[i] if level in best[i]] for i in range(factors)]


def _pruned(cells: Collection[tuple[Level, ...]], levels: list[list[Level]]) -> list[list[Level]]:
    """The levels that remain after removing, one by one, the level with the most missing cells."""
    levels = [list(each) for each in levels]
    kept = list(cells)
    while kept and len(kept) < math.prod(map(len, levels)):
        whole = math.prod(map(len, levels))
        shares = [
            (sum(key[i] == level for key in kept) * len(of) / whole, -len(of), i, level)
            for i, of in enumerate(levels)
            if len(of) > 1
            for level in of
        ]
        _, _, i, worst = min(shares, key=lambda share: share[:3])
        levels[i].remove(worst)
        kept = [key for key in kept if key[i] != worst]
    return levels if kept else [[] for _ in levels]


def _sources(data: np.ndarray, factors: Sequence[Factor]) -> tuple[Source, ...]:
    """The analysis of a balanced layout, an array of shape (levels of each factor…, seeds)."""
    count, seeds = len(factors), data.shape[-1]
    if BLOCK in factors:
        data = data - _component(data, (factors.index(BLOCK),))
    total = _square(data - data.mean(), data)
    # For each source: its effect, the variation of that effect between seeds, and its degrees of freedom.
    # What all points of a seed share cancels in the differences between points.
    means = data.mean(axis=-1, keepdims=True)
    rest = (means - data.mean(), data - means - _component(data, (count,)), data.size // seeds - 1)
    parts: list[tuple[tuple[Factor, ...], What, np.ndarray, np.ndarray, int]] = []
    for size in (1, 2):
        for which in itertools.combinations(range(count), size):
            names = tuple(factors[i] for i in which)
            effect, noise = _component(data, which), _component(data, (*which, count))
            df = math.prod(data.shape[i] - 1 for i in which)
            rest = (rest[0] - effect, rest[1] - noise, rest[2] - df)
            if names != (BLOCK,):
                parts.append((names, "effect", effect, noise, df))
    if rest[2] > 0:
        parts.append(((), "rest", *rest))
    of_total = 100 / total if total else 0.0
    sources = []
    for names, what, effect, noise, df in parts:
        square, noise_square, p = _square(effect, data), _square(noise, data), None
        # The expected contribution of noise to the source.
        of_noise = noise_square / (seeds - 1) if seeds > 1 else 0.0
        if of_noise:
            # Box's correction for unequal noise (Greenhouse & Geisser 1959).
            products = noise.reshape(-1, seeds).T @ noise.reshape(-1, seeds)
            epsilon = float(np.trace(products) ** 2 / np.sum(products**2)) / df
            p = float(stats.f.sf(square / of_noise, epsilon * df, epsilon * df * (seeds - 1)))
        share = max(square - of_noise, 0.0) * of_total
        sources.append(Source(names, what, share, square * of_total, df, p))
    sources.sort(key=lambda source: (-source.share, -source.raw))
    if seeds > 1:
        share, raw = (
            max(100 - sum(shares), 0.0) if total else 0.0
            for shares in ([s.share for s in sources], [s.raw for s in sources])
        )
        sources.append(Source((), "seeds", share, raw, data.size - data.size // seeds, None))
    return tuple(sources)


def _component(data: np.ndarray, which: tuple[int, ...]) -> np.ndarray:
    """The joint effect of these axes of a layout beyond that of fewer axes, of length 1 in all others."""
    found = np.zeros(1)
    for size in range(len(which) + 1):
        for part in itertools.combinations(which, size):
            others = tuple(axis for axis in range(data.ndim) if axis not in part)
            found = found + (-1) ** (len(which) - size) * data.mean(axis=others, keepdims=True)
    return found


def _square(part: np.ndarray, data: np.ndarray) -> float:
    """The sum of squares of a part over the layout; 0 below the rounding of the records."""
    square = float(np.sum(part**2)) * data.size / part.size
    return square if square > data.size * ROUNDING**2 else 0.0
