"""Figures: a study's table as a picture, with published values beside the measured ones."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt

from ablations.config import Study
from ablations.errors import AblationsError
from ablations.files import atomic_path
from ablations.hyperparameters import spell
from ablations.metrics import METRICS
from ablations.published import read_published
from ablations.runs import Run
from ablations.tables import LABELS, cell, group_runs

# Okabe and Ito's colours, told apart by every kind of colour vision and in grey print.
MEASURED, PUBLISHED = "#0072B2", "#D55E00"


def study_figure(
    study: Study, records: Mapping[Run, Mapping[str, str]], published: Path | None = None
) -> plt.Figure:
    """The first metric of the study's table, one row per point and one panel per column.

    Measured values are dots, with a bar of one standard deviation where there are several seeds;
    published values are open diamonds.
    """
    layout = study.table
    name = layout.values[0]
    metric = METRICS[name]
    varying = [f for f in layout.rows if len({spell(run.values()[f]) for run in study.runs()}) > 1]
    printed: dict[Run, float] = {}
    for value in read_published(study, published) if published else ():
        if value.metric == name:
            printed |= {run: float(value.text) for run in value.runs}
    # panel -> row -> (measured mean and standard deviation, published value)
    panels: dict[str, dict[str, tuple[float | None, float | None, float | None]]] = {}
    rows: dict[str, None] = {}
    for values, runs in group_runs(study):
        row = ", ".join(_level(f, spell(values[f])) for f in varying) or study.title
        panel = spell(values[layout.columns]) if layout.columns else ""
        content = cell(metric, name, [records.get(run) for run in runs])
        rows.setdefault(row)
        panels.setdefault(panel, {})[row] = (content.mean, content.sd, printed.get(runs[0]))
    size = (2.2 + 3.6 * len(panels), 1.5 + 0.3 * len(rows))
    figure, axes = plt.subplots(1, len(panels), figsize=size, sharey=True, sharex=True, squeeze=False)
    places = {row: i for i, row in enumerate(rows)}
    for axis, (panel, by_row) in zip(axes[0], panels.items(), strict=True):
        for row, (mean, sd, value) in by_row.items():
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
    figure.suptitle(study.title, fontsize="medium")
    if handles:
        figure.legend(handles.values(), handles, loc="outside lower center", ncols=2, frameon=False)
    figure.set_layout_engine("constrained")
    return figure


def _level(factor: str, value: str) -> str:
    return (
        value
        if factor in ("dataset", "model", "kernel", "optimizer")
        else f"{LABELS.get(factor, factor)} {value}"
    )


def write_figure(figure: plt.Figure, base: Path) -> None:
    """Write `base`.svg and `base`.png, each atomically; the same records give the same bytes."""
    settings = {"svg.hashsalt": "ablations", "svg.fonttype": "none"}
    try:
        for suffix, metadata in (("svg", {"Date": None}), ("png", {"Software": None})):
            path = base.with_name(f"{base.name}.{suffix}")
            with atomic_path(path) as temporary, matplotlib.rc_context(settings):
                figure.savefig(temporary, format=suffix, dpi=150, metadata=metadata)
    except OSError as error:
        raise AblationsError(f"{base}: the figure cannot be written ({error.strerror})") from None
    finally:
        plt.close(figure)
