"""Equivalence: whether a difference is smaller than a margin below which it does not matter.

The two one-sided tests of Schuirmann (1987): the difference is above -margin, and it is below the margin.
"""

import math
from dataclasses import replace

import numpy as np

from ablations.analysis.distributions import t_ppf, t_sf
from ablations.analysis.inference import ALPHA, Comparison
from ablations.analysis.paired_tests import TESTS
from ablations.config.studies.question_checks import margins
from ablations.config.studies.questions import Test
from ablations.config.studies.study import Study


def with_margin_of(study: Study, name: str, comparison: Comparison | None) -> Comparison | None:
    """A comparison with the test of equivalence, if the study has a margin for the metric."""
    margin = margins(study).get(name)
    if comparison is None or margin is None:
        return comparison
    is_ratio = study.kind.metrics[name].noise == "time"
    return with_margin(comparison, math.log(margin) if is_ratio else margin, study.test)


def with_margin(comparison: Comparison, margin: float, test: Test = "t") -> Comparison:
    """The comparison with the p-values of a true difference of `margin`, in its unit, or more."""
    if comparison.p is None or comparison.error is None or comparison.df is None:
        return comparison
    if test != "t" and comparison.values:
        values = np.array(comparison.values)
        p = max(TESTS[test].above(margin + values), TESTS[test].above(margin - values))
    else:
        p = _student(comparison.difference, margin, comparison.error, comparison.df)
    over_items = None
    if comparison.error_over_items is not None and comparison.df_over_items is not None:
        error, df = comparison.error_over_items, comparison.df_over_items
        over_items = _student(comparison.difference, margin, error, df)
    return replace(comparison, p_equivalent=p, p_equivalent_over_items=over_items)


def _student(difference: float, margin: float, error: float, df: float) -> float:
    # The larger of both p-values is that of the nearer end of the margin.
    return t_sf((margin - abs(difference)) / error, df)


def largest_spread(margin: float, units: int, tests: int) -> float:
    """The largest standard deviation of the units with which equal levels can be shown to be equivalent."""
    return margin * units**0.5 / t_ppf(1 - ALPHA / tests, units - 1)
