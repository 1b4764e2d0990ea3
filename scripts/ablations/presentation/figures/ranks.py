"""The ranks of the settings of a study over datasets, with the critical difference."""

import textwrap

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ablations.analysis.measurements import Records
from ablations.analysis.ranks import Ranks, can_be_ranked, ranks
from ablations.config.studies.rankings import FEWEST_DATASETS
from ablations.config.studies.study import Study
from ablations.kinds.metrics import Metric
from ablations.presentation.figures.style import (
    MEASURED,
    MOST_METRICS,
    MOST_ROWS,
    cut_note,
    finished,
    point_name,
    shown_metrics,
)
from ablations.presentation.wording import p_in_words

GROUP = "#D55E00"
# In letters, of the name of a setting.
LONGEST_LINE = 60


def ranks_figure(study: Study, records: Records) -> Figure:
    """The mean rank of each setting, a panel per metric; bars join settings that do not differ."""
    shown = shown_metrics(study)
    metrics = {name: metric for name, metric in shown.items() if can_be_ranked(metric)} or shown
    found = {name: ranks(study, records, name) for name in metrics}
    most = max((len(each.settings) for each in found.values() if each), default=1)
    rows = min(most, MOST_ROWS)
    names = {name: _names(study, each) for name, each in found.items()}
    longest = max((len(line) for of in names.values() for each in of for line in each.split("\n")), default=0)
    height = max((1 + each.count("\n") for of in names.values() for each in of), default=1)
    size = ((4.2 + 0.075 * longest) * len(metrics), 2.2 + (0.15 + 0.17 * height) * rows)
    figure, axes = plt.subplots(1, len(metrics), layout="constrained", figsize=size, squeeze=False)
    for axis, (name, metric) in zip(axes[0], metrics.items(), strict=True):
        _draw_panel(axis, metric, found[name], names[name])
    figure.supxlabel(
        "vertical bars join settings that cannot be told apart at 5 % (Nemenyi)", fontsize="small"
    )
    cut = cut_note((most, MOST_ROWS, "settings"), (len(study.analysed), MOST_METRICS, "metrics"))
    return finished(figure, axes[0], f"{study.title}: mean ranks over datasets{cut}")


def _names(study: Study, found: Ranks | None) -> list[str]:
    """The settings that are shown, in lines of readable length."""
    shown = found.settings[:MOST_ROWS] if found else ()
    names = (point_name(study, dict(setting), [factor for factor, _ in setting]) for setting in shown)
    return ["\n".join(textwrap.wrap(name, LONGEST_LINE)) for name in names]


def _draw_panel(axis: Axes, metric: Metric, found: Ranks | None, names: list[str]) -> None:
    axis.set_title(metric.label, fontsize="medium")
    if found is None:
        why = f"fewer than {FEWEST_DATASETS} datasets have a value of each setting"
        if not can_be_ranked(metric):
            why = "not ranked: exact, or without a better direction"
        axis.text(0.5, 0.5, why, ha="center", transform=axis.transAxes)
        axis.set_yticks([])
        axis.set_xticks([])
        return
    means = found.means[:MOST_ROWS]
    axis.plot(means, range(len(means)), "o", color=MEASURED, markersize=7, zorder=3)
    axis.set_yticks(range(len(means)), names, fontsize="small")
    axis.set_ylim(len(means) - 0.4, -1.4)
    # Above the settings, how far the critical difference is.
    axis.plot([1, 1 + found.critical], [-0.9, -0.9], "|-", color="0.3", linewidth=1.5, markersize=8)
    axis.text(1 + found.critical / 2, -1.0, f"critical difference {found.critical:.2f}", ha="center",
              va="bottom", fontsize="small", color="0.3")  # fmt: skip
    right = max(means[-1], 1 + found.critical)
    step = (right - 1) * 0.035
    shown = [(first, min(last, len(means) - 1)) for first, last in found.groups if first < len(means) - 1]
    for i, (first, last) in enumerate(shown):
        place = right + step * (1.5 + i % 8)
        axis.plot([place, place], [first - 0.2, last + 0.2], color=GROUP, linewidth=4, solid_capstyle="butt")
    axis.set_xlim(1 - step, right + step * (2.5 + min(len(shown), 8)))
    axis.set_xlabel(
        f"Mean rank over {len(found.datasets)} datasets (1 is the best)\nFriedman's p {p_in_words(found.p)}"
    )
    axis.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
