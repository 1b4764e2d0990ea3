"""Figures of a study: its table, its effects, what accuracy costs, a map of its grid, and its curves."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import to_rgba
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from ablations.analysis.effects import JUDGED_BY, corrected, effects
from ablations.analysis.inference import ALPHA, Comparison
from ablations.analysis.published import read_published
from ablations.config.studies import Study
from ablations.errors import AblationsError
from ablations.files import atomic_path
from ablations.kinds.hyperparameters import spell
from ablations.kinds.metrics import TEST_ACCURACY
from ablations.presentation.study_table import LABELS, Cell, cell
from ablations.runs.records import read_history
from ablations.runs.run import Run

# Okabe and Ito's colours, told apart by every kind of colour vision and in grey print.
MEASURED, PUBLISHED = "#0072B2", "#D55E00"
COLOURS = (MEASURED, PUBLISHED, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)), (0, (1, 3)))
MARKERS = "os^Dv<>"
HATCHES = {"missing": "///", "failed": "...", "diverged": "xxx"}
# In cells too small for a hatch.
PAINTS = {"missing": "0.75", "failed": PUBLISHED, "diverged": "#CC79A7"}
# Of more than these, no figure shows each by its name.
MOST_ROWS, MOST_COLUMNS, MOST_PANELS = 60, 20, 8
MOST_NAMES, MOST_CURVES, MOST_LINES = 14, 6, 200
# Rows, and columns, of a map, which has few pixels for each then.
MOST_CELLS = 2000
Records = Mapping[Run, Mapping[str, str]]


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
        row = _named(values, _varying(study, layout.rows)) or study.title
        panel = _level(layout.columns, spell(values[layout.columns])) if layout.columns else ""
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
    figure.suptitle(study.title + _cut((every, MOST_ROWS), (wide, MOST_PANELS)), fontsize="medium")
    if handles:
        figure.legend(handles.values(), handles, loc="outside lower center", ncols=2, frameon=False)
    return figure


def effects_figure(study: Study, records: Records) -> plt.Figure:
    """Every comparison of the effects table: the difference of two levels with its 95 % interval."""
    every = list(effects(study, records))
    found = [(e, e.comparison, p) for e, p in zip(every, corrected(every), strict=True) if e.comparison]
    figure, axis = plt.subplots(
        layout="constrained", figsize=(7.5, 1.6 + 0.35 * max(1, min(len(found), MOST_ROWS)))
    )
    names = []
    for place, (effect, comparison, p) in enumerate(found[:MOST_ROWS]):
        label = LABELS.get(effect.factor, effect.factor)
        names.append(f"{label}: {spell(effect.first)} → {spell(effect.second)} ({_basis(comparison)})")
        if interval := comparison.interval:
            axis.plot([interval.low, interval.high], [place, place], color=MEASURED, linewidth=2)
        shows = p is not None and p < ALPHA
        axis.plot(
            comparison.difference,
            place,
            "o",
            color=MEASURED,
            mfc=MEASURED if shows else "white",
            markersize=7,
        )
    axis.axvline(0, color="0.4", linewidth=1, linestyle="--")
    axis.set_yticks(range(len(names)), names, fontsize="small")
    axis.set_ylim(max(len(names), 1) - 0.5, -0.5)
    axis.set_xlabel(
        "Difference of test accuracy (points), and its own 95 % interval\n"
        "filled: it holds after Holm's correction"
    )
    if not found:
        axis.text(0.5, 0.5, "no two runs differ in one thing alone", ha="center", transform=axis.transAxes)
    title = f"{study.title}: what each hyperparameter does" + _cut((len(found), MOST_ROWS))
    return _finished(figure, [axis], title)


def _basis(comparison: Comparison) -> str:
    """What an interval rests on."""
    if comparison.noise == "model":
        return "by a model"
    if comparison.interval is None:
        return f"{comparison.pairs} pair{'s' * (comparison.pairs != 1)}"
    return f"{comparison.units:,} {JUDGED_BY[comparison.noise]}"


def tradeoff_figure(study: Study, records: Records) -> plt.Figure:
    """Accuracy against training time, multiply-accumulates and parameters, with the Pareto front of each.

    A point is on the front where none is more accurate at no greater cost. Those on the first front have
    letters, which are named below.
    """
    colour = study.table.columns or _varying(study, study.factors)[:1] or ["model"]
    factor = colour if isinstance(colour, str) else colour[0]
    costs = study.kind.cost_metrics
    points = []
    for values, runs in study.points():
        rows = [records.get(run) for run in runs]
        accuracy = cell(TEST_ACCURACY, "test_accuracy", rows)
        cost = {name: cell(study.kind.metrics[name], name, rows).mean for name in costs}
        if accuracy.mean is not None:
            points.append((values, accuracy, cost))
    shown = [n for n in costs if n == costs[0] or len({cost[n] for _, _, cost in points if cost[n]}) > 1]
    figure, axes = plt.subplots(
        1, len(shown), layout="constrained", figsize=(1.4 + 3.6 * len(shown), 4.2), sharey=True, squeeze=False
    )
    levels = list(dict.fromkeys(values[factor] for values, _, _ in points)) if points else []
    key: list[str] = []
    for axis, name in zip(axes[0], shown, strict=True):
        there = [(v, a, c[name]) for v, a, c in points if c[name] is not None]
        # A time in seconds: ten thousands of milliseconds are hard to read on an axis.
        scale = 1e-3 if name == "train_time_ms" else 1.0
        for values, accuracy, cost in there:
            look = _look(levels, values[factor]) | {"linestyle": "none"}
            axis.errorbar(cost * scale, accuracy.mean, yerr=accuracy.sd, markersize=6, capsize=3, **look)
        front = _front([(cost * scale, accuracy.mean) for _, accuracy, cost in there])
        if len(front) > 1:
            xs, ys = zip(*((there[i][2] * scale, there[i][1].mean) for i in front), strict=True)
            axis.step(xs, ys, where="post", color="0.5", linewidth=1, zorder=0, label="Pareto front")
        if name == "train_time_ms":
            for number, (letter, i) in enumerate(zip("ABCDEFGHIJ", front, strict=False)):
                values, accuracy, cost = there[i]
                # On either side of the front, so that neighbours are not written over each other.
                aside = (-12, 4) if number % 2 == 0 else (5, -12)
                axis.annotate(letter, (cost * scale, accuracy.mean), xytext=aside, textcoords="offset points")
                key.append(f"{letter}: {_named(values, _varying(study, study.factors))}")
            axis.set_xlabel("Training time (s)")
        else:
            axis.set_xlabel(study.kind.metrics[name].label)
        if there and max(c for _, _, c in there) > 10 * min(c for _, _, c in there) > 0:
            axis.set_xscale("log")
            axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.xaxis.set_major_formatter("{x:g}")
            axis.xaxis.set_minor_locator(NullLocator())
        else:
            axis.xaxis.set_major_locator(MaxNLocator(4))
        axis.margins(0.12)
    axes[0][0].set_ylabel(TEST_ACCURACY.label)
    if not points:
        axes[0][0].text(0.5, 0.5, "no run is done", ha="center", transform=axes[0][0].transAxes)
    if key:
        figure.supxlabel("\n".join(key), fontsize="small", x=0.02, ha="left")
    title = f"{study.title}: what accuracy costs"
    return _finished(figure, axes[0], title, legend=LABELS.get(factor, factor))


def _front(points: Sequence[tuple[float, float]]) -> list[int]:
    """The points, by cost, than which none is more accurate at no greater cost."""
    found: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if not found or points[i][1] > points[found[-1]][1]:
            found.append(i)
    return found


def grid_figure(study: Study, records: Records, failed: Collection[Run] = ()) -> plt.Figure:
    """A map of the grid: a row per point, a column per level of the table's columns, coloured by accuracy.

    What has failed, is missing, or has diverged is marked; what is white is not in the grid.
    """
    layout = study.table
    rows: dict[str, None] = {}
    columns: dict[str, None] = {}
    cells: dict[tuple[str, str], Cell] = {}
    lost: set[tuple[str, str]] = set()
    factors = [factor for factor in _varying(study, study.factors) if factor != layout.columns]
    for values, runs in study.points():
        row, column = (
            _named(values, factors) or study.title,
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
    title = f"{study.title}: the grid" + _cut((high, MOST_CELLS), (wide, MOST_CELLS))
    return _finished(figure, (), title)


def curves_figure(study: Study, histories: Mapping[Run, Path]) -> plt.Figure:
    """Test accuracy by epoch: a line per point, its band the standard deviation over seeds.

    The same lines stand in every panel, each coloured by the levels of one hyperparameter: the one whose
    colours separate is the one that matters.
    """
    varying = _varying(study, study.factors)
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
            look = _look(levels, values[factor])
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
    title = f"{study.title}: learning curves" + _cut((len(varying), MOST_CURVES), (every, MOST_LINES))
    return _finished(figure, axes.flat, title, legend=None)


# --- what they share -----------------------------------------------------------------------------


def _varying(study: Study, factors: Sequence[str]) -> list[str]:
    return [factor for factor in factors if len({run.value(factor) for run in study.runs()}) > 1]


def _named(values: Mapping[str, Any], factors: Sequence[str]) -> str:
    return ", ".join(_level(factor, spell(values[factor])) for factor in factors)


def _level(factor: str, value: str) -> str:
    return (
        value
        if factor in ("dataset", "model", "kernel", "optimizer")
        else f"{LABELS.get(factor, factor)} {value}"
    )


def _look(levels: Sequence[Any], level: Any) -> dict[str, Any]:
    """How a level is drawn, and its label: of many, colours go from dark to light, and some have none."""
    i, count = levels.index(level), len(levels)
    colour = COLOURS[i] if count <= len(COLOURS) else plt.get_cmap("cividis")(0.95 * i / (count - 1))
    named = i % -(-count // MOST_NAMES) == 0
    return {
        "color": colour,
        "linestyle": STYLES[i % len(STYLES)],
        "marker": MARKERS[i % len(MARKERS)],
        "label": spell(level) if named else "_",
    }


def _cut(*sides: tuple[int, int]) -> str:
    """What a title says where a figure shows the first of too many, given as (how many, most)."""
    lost = [f"the first {most} of {count}" for count, most in sides if count > most]
    return f" ({', '.join(lost)})" if lost else ""


def _finished(figure: plt.Figure, axes: Any, title: str, legend: str | None = "") -> plt.Figure:
    """What all figures have: a title, a quiet grid, one legend for all panels, with its title; or none."""
    handles = {}
    for axis in axes:
        axis.grid(color="0.92", zorder=0)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
        handles |= {label: handle for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    if handles and legend is not None:
        look = {"frameon": False, "fontsize": "small", "title_fontsize": "small"}
        figure.legend(handles.values(), handles, title=legend, loc="outside right center", **look)
    figure.suptitle(title, fontsize="medium")
    return figure


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
