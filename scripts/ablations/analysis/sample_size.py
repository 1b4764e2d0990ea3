"""Sample sizes: how many seeds or pairs a comparison needs."""

import math

from ablations.analysis.distributions import t_ppf
from ablations.analysis.effect_size import falls_short
from ablations.analysis.inference import ALPHA, Comparison

POWER = 0.8
# Sample sizes above this are not of practical interest.
MOST_PAIRS = 10_000


def power(effect: float, units: int, tests: int = 1) -> float:
    """The power of a paired test to detect an effect, in standard deviations of the units.

    The significance level is that of the strictest of `tests` tests by Holm.
    """
    # statsmodels' TTestPower finds no solution for some effects, or too few pairs for strong ones. The
    # probability of significance in the opposite direction is negligible and left out.
    critical = t_ppf(1 - ALPHA / tests / 2, units - 1)
    return 1 - falls_short(critical, units - 1, abs(effect) * math.sqrt(units))


def pairs_needed(effect: float, tests: int = 1) -> int | None:
    """The fewest units that detect an effect of this size with a power of 80 %; None above 10,000."""
    low, high = 1, 2
    while power(effect, high, tests) < POWER:
        if high == MOST_PAIRS:
            return None
        low, high = high, min(2 * high, MOST_PAIRS)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(effect, middle, tests) >= POWER else (middle, high)
    return high


def units_needed(comparison: Comparison, tests: int) -> tuple[int | None, int | None]:
    """The fewest and the most units that detect the effect of a comparison with a power of 80 %.

    They are those for the ends of the interval of its effect, which it must have; None above 10,000. An
    effect as large as the observed one is a poor guess where it is not significant.
    """
    assert comparison.effect_interval is not None
    low, high = comparison.effect_interval.low, comparison.effect_interval.high
    least = 0.0 if low <= 0 <= high else min(abs(low), abs(high))
    return pairs_needed(max(abs(low), abs(high)), tests), pairs_needed(least, tests)


def detectable(units: int, tests: int = 1) -> float:
    """The smallest effect that this many units, at least two, detect with a power of 80 %."""
    from scipy.optimize import brentq

    high = 1.0
    while power(high, units, tests) < POWER:
        high *= 2
    return float(brentq(lambda effect: power(effect, units, tests) - POWER, 0.0, high))
