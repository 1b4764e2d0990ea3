"""The share of each factor and pair of factors in the variance of a metric in a study.

The method is analysis of variance on the balanced part of a study, where shares add up. Aliased factors
count as one. Seeds are blocks: every point has the same ones. Datasets are blocks as well, because their
differences in difficulty are not of interest and would dwarf all other shares.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ablations.analysis.balance import Level, balanced
from ablations.analysis.design import Design, design
from ablations.analysis.distributions import f_sf
from ablations.analysis.inference import ALPHA, ROUNDING, holm
from ablations.analysis.measurements import (
    Record,
    Records,
    available,
    comparable,
    items_of,
    on_scale,
    unit_of,
)
from ablations.analysis.model_matrix import Continuous, varying_levels
from ablations.config.studies.study import Study
from ablations.kinds.hits import unpack
from ablations.kinds.metrics import Metric
from ablations.runs.run import Run

Factor = tuple[str, ...]
What = Literal["effect", "rest", "seeds", "items"]

# The most numbers that are held at once, and the fewest groups of items.
MOST_NUMBERS, FEWEST_GROUPS = 10_000_000, 200

BLOCK: Factor = ("dataset",)
SEED: Factor = ("seed",)


@dataclass(frozen=True)
class VarianceSource:
    """A source of variance: a factor, an interaction of two, `rest` (higher interactions), or the noise.

    The noise is that of `seeds`, or of the `items` that all runs share where only those are random. `raw`
    is the share of the total sum of squares, in percent. `share` excludes the expected contribution of
    noise (Kelley's epsilon squared), so it is negative if the source varies less than noise alone would;
    the share of the noise is the remainder. With one seed both are equal. `p` is that of the F test against
    the variation of the source between seeds or items. It is None with one seed, or without any variation.
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

    sources: tuple[VarianceSource, ...]
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
    if any(isinstance(levels, Continuous) for levels in varying_levels(study).values()):
        return None  # hardly two runs share a level
    every_run = available(metric, study.runs(), records)
    found = comparable(metric, every_run)
    factors = together(design(study))
    groups = study.points()
    cells: dict[tuple[Level, ...], Run] = {}
    for values, runs in groups:
        key = tuple(tuple(values[name] for name in factor) for factor in factors)
        cells |= {(*key, (run.values().get("seed"),)): run for run in runs if run in found}
    *levels, seeds = balanced(cells, len(factors) + 1)
    kept = [i for i, each in enumerate(levels) if len(each) > 1]
    of_interest = [i for i in kept if factors[i] != BLOCK]
    noisy_items = metric.noise == "proportion" and not study.kind.is_random
    if not of_interest or (len(seeds) == 1 and len(kept) == 1 and not noisy_items):
        return None  # a single factor without several seeds always has all of the variance
    layout = [found[cells[key]] for key in itertools.product(*levels, seeds)]
    if noisy_items:
        data = _hits(metric, layout)
        if data is None:
            return None
    else:
        data = np.array([on_scale(metric, each) for each in layout]) / unit_of(study.kind, metric, found)
    data = data.reshape([len(levels[i]) for i in kept] + [-1])
    every = [dict.fromkeys(tuple(values[n] for n in factor) for values, _ in groups) for factor in factors]
    every.append(dict.fromkeys((run.values().get("seed"),) for run in study.runs()))
    return Analysis(
        sources=_sources(data, [factors[i] for i in kept], "items" if noisy_items else "seeds"),
        factors={factors[i]: tuple(levels[i]) for i in kept},
        left_out={
            factor: tuple(level for level in every[i] if level not in part)
            for i, (factor, part) in enumerate(zip([*factors, SEED], [*levels, seeds], strict=True))
            if len(every[i]) > len(part)
        },
        points=math.prod(data.shape[:-1]),
        all_points=len(groups),
        seeds=len(seeds),
        blocked=len(of_interest) < len(kept),
        apart=len(every_run) - len(found),
    )


def interactions(study: Study, records: Records, name: str) -> dict[str, list[str]]:
    """For each factor, those on which its effect on a metric depends: significant by Holm's correction.

    It needs several seeds.
    """
    found = analyse(study, records, name) if study.kind.metrics[name].noise != "exact" else None
    pairs = [s for s in (found.sources if found else ()) if len(s.factors) == 2 and s.p is not None]
    depends: dict[str, list[str]] = {}
    for source, p in zip(pairs, holm([s.p for s in pairs if s.p is not None]), strict=True):
        if p < ALPHA:
            for one, other in itertools.permutations(source.factors):
                for factor in one:
                    depends.setdefault(factor, []).extend(other)
    return depends


def _hits(metric: Metric, layout: Sequence[Record]) -> np.ndarray | None:
    """Which items each run got right, of shape (runs, items); None where their records do not tell.

    Of many runs it gives the means of groups of items, whose variation shows the same noise.
    """
    counts = {items_of(metric, record) for record in layout}
    if len(counts) > 1 or not all(metric.answers in record for record in layout):
        return None
    items = min(counts)
    groups = min(items, max(FEWEST_GROUPS, MOST_NUMBERS // len(layout)))
    starts = np.linspace(0, items, groups, endpoint=False).astype(int)
    sizes = np.diff([*starts, items])
    hits = (unpack(record[metric.answers], items) for record in layout)
    return np.array([np.add.reduceat(each, starts, dtype=float) / sizes for each in hits])


def _sources(
    data: np.ndarray, factors: Sequence[Factor], noise_of: Literal["seeds", "items"] = "seeds"
) -> tuple[VarianceSource, ...]:
    """The analysis of a balanced layout, an array of shape (levels of each factor…, seeds or items).

    The difficulty of single items is not a part of the variance between runs.
    """
    count, seeds = len(factors), data.shape[-1]
    if BLOCK in factors:
        data = data - _component(data, (factors.index(BLOCK),))
    varied = data - data.mean() if noise_of == "seeds" else data.mean(axis=-1, keepdims=True) - data.mean()
    total = _square(varied, data)
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
    squares = [_square(effect, data) for _, _, effect, _, _ in parts]
    # The expected contribution of noise to each source.
    of_noise = [_square(noise, data) / max(seeds - 1, 1) for *_, noise, _ in parts]
    # Without any effect, the items alone may give more than the total, and a share of it would be huge.
    whole = total if noise_of == "seeds" else max(total, sum(of_noise))
    sources = (
        [
            VarianceSource(
                names,
                what,
                100 * (square - expected) / whole,
                100 * square / total,
                df,
                _p(square, expected, noise, df),
            )
            for (names, what, _, noise, df), square, expected in zip(parts, squares, of_noise, strict=True)
        ]
        if total
        else [VarianceSource(names, what, 0.0, 0.0, df, None) for names, what, *_, df in parts]
    )
    sources.sort(key=lambda source: (-source.share, -source.raw))
    if seeds > 1:
        share, raw = (
            100 - sum(shares) if total else 0.0
            for shares in ([s.share for s in sources], [s.raw for s in sources])
        )
        sources.append(
            VarianceSource((), noise_of, share, max(raw, 0.0), data.size - data.size // seeds, None)
        )
    return tuple(sources)


def _p(square: float, expected: float, noise: np.ndarray, df: int) -> float | None:
    """The p-value of a source by the F test, with the correction of Greenhouse and Geisser (1959)."""
    if not expected:
        return None
    of_points = noise.reshape(-1, noise.shape[-1])
    # The smaller of the two products has the same traces.
    wide = of_points.shape[0] < of_points.shape[1]
    products = of_points @ of_points.T if wide else of_points.T @ of_points
    epsilon = float(np.trace(products) ** 2 / np.sum(products**2)) / df
    return f_sf(square / expected, epsilon * df, epsilon * df * (noise.shape[-1] - 1))


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
