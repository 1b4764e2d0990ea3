"""Comparisons of two points: with the baseline of a study, paired over the seeds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ablations.analysis.effects import compare_settings
from ablations.analysis.inference import Comparison, holm
from ablations.analysis.measurements import Records, available, conditions, unit_of
from ablations.config.baselines import base_points
from ablations.config.studies import Study
from ablations.kinds.metrics import Metric
from ablations.runs.run import Run


@dataclass(frozen=True)
class Contrast:
    """The comparison of a point with the baseline, second minus first.

    `comparison` is None if no two runs of one seed can be compared. `p` has Holm's correction over all
    contrasts of the metric; None without a test.
    """

    comparison: Comparison | None
    p: float | None = None


def compare_points(
    study: Study, metric: Metric, first: Sequence[Run], second: Sequence[Run], found: Records, unit: float
) -> Comparison | None:
    """The runs of a second point minus those of a first, paired over seeds; None without a pair.

    `found` has the records with a value. A pair whose times are not comparable is left out. One pair of a
    study with several seeds is not tested: what its test items show is not the noise of seeds.
    """
    one, other = (
        {run.values().get("seed"): found[run] for run in runs if run in found} for runs in (first, second)
    )
    pairs = {
        seed: (record, other[seed])
        for seed, record in one.items()
        if seed in other and conditions(metric, record) == conditions(metric, other[seed])
    }
    if not pairs:
        return None
    comparison = compare_settings(study.kind, metric, [pairs], unit, sized=False)
    if comparison and len(pairs) == 1 < len(study.seeds):
        return replace(comparison, interval=None, p=None)
    return comparison


def contrasts(study: Study, records: Records, name: str) -> list[Contrast | None]:
    """The contrast of each point of a study with its baseline; None for the baseline itself."""
    metric = study.kind.metrics[name]
    found = available(metric, study.runs(), records)
    unit = unit_of(study.kind, metric, found)
    bases = {level: points[0][1] for level, points in base_points(study).items()}
    compared: list[Contrast | None] = []
    for values, runs in study.points():
        base = bases[study.column(values)]
        if runs == base:
            compared.append(None)
        else:
            compared.append(Contrast(compare_points(study, metric, base, runs, found, unit)))
    ps = [
        each.comparison.p for each in compared if each and each.comparison and each.comparison.p is not None
    ]
    corrected = iter(holm(ps))
    return [
        replace(each, p=next(corrected))
        if each and each.comparison and each.comparison.p is not None
        else each
        for each in compared
    ]
