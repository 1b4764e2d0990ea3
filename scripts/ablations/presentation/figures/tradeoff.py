"""The trade-off between what runs attain and what they cost."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ablations.analysis.cells import Cell, cell
from ablations.analysis.measurements import Records, available, comparable
from ablations.config.studies.study import Study
from ablations.kinds.metrics import Metric
from ablations.presentation.figures.style import (
    MOST_METRICS,
    axis_label,
    axis_scale,
    cut_note,
    finished,
    look_of,
    point_name,
    set_log_ticks,
    spread_note,
    varying_factors,
)
from ablations.presentation.wording import in_sentence, listed, marked

# Names of points on the front.
LETTERS = "ABCDEFGHIJ"
# The fronts of more seeds would only be a grey area.
MOST_SEEDS = 10


class _Point(NamedTuple):
    """The levels of a point, its cost, and its mean and standard deviation over seeds."""

    values: Mapping[str, Any]
    cost: float
    mean: float
    sd: float | None


def tradeoff_figure(study: Study, records: Records) -> Figure:
    """What the runs attain against each cost of their kind, with the Pareto front of each.

    A point is on the front where no other is better at the same or a lower cost. The points on the first
    front have letters, which are explained below the figure. Faint lines are the fronts of single seeds:
    where they differ, the front is not known well. Times are those of the most common device.
    """
    kind, every = study.kind, attained(study)
    metrics = {name: kind.metrics[name] for name in every[:MOST_METRICS]}
    # A metric is not drawn against itself.
    costs = {name: cost for name, cost in costs_of(study, records).items() if [name] != list(metrics)}
    varying = varying_factors(study, study.factors)
    factor = [*study.table.columns[:1], *varying, *study.rows][0]
    levels = {values[factor]: study.level_label(factor, values[factor]) for values, _ in study.points()}
    high, wide = len(metrics), max(1, len(costs))
    size = (1.4 + 3.6 * wide, 1.2 + 3 * high)
    figure, axes = plt.subplots(
        high, wide, layout="constrained", figsize=size, sharex="col", sharey="row", squeeze=False
    )
    for row, (name, metric) in zip(axes, metrics.items(), strict=True):
        row[0].set_ylabel(marked(metric))
        for axis, (cost_name, cost) in zip(row, costs.items(), strict=False):
            points = _points(study, records, name, cost_name)
            signs = _signs(cost, metric)
            for of_seed in _by_seed(study, records):
                _draw_front(axis, _front(_points(study, of_seed, name, cost_name), signs), "of each seed")
            front = _draw_panel(axis, points, levels, factor, signs)
            if axis is axes[0][0]:
                _name_front(axis, front)
                names = (point_name(study, point.values, varying) for point in front)
                key = [f"{letter}: {name}" for letter, name in zip(LETTERS, names, strict=False)]
                figure.supxlabel("\n".join(key), fontsize="small", x=0.02, ha="left")
    for axis, cost in zip(axes[-1], costs.values(), strict=False):
        axis.set_xlabel(axis_label(cost))
    if not any(axis.has_data() for axis in axes.flat):
        why = "no completed runs" if costs else "this kind of run declares no costs"
        axes[0][0].text(0.5, 0.5, why, ha="center", transform=axes[0][0].transAxes)
    labels = listed(in_sentence(metric.label) for metric in metrics.values())
    cut = cut_note((len(every), MOST_METRICS, "metrics"))
    title = f"{study.title}: {labels} against cost{cut}{spread_note('bars', len(study.seeds) > 1)}"
    return finished(figure, axes.flat, title, study.label(factor))


def attained(study: Study) -> list[str]:
    """The analysed metrics that chance varies, and not the machine; the kind's main one if there is none."""
    kind = study.kind
    of_chance = [name for name in study.analysed if kind.metrics[name].noise in ("proportion", "unknown")]
    return [name for name in of_chance if name not in kind.costs] or [kind.main_metric]


