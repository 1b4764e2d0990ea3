"""The figure of a study: a dot per point, a panel per metric and column of its table."""

from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ablations.analysis.cells import cell
from ablations.analysis.choice import table_points
from ablations.analysis.measurements import Records
from ablations.config.studies.published import read_published
from ablations.config.studies.study import Study
from ablations.presentation.figures.style import (
    MEASURED,
    MOST_METRICS,
    MOST_PANELS,
    MOST_ROWS,
    PUBLISHED,
    axis_label,
    axis_scale,
    cut_note,
    labelled_handles,
    level_name,
    point_name,
    shown_metrics,
    spread_note,
    varying_factors,
)
from ablations.runs.run import Run


class _Dot(NamedTuple):
    """The measured mean and standard deviation of a point, and its published value."""

    mean: float | None
    sd: float | None
    published: float | None


# The dots of a metric by row and panel.
Dots = dict[tuple[str, str], _Dot]


def study_figure(study: Study, records: Records, published: Path | None = None) -> Figure:
    """Each analysed metric of a study, with one row per point of its table and one panel per column.

    The panels of one metric are side by side, and so are the metrics of a table without columns. Measured
    values are dots, with a bar of one standard deviation where there are several seeds. Published values
    are open diamonds.
    """
    metrics = shown_metrics(study)
    dots = {name: _dots(study, records, published, name) for name in metrics}
    places = list(dots[study.analysed[0]])
    rows, panels = (list(dict.fromkeys(part)) for part in zip(*places, strict=True))
    most_rows = max(MOST_ROWS // len(metrics), 20) if study.table.columns else MOST_ROWS
    cut = cut_note(
        (len(rows), most_rows, "rows"),
        (len(panels), MOST_PANELS, "columns"),
        (len(study.analysed), MOST_METRICS, "metrics"),
    )
    rows, panels = rows[:most_rows], panels[:MOST_PANELS]
    lines, columns = (len(metrics), len(panels)) if study.table.columns else (1, len(metrics))
    # The names of the rows stand beside the panels, which keep their width.
    beside = max(2.2, 0.075 * max(map(len, rows), default=0))
    size = (beside + 3.6 * columns, (1.5 + 0.3 * len(rows)) * lines)
    figure, axes = plt.subplots(
        lines, columns, layout="constrained", figsize=size, sharey=True,
        sharex="row" if study.table.columns else False, squeeze=False,
    )  # fmt: skip
    each = ((name, panel) for name in metrics for panel in panels)
    for axis, (name, panel) in zip(axes.flat, each, strict=True):
        _draw_panel(axis, rows, panel, dots[name])
        axis.set_xlabel(axis_label(metrics[name]))
    spread = spread_note("bars", any(dot.sd is not None for of in dots.values() for dot in of.values()))
    chosen = "\nruns that validation has chosen" * bool(study.choose)
    figure.suptitle(study.title + cut + chosen + spread, fontsize="medium")
    if handles := labelled_handles(axes.flat):
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=2, frameon=False)
    return figure


def _dots(study: Study, records: Records, published: Path | None, name: str) -> Dots:
    layout, metric = study.table, study.kind.metrics[name]
    scale = axis_scale(metric)
    printed: dict[Run, float] = {}
    for value in read_published(study, published) if published else ():
        if value.metric == name:
            printed |= dict.fromkeys(value.runs, float(value.text) * scale)
    factors = varying_factors(study, study.rows)
    dots: Dots = {}
    for values, runs in table_points(study, records):
        row = point_name(study, values, factors) or study.title
        panel = ", ".join(level_name(study, name, values[name]) for name in layout.columns)
        found = cell(metric, [records.get(run) for run in runs])
        mean, sd = (value if value is None else value * scale for value in (found.mean, found.sd))
        dots[row, panel] = _Dot(mean, sd, next((printed[run] for run in runs if run in printed), None))
    return dots


def _draw_panel(axis: Axes, rows: list[str], panel: str, dots: Dots) -> None:
    for place, row in enumerate(rows):
        if (row, panel) in dots:
            _draw_dot(axis, place, dots[row, panel])
    axis.set_yticks(range(len(rows)), rows, fontsize="small")
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.set_title(panel, fontsize="medium")
    axis.grid(axis="x", color="0.9")
    axis.xaxis.set_major_locator(MaxNLocator(6))
    axis.margins(x=0.08)
    axis.spines[["top", "right"]].set_visible(False)


def _draw_dot(axis: Axes, place: int, dot: _Dot) -> None:
    if dot.published is not None:
        axis.plot(dot.published, place, "D", mfc="none", mec=PUBLISHED, markersize=11,
                  markeredgewidth=1.4, label="published", zorder=2)  # fmt: skip
    if dot.mean is not None:
        axis.errorbar(dot.mean, place, xerr=dot.sd, fmt="o", color=MEASURED, markersize=6,
                      capsize=3, label="measured", zorder=3)  # fmt: skip
