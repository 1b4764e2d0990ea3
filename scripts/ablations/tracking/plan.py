"""What runs will take: from finished ones of the same kind where there are any, and from MACs otherwise."""

import csv
import heapq
import io
import logging
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from ablations.errors import one_line
from ablations.files import read_text
from ablations.kinds import KINDS, Kind
from ablations.kinds.hyperparameters import spell
from ablations.runs.run import Run

# Images of a dataset that is not staged yet.
USUAL_IMAGES = 60_000
# Start-up in seconds, before any run is finished; and the multiply-accumulates of a model not counted yet.
USUAL_STARTUP_S = 5.0
USUAL_MACS = 1e9

# What an estimate can rest on, the best first, and how many times as long a first attempt may take.
MARGINS = {
    "the same settings": 2,
    "the same model": 3,
    "MACs of other models": 5,
    "the published speed": 10,
    "usual_minutes of the config": 10,
}
BASES = tuple(MARGINS)
# In a job's time limit, beside its run: to start, and to be stopped with a checkpoint in time.
AROUND_A_RUN_S = 180.0
# (limit, step): up to this limit in minutes, limits are multiples of this step.
STEPS_MIN = ((60, 5), (480, 30), (float("inf"), 120))

# A number of epochs or images in a record, which another may have written.
COUNT = re.compile(r"[0-9]{1,15}")

# Where `snakemake plan` writes its estimates.
PLAN = Path("results/plan.tsv")
COLUMNS = ("run", "seconds", "basis", "planned_on", "gpu_mb", "mem_mb")
# Of a run: 30 years.
MOST_S = 1e9


@dataclass(frozen=True)
class TimeEstimate:
    """Seconds that a run takes, its start-up and evaluations included, and which of BASES it rests on."""

    seconds: float
    basis: str


def seconds_taken(kind: Kind, record: Mapping[str, str]) -> float:
    """The seconds that a finished run took, by its record."""
    return sum(float(record.get(column) or 0) for column in kind.times) / 1000


class Costs:
    """Estimates from records, given as text by column.

    Of each kind, only the records count that were made like most of them: on the same device, and in a
    process that other runs shared, or not. `macs` are for one image forward by (dataset, model), `images` the
    training images of each dataset.
    """

    def __init__(
        self,
        records: Iterable[Mapping[str, str]],
        macs: Mapping[tuple[str, str], int],
        images: Mapping[str, int],
        kinds: Mapping[str, Kind] = KINDS,
    ) -> None:
        self.macs, self.images = macs, images
        finished = [r for r in records if r.get("status") == "ok" and r["kind"] in kinds]
        self.devices: dict[str, str] = {}
        usual: dict[str, tuple[str, str]] = {}
        for name in dict.fromkeys(record["kind"] for record in finished):
            places = Counter(_place(record) for record in finished if record["kind"] == name)
            usual[name] = places.most_common(1)[0][0]
            self.devices[name] = usual[name][0]
        self._repeats: dict[tuple[str, ...], list[float]] = defaultdict(list)
        self._per_mac: list[float] = []
        self._startup: dict[str, list[float]] = defaultdict(list)
        for record in finished:
            if _place(record) == usual[record["kind"]]:
                self._take(kinds[record["kind"]], record)

    def _take(self, kind: Kind, record: Mapping[str, str]) -> None:
        once = kind.duration.once if kind.duration.repeats else ()
        startup = sum(float(record.get(column) or 0) for column in once) / 1000
        self._startup[kind.name].append(startup)
        repeat = (seconds_taken(kind, record) - startup) / _count_repeats(kind, record)
        for key in settings_of(kind, record):
            self._repeats[key].append(repeat)
        macs = self.macs.get((record["dataset"], record["model"]))
        if macs and kind.models_are_counted:
            images = self._images(record["dataset"], record.get("train_samples"))
            self._per_mac.append(repeat / (macs * images))

    def _images(self, dataset: str, samples: object) -> int:
        return _count(samples) or self.images.get(dataset, USUAL_IMAGES)

    def of(self, run: Run) -> TimeEstimate:
        """How long `run` takes."""
        kind, values = run.kind, {name: spell(value) for name, value in run.values().items()}
        startup = 0.0
        if kind.duration.repeats:
            startup = median(self._startup.get(kind.name, [USUAL_STARTUP_S]))
        repeats = _count_repeats(kind, values)
        for basis, key in zip(BASES, settings_of(kind, values), strict=False):
            if key in self._repeats:
                return TimeEstimate(startup + repeats * median(self._repeats[key]), basis)
        samples = run.values().get("train_samples") if kind.is_shipped else None
        images = self._images(run.dataset, samples)
        known = median(self.macs.values()) if self.macs else USUAL_MACS
        macs = self.macs.get((run.dataset, run.model), known)
        if kind.models_are_counted and self._per_mac:
            return TimeEstimate(startup + repeats * macs * images * median(self._per_mac), BASES[2])
        return TimeEstimate(
            startup + repeats * kind.duration.usual_seconds(images, macs), kind.duration.basis
        )


