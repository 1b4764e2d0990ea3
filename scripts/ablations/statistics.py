"""What is an effect and what is noise: intervals, paired comparisons, and how many runs one would take.

Accuracies are in percent, their differences in points. All intervals and tests are at 95 %.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

CONFIDENCE = 0.95
ALPHA = 1 - CONFIDENCE
POWER = 0.8
# A record holds six decimals: what differs by less is the same.
ROUNDING = 2e-6
# Of larger ones, the interval of the effect says nothing that the effect does not.
LARGEST_T = 1000.0
# More pairs than these nobody will train.
MOST_PAIRS = 10_000


@dataclass(frozen=True)
class Interval:
    """A confidence interval."""

    low: float
    high: float


def t_interval(values: Sequence[float]) -> Interval | None:
    """Student's interval of the mean of independent values; None for fewer than two."""
    if len(values) < 2:
        return None
    half = stats.t.ppf(1 - ALPHA / 2, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values))
    mean = float(np.mean(values))
    return Interval(mean - float(half), mean + float(half))


def binomial_error(accuracy: float, images: int) -> float:
    """The standard error, in points, that an accuracy in percent has by the choice of its test images."""
    return math.sqrt(accuracy * (100 - accuracy) / images)


@dataclass(frozen=True)
class Comparison:
    """Two levels compared over pairs that differ in nothing else: `difference` is second less first.

    `p` is two-sided. `effect` is the mean difference in standard deviations of the differences (Cohen's d
    of paired samples). They are None where the differences have no spread to judge by.
    """

    pairs: int
    difference: float
    interval: Interval | None
    p: float | None
    effect: float | None = None
    effect_interval: Interval | None = None


def compare_pairs(differences: Sequence[float]) -> Comparison:
    """Student's paired test of differences, at least one."""
    n, mean = len(differences), float(np.mean(differences))
    sd = float(np.std(differences, ddof=1)) if n > 1 else 0.0
    if n < 2 or sd <= ROUNDING:
        return Comparison(n, mean, None, None)
    t = mean / (sd / math.sqrt(n))
    p = float(2 * stats.t.sf(abs(t), n - 1))
    effect_interval = _effect_interval(t, n) if abs(t) <= LARGEST_T else None
    return Comparison(n, mean, t_interval(differences), p, mean / sd, effect_interval)


def _effect_interval(t: float, n: int) -> Interval:
    """Of Cohen's d of paired samples, from the noncentral t distribution (Cumming & Finch 2001)."""

    def noncentrality(probability: float) -> float:
        """Where a noncentral t falls short of |t| with that probability."""
        above = abs(t) + 1
        while _falls_short(abs(t), n, above) > probability:
            above *= 2
        return optimize.brentq(lambda nc: _falls_short(abs(t), n, nc) - probability, -10.0, above)

    low, high = (noncentrality(p) / math.sqrt(n) for p in (1 - ALPHA / 2, ALPHA / 2))
    return Interval(low, high) if t > 0 else Interval(-high, -low)


def _falls_short(t: float, n: int, noncentrality: float) -> float:
    """The probability that a noncentral t of `n` values is below `t`, at least 0."""
    found = float(stats.nct.cdf(t, n - 1, noncentrality))
    # In its far tails the distribution is not computed, and its value is known.
    return found if math.isfinite(found) else float(noncentrality < t)


def compare_images(first: np.ndarray, second: np.ndarray) -> Comparison:
    """McNemar's exact test of two single runs, by the test images that each got right.

    Both are boolean, of shape (images,). The interval of the difference is Wald's (Agresti, Categorical
    Data Analysis, 10.1); one pair says nothing of other seeds.
    """
    from statsmodels.stats.contingency_tables import mcnemar

    n = len(first)
    only_first, only_second = int(np.sum(first & ~second)), int(np.sum(second & ~first))
    both, neither = int(np.sum(first & second)), int(np.sum(~first & ~second))
    p = float(mcnemar([[both, only_first], [only_second, neither]], exact=True).pvalue)
    share = (only_second - only_first) / n
    half = stats.norm.ppf(1 - ALPHA / 2) * math.sqrt(((only_first + only_second) / n - share**2) / n)
    return Comparison(1, 100 * share, Interval(100 * (share - half), 100 * (share + half)), p)


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given: all tests of a family hold together at 95 %."""
    if not ps:
        return []
    from statsmodels.stats.multitest import multipletests

    return [float(p) for p in multipletests(ps, alpha=ALPHA, method="holm")[1]]


def pairs_needed(effect: float, tests: int = 1) -> int | None:
    """Pairs with which a paired test shows an effect of that size with a power of 80 %.

    As the strictest of so many tests by Holm. None where it would take more than 10,000.
    """

    def power(pairs: int) -> float:
        # That the test finds the opposite is left out: it is far less likely than a power of interest.
        critical = float(stats.t.ppf(1 - ALPHA / tests / 2, pairs - 1))
        return 1 - _falls_short(critical, pairs, abs(effect) * math.sqrt(pairs))

    low, high = 1, 2
    while power(high) < POWER:
        if high == MOST_PAIRS:
            return None
        low, high = high, min(2 * high, MOST_PAIRS)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(middle) >= POWER else (middle, high)
    return high
