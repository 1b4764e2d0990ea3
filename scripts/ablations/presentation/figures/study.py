"""The figure of a study's table: a dot per point, a panel per column."""

from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ablations.analysis.cells import Records, cell
from ablations.analysis.published import read_published
from ablations.config.studies import Study
from ablations.kinds.hyperparameters import spell
from ablations.presentation.figures.style import (
    MEASURED,
    MOST_PANELS,
    MOST_ROWS,
    PUBLISHED,
    cut_note,
    labelled_handles,
    level_name,
    point_name,
    varying_factors,
)
from ablations.runs.run import Run


class _Dot(NamedTuple):
    """The measured mean and standard deviation of a point, and its published value."""

    mean: float | None
    sd: float | None
    published: float | None


def study_figure(study: Study, records: Records, published: Path | None = None) -> Figure:
    """The first metric of the study's table, with one row per point and one panel per column.

    Measured values are dots, with a bar of one standard deviation where there are several seeds.
    Published values are open diamonds.
    """
    dots = _dots(study, records, published)
    rows = list(dict.fromkeys(row for row, _ in dots))
    panels = list(dict.fromkeys(panel for _, panel in dots))
    cut = cut_note((len(rows), MOST_ROWS), (len(panels), MOST_PANELS))
    rows, panels = rows[:MOST_ROWS], panels[:MOST_PANELS]
    size = (2.2 + 3.6 * len(panels), 1.5 + 0.3 * len(rows))
    figure, axes = plt.subplots(
        1, len(panels), layout="constrained", figsize=size, sharey=True, sharex=True, squeeze=False
    )
    for axis, panel in zip(axes[0], panels, strict=True):
        for place, row in enumerate(rows):
            if (row, panel) in dots:
                _draw_dot(axis, place, dots[row, panel])
        axis.set_yticks(range(len(rows)), rows, fontsize="small")
        axis.set_ylim(len(rows) - 0.5, -0.5)
        axis.set_xlabel(study.kind.metrics[study.values[0]].heading)
        axis.set_title(panel, fontsize="medium")
        axis.grid(axis="x", color="0.9")
        axis.margins(x=0.08)
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(study.title + cut, fontsize="medium")
    if handles := labelled_handles(axes[0]):
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=2, frameon=False)
    return figure


def _dots(study: Study, records: Records, published: Path | None) -> dict[tuple[str, str], _Dot]:
    """The dots by row and panel."""
    layout, name = study.table, study.values[0]
    printed: dict[Run, float] = {}
    for value in read_published(study, published) if published else ():
        if value.metric == name:
            printed |= dict.fromkeys(value.runs, float(value.text))
    factors = varying_factors(study, layout.rows)
    dots: dict[tuple[str, str], _Dot] = {}
    for values, runs in study.points():
        row = point_name(values, factors) or study.title
        panel = level_name(layout.columns, spell(values[layout.columns])) if layout.columns else ""
        content = cell(study.kind.metrics[name], [records.get(run) for run in runs])
        dots[row, panel] = _Dot(content.mean, content.sd, printed.get(runs[0]))
    return dots


def _draw_dot(axis: Axes, place: int, dot: _Dot) -> None:
    if dot.published is not None:
        axis.plot(dot.published, place, "D", mfc="none", mec=PUBLISHED, markersize=11,
                  markeredgewidth=1.4, label="published", zorder=2)  # fmt: skip
    if dot.mean is not None:
        axis.errorbar(dot.mean, place, xerr=dot.sd, fmt="o", color=MEASURED, markersize=6,
                      capsize=3, label="measured", zorder=3)  # fmt: skip
