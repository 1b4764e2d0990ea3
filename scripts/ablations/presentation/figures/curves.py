"""The learning curves of a study."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ablations.analysis.measurements import Records
from ablations.config.studies.study import Study
from ablations.kinds.metrics import Metric
from ablations.presentation.figures.style import (
    MOST_METRICS,
    cut_note,
    finished,
    look_of,
    shown_metrics,
    spread_note,
    varying_factors,
)
from ablations.presentation.wording import marked
from ablations.runs.records import AXES, read_history
from ablations.runs.run import Run

MOST_CURVES, MOST_LINES = 6, 200
# The rows of each run's history.
Histories = Mapping[Run, Sequence[Mapping[str, float]]]


class _Curve(NamedTuple):
    """The values of a point, its epochs or steps, and a metric, of shape (seeds, epochs); NaN is none."""

    point: Mapping[str, Any]
    steps: np.ndarray
    metric: np.ndarray


def curves_figure(study: Study, paths: Mapping[Run, Path]) -> Figure:
    """Each metric of the histories by epoch: a line per point, with a band of one standard deviation.

    Every panel of a metric shows the same lines, coloured by the levels of one hyperparameter. Where the
    colours separate, that hyperparameter matters. The band is over seeds.
    """
    histories = {run: read_history(path) for run, path in paths.items()}
    recorded = {name for rows in histories.values() for row in rows for name in row}
    shown = shown_metrics(study)
    metrics = [metric for metric in shown.values() if metric.column in recorded]
    curves = [curves_of(study, histories, metric) for metric in metrics]
    varying = varying_factors(study, study.factors)
    factors = varying[:MOST_CURVES] or study.rows[:1]
    columns = min(3, len(factors))
    lines = -(-len(factors) // columns)
    many = max(1, len(metrics))
    size = (1.2 + 3.7 * columns, 0.8 + 3.1 * lines * many)
    figure, axes = plt.subplots(
        lines * many, columns, layout="constrained", figsize=size, sharex=True, sharey="row", squeeze=False
    )
    for i, (metric, of_metric) in enumerate(zip(metrics, curves, strict=True)):
        block = axes[i * lines : (i + 1) * lines]
        for axis, factor in zip(block.flat, factors, strict=False):
            _draw_panel(axis, study, factor, of_metric[:MOST_LINES])
        for axis in block[:, 0]:
            axis.set_ylabel(marked(metric))
        for axis in block.flat[len(factors) :]:
            axis.set_visible(False)
    for axis in axes[-1]:
        axis.set_xlabel(next((name for name in AXES if name in recorded), AXES[-1]).capitalize())
    if not metrics:
        why = "the histories have none of these metrics" if recorded else "no completed runs"
        axes[0][0].text(0.5, 0.5, why, ha="center", transform=axes[0][0].transAxes)
    cut = cut_note(
        (len(varying), MOST_CURVES, "hyperparameters"),
        (max(map(len, curves), default=0), MOST_LINES, "curves"),
        (len(study.analysed), MOST_METRICS, "metrics"),
    )
    spread = spread_note("bands", any(len(curve.metric) > 1 for each in curves for curve in each))
    return finished(figure, axes.flat, f"{study.title}: learning curves{cut}{spread}", legend=None)


def histories_of(study: Study, records: Records) -> dict[Run, Path]:
    """The files with the histories of a study's runs."""
    # The history of a diverged run is that of fewer steps.
    whole = [run for run in study.runs() if records.get(run, {}).get("status") != "diverged"]
    return {run: Path(run.directory) / "history.tsv" for run in whole}


def curves_of(study: Study, histories: Histories, metric: Metric) -> list[_Curve]:
    """The points that have a history of the metric."""
    curves: list[_Curve] = []
    for point, runs in study.points():
        # Each run has the steps at which it was evaluated, and may have stopped early.
        values = [
            {_place(i, row): row[metric.column] * metric.scale for i, row in rows if metric.column in row}
            for run in runs
            if (rows := list(enumerate(histories.get(run, ()), 1)))
        ]
        steps = sorted({step for of_run in values for step in of_run})
        if steps:
            matrix = [[of_run.get(step, np.nan) for step in steps] for of_run in values if of_run]
            curves.append(_Curve(point, np.array(steps), np.array(matrix)))
    return curves


def _place(i: int, row: Mapping[str, float]) -> float:
    """The step or epoch of a row, or else its number."""
    return next((row[name] for name in AXES if name in row), i)


def _draw_panel(axis: Axes, study: Study, factor: str, curves: Sequence[_Curve]) -> None:
    levels = {curve.point[factor]: study.level_label(factor, curve.point[factor]) for curve in curves}
    for point, steps, values in curves:
        mean = np.nanmean(values, axis=0)
        look = look_of(levels, point[factor])
        axis.plot(steps, mean, linewidth=1.3, markersize=3.5, **look)
        if len(values) > 1:
            # One seed alone has none.
            counts = np.sum(~np.isnan(values), axis=0)
            squares = np.nansum((values - mean) ** 2, axis=0)
            sd = np.sqrt(squares / np.maximum(counts - 1, 1)) * np.where(counts > 1, 1, np.nan)
            axis.fill_between(steps, mean - sd, mean + sd, color=look["color"], alpha=0.15, linewidth=0)
            if len(steps) == 1:
                axis.errorbar(steps, mean, yerr=sd, color=look["color"], capsize=3)
    axis.set_title(study.label(factor), fontsize="medium")
    if levels:
        # One entry per level, although several lines have its label.
        handles = dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
        wide = 1 + (len(handles) > 7)
        axis.legend(handles.values(), handles.keys(), fontsize="x-small", frameon=False, ncols=wide)
    axis.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))
    if len(every := {step for curve in curves for step in curve.steps.tolist()}) == 1:
        axis.set_xticks(list(every))
