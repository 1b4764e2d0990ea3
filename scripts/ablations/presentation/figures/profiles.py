"""Performance profiles of a study with many seeds: the share of runs that reach a value."""

import math
import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ablations.analysis.measurements import Records
from ablations.analysis.profiles import ProfiledSetting, profiles
from ablations.analysis.ranks import can_be_ranked
from ablations.config.studies.rankings import Setting
from ablations.config.studies.study import Study
from ablations.kinds.metrics import Metric
from ablations.presentation.figures.style import (
    COLOURS,
    MOST_METRICS,
    axis_label,
    axis_scale,
    cut_note,
    finished,
    look_of,
    point_name,
    shown_metrics,
)

# In letters, of the name of a setting.
LONGEST_LINE = 45


def profiles_figure(study: Study, records: Records) -> Figure:
    """The share of the runs of each setting that are as good as a value or better, a panel per metric.

    Of many settings it has those with the best interquartile means in the first metric.
    """
    shown = shown_metrics(study)
    metrics = {name: metric for name, metric in shown.items() if can_be_ranked(metric)}
    found = {name: profiles(study, records, name) for name in metrics}
    names = _names(study, next(iter(metrics.items())), found) if metrics else {}
    longest = max((len(line) for name in names.values() for line in name.split("\n")), default=0)
    size = (1.2 + 4.2 * max(len(metrics), 1) + 0.08 * longest, 4.4)
    figure, axes = plt.subplots(1, max(len(metrics), 1), layout="constrained", figsize=size, squeeze=False)
    for axis, (name, metric) in zip(axes[0], metrics.items(), strict=False):
        _draw_panel(axis, metric, found[name], names)
    if not metrics:
        axes[0][0].text(0.5, 0.5, "no metric has noise and a better direction", ha="center")
    every = max(map(len, found.values()), default=0)
    cut = f" (the best {len(names)} of {every} settings)" if len(names) < every else ""
    cut += cut_note((len(study.analysed), MOST_METRICS, "metrics"))
    return finished(figure, axes[0], f"{study.title}: share of runs that reach a value{cut}")


def _names(
    study: Study, first: tuple[str, Metric], found: Mapping[str, Sequence[ProfiledSetting]]
) -> dict[Setting, str]:
    """The settings that are shown, in the order of the table, in lines of readable length."""
    name, metric = first
    sign = -1 if metric.better == "higher" else 1
    means = {each.setting: math.inf if each.mean is None else sign * each.mean for each in found[name]}
    best = set(sorted(means, key=means.__getitem__)[: len(COLOURS)])
    return {
        setting: "\n".join(
            textwrap.wrap(point_name(study, dict(setting), [factor for factor, _ in setting]), LONGEST_LINE)
        )
        for setting in means
        if setting in best
    }


def _draw_panel(
    axis: Axes, metric: Metric, found: Sequence[ProfiledSetting], names: Mapping[Setting, str]
) -> None:
    scale = axis_scale(metric)
    of_named = {each.setting: scale * np.array(each.values) for each in found if each.setting in names}
    every = [value for values in of_named.values() for value in values if math.isfinite(value)]
    axis.set_xlabel(axis_label(metric))
    axis.set_ylabel("Share of runs at least as good")
    axis.set_ylim(-0.03, 1.03)
    if not every:
        axis.text(0.5, 0.5, "no completed runs", ha="center", transform=axis.transAxes)
        axis.set_xticks([])
        return
    margin = 0.05 * (max(every) - min(every)) or 1.0
    ends = np.array([min(every) - margin, max(every) + margin])
    for setting, values in of_named.items():
        if len(values):
            look = {key: value for key, value in look_of(names, setting).items() if key != "marker"}
            axis.plot(*_steps(metric, values, ends), **look)
    axis.set_xlim(*ends)


def _steps(metric: Metric, values: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The corners of the share of values that are at least as good as each place between two ends."""
    ordered = np.sort(values[np.isfinite(values)])
    places = np.concatenate([[ends[0]], np.repeat(ordered, 2), [ends[1]]])
    # Below the first value all finite ones are as good; each value that is passed is one fewer.
    counts = np.repeat(np.arange(len(ordered), -1, -1), 2)
    if metric.better == "lower":
        counts = np.repeat(np.arange(len(ordered) + 1), 2)
    return places, counts / len(values)
