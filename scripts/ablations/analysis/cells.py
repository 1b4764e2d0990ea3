"""Cells: the values of one metric over the seeds of one point."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

import pandas as pd

from ablations.analysis.inference import Interval, t_interval
from ablations.errors import AblationsError
from ablations.kinds import KINDS
from ablations.kinds.metrics import Metric
from ablations.runs.run import Run

# The merged record of each run, as a mapping of column to text.
Records = Mapping[Run, Mapping[str, str]]


@dataclass(frozen=True)
class Cell:
    """The values of one metric over the seeds of one point: `values` has those that are numbers."""

    metric: Metric
    values: tuple[float, ...]
    diverged: int = 0
    missing: int = 0

    @property
    def mean(self) -> float | None:
        """The mean of the values there are."""
        return fmean(self.values) if self.values else None

    @property
    def sd(self) -> float | None:
        """The sample standard deviation; one value has none."""
        return stdev(self.values) if len(self.values) > 1 else None

    @property
    def interval(self) -> Interval | None:
        """The 95 % interval of the mean over seeds (Student's); one value has none."""
        return t_interval(self.values)

    @property
    def counted(self) -> bool:
        """Whether the metric is the same for every seed: a model's cost has no noise to show."""
        return self.metric.column != ""


def load_records(path: Path) -> dict[Run, dict[str, str]]:
    """The merged records by run, each a mapping of column to text; an empty field is absent."""
    try:
        frame = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise AblationsError(f"{path}: it cannot be read as merged records ({error})") from None
    records = {}
    for row in frame.to_dict("records"):
        values = {name: value for name, value in row.items() if value != ""}
        kind = KINDS[values["kind"]]
        cls = kind.hyperparameters
        own = {name: values[name] for name in cls.model_fields if name in values}
        run = Run(kind, values["dataset"], values["model"], cls.model_validate_strings(own))
        records[run] = values
    return records


def cell(metric: Metric, name: str, rows: Sequence[Mapping[str, str] | None]) -> Cell:
    """The cell of some runs' records (None where a record is missing).

    Of a run that diverged counts only what its training has no part in: its times are of fewer steps.
    """
    column = metric.column or name
    there = [row for row in rows if row is not None]
    whole = [row for row in there if metric.comparison == "exact" or row["status"] != "diverged"]
    return Cell(
        metric,
        values=tuple(float(row[column]) * metric.scale for row in whole if column in row),
        diverged=len(there) - len(whole),
        missing=len(rows) - len(there),
    )
