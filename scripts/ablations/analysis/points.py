"""Comparisons of two points: with the baseline of a study, paired over the seeds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ablations.analysis.effects import compare_settings
from ablations.analysis.equivalence import with_margin_of
from ablations.analysis.inference import Comparison, holm
from ablations.analysis.measurements import Records, available, conditions, unit_of
from ablations.config.baselines import base_points
from ablations.config.questions import Test
from ablations.config.studies import Study
from ablations.kinds.metrics import Metric
from ablations.runs.run import Run


@dataclass(frozen=True)
class Contrast:
    """The comparison of a point with the baseline, second minus first.

    `comparison` is None if no two runs of one seed can be compared. `p`, and `p_equivalent` of a study with a
    margin, have Holm's correction over all contrasts of the metric; None without a test.
    """

    comparison: Comparison | None
    p: float | None = None
    p_equivalent: float | None = None


def compare_points(
    study: Study,
    metric: Metric,
    first: Sequence[Run],
    second: Sequence[Run],
    found: Records,
    unit: float,
    test: Test = "t",
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
    comparison = compare_settings(study.kind, metric, [pairs], unit, sized=False, test=test)
    if comparison and len(pairs) == 1 < len(study.seeds):
        return replace(comparison, interval=None, p=None)
    return comparison


def contrasts(study: Study, records: Records, name: str) -> list[Contrast | None]:
    """The contrast of each point of a study with its baseline; None for the baseline itself."""
    metric = study.kind.metrics[name]
    found = available(metric, study.runs(), records)
    unit = unit_of(study.kind, metric, found)
    bases = {level: points[0][1] for level, points in base_points(study).items()}
    compared: list[Comparison | None] = []
    is_base: list[bool] = []
    for values, runs in study.points():
        base = bases[study.column(values)]
        is_base.append(runs == base)
        comparison = None
        if not is_base[-1]:
            comparison = compare_points(study, metric, base, runs, found, unit, study.test)
        compared.append(with_margin_of(study, name, comparison))
    ps = [_holm([getattr(each, of, None) for each in compared]) for of in ("p", "p_equivalent")]
    contrasts = map(Contrast, compared, *ps)
    return [None if of_base else each for of_base, each in zip(is_base, contrasts, strict=True)]


def _holm(ps: Sequence[float | None]) -> list[float | None]:
    """Holm's correction over the p-values that are there."""
    corrected = iter(holm([p for p in ps if p is not None]))
    return [None if p is None else next(corrected) for p in ps]
