"""Statistical inference: intervals, paired comparisons, linear models and sample sizes.

All intervals and tests are at 95 %.
"""

import math
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
from scipy import optimize, stats

CONFIDENCE = 0.95
ALPHA = 1 - CONFIDENCE
POWER = 0.8
# Records have six decimals, so smaller differences are rounding errors.
ROUNDING = 2e-6
# Tolerance for the rank of a model matrix.
RANK = 1e-6
# For a larger t, the interval of the effect size is not computed: it would add no information.
LARGEST_T = 1000.0
# Sample sizes above this are not of practical interest.
MOST_PAIRS = 10_000


@dataclass(frozen=True)
class Interval:
    """A confidence interval."""

    low: float
    high: float

    def scaled(self, factor: float) -> "Interval":
        """The interval in another unit, given by a positive factor."""
        return Interval(self.low * factor, self.high * factor)


def t_interval(values: Sequence[float]) -> Interval | None:
    """Student's interval of the mean of independent values; None for fewer than two."""
    if len(values) < 2:
        return None
    # SciPy's ttest_1samp gives the same interval, but takes six times as long and warns about equal values.
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return _interval(float(np.mean(values)), error, len(values) - 1)


def _interval(mean: float, error: float, df: float) -> Interval:
    """Student's interval of a mean with this standard error."""
    half = float(stats.t.ppf(1 - ALPHA / 2, df)) * error
    return Interval(mean - half, mean + half)


def binomial_error(proportion: float, items: int, whole: float = 100.0) -> float:
    """The standard error of a proportion due to the choice of its items; all of them are `whole`."""
    return math.sqrt(proportion * (whole - proportion) / items)


# The source of noise in a comparison: seeds if the settings have several; the settings if they have one; the
# counted items for single runs; the residuals of a model of all main effects if there are no pairs. Exact
# values have none.
Noise = Literal["seeds", "settings", "items", "model", "exact"]


@dataclass(frozen=True)
class Comparison:
    """Two levels compared over pairs that differ in nothing else: `difference` is second minus first.

    `units` counts the independent units of the noise. `p` is two-sided. `effect` is the mean difference in
    standard deviations of the units (Cohen's d of paired samples). The interval, `p` and `effect` are None
    if the differences do not vary.
    """

    pairs: int
    units: int
    noise: Noise
    difference: float
    interval: Interval | None
    p: float | None
    effect: float | None = None
    effect_interval: Interval | None = None

    def scaled(self, factor: float) -> "Comparison":
        """The comparison in another unit, given by a positive factor."""
        interval = self.interval and self.interval.scaled(factor)
        return replace(self, difference=self.difference * factor, interval=interval)


def compare_pairs(
    differences: Sequence[Mapping[Hashable, float]], alike: Sequence[Hashable] | None = None
) -> Comparison:
    """Student's paired test of differences, at least one, given by setting and seed.

    The units are the seeds, because all pairs of a seed share part of its noise, and because an effect that
    varies between settings is not noise. The test is cluster-robust; if each setting has each seed, it is
    the t test of the seeds' means. If less than half of the settings have several seeds, the units are the
    settings. Settings with the same label in `alike` are duplicates and count as one unit.
    """
    count = sum(map(len, differences))
    mean = sum(sum(of_setting.values()) for of_setting in differences) / count
    repeated = [of_setting for of_setting in differences if len(of_setting) > 1]
    noise: Noise = "seeds" if 2 * len(repeated) >= len(differences) else "settings"
    # Unit -> its contribution to the mean, minus the average contribution.
    shares: dict[Hashable, float] = defaultdict(float)
    if noise == "seeds":
        within = sum(map(len, repeated))
        for of_setting in repeated:
            of_it = sum(of_setting.values()) / len(of_setting)
            for seed, difference in of_setting.items():
                shares[seed] += (difference - of_it) / within
    else:
        means = [sum(of_setting.values()) / len(of_setting) for of_setting in differences]
        mean = sum(means) / len(means)
        for of_it, label in zip(means, range(len(means)) if alike is None else alike, strict=True):
            shares[label] += (of_it - mean) / len(means)
    # Not scipy's ttest_1samp: it knows no clusters, and agrees only where every seed is in every setting.
    units = len(shares)
    sd = units * math.sqrt(sum(share**2 for share in shares.values()) / (units - 1)) if units > 1 else 0.0
    found = partial(Comparison, count, units, noise, mean)
    if sd <= ROUNDING:
        return found(None, None)
    t = mean / (sd / math.sqrt(units))
    p = float(2 * stats.t.sf(abs(t), units - 1))
    effect_interval = _effect_interval(t, units) if abs(t) <= LARGEST_T else None
    return found(_interval(mean, sd / math.sqrt(units), units - 1), p, mean / sd, effect_interval)


def _effect_interval(t: float, n: int) -> Interval:
    """The interval of Cohen's d of paired samples, from the noncentral t (Cumming & Finch 2001)."""

    def noncentrality(probability: float) -> float:
        """The noncentrality at which a noncentral t is below |t| with that probability."""
        above = abs(t) + 1
        while _falls_short(abs(t), n - 1, above) > probability:
            above *= 2
        return optimize.brentq(lambda nc: _falls_short(abs(t), n - 1, nc) - probability, -10.0, above)

    low, high = (noncentrality(p) / math.sqrt(n) for p in (1 - ALPHA / 2, ALPHA / 2))
    return Interval(low, high) if t > 0 else Interval(-high, -low)


