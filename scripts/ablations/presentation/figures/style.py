"""What all figures share: colours, names of levels, legends, and how they are written."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt

from ablations.config.studies import Study
from ablations.errors import AblationsError
from ablations.files import atomic_path
from ablations.kinds.hyperparameters import spell
from ablations.presentation.document import LABELS

# Okabe and Ito's colours, told apart by every kind of colour vision and in grey print.
MEASURED, PUBLISHED = "#0072B2", "#D55E00"
COLOURS = (MEASURED, PUBLISHED, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)), (0, (1, 3)))
MARKERS = "os^Dv<>"
# Of more than these, no figure shows each by its name.
MOST_ROWS, MOST_PANELS, MOST_NAMES = 60, 8, 14


def varying_factors(study: Study, factors: Sequence[str]) -> list[str]:
    return [factor for factor in factors if len({run.value(factor) for run in study.runs()}) > 1]


def point_name(values: Mapping[str, Any], factors: Sequence[str]) -> str:
    return ", ".join(level_name(factor, spell(values[factor])) for factor in factors)


def level_name(factor: str, value: str) -> str:
    return (
        value
        if factor in ("dataset", "model", "kernel", "optimizer")
        else f"{LABELS.get(factor, factor)} {value}"
    )


def look_of(levels: Sequence[Any], level: Any) -> dict[str, Any]:
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


def cut_note(*sides: tuple[int, int]) -> str:
    """What a title says where a figure shows the first of too many, given as (how many, most)."""
    lost = [f"the first {most} of {count}" for count, most in sides if count > most]
    return f" ({', '.join(lost)})" if lost else ""


def finished(figure: plt.Figure, axes: Any, title: str, legend: str | None = "") -> plt.Figure:
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