def costs_of(study: Study, records: Records) -> dict[str, Metric]:
    """The costs of the kind: the first, and the others if they vary between the runs."""
    first, others = study.kind.costs[:1], study.kind.costs[1:]
    found = {name: study.kind.metrics[name] for name in others}
    rows = [record for run in study.runs() if (record := records.get(run))]
    varying = [n for n, m in found.items() if len({row[m.column] for row in rows if m.column in row}) > 1]
    return {name: study.kind.metrics[name] for name in (*first, *varying)}


def _points(study: Study, records: Records, name: str, cost_name: str) -> list[_Point]:
    """The points that have a value of both metrics."""
    sides = [cells_of(study, records, each) for each in (cost_name, name)]
    scale = axis_scale(study.kind.metrics[cost_name])
    return [
        _Point(values, cost.mean * scale, content.mean, content.sd)
        for (values, _), cost, content in zip(study.points(), *sides, strict=True)
        if cost.mean is not None and content.mean is not None
    ]


def cells_of(study: Study, records: Records, name: str) -> list[Cell]:
    """The cells of the points, of comparable runs."""
    metric = study.kind.metrics[name]
    found = comparable(metric, available(metric, study.runs(), records))
    return [cell(metric, [found.get(run) for run in runs]) for _, runs in study.points()]


def _signs(cost: Metric, metric: Metric) -> tuple[int, int]:
    """Factors that make the lowest cost and the highest value the best; 0 where neither is better."""
    return -1 if cost.better == "higher" else 1, {"higher": 1, "lower": -1, None: 0}[metric.better]


def _draw_panel(
    axis: Axes, points: Sequence[_Point], levels: Mapping[Any, str], factor: str, signs: tuple[int, int]
) -> list[_Point]:
    """Draw points, and return those on the Pareto front."""
    for point in points:
        look = look_of(levels, point.values[factor]) | {"linestyle": "none"}
        axis.errorbar(point.cost, point.mean, yerr=point.sd, markersize=6, capsize=3, **look)
    front = _front(points, signs)
    _draw_front(axis, front)
    costs = [point.cost for point in points]
    if costs and max(costs) > 10 * min(costs) > 0:
        axis.set_xscale("log")
        set_log_ticks(axis.xaxis, min(costs), max(costs))
    else:
        axis.xaxis.set_major_locator(MaxNLocator(4))
    axis.margins(0.12)
    return front


def _front(points: Sequence[_Point], signs: tuple[int, int]) -> list[_Point]:
    """The points on the Pareto front, by cost; none where neither direction of the metric is better."""
    cost_sign, sign = signs
    best = front_of([(cost_sign * point.cost, sign * point.mean) for point in points]) if sign else []
    return [points[i] for i in best]


def _draw_front(axis: Axes, front: Sequence[_Point], of: str = "") -> None:
    """Draw a front of several points: that of the means, or a faint one, which shows the noise of it."""
    if len(front) > 1:
        xs, ys = [point.cost for point in front], [point.mean for point in front]
        color, width = ("0.8", 0.7) if of else ("0.5", 1.0)
        label = f"Pareto front {of}".strip()
        axis.step(xs, ys, where="post", color=color, linewidth=width, zorder=0, label=label)


def _by_seed(study: Study, records: Records) -> list[Records]:
    """The records of each of the first seeds, if there are several."""
    seeds = study.seeds[:MOST_SEEDS] if len(study.seeds) > 1 else ()
    return [{run: row for run, row in records.items() if run.values().get("seed") == s} for s in seeds]


def _name_front(axis: Axes, front: Sequence[_Point]) -> None:
    for number, (letter, point) in enumerate(zip(LETTERS, front, strict=False)):
        # Letters alternate between the sides of the front, so that neighbours do not overlap.
        aside = (-12, 4) if number % 2 == 0 else (5, -12)
        axis.annotate(letter, (point.cost, point.mean), xytext=aside, textcoords="offset points")


def front_of(points: Sequence[tuple[float, float]]) -> list[int]:
    """The indices of the (cost, value) pairs on the front of low costs and high values, by cost."""
    found: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if not found or points[i][1] > points[found[-1]][1]:
            found.append(i)
    return found
