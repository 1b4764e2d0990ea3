"""Measurements: the value of one metric in a record, and the records between which it can be compared."""

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence

from ablations.kinds import Kind
from ablations.kinds.metrics import Metric
from ablations.runs.run import Run

# The merged record of a run, as a mapping of column to text.
Record = Mapping[str, str]
Records = Mapping[Run, Record]
# Times are compared only between records that agree in these columns: the device, and how runs share it.
CONDITIONS = ("device_name", "threads", "runs_per_job", "shares_process")


def measured(metric: Metric, record: Record | None) -> float | None:
    """The value of a metric, in the record's unit; None for one that is missing, or of a diverged run.

    A diverged run has only exact values, because its times are those of fewer steps.
    """
    if record is None or metric.column not in record:
        return None
    is_whole = metric.noise == "exact" or record["status"] != "diverged"
    return float(record[metric.column]) if is_whole else None


def available(metric: Metric, runs: Sequence[Run], records: Records) -> dict[Run, Record]:
    """The records of these runs that have a value of the metric; a time of 0 has no logarithm."""
    values = {run: measured(metric, records.get(run)) for run in runs}
    return {
        run: records[run]
        for run, value in values.items()
        if value is not None and (value > 0 or metric.noise != "time")
    }


def comparable(metric: Metric, found: Records) -> dict[Run, Record]:
    """Of records with times, those of the most common conditions; of other records, all."""
    counts = Counter(conditions(metric, record) for record in found.values())
    common = max(counts, key=counts.__getitem__, default=())
    return {run: record for run, record in found.items() if conditions(metric, record) == common}


def conditions(metric: Metric, record: Record) -> tuple[str | None, ...]:
    """What two records must share, for this metric of theirs to be compared."""
    return tuple(map(record.get, CONDITIONS)) if metric.noise == "time" else ()


def on_scale(metric: Metric, record: Record) -> float:
    """The value in a record on the scale of comparisons: the logarithm of a time, any other as it is."""
    value = float(record[metric.column])
    return math.log(value) if metric.noise == "time" else value


def unit_of(kind: Kind, metric: Metric, found: Records) -> float:
    """The power of ten in which values are analysed, below which differences of 1e-6 are rounding errors.

    It is smaller than 1 where a kind records all digits and its values are small.
    """
    largest = max((abs(float(record[metric.column])) for record in found.values()), default=0.0)
    if kind.record.DECIMALS is not None or metric.noise == "time" or not 0 < largest < 1:
        return 1.0
    return 10.0 ** math.floor(math.log10(largest))


def items_of(metric: Metric, record: Record) -> int:
    """How many items a proportion counts; 0 if unknown."""
    return metric.items if isinstance(metric.items, int) else int(record.get(metric.items, 0))


def duplicate_label(kind: Kind, metric: Metric, record: Record, otherwise: Hashable) -> Hashable:
    """What the records of duplicate runs share: which items they got right; `otherwise` if unknown.

    The times of duplicate runs are independent measurements.
    """
    columns = dict.fromkeys(each.answers for each in kind.metrics.values() if each.answers)
    if metric.noise == "time" or not columns or not columns.keys() <= record.keys():
        return otherwise
    return (record.get("dataset"), record[metric.column], *map(record.get, columns))
