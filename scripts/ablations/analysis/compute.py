"""The compute that a study took: its attempts and their time on each device."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from ablations.analysis.measurements import Record, Records
from ablations.config.studies.study import Study
from ablations.kinds import Kind
from ablations.kinds.metrics import PEAK_MEMORY, Metric
from ablations.runs.run import Run
from ablations.runs.state import RunState

# Units of energy -> kilowatt hours.
KWH = {"J": 1 / 3.6e6, "kJ": 1 / 3600, "MJ": 1 / 3.6, "Wh": 1e-3, "kWh": 1.0, "MWh": 1e3}

SUMS = (
    "runs", "diverged", "unfinished", "untimed", "attempts", "metered",
    "final_s", "earlier_s", "diverged_s", "unfinished_s",
)  # fmt: skip


@dataclass
class Compute:
    """What the runs of a study took on one device; times are in seconds, over all attempts.

    `device` is its name and `type` cpu or cuda, empty where they are not known. `threads` and `shared` are
    the numbers of threads and of runs per job that occurred. Of `runs`, some are `diverged` or `unfinished`,
    and `untimed` do not tell their times; `metered` tell their energy, by the `counters` if not by a metric.
    `final_s` is the time of the last attempts of runs that completed, and `earlier_s` that of the attempts
    before them. `memory_mb` is the largest of a run.
    """

    device: str
    type: str = ""
    threads: set[int] = field(default_factory=set)
    shared: set[int] = field(default_factory=set)
    runs: int = 0
    diverged: int = 0
    unfinished: int = 0
    untimed: int = 0
    attempts: int = 0
    metered: int = 0
    final_s: float = 0.0
    earlier_s: float = 0.0
    diverged_s: float = 0.0
    unfinished_s: float = 0.0
    memory_mb: float | None = None
    energy_kwh: float | None = None
    counters: set[str] = field(default_factory=set)

    @property
    def seconds(self) -> float:
        """The time in all."""
        return self.final_s + self.earlier_s + self.diverged_s + self.unfinished_s

    def add(self, other: "Compute") -> None:
        """Count what `other` has."""
        self.type = self.type or other.type
        self.threads |= other.threads
        self.shared |= other.shared
        self.counters |= other.counters
        for name in SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        # Not all records have these.
        for name, both in (("memory_mb", max), ("energy_kwh", sum)):
            known = [value for each in (self, other) if (value := getattr(each, name)) is not None]
            setattr(self, name, both(known) if known else None)


def compute(study: Study, records: Records, begun: Mapping[Run, RunState]) -> list[Compute]:
    """What the runs of a study took, by device; `begun` are the states of runs that have no record."""
    energy = energy_metric(study)
    found: dict[str, Compute] = {}
    # A run's state does not always name the device, but it names the host.
    of_host: dict[str, set[str]] = {}
    for run in study.runs():
        if record := records.get(run):
            own = _of_record(study.kind, record, energy)
            of_host.setdefault(record.get("host", ""), set()).add(own.device)
            found.setdefault(own.device, Compute(own.device)).add(own)
    for run in study.runs():
        if run not in records and (state := begun.get(run)):
            names = of_host.get(state.process.host, set())
            device = state.identity.get("device") or (min(names) if len(names) == 1 else "")
            own = Compute(device, runs=1, unfinished=1, attempts=len(state.attempts_s))
            own.unfinished_s = sum(state.attempts_s)
            found.setdefault(device, Compute(device)).add(own)
    return list(found.values())


def energy_metric(study: Study) -> Metric | None:
    """The first metric of a study's kind whose unit is one of energy, if there is one."""
    return next((metric for metric in study.kind.metrics.values() if metric.unit in KWH), None)


def reports_memory(kind: Kind) -> bool:
    """Whether runs report their peak memory in MB; that of other commands is measured from outside."""
    metric = kind.metrics.get(PEAK_MEMORY.column)
    return metric is not None and metric.unit in ("", PEAK_MEMORY.unit)


def _of_record(kind: Kind, record: Record, energy: Metric | None) -> Compute:
    seconds = _numbers(record.get("attempt_seconds", ""))
    own = Compute(record.get("device_name", ""), record.get("device", ""), runs=1, attempts=len(seconds))
    own.untimed = int(not seconds)
    own.threads = {int(n) for n in _numbers(record.get("threads", ""))}
    own.shared = {int(n) for n in _numbers(record.get("runs_per_job", ""))}
    if record["status"] == "diverged":
        own.diverged, own.diverged_s = 1, sum(seconds)
    elif seconds:
        own.final_s, own.earlier_s = seconds[-1], sum(seconds[:-1])
    measured = "gpu_peak_mb" if own.type == "cuda" else "host_peak_mb"
    column = PEAK_MEMORY.column if reports_memory(kind) else measured
    own.memory_mb = max(_numbers(record.get(column, "")), default=None)
    if energy and (values := _numbers(record.get(energy.column, ""))):
        own.metered, own.energy_kwh = 1, values[0] * energy.scale * KWH[energy.unit]
    elif not energy and (values := _numbers(record.get("counted_energy_j", ""))):
        own.metered, own.energy_kwh = 1, values[0] * KWH["J"]
        own.counters = {record.get("energy_counters", "")}
    return own


def _numbers(text: str) -> list[float]:
    """The numbers between semicolons; none where one of them is not a duration."""
    try:
        numbers = [float(part) for part in text.split(";") if part]
    except ValueError:
        return []
    return numbers if all(math.isfinite(number) and number >= 0 for number in numbers) else []
