"""The figure of a study's table: a dot per point, a panel per column."""

from pathlib import Path

import matplotlib.pyplot as plt

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
    level_name,
    point_name,
    varying_factors,
)
from ablations.runs.run import Run


def study_figure(study: Study, records: Records, published: Path | None = None) -> plt.Figure:
    """The first metric of the study's table, one row per point and one panel per column.

    Measured values are dots, with a bar of one standard deviation where there are several seeds;
    published values are open diamonds.
    """
    layout = study.table
    name = layout.values[0]
    metric = study.kind.metrics[name]
    printed: dict[Run, float] = {}
    for value in read_published(study, published) if published else ():
        if value.metric == name:
            printed |= {run: float(value.text) for run in value.runs}
    # panel -> row -> (measured mean and standard deviation, published value)
    panels: dict[str, dict[str, tuple[float | None, float | None, float | None]]] = {}
    rows: dict[str, None] = {}
    for values, runs in study.points():
        row = point_name(values, varying_factors(study, layout.rows)) or study.title
        panel = level_name(layout.columns, spell(values[layout.columns])) if layout.columns else ""
        content = cell(metric, name, [records.get(run) for run in runs])
        rows.setdefault(row)
        panels.setdefault(panel, {})[row] = (content.mean, content.sd, printed.get(runs[0]))
    every, wide = len(rows), len(panels)
    rows, panels = dict.fromkeys(list(rows)[:MOST_ROWS]), dict(list(panels.items())[:MOST_PANELS])
    size = (2.2 + 3.6 * len(panels), 1.5 + 0.3 * len(rows))
    figure, axes = plt.subplots(
        1, len(panels), layout="constrained", figsize=size, sharey=True, sharex=True, squeeze=False
    )
    places = {row: i for i, row in enumerate(rows)}
    for axis, (panel, by_row) in zip(axes[0], panels.items(), strict=True):
        for row in (row for row in rows if row in by_row):
            mean, sd, value = by_row[row]
            if value is not None:
                axis.plot(value, places[row], "D", mfc="none", mec=PUBLISHED, markersize=11,
                          markeredgewidth=1.4, label="published", zorder=2)  # fmt: skip
            if mean is not None:
                axis.errorbar(mean, places[row], xerr=sd, fmt="o", color=MEASURED, markersize=6,
                              capsize=3, label="measured", zorder=3)  # fmt: skip
        axis.set_yticks(range(len(rows)), list(rows), fontsize="small")
        axis.set_ylim(len(rows) - 0.5, -0.5)
        axis.set_xlabel(metric.label)
        axis.set_title(panel, fontsize="medium")
        axis.grid(axis="x", color="0.9")
        axis.margins(x=0.08)
        axis.spines[["top", "right"]].set_visible(False)
    handles = {
        label: handle
        for axis in axes[0]
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.suptitle(study.title + cut_note((every, MOST_ROWS), (wide, MOST_PANELS)), fontsize="medium")
    if handles:
        figure.legend(handles.values(), handles, loc="outside lower center", ncols=2, frameon=False)
    return figure
