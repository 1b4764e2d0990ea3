"""The numbers of figures as tables, for readers who cannot see a figure or want to know exactly."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ablations.analysis.cells import Cell, cell
from ablations.analysis.measurements import Records
from ablations.config.studies import Study
from ablations.presentation.document import Table
from ablations.presentation.figures.style import shown_metrics, varying_factors
from ablations.presentation.study_table import cell_text
from ablations.presentation.wording import marked

# Where a point has no value to draw.
NONE = "–"


def number_table(rows: Sequence[Mapping[str, str]], notes: Sequence[str] = ()) -> Table:
    """The numbers of a figure, given as rows of heading to text."""
    frame = pd.DataFrame(list(rows), dtype=str)
    return Table("Numbers of this figure", "", frame, frame, list(notes))


def named_levels(study: Study, point: Mapping[str, Any]) -> dict[str, str]:
    """What tells a point from the others of its study, with names for readers."""
    factors = varying_factors(study, study.factors) or study.rows
    return {study.label(factor): study.level_label(factor, point[factor]) for factor in factors}


def points_table(study: Study, texts: Mapping[str, Sequence[str]]) -> Table:
    """A row per point; `texts` are the cells of each metric by its name, in the order of the points."""
    columns = {marked(study.kind.metrics[name]): column for name, column in texts.items()}
    rows = [
        {**named_levels(study, point), **{heading: column[i] for heading, column in columns.items()}}
        for i, (point, _) in enumerate(study.points())
    ]
    return number_table(rows)


def measured_numbers(study: Study, records: Records) -> Table:
    """The analysed metrics of every point."""
    texts = {
        name: [
            cell_text(cell(metric, [records.get(run) for run in runs]), len(study.seeds))
            for _, runs in study.points()
        ]
        for name, metric in shown_metrics(study).items()
    }
    return points_table(study, texts)


def spread_text(content: Cell) -> str:
    """The mean of a cell with its standard deviation: `98.61 ± 0.08`."""
    if content.mean is None:
        return NONE
    decimals = content.metric.decimals
    spread = "" if content.sd is None or content.counted else f" ± {content.sd:.{decimals}f}"
    return f"{content.mean:.{decimals}f}{spread}"
