"""Probabilities and quantiles of the distributions that intervals and tests need.

scipy.stats computes them by the same functions, but its import takes longer than making a table.
"""

from scipy import special


def t_sf(t: float, df: float) -> float:
    """The probability that Student's t is above `t`."""
    return float(special.stdtr(df, -t))


def t_ppf(probability: float, df: float) -> float:
    """The value that Student's t is below with this probability."""
    return float(special.stdtrit(df, probability))


def noncentral_t_cdf(t: float, df: float, noncentrality: float) -> float:
    """The probability that a noncentral t is below `t`; NaN in the far tails."""
    return float(special.nctdtr(df, noncentrality, t))


def normal_sf(z: float) -> float:
    """The probability that a standard normal value is above `z`."""
    return float(special.ndtr(-z))


def normal_ppf(probability: float) -> float:
    """The value that a standard normal one is below with this probability."""
    return float(special.ndtri(probability))


def f_sf(f: float, df: float, df_of_error: float) -> float:
    """The probability that Fisher's F is above `f`."""
    return float(special.fdtrc(df, df_of_error, f))
