"""The map of a grid, coloured by each metric."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, to_rgba
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Patch

from ablations.analysis.cells import Cell, cell
from ablations.analysis.measurements import Records
from ablations.config.studies.study import Study
from ablations.kinds.metrics import Metric
from ablations.presentation.figures.style import (
    MOST_METRICS,
    MOST_ROWS,
    PUBLISHED,
    cut_note,
    finished,
    point_name,
    set_log_ticks,
    shown_metrics,
    varying_factors,
)
from ablations.presentation.wording import marked
from ablations.runs.run import Run

HATCHES = {"missing": "///", "failed": "...", "diverged": "xxx"}
# For cells that are too small for a hatch.
PAINTS = {"missing": "0.75", "failed": PUBLISHED, "diverged": "#CC79A7"}
# Maps with more columns than this, or more rows than MOST_ROWS, show no numbers and only some names.
MOST_COLUMNS = 20
# Under a column is room for so many letters.
ROOM_LETTERS = 11
# The most rows, and the most columns, that a map draws; each has only a few pixels then.
MOST_CELLS = 2000


@dataclass(frozen=True)
class _Grid:
    """The names of rows and columns, and the runs of each cell by them."""

    rows: Sequence[str]
    columns: Sequence[str]
    runs: Mapping[tuple[str, str], Sequence[Run]]


@dataclass(frozen=True)
class _Map:
    """The mean of a metric in each cell, of shape (rows, columns), NaN where there is none.

    `marks` lists the cells in each state.
    """

    means: np.ndarray
    marks: dict[str, list[tuple[int, int]]]


def grid_figure(study: Study, records: Records, failed: Collection[Run] = ()) -> Figure:
    """Map the grid for each metric: a row per point, a column per level of the table's columns.

    The brighter a cell, the better. Cells with failed, missing or diverged runs are marked. White cells are
    not in the grid.
    """
    grid, metrics = _grid_of(study), shown_metrics(study)
    high, wide = (min(len(side), MOST_CELLS) for side in (grid.rows, grid.columns))
    most_columns = MOST_COLUMNS // len(metrics)
    is_small = len(grid.rows) <= MOST_ROWS and len(grid.columns) <= most_columns
    across = 1.1 * min(wide, most_columns) + 1.1
    # Names that would overprint each other are turned, and need a height of their own.
    longest = max(len(line) for name in grid.columns[:wide] for line in name.split("\n"))
    longest = longest if longest > ROOM_LETTERS and wide * len(metrics) > 1 else 0
    size = (3.3 + across * len(metrics), 1.8 + 0.06 * longest + 0.32 * min(high, MOST_ROWS))
    figure, axes = plt.subplots(
        1, len(metrics), layout="constrained", figsize=size, sharey=True, squeeze=False
    )
    maps = [_map_of(grid, metric, records, failed) for metric in metrics.values()]
    for axis, metric, found in zip(axes[0], metrics.values(), maps, strict=True):
        image = _draw_means(axis, metric, found.means)
        _draw_marks(axis, found, is_small)
        if np.isfinite(found.means).any():
            bar = figure.colorbar(image, ax=axis, label=marked(metric))
            if isinstance(image.norm, LogNorm):
                set_log_ticks(bar.ax.yaxis, *image.get_clim())
            if is_small:
                _write_means(axis, image, metric, found.means)
        every = -(-wide // most_columns)
        turned = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if longest else {}
        axis.set_xticks(range(0, wide, every), grid.columns[:wide:every], **turned)
        axis.tick_params(length=0)
        if study.table.columns:
            axis.set_xlabel(", ".join(map(study.label, study.table.columns)))
    every = -(-high // MOST_ROWS)
    axes[0][0].set_yticks(range(0, high, every), grid.rows[:high:every], fontsize="small")
    if handles := _legend(maps, is_small):
        figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    cut = cut_note(
        (len(grid.rows), MOST_CELLS, "rows"),
        (len(grid.columns), MOST_CELLS, "columns"),
        (len(study.analysed), MOST_METRICS, "metrics"),
    )
    return finished(figure, (), f"{study.title}: map of the grid{cut}")


def _grid_of(study: Study) -> _Grid:
    pivots = study.table.columns
    factors = [factor for factor in varying_factors(study, study.factors) if factor not in pivots]
    runs = {
        (
            point_name(study, values, factors) or study.title,
            "\n".join(study.level_label(name, values[name]) for name in pivots),
        ): of_point
        for values, of_point in study.points()
    }
    rows, columns = (list(dict.fromkeys(names)) for names in zip(*runs, strict=True))
    return _Grid(rows, columns, runs)


def _map_of(grid: _Grid, metric: Metric, records: Records, failed: Collection[Run]) -> _Map:
    rows, columns = grid.rows[:MOST_CELLS], grid.columns[:MOST_CELLS]
    means = np.full((len(rows), len(columns)), np.nan)
    marks: dict[str, list[tuple[int, int]]] = {}
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            if runs := grid.runs.get((row, column)):
                content = cell(metric, [records.get(run) for run in runs])
                if content.mean is not None:
                    means[i, j] = content.mean
                if state := _state(content, any(run in failed for run in runs)):
                    marks.setdefault(state, []).append((i, j))
    return _Map(means, marks)


def _state(content: Cell, has_failed: bool) -> str:
    """What is marked in a cell, if anything."""
    if content.missing:
        return "failed" if has_failed else "missing"
    return "diverged" if content.diverged else ""


def _draw_means(axis: Axes, metric: Metric, means: np.ndarray) -> AxesImage:
    colours = "cividis_r" if metric.better == "lower" else "cividis"
    known = np.ma.masked_invalid(means)
    # Times are compared as ratios. In a narrow range, the two scales look the same.
    wide = metric.noise == "time" and known.count() and known.max() > 5 * known.min() > 0
    return axis.imshow(known, cmap=colours, norm=LogNorm() if wide else None, aspect="auto")


def _draw_marks(axis: Axes, found: _Map, is_small: bool) -> None:
    for state, places in found.marks.items():
        if is_small:
            for i, j in places:
                axis.add_patch(
                    plt.Rectangle((j - 0.5, i - 0.5), 1, 1, fill=bool(np.isnan(found.means[i, j])),
                                  facecolor="0.85", edgecolor="0.3", linewidth=0, hatch=HATCHES[state])
                )  # fmt: skip
        else:
            paint = np.zeros((*found.means.shape, 4))
            paint[tuple(np.transpose(places))] = to_rgba(PAINTS[state])
            axis.imshow(paint, aspect="auto", interpolation="nearest")


def _write_means(axis: Axes, image: AxesImage, metric: Metric, means: np.ndarray) -> None:
    for i, j in np.argwhere(np.isfinite(means)):
        red, green, blue, _ = image.to_rgba(means[i, j])
        is_dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.5
        axis.text(j, i, f"{means[i, j]:.{metric.decimals}f}", ha="center", va="center", fontsize="small",
                  color="white" if is_dark else "black")  # fmt: skip


def _legend(maps: Sequence[_Map], is_small: bool) -> list[Patch]:
    counts: dict[str, int] = {}
    for state, places in ((state, places) for found in maps for state, places in found.marks.items()):
        counts[state] = max(len(places), counts.get(state, 0))
    return [
        Patch(facecolor="0.85", edgecolor="0.3", hatch=HATCHES[state], label=state)
        if is_small
        else Patch(facecolor=PAINTS[state], label=f"{state} ({count})")
        for state, count in sorted(counts.items())
    ]
