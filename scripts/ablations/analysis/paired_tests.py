"""Tests of paired differences that a study may declare in place of Student's, each with its interval.

Each takes the differences of the units, and is one-sided: the others follow from it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from ablations.analysis.distributions import normal_ppf, normal_sf, t_ppf, t_sf
from ablations.analysis.inference import ALPHA, ROUNDING, Comparison, Interval
from ablations.config.studies.questions import Test

# More units than this have too many sign flips to make all of them; so many are then drawn.
MOST_FLIPPED, FLIPS = 14, 2**14
RESAMPLES = 20_000
# With fewer units the bootstrap finds differences where there are none more often than a test may.
FEWEST_RESAMPLED = 6
# The most numbers that are drawn for one test.
MOST_DRAWN = 20_000_000


@dataclass(frozen=True)
class PairedTest:
    """A test of the differences of units.

    `above` gives the p-value of a true difference of 0 or less. `interval` is that of the true difference,
    None where no number of units like this one ends it. `smallest_p` is the smallest two-sided p-value that
    so many units can have.
    """

    above: Callable[[np.ndarray], float]
    interval: Callable[[np.ndarray], Interval | None]
    estimate: Callable[[np.ndarray], float]
    smallest_p: Callable[[int], float]


def retested(comparison: Comparison, test: Test) -> Comparison:
    """A comparison with the difference, interval and p-value of another test than Student's.

    Only what has units, seeds or settings that vary, can be tested so; others stay as they are.
    """
    if test == "t" or comparison.p is None or not comparison.values:
        return comparison
    how, values = TESTS[test], np.array(comparison.values)
    p = min(1.0, 2 * min(how.above(values), how.above(-values)))
    return replace(comparison, difference=how.estimate(values), interval=how.interval(values), p=p)


def smallest_p(test: Test, units: int) -> float:
    """The smallest two-sided p-value that a test of so many units can have."""
    return TESTS[test].smallest_p(units) if test != "t" else 0.0


def units_to_reach(test: Test, tests: int) -> int | None:
    """The fewest units with which one of so many tests can be significant; None where none are enough."""
    reached = (units for units in range(2, 101) if smallest_p(test, units) * tests < ALPHA)
    return next(reached, None)


# --- Wilcoxon's signed ranks ------------------------------------------------------------------------


def _ranks_above(values: np.ndarray) -> float:
    from scipy.stats import PermutationMethod, wilcoxon

    sizes = np.round(np.abs(values) / ROUNDING)
    values = np.sign(values) * sizes
    if not sizes.any():
        return 1.0
    # With equal sizes the usual distribution does not hold; that over all signs does.
    is_usual = len(set(sizes)) == len(sizes) and sizes.all()
    drawn = PermutationMethod(n_resamples=FLIPS, rng=np.random.default_rng(0))
    how = ("exact" if len(values) <= 50 else "asymptotic") if is_usual else drawn
    return float(wilcoxon(values, alternative="greater", method=how).pvalue)


def _walsh_averages(values: np.ndarray) -> np.ndarray:
    """The means of every two values and of each with itself, sorted."""
    one, other = np.triu_indices(len(values))
    return np.sort((values[one] + values[other]) / 2)


def _of_ranks(values: np.ndarray) -> Interval | None:
    """The interval of Hodges and Lehmann (1963): of the Walsh averages, as many are cut off as p allows."""
    averages, n = _walsh_averages(values), len(values)
    counts = np.ones(1)
    for rank in range(1, n + 1):
        counts = np.convolve(counts, [0.5, *[0.0] * (rank - 1), 0.5])
    cut = int(np.sum(np.cumsum(counts) <= ALPHA / 2))
    return Interval(float(averages[cut - 1]), float(averages[-cut])) if cut else None


# --- sign flips -------------------------------------------------------------------------------------


@cache
def _subsets(units: int) -> np.ndarray:
    """Which units are flipped, of shape (flips, units): all ways but that without any, or drawn ones."""
    if units <= MOST_FLIPPED:
        return (np.arange(1, 2**units)[:, None] >> np.arange(units)) & 1
    drawn = np.random.default_rng(0).integers(0, 2, (min(FLIPS, MOST_DRAWN // units), units))
    return drawn[drawn.any(axis=1)]


def _means_of_subsets(values: np.ndarray) -> np.ndarray:
    """The mean of each subset of the values.

    Flipping the signs of a subset makes the mean no smaller if and only if the mean of the subset is 0 or
    less (Hartigan 1969).
    """
    chosen = _subsets(len(values))
    return chosen @ values / chosen.sum(axis=1)


def _flips_above(values: np.ndarray) -> float:
    means = _means_of_subsets(values)
    return float(1 + np.sum(means <= ROUNDING / 10)) / (1 + len(means))


def _of_flips(values: np.ndarray) -> Interval | None:
    means = np.sort(_means_of_subsets(values))
    cut = math.floor((1 + len(means)) * ALPHA / 2)
    return Interval(float(means[cut - 1]), float(means[-cut])) if cut else None


# --- bootstrap --------------------------------------------------------------------------------------


@cache
def _resamples(units: int) -> np.ndarray:
    shape = (min(RESAMPLES, MOST_DRAWN // units), units)
    return np.random.default_rng(0).integers(0, units, shape)


def _resampled_means(values: np.ndarray) -> np.ndarray:
    return values[_resamples(len(values))].mean(axis=1)


def _wider(units: int) -> float:
    """By how much the resampled means of few units vary too little (Hesterberg 2015)."""
    return math.sqrt(units / (units - 1))


def _p_of_share(share: float, units: int) -> float:
    """The one-sided p-value, if this share of the resampled means is 0 or less.

    It is the level at which the interval of `_of_resamples` ends at 0.
    """
    if units < FEWEST_RESAMPLED:
        return 1.0
    share = max(share, 0.5 / RESAMPLES, float(units) ** -units)
    return t_sf(-normal_ppf(min(share, 1 - 0.5 / RESAMPLES)) / _wider(units), units - 1)


def _resamples_above(values: np.ndarray) -> float:
    return _p_of_share(float(np.mean(_resampled_means(values) <= 0)), len(values))


def _of_resamples(values: np.ndarray) -> Interval | None:
    """The expanded percentile interval of Hesterberg (2015): for few units it is as wide as Student's."""
    n = len(values)
    if n < FEWEST_RESAMPLED:
        return None
    tail = normal_sf(t_ppf(1 - ALPHA / 2, n - 1) * _wider(n))
    low, high = np.quantile(_resampled_means(values), [tail, 1 - tail])
    return Interval(float(low), float(high))


def _mean(values: np.ndarray) -> float:
    return float(values.mean())


def _of_signs(units: int) -> float:
    return 2.0 ** (1 - units)


TESTS: dict[Test, PairedTest] = {
    "wilcoxon": PairedTest(
        _ranks_above, _of_ranks, lambda values: float(np.median(_walsh_averages(values))), _of_signs
    ),
    "permutation": PairedTest(
        _flips_above,
        _of_flips,
        _mean,
        lambda units: _of_signs(units) if units <= MOST_FLIPPED else 2 / FLIPS,
    ),
    "bootstrap": PairedTest(
        _resamples_above, _of_resamples, _mean, lambda units: min(1.0, 2 * _p_of_share(0.0, units))
    ),
}
