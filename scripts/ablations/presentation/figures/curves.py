"""The learning curves of a study."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from ablations.config.studies import Study
from ablations.kinds.metrics import TEST_ACCURACY
from ablations.presentation.document import LABELS
from ablations.presentation.figures.style import cut_note, finished, look_of, varying_factors
from ablations.runs.records import read_history
from ablations.runs.run import Run

MOST_CURVES, MOST_LINES = 6, 200


def curves_figure(study: Study, histories: Mapping[Run, Path]) -> plt.Figure:
    """Test accuracy by epoch: a line per point, its band the standard deviation over seeds.

    The same lines stand in every panel, each coloured by the levels of one hyperparameter: the one whose
    colours separate is the one that matters.
    """
    varying = varying_factors(study, study.factors)
    factors = varying[:MOST_CURVES] or ["model"]
    columns = min(3, len(factors))
    lines = -(-len(factors) // columns)
    figure, axes = plt.subplots(
        lines,
        columns,
        layout="constrained",
        figsize=(1.2 + 3.7 * columns, 0.8 + 3.1 * lines),
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    curves = []
    for values, runs in study.points():
        found = [
            curve
            for run in runs
            if run in histories and (curve := [row["test_accuracy"] for row in read_history(histories[run])])
        ]
        if found:
            # A run that diverged has a shorter history, and would cut off those of the other seeds.
            length = max(map(len, found))
            curves.append((values, np.array([curve for curve in found if len(curve) == length])))
    every, curves = len(curves), curves[:MOST_LINES]
    for axis, factor in zip(axes.flat, factors, strict=False):
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
            handles = dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
            axis.legend(
                handles.values(), handles, fontsize="x-small", frameon=False, ncols=1 + (len(handles) > 7)
            )
        axis.xaxis.get_major_locator().set_params(integer=True)
    for axis in axes.flat[len(factors) :]:
        axis.set_visible(False)
    for axis in axes[-1]:
        axis.set_xlabel("Epoch")
    for axis in axes[:, 0]:
        axis.set_ylabel(TEST_ACCURACY.label)
    if not curves:
        axes[0][0].text(0.5, 0.5, "no run is done", ha="center", transform=axes[0][0].transAxes)
    title = f"{study.title}: learning curves" + cut_note((len(varying), MOST_CURVES), (every, MOST_LINES))
    return finished(figure, axes.flat, title, legend=None)
