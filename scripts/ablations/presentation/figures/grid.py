"""The map of a grid, coloured by accuracy."""

from collections.abc import Collection
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
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
# For cells that are too small for a hatch.
PAINTS = {"missing": "0.75", "failed": PUBLISHED, "diverged": "#CC79A7"}
# A map with more columns than this, or more rows than MOST_ROWS, shows no numbers and only some names.
MOST_COLUMNS = 20
# The most rows, and the most columns, that a map draws; each has only a few pixels then.
MOST_CELLS = 2000


@dataclass(frozen=True)
class _Map:
    """The mean accuracy of each cell, of shape (rows, columns), NaN where there is none.

    `marks` lists the cells in each state. `height` and `width` count all rows and columns of the grid.
    """

    rows: list[str]
    columns: list[str]
    means: np.ndarray
    marks: dict[str, list[tuple[int, int]]]
    height: int
    width: int

    @property
    def is_small(self) -> bool:
        """Whether a cell has room for a number and a hatch."""
        return self.height <= MOST_ROWS and self.width <= MOST_COLUMNS


def grid_figure(study: Study, records: Records, failed: Collection[Run] = ()) -> Figure:
    """Map the grid: a row per point, a column per level of the table's columns, coloured by accuracy.

    Cells with failed, missing or diverged runs are marked. White cells are not in the grid.
    """
    found = _map_of(study, records, failed)
    high, wide = len(found.rows), len(found.columns)
    size = (4.4 + 1.1 * min(wide, MOST_COLUMNS), 1.8 + 0.32 * min(high, MOST_ROWS))
    figure, axis = plt.subplots(layout="constrained", figsize=size)
    image = axis.imshow(np.ma.masked_invalid(found.means), cmap="cividis", aspect="auto")
    _draw_marks(axis, found)
    any_mean = bool(np.isfinite(found.means).any())
    if found.is_small and any_mean:
        _write_means(axis, found.means)
    every_row, every_column = -(-high // MOST_ROWS), -(-wide // MOST_COLUMNS)
    axis.set_xticks(range(0, wide, every_column), found.columns[::every_column])
    axis.set_yticks(range(0, high, every_row), found.rows[::every_row], fontsize="small")
    axis.tick_params(length=0)
    if study.table.columns:
        axis.set_xlabel(LABELS.get(study.table.columns, study.table.columns))
    if any_mean:
        figure.colorbar(image, ax=axis, label=TEST_ACCURACY.heading)
    if found.marks:
        figure.legend(handles=_legend(found), loc="outside lower center", ncols=3, frameon=False)
    cut = cut_note((found.height, MOST_CELLS), (found.width, MOST_CELLS))
    return finished(figure, (), f"{study.title}: map of the grid{cut}")


def _map_of(study: Study, records: Records, failed: Collection[Run]) -> _Map:
    pivot = study.table.columns
    factors = [factor for factor in varying_factors(study, study.factors) if factor != pivot]
    cells: dict[tuple[str, str], tuple[Cell, bool]] = {}
    for values, runs in study.points():
        content = cell(TEST_ACCURACY, [records.get(run) for run in runs])
        place = (point_name(values, factors) or study.title, spell(values[pivot]) if pivot else "")
        cells[place] = (content, any(run in failed for run in runs))
    rows = list(dict.fromkeys(row for row, _ in cells))
    columns = list(dict.fromkeys(column for _, column in cells))
    height, width = len(rows), len(columns)
    rows, columns = rows[:MOST_CELLS], columns[:MOST_CELLS]
    means = np.full((len(rows), len(columns)), np.nan)
    marks: dict[str, list[tuple[int, int]]] = {}
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            if (row, column) not in cells:
                continue
            content, has_failed = cells[row, column]
            if content.mean is not None:
                means[i, j] = content.mean
            if content.missing:
                marks.setdefault("failed" if has_failed else "missing", []).append((i, j))
            elif content.diverged:
                marks.setdefault("diverged", []).append((i, j))
    return _Map(rows, columns, means, marks, height, width)


def _draw_marks(axis: Axes, found: _Map) -> None:
    for state, places in found.marks.items():
        if found.is_small:
            for i, j in places:
                axis.add_patch(
                    plt.Rectangle((j - 0.5, i - 0.5), 1, 1, fill=bool(np.isnan(found.means[i, j])),
                                  facecolor="0.85", edgecolor="0.3", linewidth=0, hatch=HATCHES[state])
                )  # fmt: skip
        else:
            paint = np.zeros((*found.means.shape, 4))
            paint[tuple(np.transpose(places))] = to_rgba(PAINTS[state])
            axis.imshow(paint, aspect="auto", interpolation="nearest")


def _write_means(axis: Axes, means: np.ndarray) -> None:
    low, high = np.nanmin(means), np.nanmax(means)
    for i, j in np.argwhere(np.isfinite(means)):
        is_dark = means[i, j] < (low + high) / 2 or low == high
        axis.text(j, i, f"{means[i, j]:.2f}", ha="center", va="center", fontsize="small",
                  color="white" if is_dark else "black")  # fmt: skip


def _legend(found: _Map) -> list[Patch]:
    return [
        Patch(facecolor="0.85", edgecolor="0.3", hatch=HATCHES[state], label=state)
        if found.is_small
        else Patch(facecolor=PAINTS[state], label=f"{state} ({len(found.marks[state])})")
        for state in sorted(found.marks)
    ]