def _place(record: Mapping[str, str]) -> tuple[str, str]:
    """Where a run was made: the device, and whether other runs took turns in its process."""
    return record.get("device_name", ""), record.get("shares_process", "")


def _count_repeats(kind: Kind, values: Mapping[str, str]) -> int:
    name = kind.duration.repeats
    if name is None:
        return 1
    # An older record may lack it.
    return max(1, _count(values.get(name) or kind.hyperparameters.model_fields[name].default))


def _count(value: object) -> int:
    """A count that a record or a run has; 0 for anything else."""
    return int(text) if COUNT.fullmatch(text := str(value)) else 0


def settings_of(kind: Kind, values: Mapping[str, str]) -> list[tuple[str, ...]]:
    """What the cost of one repeat depends on: first all of it, then the most important part."""
    place = (kind.name, values["dataset"], values.get("train_samples", ""), values["model"])
    return [(*place, *(values.get(name, "") for name in kind.duration.settings)), place]


def read_plan(path: Path = PLAN) -> dict[str, dict[str, str]]:
    """The rows that `snakemake plan` wrote last, by the run's record; none where there are none to read."""
    try:
        rows = list(csv.DictReader(io.StringIO(read_text(path), newline=""), delimiter="\t"))
        usable = [row for row in rows if row["basis"] in BASES and 0 < float(row["seconds"]) < MOST_S]
        # Earlier versions wrote no memory.
        usable = [
            {**row, **{name: str(_count(row.get(name))) for name in ("gpu_mb", "mem_mb")}} for row in usable
        ]
        return {row["run"]: {name: row[name] for name in COLUMNS} for row in usable}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        logging.warning("%s", one_line(f"{path} cannot be read ({error}), and is not used"))
        return {}


def time_limit_min(planned: Mapping[str, str] | None, attempt: int, least: int, most: int) -> int:
    """The time limit of a job in minutes, from the row of its run in the plan, if it has one.

    Its margin grows with the attempt, and is the wider the less the estimate rests on. A run that was
    never planned gets the most. Limits come in steps: jobs with equal ones can be submitted together.
    """
    if planned is None:
        return most
    seconds = float(planned["seconds"]) * MARGINS[planned["basis"]] * attempt
    minutes = (seconds + AROUND_A_RUN_S) / 60
    step = next(step for longest, step in STEPS_MIN if minutes <= longest)
    return min(most, max(least, step * math.ceil(minutes / step)))


def makespan(seconds: Sequence[float], slots: int) -> float:
    """Seconds until all are done, when each free slot takes the longest run that is left.

    At most a third more than the best order would need (Graham 1969).
    """
    free = [0.0] * min(slots, max(1, len(seconds)))
    for each in sorted(seconds, reverse=True):
        heapq.heappush(free, heapq.heappop(free) + each)
    return max(free)


def clock(seconds: float) -> str:
    """Seconds as a person reads them: `45 s`, `12 min`, `3.5 h`, `2.1 days`."""
    for size, unit in ((86400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size or (unit == "min" and seconds >= 100):
            return f"{seconds / size:.1f} {unit}" if unit != "min" else f"{seconds / size:.0f} min"
    return f"{seconds:.0f} s"
