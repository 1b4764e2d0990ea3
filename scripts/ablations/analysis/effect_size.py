"""Effect sizes: Cohen's d of paired samples, with its interval from the noncentral t."""

import math

from ablations.analysis.distributions import noncentral_t_cdf
from ablations.analysis.inference import ALPHA, Interval

# For a larger t, the interval of the effect size is not computed: it would add no information.
LARGEST_T = 1000.0


def hedges(df: float) -> float:
    """Hedges' (1981) factor, with which a standardized mean difference is unbiased; df must be above 1."""
    return math.exp(math.lgamma(df / 2) - math.lgamma((df - 1) / 2)) / math.sqrt(df / 2)


def effect_interval(t: float, n: int, df: float) -> Interval:
    """The interval of Cohen's d of n paired units, from the noncentral t (Cumming & Finch 2001)."""
    # Slow to import, and needed for few tables.
    from scipy.optimize import brentq

    def noncentrality(probability: float) -> float:
        """The noncentrality at which a noncentral t is below |t| with that probability."""
        above = abs(t) + 1
        while falls_short(abs(t), df, above) > probability:
            above *= 2
        return brentq(lambda nc: falls_short(abs(t), df, nc) - probability, -10.0, above)

    low, high = (noncentrality(p) / math.sqrt(n) for p in (1 - ALPHA / 2, ALPHA / 2))
    return Interval(low, high) if t > 0 else Interval(-high, -low)


def falls_short(t: float, df: float, noncentrality: float) -> float:
    """The probability that a noncentral t is below `t`, which must be at least 0."""
    found = noncentral_t_cdf(t, df, noncentrality)
    # In the far tails the probability is 0 or 1.
    return found if math.isfinite(found) else float(noncentrality < t)
