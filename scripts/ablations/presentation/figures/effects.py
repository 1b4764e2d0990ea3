"""The effects of a study: every difference with its interval."""

import math
from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ablations.analysis.effects import corrected, effects
from ablations.analysis.inference import ALPHA, Comparison
from ablations.analysis.measurements import Records
from ablations.config.studies.question_checks import margins
from ablations.config.studies.study import Study
from ablations.kinds.metrics import Metric
from ablations.presentation.effect_verdicts import judged_by
from ablations.presentation.figures.style import (
    MEASURED,
    MOST_METRICS,
    MOST_ROWS,
    cut_note,
    finished,
    set_log_ticks,
    shown_metrics,
)
from ablations.presentation.wording import ARROWS, difference_unit

# A factor and its two levels.
Levels = tuple[str, Any, Any]
# Each comparison, with its corrected p-value.
Compared = Mapping[Levels, tuple[Comparison, float | None]]


def effects_figure(study: Study, records: Records) -> Figure:
    """Every comparison of the effects table, a panel per metric: the difference with its 95 % interval."""
    metrics = shown_metrics(study)
    found = {name: _compared(study, records, name) for name in metrics}
    every = list(dict.fromkeys(levels for of_metric in found.values() for levels in of_metric))
    rows = every[:MOST_ROWS]
    size = (3.9 + 3.6 * len(metrics), 1.7 + 0.35 * max(1, len(rows)))
    figure, axes = plt.subplots(
        1, len(metrics), layout="constrained", figsize=size, sharey=True, squeeze=False
    )
    for axis, (name, metric) in zip(axes[0], metrics.items(), strict=True):
        if margin := margins(study).get(name):
            ends = (1 / margin, margin) if metric.noise == "time" else (-margin, margin)
            axis.axvspan(*ends, color="0.93", zorder=0)
        _draw_panel(axis, metric, {place: found[name].get(levels) for place, levels in enumerate(rows)})
    names = [_row_name(study, levels, _bases(metrics, found, levels)) for levels in rows]
    axes[0][0].set_yticks(range(len(names)), names, fontsize="small")
    axes[0][0].set_ylim(max(len(names), 1) - 0.5, -0.5)
    if not rows:
        axes[0][0].text(0.5, 0.5, "no two runs differ in one hyperparameter only", ha="center",
                        transform=axes[0][0].transAxes)  # fmt: skip
    figure.supxlabel(
        "bars: uncorrected 95 % intervals; filled: significant after Holm's correction"
        + "; grey: within the margin" * bool(study.margin),
        fontsize="small",
    )
    cut = cut_note((len(every), MOST_ROWS, "comparisons"), (len(study.analysed), MOST_METRICS, "metrics"))
    return finished(figure, axes[0], f"{study.title}: effect of each hyperparameter{cut}")


def _compared(study: Study, records: Records, name: str) -> Compared:
    every = list(effects(study, records, name))
    return {
        (effect.factor, effect.first, effect.second): (effect.comparison, p)
        for effect, p in zip(every, corrected(study, every), strict=True)
        if effect.comparison
    }


def _draw_panel(
    axis: Axes, metric: Metric, rows: Mapping[int, tuple[Comparison, float | None] | None]
) -> None:
    is_ratio = metric.noise == "time"
    for place, found in rows.items():
        if found is None:
            continue
        comparison, p = found
        scale = math.exp if is_ratio else float
        if interval := comparison.interval:
            ends = [scale(interval.low), scale(interval.high)]
            axis.plot(ends, [place, place], color=MEASURED, linewidth=2)
        fill = MEASURED if p is not None and p < ALPHA else "white"
        axis.plot(scale(comparison.difference), place, "o", color=MEASURED, mfc=fill, markersize=7)
    axis.axvline(1 if is_ratio else 0, color="0.4", linewidth=1, linestyle="--")
    axis.set_title(metric.label + ARROWS[metric.better], fontsize="medium")
    unit = "×" if is_ratio else difference_unit(metric)
    axis.set_xlabel(("Ratio" if is_ratio else "Difference") + (f" ({unit})" if unit else ""))
    if is_ratio:
        axis.set_xscale("log")
        set_log_ticks(axis.xaxis, *axis.get_xlim())
    else:
        axis.xaxis.set_major_locator(MaxNLocator(5))


def _bases(metrics: Mapping[str, Metric], found: Mapping[str, Compared], levels: Levels) -> list[str]:
    """What the intervals of a row rest on, over the metrics."""
    return list(
        dict.fromkeys(
            _basis(metric, found[name][levels][0])
            for name, metric in metrics.items()
            if levels in found[name]
        )
    )


def _basis(metric: Metric, comparison: Comparison) -> str:
    if comparison.noise == "model":
        return "linear model"
    if comparison.interval is None:
        return f"{comparison.pairs} pair{'s' * (comparison.pairs != 1)}"
    return f"{comparison.units:,} {judged_by(metric, comparison)}"


def _row_name(study: Study, levels: Levels, bases: list[str]) -> str:
    factor, first, second = levels
    ends = (study.level_label(factor, end) for end in (first, second))
    return f"{study.label(factor)}: {' → '.join(ends)} ({'; '.join(bases)})"