def _falls_short(t: float, df: int, noncentrality: float) -> float:
    """The probability that a noncentral t is below `t`, which must be at least 0."""
    found = float(stats.nct.cdf(t, df, noncentrality))
    # SciPy returns NaN in the far tails, where the probability is 0 or 1.
    return found if math.isfinite(found) else float(noncentrality < t)


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


class LinearModel:
    """A linear model of `values`, by ordinary least squares.

    `rows` is the model matrix, of shape (values, coefficients), which need not have full rank. `seeds` are
    those of the values. If there are several, and each has every point, the units are the seeds, as in
    `compare_pairs`. Otherwise the noise is that of the residuals, where values with the same label in
    `alike` (duplicate runs) have the same residual.
    """

    def __init__(
        self,
        rows: np.ndarray,
        values: np.ndarray,
        seeds: Sequence[Hashable] | None = None,
        alike: Sequence[Hashable] | None = None,
    ) -> None:
        # statsmodels' OLS gives the same p-values, but an answer to contrasts that the rows do not determine,
        # and no degrees of freedom for duplicates.
        self._inverse = np.linalg.pinv(rows)
        self.coefficients = self._inverse @ values
        self._known = self._inverse @ rows  # projects onto the contrasts that the rows determine
        self._residuals = values - rows @ self.coefficients
        self.seeds = len(set(seeds or ())) if _each_everywhere(rows, seeds or ()) else 1
        labels = seeds if self.seeds > 1 else alike
        labels = range(len(rows)) if labels is None else labels
        places = {label: i for i, label in enumerate(dict.fromkeys(labels))}
        self._labels = np.array([places[label] for label in labels])
        self.units, self.df, self.sd = len(places), 0.0, 0.0
        if self.seeds > 1:
            self.df = self.seeds - 1.0
            return
        # Residual degrees of freedom from the traces of Z'(1 - H)Z and of its square, for labels Z of shape
        # (values, units): values minus rank without duplicates, Satterthwaite's (1946) with duplicates.
        count = self._by_label(np.ones(len(rows)))
        of_rows = np.array([self._by_label(column) for column in rows.T])
        of_inverse = np.array([self._by_label(row) for row in self._inverse])
        hat = of_inverse @ of_rows.T
        free = len(rows) - float(np.trace(hat))
        spread = float(np.sum(count**2) - 2 * np.sum(count * of_rows * of_inverse) + np.sum(hat * hat.T))
        if free > RANK:
            self.df = free**2 / spread
            self.sd = math.sqrt(float(np.sum(self._residuals**2)) / free)

    def _by_label(self, values: np.ndarray) -> np.ndarray:
        return np.bincount(self._labels, values, self.units)

    def compare(self, contrast: np.ndarray) -> Comparison | None:
        """The difference given by this combination of coefficients.

        None if the values do not determine it, or if no residual degrees of freedom are left.
        """
        if not self.df or not np.allclose(contrast @ self._known, contrast, atol=RANK):
            return None
        difference = float(contrast @ self.coefficients)
        weights = contrast @ self._inverse
        if self.seeds > 1:
            shares = self._by_label(weights * self._residuals)
            error = math.sqrt(self.seeds / (self.seeds - 1) * float(np.sum(shares**2)))
        else:
            error = self.sd * math.sqrt(float(np.sum(self._by_label(weights) ** 2)))
        found = partial(Comparison, 0, self.units, "model", difference)
        if error <= ROUNDING:
            return found(None, None)
        p = float(2 * stats.t.sf(abs(difference) / error, self.df))
        return found(_interval(difference, error, self.df), p)


def _each_everywhere(rows: np.ndarray, seeds: Sequence[Hashable]) -> bool:
    """Whether each seed has the same rows, equally often."""
    of_seeds: dict[Hashable, list[tuple[float, ...]]] = defaultdict(list)
    for row, seed in zip(rows.tolist(), seeds, strict=False):
        of_seeds[seed].append(tuple(row))
    found = [sorted(of_seed) for of_seed in of_seeds.values()]
    return all(each == found[0] for each in found)


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values in the given order, which control the family-wise error rate."""
    if not ps:
        return []
    from statsmodels.stats.multitest import multipletests

    return [float(p) for p in multipletests(ps, alpha=ALPHA, method="holm")[1]]


def pairs_needed(effect: float, tests: int = 1) -> int | None:
    """The number of pairs for a paired test to detect an effect of this size with a power of 80 %.

    The significance level is that of the strictest of `tests` tests by Holm. None above 10,000 pairs.
    """

    # statsmodels' TTestPower finds no solution for some effects, or too few pairs for strong ones.
    def power(pairs: int) -> float:
        # The probability of significance in the opposite direction is negligible and left out.
        critical = float(stats.t.ppf(1 - ALPHA / tests / 2, pairs - 1))
        return 1 - _falls_short(critical, pairs - 1, abs(effect) * math.sqrt(pairs))

    low, high = 1, 2
    while power(high) < POWER:
        if high == MOST_PAIRS:
            return None
        low, high = high, min(2 * high, MOST_PAIRS)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(middle) >= POWER else (middle, high)
    return high
