"""The common style of all figures: colours, names of levels, legends and file formats."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from ablations.analysis.model_matrix import varying_levels
from ablations.config.studies.study import Study
from ablations.errors import AblationsError
from ablations.files import atomic_path
from ablations.kinds.hyperparameters import spell
from ablations.kinds.metrics import Metric
from ablations.presentation.wording import marked

# A title may have two dollar signs.
matplotlib.rcParams["text.parse_math"] = False
# The palette of Okabe and Ito, which is distinct for colour-blind readers and in grey print.
MEASURED, PUBLISHED = "#0072B2", "#D55E00"
COLOURS = (MEASURED, PUBLISHED, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)), (0, (1, 3)))
MARKERS = "os^Dv<>"
# A figure names at most this many of each.
MOST_ROWS, MOST_PANELS, MOST_METRICS, MOST_NAMES = 60, 8, 4, 14


def varying_factors(study: Study, factors: Sequence[str]) -> list[str]:
    """The factors with more than one level in the study."""
    levels = varying_levels(study)
    return [factor for factor in factors if factor in levels]


def shown_metrics(study: Study) -> dict[str, Metric]:
    """The metrics that a figure of a study shows, by name: the first few that it analyses."""
    return {name: study.kind.metrics[name] for name in study.analysed[:MOST_METRICS]}


def axis_scale(metric: Metric) -> float:
    """What turns a metric into the unit of an axis: one in thousands of milliseconds is hard to read."""
    return 1e-3 if metric.unit == "ms" else 1.0


def axis_label(metric: Metric) -> str:
    """The heading of a metric in the unit of an axis."""
    return marked(replace(metric, unit="s") if metric.unit == "ms" else metric)


def point_name(study: Study, values: Mapping[str, Any], factors: Sequence[str]) -> str:
    """The levels of a point, as `resnet18, Batch size 16`."""
    return ", ".join(level_name(study, factor, values[factor]) for factor in factors)


def level_name(study: Study, factor: str, level: Any) -> str:
    """A level with the name of its factor, unless the level is clear without it."""
    name = study.level_label(factor, level)
    is_clear = factor in study.kind.clear_factors or name != spell(level)
    return name if is_clear else f"{study.label(factor)} {name}"


def look_of(names: Mapping[Any, str], level: Any) -> dict[str, Any]:
    """The colour, line style, marker and label of a level, given the names of all levels for readers.

    Many levels are coloured from dark to light, and only some of them have a label.
    """
    i, count = list(names).index(level), len(names)
    return {
        "color": COLOURS[i] if count <= len(COLOURS) else plt.get_cmap("cividis")(0.95 * i / (count - 1)),
        "linestyle": STYLES[i % len(STYLES)],
        "marker": MARKERS[i % len(MARKERS)],
        "label": names[level] if i % -(-count // MOST_NAMES) == 0 else "_",
    }


def cut_note(*sides: tuple[int, int, str]) -> str:
    """A line below a title for each (count, limit, noun) that does not fit: `the first 60 of 300 rows`."""
    cut = [f"the first {limit} of {count} {noun}" for count, limit, noun in sides if count > limit]
    return f"\n{', '.join(cut)}" if cut else ""


def set_log_ticks(axis: Axis, low: float, high: float) -> None:
    """Ticks at round numbers, for an axis on a log scale with values between these two."""
    subs = (1,) if high > 100 * low else (1, 2, 5)
    axis.set_major_locator(LogLocator(subs=subs) if high > 5 * low else MaxNLocator(6, steps=[1, 2.5, 5, 10]))
    axis.set_major_formatter("{x:,.10g}")
    axis.set_minor_locator(NullLocator())


def labelled_handles(axes: Iterable[Axes]) -> dict[str, Artist]:
    """One artist per label of several panels."""
    pairs = (zip(*axis.get_legend_handles_labels(), strict=True) for axis in axes)
    return {label: handle for of_axis in pairs for handle, label in of_axis}


def finished(figure: Figure, axes: Iterable[Axes], title: str, legend: str | None = "") -> Figure:
    """Add a title, a quiet grid, and one legend with the title `legend` for all panels (None: no legend)."""
    axes = list(axes)
    for axis in axes:
        axis.grid(color="0.92", zorder=0)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    if legend is not None and (handles := labelled_handles(axes)):
        figure.legend(
            handles.values(), handles.keys(), title=legend, loc="outside right center",
            frameon=False, fontsize="small", title_fontsize="small",
        )  # fmt: skip
    figure.suptitle(title, fontsize="medium")
    return figure


def spread_note(what: str, shown: bool) -> str:
    """The second line of a title: what bars or bands are, if any are shown."""
    return f"\n{what}: one standard deviation over seeds" if shown else ""


# Of a title, on an inch of a figure.
LETTERS_PER_INCH = 13
# An SVG is independent of the time and of the fonts of this machine. A PDF has fonts that publishers accept.
_SETTINGS: dict[Any, Any] = {"svg.hashsalt": "ablations", "svg.fonttype": "none", "pdf.fonttype": 42}


def write_figure(figure: Figure, base: Path) -> None:
    """Write `base`.svg, .png and .pdf, each atomically. The same records give the same bytes.

    The PDF is for a paper, whose caption says what the title says: it has the lines below the title alone.
    """
    formats: dict[str, dict[str, str | None]] = {
        "svg": {"Date": None},
        "png": {"Software": None},
        "pdf": {"CreationDate": None},
    }
    title, _, below = figure.get_suptitle().partition("\n")
    if len(title) > (most := int(LETTERS_PER_INCH * figure.get_figwidth())):
        figure.suptitle("\n".join([*textwrap.wrap(title, most), *below.splitlines()]), fontsize="medium")
    try:
        for suffix, metadata in formats.items():
            if suffix == "pdf":
                figure.suptitle(below, fontsize="medium")
            path = base.with_name(f"{base.name}.{suffix}")
            with (
                atomic_path(path) as temporary,
                matplotlib.rc_context(_SETTINGS),
            ):
                figure.savefig(temporary, format=suffix, dpi=150, metadata=metadata)
    except OSError as error:
        raise AblationsError(f"{base}: cannot write the figure ({error.strerror})") from None
    finally:
        plt.close(figure)
