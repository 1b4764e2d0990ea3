"""Cells: the values of one metric over the seeds of one point."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

import numpy as np

from ablations.analysis.inference import Interval, t_interval
from ablations.analysis.items import interval_over_seeds_and_items
from ablations.analysis.measurements import Record, items_of, measured
from ablations.errors import AblationsError
from ablations.files import open_regular
from ablations.kinds import Kind
from ablations.kinds.hits import unpack
from ablations.kinds.metrics import Metric
from ablations.runs.run import Run

# Of merged records: pandas takes minutes for 100,000 columns.
MOST_COLUMNS, LONGEST_HEADER = 2000, 2**20
# In percent.
WHOLE = 100.0


@dataclass(frozen=True)
class Cell:
    """The values of one metric over the seeds of one point, without diverged and missing runs."""

    metric: Metric
    values: tuple[float, ...]
    diverged: int = 0
    missing: int = 0

    @property
    def mean(self) -> float | None:
        """The mean of the values; None without any."""
        return fmean(self.values) if self.values else None

    @property
    def sd(self) -> float | None:
        """The sample standard deviation; None for fewer than two values."""
        return stdev(self.values) if len(self.values) > 1 else None

    @property
    def interval(self) -> Interval | None:
        """Student's 95 % interval of the mean over seeds, within the bounds of the metric.

        A percentage whose values are all from 0 to 100 has these bounds, too. None for fewer than two values,
        and for values that are all equal.
        """
        found = t_interval(self.values)
        low, high = self.metric.bounds
        if self.metric.unit == "%" and min(self.values, default=-1) >= 0 and max(self.values) <= WHOLE:
            low, high = max(low, 0.0), min(high, WHOLE)
        return found and found.within(low, high)

    @property
    def counted(self) -> bool:
        """Whether the metric is exact, so that every seed has the same value."""
        return self.metric.noise == "exact"


def load_records(path: Path, kind: Kind) -> dict[Run, dict[str, str]]:
    """The merged records of one kind by run, each a mapping of column to text without the empty fields.

    Raises AblationsError for a file that is missing or no such table.
    """
    try:
        with open_regular(path) as file:
            if file.readline(LONGEST_HEADER + 1).count(b"\t") > MOST_COLUMNS:
                raise ValueError(f"it has more than {MOST_COLUMNS:,} columns")
            file.seek(0)
            text = file.read().decode()
    except (OSError, ValueError) as error:
        raise AblationsError(f"{path}: cannot read the file as merged records ({error})") from None
    # Not with pandas: figures need nothing else of it, and its import takes a third of their time.
    names, *rows = (line.split("\t") for line in text.removesuffix("\n").split("\n"))
    if not {"kind", "dataset", "model"} <= set(names) or any(len(row) != len(names) for row in rows):
        raise AblationsError(
            f"{path}: it is not a table of merged records; delete it, and run the same command again"
        )
    records, cls = {}, kind.hyperparameters
    for row in rows:
        values = {name: value for name, value in zip(names, row, strict=True) if value != ""}
        if values.get("kind") != kind.name:
            continue
        own = {name: values[name] for name in cls.model_fields if name in values}
        run = Run(kind, values["dataset"], values["model"], cls.model_validate_strings(own))
        records[run] = values
    return records


def cell(metric: Metric, records: Sequence[Record | None]) -> Cell:
    """The cell of the records of one point's runs (None for a missing record)."""
    values = [measured(metric, record) for record in records]
    return Cell(
        metric,
        values=tuple(value * metric.scale for value in values if value is not None),
        diverged=sum(
            record is not None and record["status"] == "diverged" and metric.noise != "exact"
            for record in records
        ),
        missing=sum(record is None for record in records),
    )


def interval_over_items(metric: Metric, records: Sequence[Record | None]) -> Interval | None:
    """The 95 % interval of the mean over seeds and items; None if not all runs record their answers."""
    found = [record for record in records if record and measured(metric, record) is not None]
    if len(found) < 2 or not metric.answers or any(metric.answers not in record for record in found):
        return None
    counts = {items_of(metric, record) for record in found}
    if len(counts) > 1:
        return None
    scores = np.array([unpack(record[metric.answers], *counts) for record in found])
    interval = interval_over_seeds_and_items(scores)
    return interval and interval.scaled(metric.whole).within(*metric.bounds)
