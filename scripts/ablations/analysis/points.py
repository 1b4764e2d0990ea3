"""Comparisons of two points: with the baseline of a study, paired over the seeds."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ablations.analysis.effects import compare_settings
from ablations.analysis.equivalence import with_margin_of
from ablations.analysis.inference import Comparison, holm
from ablations.analysis.measurements import Records, available, conditions, unit_of
from ablations.config.studies.baselines import base_points, changed_levels, is_primary
from ablations.config.studies.questions import Test
from ablations.config.studies.study import Study
from ablations.kinds.metrics import Metric
from ablations.runs.run import Run

# Its values, with its runs over the seeds.
Point = tuple[Mapping[str, Any], Sequence[Run]]


@dataclass(frozen=True)
class Contrast:
    """The comparison of a point with the baseline, second minus first.

    `comparison` is None if no two runs of one seed can be compared. `p`, and `p_equivalent` of a study with a
    margin, have Holm's correction over all contrasts of the metric; None without a test. It is over those of
    the primary hyperparameters, and over the exploratory others apart, where a study declares some.
    """

    comparison: Comparison | None
    is_exploratory: bool = False
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


def contrasts(study: Study, records: Records, name: str, points: Sequence[Point]) -> list[Contrast | None]:
    """The contrast of each of these points of a study with its baseline; None for the baseline itself.

    The points are all of the study, or those that validation has chosen, one for each setting.
    """
    metric = study.kind.metrics[name]
    found = available(metric, study.runs(), records)
    unit = unit_of(study.kind, metric, found)
    bases = {level: of_level[0][0] for level, of_level in base_points(study).items()}
    runs_of = {study.setting(values): runs for values, runs in points}
    compared: list[Contrast | None] = []
    for values, runs in points:
        base = bases[study.column(values)]
        if not changed_levels(study, values, base):
            compared.append(None)
            continue
        of_base = runs_of[study.setting(base)]
        comparison = compare_points(study, metric, of_base, runs, found, unit, study.test)
        is_exploratory = not is_primary(study, values, base)
        compared.append(Contrast(with_margin_of(study, name, comparison), is_exploratory))
    return _corrected(compared)


def _corrected(found: Sequence[Contrast | None]) -> list[Contrast | None]:
    """The contrasts with their p-values, corrected apart where they are exploratory."""
    corrected = list(found)
    for is_exploratory, name in itertools.product((False, True), ("p", "p_equivalent")):
        ps = {
            i: p
            for i, each in enumerate(found)
            if each and each.is_exploratory == is_exploratory
            if (p := getattr(each.comparison, name, None)) is not None
        }
        for i, p in zip(ps, holm(list(ps.values())), strict=True):
            corrected[i] = replace(corrected[i], **{name: p})  # type: ignore[type-var]
    return corrected
