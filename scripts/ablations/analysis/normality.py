"""Normality: whether the differences of the units of a comparison look normal."""

from collections.abc import Sequence

from ablations.analysis.inference import Comparison, holm

# Of fewer units no test can tell.
FEWEST_TO_JUDGE = 5


def normality(comparisons: Sequence[Comparison | None]) -> list[float | None]:
    """The p-value of Shapiro and Wilk's test for each comparison, with Holm's correction over all.

    None where the comparison has too few units, or units of unequal weight.
    """
    ps = [_shapiro(each) if each else None for each in comparisons]
    corrected = iter(holm([p for p in ps if p is not None]))
    return [None if p is None else next(corrected) for p in ps]


def _shapiro(comparison: Comparison) -> float | None:
    units = len(comparison.values)
    if units < FEWEST_TO_JUDGE or comparison.df is None or comparison.df < units - 1.01:
        return None
    # Slow to import, and needed only for several seeds.
    from scipy.stats import shapiro

    return float(shapiro(comparison.values).pvalue)
