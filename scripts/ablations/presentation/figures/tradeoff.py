"""The trade-off between accuracy and cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from ablations.analysis.cells import Records, cell
from ablations.config.studies import Study
from ablations.kinds.metrics import TEST_ACCURACY
from ablations.presentation.document import LABELS
from ablations.presentation.figures.style import finished, look_of, point_name, varying_factors

# Names of points on the front.
LETTERS = "ABCDEFGHIJ"


@dataclass(frozen=True)
class _Point:
    """The mean accuracy of a point, its standard deviation over seeds, and its cost by metric."""

    values: Mapping[str, Any]
    accuracy: float
    sd: float | None
    costs: Mapping[str, float]


def tradeoff_figure(study: Study, records: Records) -> Figure:
    """Accuracy against training time, multiply-accumulates and parameters, with the Pareto front of each.

    A point is on the front where no other is more accurate at the same or a lower cost. The points on
    the first front have letters, which are explained below the figure.
    """
    varying = varying_factors(study, study.factors)
    factor = study.table.columns or (varying[0] if varying else "model")
    points = _points(study, records)
    first, *others = study.kind.costs
    shown = [first, *(n for n in others if len({p.costs[n] for p in points if p.costs.get(n)}) > 1)]
    size = (1.4 + 3.6 * len(shown), 4.2)
    figure, axes = plt.subplots(1, len(shown), layout="constrained", figsize=size, sharey=True, squeeze=False)
    levels = list(dict.fromkeys(point.values[factor] for point in points))
    for axis, name in zip(axes[0], shown, strict=True):
        # An axis in thousands of milliseconds is hard to read.
        is_time = name == "train_time_ms"
        scale, label = (1e-3, "Training time (s)") if is_time else (1.0, study.kind.metrics[name].heading)
        measured = [(p.costs[name] * scale, p) for p in points if name in p.costs]
        front = _draw_panel(axis, measured, levels, factor)
        axis.set_xlabel(label)
        if name == first and front:
            for number, (letter, (cost, point)) in enumerate(zip(LETTERS, front, strict=False)):
                # Letters alternate between the sides of the front, so that neighbours do not overlap.
                aside = (-12, 4) if number % 2 == 0 else (5, -12)
                axis.annotate(letter, (cost, point.accuracy), xytext=aside, textcoords="offset points")
            key = [f"{x}: {point_name(p.values, varying)}" for x, (_, p) in zip(LETTERS, front, strict=False)]
            figure.supxlabel("\n".join(key), fontsize="small", x=0.02, ha="left")
    axes[0][0].set_ylabel(TEST_ACCURACY.heading)
    if not points:
        axes[0][0].text(0.5, 0.5, "no completed runs", ha="center", transform=axes[0][0].transAxes)
    return finished(figure, axes[0], f"{study.title}: accuracy against cost", LABELS.get(factor, factor))


def _points(study: Study, records: Records) -> list[_Point]:
    """The points that have an accuracy."""
    points = []
    for values, runs in study.points():
        rows = [records.get(run) for run in runs]
        accuracy = cell(TEST_ACCURACY, rows)
        if accuracy.mean is None:
            continue
        cells = {name: cell(study.kind.metrics[name], rows) for name in study.kind.costs}
        costs = {name: found.mean for name, found in cells.items() if found.mean is not None}
        points.append(_Point(values, accuracy.mean, accuracy.sd, costs))
    return points


def _draw_panel(
    axis: Axes, points: Sequence[tuple[float, _Point]], levels: Sequence[Any], factor: str
) -> list[tuple[float, _Point]]:
    """Draw points given with their cost, and return those on the Pareto front."""
    for cost, point in points:
        look = look_of(levels, point.values[factor]) | {"linestyle": "none"}
        axis.errorbar(cost, point.accuracy, yerr=point.sd, markersize=6, capsize=3, **look)
    front = [points[i] for i in front_of([(cost, point.accuracy) for cost, point in points])]
    if len(front) > 1:
        xs, ys = [cost for cost, _ in front], [point.accuracy for _, point in front]
        axis.step(xs, ys, where="post", color="0.5", linewidth=1, zorder=0, label="Pareto front")
    costs = [cost for cost, _ in points]
    if costs and max(costs) > 10 * min(costs) > 0:
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_locator(NullLocator())
    else:
        axis.xaxis.set_major_locator(MaxNLocator(4))
    axis.margins(0.12)
    return front


def front_of(points: Sequence[tuple[float, float]]) -> list[int]:
    """The indices of the (cost, accuracy) pairs on the Pareto front, by increasing cost."""
    found: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if not found or points[i][1] > points[found[-1]][1]:
            found.append(i)
    return found
