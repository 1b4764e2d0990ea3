"""Comparisons of single runs by the items that each got right, such as test images."""

import math
from collections.abc import Hashable, Sequence

import numpy as np

from ablations.analysis.distributions import normal_ppf, normal_sf, t_ppf
from ablations.analysis.inference import ALPHA, Comparison, Interval

Hits = tuple[Hashable, np.ndarray]


def interval_over_seeds_and_items(scores: np.ndarray) -> Interval | None:
    """The interval of the mean of scores, of shape (seeds, items), over other seeds and other items.

    Seeds and items are crossed and random. The half-widths of both parts, Student's for the seeds and a
    normal one for the items, add up in squares, as in Zou and Donner (2008). None for one seed, and for
    scores that are all equal.
    """
    seeds, mean = len(scores), float(scores.mean())
    if seeds < 2 or np.all(scores == mean):
        return None
    of_seeds = float(scores.mean(axis=1).var(ddof=1)) / seeds
    half = math.sqrt(
        t_ppf(1 - ALPHA / 2, seeds - 1) ** 2 * of_seeds
        + normal_ppf(1 - ALPHA / 2) ** 2 * variance_of_items(scores)
    )
    return Interval(mean - half, mean + half)


def variance_of_items(scores: np.ndarray) -> float:
    """The variance of the mean of scores, of shape (seeds, items), due to the choice of the items alone.

    It is that of the items' means without what the seeds cause in it, and at least 0.
    """
    seeds, items = scores.shape
    of_items = scores.mean(axis=0)
    within = scores - of_items - scores.mean(axis=1, keepdims=True) + scores.mean()
    residual = float(np.sum(within**2)) / max((seeds - 1) * (items - 1), 1)
    return max(float(of_items.var(ddof=1)) - residual / seeds, 0.0) / items


def compare_items(pairs: Sequence[tuple[Hits, Hits]], whole: float = 100.0) -> Comparison:
    """Compare single runs by the items that each got right, in a unit where all items are `whole`.

    Each run is given as the name of its test set and a boolean array of shape (items,). One pair on the
    same items has McNemar's exact test. Otherwise each item is one observation, over all pairs, and p is
    the normal approximation for their mean. The interval is Wald's after adding two items, one for each
    run to get right, so that equal runs have an interval too (Agresti & Min 2005). If McNemar's test is not
    significant, it also covers the exact interval for the share of the items that only one run got right
    (Clopper & Pearson 1934), which then includes 0.
    """
    # Test set -> the contribution of each item to the difference.
    scores: dict[Hashable, np.ndarray] = {}
    for sides in pairs:
        for sign, (test_set, hits) in zip((-1, 1), sides, strict=True):
            scores[test_set] = scores.get(test_set, 0.0) + sign / len(pairs) * hits
    share = sum(float(np.mean(of_set)) for of_set in scores.values())
    error = math.sqrt(
        sum((float(np.sum((s - np.mean(s)) ** 2)) + 1) / (len(s) + 2) ** 2 for s in scores.values())
    )
    half = normal_ppf(1 - ALPHA / 2) * error
    ends = [share - half, share + half]
    if len(pairs) == len(scores) == 1:
        from scipy.stats import binomtest
        from statsmodels.stats.contingency_tables import mcnemar

        (of_set,) = scores.values()
        only_first, only_second = int(np.sum(of_set < 0)), int(np.sum(of_set > 0))
        p = float(mcnemar([[0, only_first], [only_second, 0]], exact=True).pvalue)
        if p >= ALPHA and (differing := only_first + only_second):
            exact = binomtest(only_second, differing).proportion_ci(1 - ALPHA, method="exact")
            ends += [(2 * end - 1) * differing / len(of_set) for end in (exact.low, exact.high)]
    else:
        p = 2 * normal_sf(abs(share) / error)
    interval = Interval(min(ends), max(ends)).within(-1.0, 1.0).scaled(whole)
    items = sum(map(len, scores.values()))
    return Comparison(
        len(pairs), items, "items", whole * share, interval, p, error=whole * error, df=math.inf
    )
