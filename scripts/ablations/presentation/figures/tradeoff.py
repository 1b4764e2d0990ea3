"""The figure of the trade-off between accuracy and cost."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from ablations.analysis.cells import Records, cell
from ablations.config.studies import Study
from ablations.kinds.metrics import TEST_ACCURACY
from ablations.presentation.document import LABELS
from ablations.presentation.figures.style import finished, look_of, point_name, varying_factors


def tradeoff_figure(study: Study, records: Records) -> plt.Figure:
    """Accuracy against training time, multiply-accumulates and parameters, with the Pareto front of each.

    A point is on the front where none is more accurate at no greater cost. Those on the first front have
    letters, which are named below.
    """
    colour = study.table.columns or varying_factors(study, study.factors)[:1] or ["model"]
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
            look = look_of(levels, values[factor]) | {"linestyle": "none"}
            axis.errorbar(cost * scale, accuracy.mean, yerr=accuracy.sd, markersize=6, capsize=3, **look)
        front = front_of([(cost * scale, accuracy.mean) for _, accuracy, cost in there])
        if len(front) > 1:
            xs, ys = zip(*((there[i][2] * scale, there[i][1].mean) for i in front), strict=True)
            axis.step(xs, ys, where="post", color="0.5", linewidth=1, zorder=0, label="Pareto front")
        if name == "train_time_ms":
            for number, (letter, i) in enumerate(zip("ABCDEFGHIJ", front, strict=False)):
                values, accuracy, cost = there[i]
                # On either side of the front, so that neighbours are not written over each other.
                aside = (-12, 4) if number % 2 == 0 else (5, -12)
                axis.annotate(letter, (cost * scale, accuracy.mean), xytext=aside, textcoords="offset points")
                key.append(f"{letter}: {point_name(values, varying_factors(study, study.factors))}")
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
    return finished(figure, axes[0], title, legend=LABELS.get(factor, factor))


def front_of(points: Sequence[tuple[float, float]]) -> list[int]:
    """The points, by cost, than which none is more accurate at no greater cost."""
    found: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if not found or points[i][1] > points[found[-1]][1]:
            found.append(i)
    return found
