"""The numbers of figures as tables, for readers who cannot see a figure or want to know exactly."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ablations.analysis.cells import Cell, cell
from ablations.analysis.choice import table_points
from ablations.analysis.measurements import Records
from ablations.analysis.points import Point
from ablations.config.studies.study import Study
from ablations.presentation.document import Table
from ablations.presentation.figures.curves import MOST_LINES, curves_of, histories_of
from ablations.presentation.figures.style import MOST_METRICS, shown_metrics, varying_factors
from ablations.presentation.figures.tradeoff import attained, cells_of, costs_of
from ablations.presentation.study_table import cell_text
from ablations.presentation.wording import marked
from ablations.runs.records import AXES, read_history
from ablations.runs.run import Run

# Where a point has no value to draw.
NONE = "–"
# Epochs or steps in the table of the numbers.
MOST_SHOWN = 10


def number_table(rows: Sequence[Mapping[str, str]], notes: Sequence[str] = ()) -> Table:
    """The numbers of a figure, given as rows of heading to text."""
    frame = pd.DataFrame(list(rows), dtype=str)
    return Table("Numbers of this figure", "", frame, frame, list(notes))


def named_levels(study: Study, points: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """What tells points from the others of their study, with names for readers."""
    factors = varying_factors(study, study.factors) or study.rows
    return [{study.label(name): study.level_label(name, point[name]) for name in factors} for point in points]


def points_table(study: Study, points: Sequence[Point], texts: Mapping[str, Sequence[str]]) -> Table:
    """A row per point; `texts` are the cells of each metric by its name, in the order of the points."""
    columns = {marked(study.kind.metrics[name]): column for name, column in texts.items()}
    names = named_levels(study, [values for values, _ in points])
    rows = [
        {**named, **{heading: column[i] for heading, column in columns.items()}}
        for i, named in enumerate(names)
    ]
    return number_table(rows)


def measured_numbers(study: Study, records: Records, points: Sequence[Point]) -> Table:
    """The analysed metrics of these points."""
    texts = {
        name: [
            cell_text(cell(metric, [records.get(run) for run in runs]), len(study.seeds))
            for _, runs in points
        ]
        for name, metric in shown_metrics(study).items()
    }
    return points_table(study, points, texts)


def spread_text(content: Cell) -> str:
    """The mean of a cell with its standard deviation: `98.61 ± 0.08`."""
    if content.mean is None:
        return NONE
    decimals = content.metric.decimals
    spread = "" if content.sd is None or content.counted else f" ± {content.sd:.{decimals}f}"
    return f"{content.mean:.{decimals}f}{spread}"


def tradeoff_numbers(study: Study, records: Records) -> Table:
    """The points of the trade-off as a table: their costs, and what they attain."""
    names = [*costs_of(study, records), *attained(study)[:MOST_METRICS]]
    texts = {name: list(map(spread_text, cells_of(study, records, name))) for name in names}
    return points_table(study, study.points(), texts)


def curves_numbers(study: Study, paths: Mapping[Run, Path]) -> Table:
    """The means of the curves as a table: a row per point and metric, with a few of their epochs or steps."""
    histories = {run: read_history(path) for run, path in paths.items()}
    of_metrics = {
        metric: curves_of(study, histories, metric)[:MOST_LINES] for metric in shown_metrics(study).values()
    }
    every = sorted({int(step) for curves in of_metrics.values() for curve in curves for step in curve.steps})
    # The first and the last, and others at equal distances.
    places = np.linspace(0, len(every) - 1, min(MOST_SHOWN, len(every))).astype(int)
    shown = [every[place] for place in places]
    axis = next((name for rows in histories.values() for name in AXES if rows and name in rows[0]), AXES[-1])
    rows = []
    for metric, curves in of_metrics.items():
        names = named_levels(study, [curve.point for curve in curves])
        for named, (_, steps, values) in zip(names, curves, strict=True):
            means = dict(zip(steps, np.nanmean(values, axis=0), strict=True))
            texts = {
                f"{axis} {step:,}".capitalize(): f"{means[step]:.{metric.decimals}f}"
                if step in means
                else NONE
                for step in shown
            }
            rows.append({**named, "Metric": marked(metric), **texts})
    left_out = f"Means over seeds. {len(shown)} of {len(every):,} {axis}s are listed."
    return number_table(rows, [left_out] * (len(shown) < len(every)))


# By the name that the files of a figure end in. The other figures show tables of the study.
NUMBERS: dict[str, Callable[[Study, Records], Table]] = {
    "": lambda study, records: measured_numbers(study, records, table_points(study, records)),
    "tradeoff": tradeoff_numbers,
    "grid": lambda study, records: measured_numbers(study, records, study.points()),
    "curves": lambda study, records: curves_numbers(study, histories_of(study, records)),
}
