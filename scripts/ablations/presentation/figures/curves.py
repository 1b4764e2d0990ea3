"""The learning curves of a study."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ablations.config.studies import Study
from ablations.kinds.metrics import TEST_ACCURACY
from ablations.presentation.document import LABELS
from ablations.presentation.figures.style import cut_note, finished, look_of, varying_factors
from ablations.runs.records import read_history
from ablations.runs.run import Run

MOST_CURVES, MOST_LINES = 6, 200
# The values of a point, and its accuracies of shape (seeds, epochs).
Curve = tuple[Mapping[str, Any], np.ndarray]


def curves_figure(study: Study, histories: Mapping[Run, Path]) -> Figure:
    """Test accuracy by epoch: a line per point, with a band of one standard deviation over seeds.

    Every panel shows the same lines, coloured by the levels of one hyperparameter. Where the colours
    separate, that hyperparameter matters.
    """
    varying = varying_factors(study, study.factors)
    factors = varying[:MOST_CURVES] or ["model"]
    columns = min(3, len(factors))
    lines = -(-len(factors) // columns)
    size = (1.2 + 3.7 * columns, 0.8 + 3.1 * lines)
    figure, axes = plt.subplots(
        lines, columns, layout="constrained", figsize=size, sharex=True, sharey=True, squeeze=False
    )
    curves = _curves(study, histories)
    for axis, factor in zip(axes.flat, factors, strict=False):
        _draw_panel(axis, factor, curves[:MOST_LINES])
    for axis in axes.flat[len(factors) :]:
        axis.set_visible(False)
    for axis in axes[-1]:
        axis.set_xlabel("Epoch")
    for axis in axes[:, 0]:
        axis.set_ylabel(TEST_ACCURACY.heading)
    if not curves:
        axes[0][0].text(0.5, 0.5, "no completed runs", ha="center", transform=axes[0][0].transAxes)
    cut = cut_note((len(varying), MOST_CURVES), (len(curves), MOST_LINES))
    return finished(figure, axes.flat, f"{study.title}: learning curves{cut}", legend=None)


def _curves(study: Study, histories: Mapping[Run, Path]) -> list[Curve]:
    """The points that have a history."""
    curves: list[Curve] = []
    for values, runs in study.points():
        read = ([row["test_accuracy"] for row in read_history(histories[run])]
                for run in runs if run in histories)  # fmt: skip
        found = [curve for curve in read if curve]
        if found:
            # The history of a diverged run is shorter, and would cut off those of the other seeds.
            length = max(map(len, found))
            curves.append((values, np.array([curve for curve in found if len(curve) == length])))
    return curves


def _draw_panel(axis: Axes, factor: str, curves: Sequence[Curve]) -> None:
    levels = list(dict.fromkeys(values[factor] for values, _ in curves))
    for values, accuracies in curves:
        epochs, mean = np.arange(1, accuracies.shape[1] + 1), accuracies.mean(axis=0)
        look = look_of(levels, values[factor])
        axis.plot(epochs, mean, linewidth=1.3, markersize=3.5, **look)
        if len(accuracies) > 1:
            sd = accuracies.std(axis=0, ddof=1)
            axis.fill_between(epochs, mean - sd, mean + sd, color=look["color"], alpha=0.15, linewidth=0)
            if len(epochs) == 1:
                axis.errorbar(epochs, mean, yerr=sd, color=look["color"], capsize=3)
    axis.set_title(LABELS.get(factor, factor), fontsize="medium")
    if levels:
        # One entry per level, although several lines have its label.
        handles = dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
        wide = 1 + (len(handles) > 7)
        axis.legend(handles.values(), handles.keys(), fontsize="x-small", frameon=False, ncols=wide)
    axis.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))
