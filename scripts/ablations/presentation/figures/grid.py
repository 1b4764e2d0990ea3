"""The map of a grid, coloured by accuracy."""

from collections.abc import Collection

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import to_rgba
from matplotlib.patches import Patch

from ablations.analysis.cells import Cell, Records, cell
from ablations.config.studies import Study
from ablations.kinds.hyperparameters import spell
from ablations.kinds.metrics import TEST_ACCURACY
from ablations.presentation.document import LABELS
from ablations.presentation.figures.style import (
    MOST_ROWS,
    PUBLISHED,
    cut_note,
    finished,
    point_name,
    varying_factors,
)
from ablations.runs.run import Run

HATCHES = {"missing": "///", "failed": "...", "diverged": "xxx"}
# In cells too small for a hatch.
PAINTS = {"missing": "0.75", "failed": PUBLISHED, "diverged": "#CC79A7"}
# Rows and columns with a name each.
MOST_COLUMNS = 20
# Rows, and columns, of a map, which has few pixels for each then.
MOST_CELLS = 2000


def grid_figure(study: Study, records: Records, failed: Collection[Run] = ()) -> plt.Figure:
    """A map of the grid: a row per point, a column per level of the table's columns, coloured by accuracy.

    What has failed, is missing, or has diverged is marked; what is white is not in the grid.
    """
    layout = study.table
    rows: dict[str, None] = {}
    columns: dict[str, None] = {}
    cells: dict[tuple[str, str], Cell] = {}
    lost: set[tuple[str, str]] = set()
    factors = [factor for factor in varying_factors(study, study.factors) if factor != layout.columns]
    for values, runs in study.points():
        row, column = (
            point_name(values, factors) or study.title,
            spell(values[layout.columns]) if layout.columns else "",
        )
        rows.setdefault(row)
        columns.setdefault(column)
        found = [records.get(run) for run in runs]
        cells[row, column] = cell(TEST_ACCURACY, "test_accuracy", found)
        if any(run in failed for run in runs):
            lost.add((row, column))
    high, wide = len(rows), len(columns)
    rows, columns = dict.fromkeys(list(rows)[:MOST_CELLS]), dict.fromkeys(list(columns)[:MOST_CELLS])
    # A map of many cells has no numbers in them, and names of some.
    named = high <= MOST_ROWS and wide <= MOST_COLUMNS
    size = (4.4 + 1.1 * min(len(columns), MOST_COLUMNS), 1.8 + 0.32 * min(len(rows), MOST_ROWS))
    figure, axis = plt.subplots(layout="constrained", figsize=size)
    means = np.full((len(rows), len(columns)), np.nan)
    marks: dict[str, list[tuple[int, int]]] = {}
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            content = cells.get((row, column))
            if content is None:
                continue
            if content.mean is not None:
                means[i, j] = content.mean
            missing = "failed" if (row, column) in lost else "missing"
            if content.missing or content.diverged:
                marks.setdefault(missing if content.missing else "diverged", []).append((i, j))
    image = axis.imshow(np.ma.masked_invalid(means), cmap="cividis", aspect="auto")
    for state, places in marks.items():
        if named:
            for i, j in places:
                plain = {"facecolor": "0.85", "edgecolor": "0.3", "linewidth": 0, "hatch": HATCHES[state]}
                fill = bool(np.isnan(means[i, j]))
                axis.add_patch(plt.Rectangle((j - 0.5, i - 0.5), 1, 1, fill=fill, **plain))
        else:
            paint = np.zeros((*means.shape, 4))
            paint[tuple(np.transpose(places))] = to_rgba(PAINTS[state])
            axis.imshow(paint, aspect="auto", interpolation="nearest")
    if named and np.isfinite(means).any():
        middle = (np.nanmin(means) + np.nanmax(means)) / 2
        for i, j in np.argwhere(np.isfinite(means)):
            dark = means[i, j] < middle or np.nanmin(means) == np.nanmax(means)
            axis.text(j, i, f"{means[i, j]:.2f}", ha="center", va="center", fontsize="small",
                      color="white" if dark else "black")  # fmt: skip
    every_row, every_column = -(-len(rows) // MOST_ROWS), -(-len(columns) // MOST_COLUMNS)
    axis.set_xticks(range(0, len(columns), every_column), list(columns)[::every_column])
    axis.set_yticks(range(0, len(rows), every_row), list(rows)[::every_row], fontsize="small")
    axis.tick_params(length=0)
    if layout.columns:
        axis.set_xlabel(LABELS.get(layout.columns, layout.columns))
    if np.isfinite(means).any():
        figure.colorbar(image, ax=axis, label=TEST_ACCURACY.label)
    handles = [
        Patch(facecolor="0.85", edgecolor="0.3", hatch=HATCHES[state], label=state)
        if named
        else Patch(facecolor=PAINTS[state], label=f"{state} ({len(marks[state])})")
        for state in sorted(marks)
    ]
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    title = f"{study.title}: the grid" + cut_note((high, MOST_CELLS), (wide, MOST_CELLS))
    return finished(figure, (), title)
