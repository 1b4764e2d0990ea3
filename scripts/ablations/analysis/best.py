"""The best of several points in one metric, and all that cannot be told from it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ablations.analysis.cells import cell
from ablations.analysis.inference import ALPHA, Comparison, Noise, binomial_error
from ablations.analysis.measurements import Records, available, items_of, unit_of
from ablations.analysis.points import compare_points
from ablations.config.studies.study import Study
from ablations.kinds.metrics import Metric
from ablations.runs.run import Run


@dataclass(frozen=True)
class Best:
    """The places of the points that are the best, or cannot be told from it.

    `among` counts the points that were compared, and `tests` the pairs of them that the tests are corrected
    for: the best is chosen by the data, and may be any. `noises` are those of the tests that were made, and
    `over_items` tells whether those by seeds hold for other items too.
    """

    places: frozenset[int]
    among: int
    noises: frozenset[Noise]
    over_items: bool
    # The most seeds, or settings, of a test.
    units: int

    @property
    def tests(self) -> int:
        return math.comb(self.among, 2)

    @property
    def is_told(self) -> bool:
        """Whether a point can be told from the best."""
        return len(self.places) < self.among


def best_points(study: Study, records: Records, name: str, points: Sequence[Sequence[Run]]) -> Best | None:
    """The best of some points, each given by its runs, in a metric; None where no direction is better.

    Another point is told from the best if it is worse by the study's test at 5 %, with Bonferroni's
    correction over all pairs of points: by the seeds and, where the answers are known, for other items too;
    single runs by their items. A point of which a run diverged is left out: its mean is that of the others.
    """
    metric = study.kind.metrics[name]
    cells = [cell(metric, [records.get(run) for run in runs]) for runs in points]
    means = {i: each.mean for i, each in enumerate(cells) if each.mean is not None and not each.diverged}
    if metric.better is None or not means:
        return None
    choose = max if metric.better == "higher" else min
    best = choose(means, key=means.__getitem__)
    found = available(metric, [run for runs in points for run in runs], records)
    unit = unit_of(study.kind, metric, found)
    tests = math.comb(len(means), 2)
    places, noises, over_items, units = {best}, set(), True, 0
    for i in means.keys() - {best}:
        comparison = compare_points(study, metric, points[best], points[i], found, unit, study.test)
        noise, p = _test(study, metric, (points[best], points[i]), comparison, found)
        noises |= {noise} if noise else set()
        over_items &= noise != "seeds" or bool(comparison and comparison.p_over_items is not None)
        units = max(units, comparison.units if comparison and comparison.values else 0)
        is_worse = comparison and (comparison.difference < 0) == (metric.better == "higher")
        if not is_worse or p is None or p * tests >= ALPHA:
            places.add(i)
    return Best(frozenset(places), len(means), frozenset(noises), over_items, units)


def _test(
    study: Study,
    metric: Metric,
    points: tuple[Sequence[Run], Sequence[Run]],
    comparison: Comparison | None,
    found: Records,
) -> tuple[Noise | None, float | None]:
    """What judges the difference of two points, and its p-value; None if nothing does."""
    if comparison is None:
        return None, None
    if comparison.noise == "exact":
        return "exact", 0.0 if comparison.difference else None
    if comparison.p is not None:
        return comparison.noise, max(comparison.p, comparison.p_over_items or 0.0)
    if metric.noise != "proportion" or len(study.seeds) > 1:
        return None, None
    records = [found[run] for runs in points for run in runs]
    items = [items_of(metric, record) for record in records]
    if not all(items):
        return None, None
    # Without the answers of two single runs, the errors of two independent samples, which are no smaller.
    shares = [float(record[metric.column]) * metric.scale for record in records]
    errors = [binomial_error(*each, metric.whole) for each in zip(shares, items, strict=True)]
    error = math.hypot(*errors)
    return "items", math.erfc(abs(comparison.difference) / error / math.sqrt(2)) if error else None
