"""The effects of a study: every difference with its interval."""

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from ablations.analysis.cells import Records
from ablations.analysis.effects import corrected, effects
from ablations.analysis.inference import ALPHA, Comparison
from ablations.config.studies import Study
from ablations.kinds.hyperparameters import spell
from ablations.presentation.document import LABELS
from ablations.presentation.effects_table import JUDGED_BY
from ablations.presentation.figures.style import MEASURED, MOST_ROWS, cut_note, finished


def effects_figure(study: Study, records: Records) -> Figure:
    """Every comparison of the effects table: the difference of two levels with its 95 % interval."""
    every = list(effects(study, records))
    found = [(e, e.comparison, p) for e, p in zip(every, corrected(every), strict=True) if e.comparison]
    size = (7.5, 1.6 + 0.35 * max(1, min(len(found), MOST_ROWS)))
    figure, axis = plt.subplots(layout="constrained", figsize=size)
    names = []
    for place, (effect, comparison, p) in enumerate(found[:MOST_ROWS]):
        label = LABELS.get(effect.factor, effect.factor)
        names.append(f"{label}: {spell(effect.first)} → {spell(effect.second)} ({_basis(comparison)})")
        if interval := comparison.interval:
            axis.plot([interval.low, interval.high], [place, place], color=MEASURED, linewidth=2)
        fill = MEASURED if p is not None and p < ALPHA else "white"
        axis.plot(comparison.difference, place, "o", color=MEASURED, mfc=fill, markersize=7)
    axis.axvline(0, color="0.4", linewidth=1, linestyle="--")
    axis.set_yticks(range(len(names)), names, fontsize="small")
    axis.set_ylim(max(len(names), 1) - 0.5, -0.5)
    axis.set_xlabel(
        "Difference of test accuracy (points) with its uncorrected 95 % interval\n"
        "filled: significant after Holm's correction"
    )
    if not found:
        axis.text(
            0.5, 0.5, "no two runs differ in one hyperparameter only", ha="center", transform=axis.transAxes
        )
    title = f"{study.title}: effect of each hyperparameter" + cut_note((len(found), MOST_ROWS))
    return finished(figure, [axis], title)


def _basis(comparison: Comparison) -> str:
    """What the interval rests on."""
    if comparison.noise == "model":
        return "linear model"
    if comparison.interval is None:
        return f"{comparison.pairs} pair{'s' * (comparison.pairs != 1)}"
    return f"{comparison.units:,} {JUDGED_BY[comparison.noise]}"
