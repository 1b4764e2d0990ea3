"""Comparisons of single runs by the items that each got right, such as test images."""

import math
from collections.abc import Hashable, Sequence

import numpy as np
from scipy import stats

from ablations.analysis.inference import ALPHA, Comparison, Interval

Hits = tuple[Hashable, np.ndarray]


def compare_items(pairs: Sequence[tuple[Hits, Hits]], whole: float = 100.0) -> Comparison:
    """Compare single runs by the items that each got right, in a unit where all items are `whole`.

    Each run is given as the name of its test set and a boolean array of shape (items,). One pair on the
    same items has McNemar's exact test. Otherwise each item is one observation, over all pairs, and p is
    the normal approximation for their mean. The interval is Wald's after adding two items, one for each
    run to get right, so that equal runs have an interval too (Agresti & Min 2005).
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
    half = float(stats.norm.ppf(1 - ALPHA / 2)) * error
    if len(pairs) == len(scores) == 1:
        from statsmodels.stats.contingency_tables import mcnemar

        (of_set,) = scores.values()
        only_first, only_second = int(np.sum(of_set < 0)), int(np.sum(of_set > 0))
        p = float(mcnemar([[0, only_first], [only_second, 0]], exact=True).pvalue)
    else:
        p = float(2 * stats.norm.sf(abs(share) / error))
    interval = Interval(whole * (share - half), whole * (share + half))
    items = sum(map(len, scores.values()))
    return Comparison(len(pairs), items, "items", whole * share, interval, p)
