"""Sample sizes: how many seeds or pairs a comparison needs."""

import math

from scipy import stats

from ablations.analysis.effect_size import falls_short
from ablations.analysis.inference import ALPHA

POWER = 0.8
# Sample sizes above this are not of practical interest.
MOST_PAIRS = 10_000


def pairs_needed(effect: float, tests: int = 1) -> int | None:
    """The number of pairs for a paired test to detect an effect of this size with a power of 80 %.

    The significance level is that of the strictest of `tests` tests by Holm. None above 10,000 pairs.
    """

    # statsmodels' TTestPower finds no solution for some effects, or too few pairs for strong ones.
    def power(pairs: int) -> float:
        # The probability of significance in the opposite direction is negligible and left out.
        critical = float(stats.t.ppf(1 - ALPHA / tests / 2, pairs - 1))
        return 1 - falls_short(critical, pairs - 1, abs(effect) * math.sqrt(pairs))

    low, high = 1, 2
    while power(high) < POWER:
        if high == MOST_PAIRS:
            return None
        low, high = high, min(2 * high, MOST_PAIRS)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(middle) >= POWER else (middle, high)
    return high
