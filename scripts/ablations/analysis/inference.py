"""Statistical inference: intervals, comparisons of two levels, and the correction for several tests.

All intervals and tests are at 95 %.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ablations.analysis.distributions import t_ppf, t_sf

CONFIDENCE = 0.95
ALPHA = 1 - CONFIDENCE
# Records have six decimals, so smaller differences are rounding errors.
ROUNDING = 2e-6


@dataclass(frozen=True)
class Interval:
    """A confidence interval."""

    low: float
    high: float

    def scaled(self, factor: float) -> "Interval":
        """The interval in another unit, given by a positive factor."""
        return Interval(self.low * factor, self.high * factor)

    def within(self, low: float, high: float) -> "Interval":
        """The part of the interval between the bounds of what it is of."""
        return Interval(*(min(max(end, low), high) for end in (self.low, self.high)))


def t_interval(values: Sequence[float]) -> Interval | None:
    """Student's interval of the mean of independent values; None for fewer than two, or without variation."""
    if len(values) < 2 or np.ptp(values) <= ROUNDING:
        return None
    # SciPy's ttest_1samp gives the same interval, but takes six times as long and warns about equal values.
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return student_interval(float(np.mean(values)), error, len(values) - 1)


def student_interval(mean: float, error: float, df: float) -> Interval:
    """Student's interval of a mean with this standard error."""
    half = t_ppf(1 - ALPHA / 2, df) * error
    return Interval(mean - half, mean + half)


def binomial_error(proportion: float, items: int, whole: float = 100.0) -> float:
    """The standard error of a proportion due to the choice of its items; all of them are `whole`."""
    return math.sqrt(proportion * (whole - proportion) / items)


# The source of noise in a comparison: seeds if any setting has several; the settings if each has one; the
# counted items for single runs; the residuals of a model of all main effects if there are no pairs. Exact
# values have none.
Noise = Literal["seeds", "settings", "items", "model", "exact"]


@dataclass(frozen=True)
class Comparison:
    """Two levels compared over pairs that differ in nothing else: `difference` is second minus first.

    `units` counts the independent units of the noise. `p` is two-sided. `effect` is the mean difference in
    standard deviations of the units (Cohen's d of paired samples, with Hedges' correction), None for two
    units. The interval, `p` and `effect` are None if the differences do not vary. `p_over_items` is for other
    items as well as other seeds; None if that is unknown. `by_seeds` is false for a linear model whose noise
    is not that of its seeds. `error` and `df` are those of the difference, and `error_over_items` and
    `df_over_items` those for other items too. `values` are the differences of the units, with weights that
    make their mean the difference. `p_equivalent` is that of a true difference as large as the margin of the
    study, and `p_equivalent_over_items` the same for other items too.
    """

    pairs: int
    units: int
    noise: Noise
    difference: float
    interval: Interval | None
    p: float | None
    effect: float | None = None
    effect_interval: Interval | None = None
    p_over_items: float | None = None
    by_seeds: bool = True
    error: float | None = None
    df: float | None = None
    error_over_items: float | None = None
    df_over_items: float | None = None
    values: tuple[float, ...] = ()
    p_equivalent: float | None = None
    p_equivalent_over_items: float | None = None

    def scaled(self, factor: float) -> "Comparison":
        """The comparison in another unit, given by a positive factor."""
        interval = self.interval and self.interval.scaled(factor)
        error, values = self.error and self.error * factor, tuple(value * factor for value in self.values)
        return replace(
            self, difference=self.difference * factor, interval=interval, error=error, values=values
        )

    def with_items(self, variance: float) -> "Comparison":
        """The comparison with the p-value for other items too, which give the difference this variance.

        The degrees of freedom of both variances together are Satterthwaite's (1946), infinite for items.
        """
        assert self.error is not None
        assert self.df is not None
        whole = self.error**2 + variance
        df = self.df * (whole / self.error**2) ** 2
        error = math.sqrt(whole)
        p = 2 * t_sf(abs(self.difference) / error, df)
        return replace(self, p_over_items=p, error_over_items=error, df_over_items=df)

    def within(self, largest: float) -> "Comparison":
        """The comparison with an interval that is not beyond the largest possible difference."""
        return replace(self, interval=self.interval and self.interval.within(-largest, largest))


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values in the given order, which control the family-wise error rate."""
    # Not statsmodels' multipletests: it collects garbage at each call, which takes most of a table's time.
    order = np.argsort(ps, kind="stable")
    adjusted = np.maximum.accumulate(np.asarray(ps, float)[order] * np.arange(len(ps), 0, -1))
    found = np.empty(len(ps))
    found[order] = np.minimum(adjusted, 1.0)
    return [float(p) for p in found]


def holm_level(ps: Sequence[float]) -> float:
    """The level at which Holm's procedure stops: it rejects exactly the p-values that are not above it."""
    for i, p in enumerate(sorted(ps)):
        if p > ALPHA / (len(ps) - i):
            return ALPHA / (len(ps) - i)
    return ALPHA
