"""What runs will take: from finished ones of the same kind where there are any, and from MACs otherwise."""

import csv
import heapq
import logging
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from ablations.runs.run import Run

# The published resnet18: 60,000 images of 33.2 million multiply-accumulates, 5 epochs in 408 s.
PUBLISHED_MACS_PER_S = 60_000 * 33.184e6 * 5 / 408
# Images of a dataset that is not staged yet.
USUAL_IMAGES = 60_000
# Of a run of which nothing is known, in seconds; and of a support vector machine on so many images.
USUAL_STARTUP_S = 5.0
USUAL_SVM_S = 10.0

# What an estimate can rest on, the best first, and how many times as long a first attempt may take.
MARGINS = {
    "the same settings": 2,
    "the same model": 3,
    "MACs of other models": 5,
    "the published speed": 10,
}
BASES = tuple(MARGINS)
# In a job's time limit, beside its run: to start, and to be stopped with a checkpoint in time.
AROUND_A_RUN_S = 180.0
# Limits of up to so many minutes are multiples of so many.
STEPS_MIN = ((60, 5), (480, 30), (float("inf"), 120))

# Where `snakemake plan` writes its estimates.
PLAN = Path("results/plan.tsv")


@dataclass(frozen=True)
class Estimate:
    """Seconds that a run takes, its start-up and evaluations included, and which of BASES it rests on."""

    seconds: float
    basis: str


def seconds_taken(record: Mapping[str, str]) -> float:
    """The seconds of a finished run, of all parts that its record knows."""
    return sum(float(record[f"{part}_time_ms"]) for part in ("startup", "train", "test")) / 1000


class Costs:
    """Estimates from records, as text by column; of those, from the device that most were made on.

    `macs` are of one image forward by (dataset, model), `images` the training images of each dataset.
    """

    def __init__(
        self,
        records: Iterable[Mapping[str, str]],
        macs: Mapping[tuple[str, str], int],
        images: Mapping[str, int],
    ) -> None:
        self.macs, self.images = macs, images
        finished = [record for record in records if record.get("status") == "ok"]
        devices = Counter(record.get("device_name", "") for record in finished if record["kind"] == "cnn")
        self.device = devices.most_common(1)[0][0] if devices else None
        self._epochs: dict[tuple[str, ...], list[float]] = defaultdict(list)
        self._per_mac: list[float] = []
        self._startup: list[float] = []
        self._svm: dict[tuple[str, ...], list[float]] = defaultdict(list)
        for record in finished:
            if record["kind"] == "svm":
                for key in _svm_keys(record):
                    self._svm[key].append(seconds_taken(record))
            elif record.get("device_name", "") == self.device:
                self._take(record)

    def _take(self, record: Mapping[str, str]) -> None:
        startup = float(record["startup_time_ms"]) / 1000
        epoch = (seconds_taken(record) - startup) / int(record["epochs"])
        self._startup.append(startup)
        for key in _cnn_keys(record):
            self._epochs[key].append(epoch)
        macs = self.macs.get((record["dataset"], record["model"]))
        if macs:
            self._per_mac.append(epoch / (macs * self._count(record["dataset"], record["train_samples"])))

    def _count(self, dataset: str, samples: object) -> int:
        return self.images.get(dataset, USUAL_IMAGES) if str(samples) == "all" else int(str(samples))

    def of(self, run: Run) -> Estimate:
        """What `run` takes."""
        values = {name: str(value) for name, value in run.values().items()}
        values["channels_last"] = values.get("channels_last", "False").lower()
        if run.kind == "svm":
            for basis, key in zip(BASES, _svm_keys(values), strict=False):
                if key in self._svm:
                    return Estimate(median(self._svm[key]), basis)
            count = self._count(run.dataset, run.value("train_samples"))
            return Estimate(USUAL_SVM_S * (count / 10_000) ** 2 + USUAL_STARTUP_S, BASES[3])
        startup = median(self._startup) if self._startup else USUAL_STARTUP_S
        epochs = int(values["epochs"])
        for basis, key in zip(BASES, _cnn_keys(values), strict=False):
            if key in self._epochs:
                return Estimate(startup + epochs * median(self._epochs[key]), basis)
        known = median(self.macs.values()) if self.macs else 1e9
        work = self.macs.get((run.dataset, run.model), known)
        work *= self._count(run.dataset, run.value("train_samples"))
        if self._per_mac:
            return Estimate(startup + epochs * work * median(self._per_mac), BASES[2])
        return Estimate(startup + epochs * work / PUBLISHED_MACS_PER_S, BASES[3])


def _cnn_keys(values: Mapping[str, str]) -> list[tuple[str, ...]]:
    """What an epoch's time depends on: first all of it, then the most of it."""
    place = (values["dataset"], values["train_samples"], values["model"])
    same = ("batch_size", "optimizer", "precision", "channels_last")
    return [(*place, *(values.get(name, "") for name in same)), place]


def _svm_keys(values: Mapping[str, str]) -> list[tuple[str, ...]]:
    place = (values["dataset"], values["train_samples"])
    return [(*place, values["kernel"]), place]


def read_plan(path: Path = PLAN) -> dict[str, dict[str, str]]:
    """The rows that `snakemake plan` wrote last, by the run's record; none where there are none to read."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        return {row["run"]: row for row in rows if float(row["seconds"]) > 0 and row["basis"] in BASES}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        logging.warning("%s cannot be read (%s), and is not used", path, error)
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
    """Seconds until all are done, when each of so many slots takes the longest that is left.

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
