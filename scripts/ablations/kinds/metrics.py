"""Metrics: the measured numbers of a run, which tables show and analyses compare."""

import math
from dataclasses import dataclass
from typing import Literal

# What is known about the noise of a metric. An `exact` value does not depend on chance. A `proportion` of
# counted items has the binomial noise of their choice. A `time`, or another cost that the machine determines,
# is compared as a ratio, and only between runs of the same device and packing. Of an `unknown` noise only
# replicates tell the size.
Noise = Literal["exact", "proportion", "time", "unknown"]
Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Metric:
    """One measured number of a run: `scale` turns the unit of the record's `column` into the table's.

    `better` is None where neither direction is. A proportion counts `items`, a number or the column that
    holds it, and `noun` names them; `answers` is the column that tells which of the items are correct, as
    `hits.pack` writes it. `scores` is the file beside the record with a score for each item. `note` is what
    readers of a table must know about its values. `limits` are the smallest and the largest possible value
    in the table's unit, where the noise does not tell them.
    """

    column: str
    label: str
    decimals: int
    noise: Noise
    unit: str = ""
    better: Better | None = None
    scale: float = 1.0
    items: int | str = 0
    answers: str = ""
    scores: str = ""
    noun: str = "items"
    note: str = ""
    limits: tuple[float, float] | None = None

    @property
    def heading(self) -> str:
        """The label with its unit, as the heading of a column or an axis: `Test accuracy (%)`."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    def objection(self, value: float) -> str:
        """Why the metric, in the unit of its column, cannot have this value; empty if it can."""
        if self.noise == "proportion" and not 0 <= value <= self.whole:
            return f"a proportion is from 0 to {self.whole:g}"
        return "a time is above 0" if self.noise == "time" and value <= 0 else ""

    @property
    def bounds(self) -> tuple[float, float]:
        """The smallest and the largest value that the metric can have, in the table's unit."""
        if self.limits:
            return self.limits
        if self.noise == "proportion":
            return 0.0, self.whole
        return (0.0 if self.noise == "time" else -math.inf), math.inf

    @property
    def whole(self) -> float:
        """The value of a proportion of all items: 100 in percent, and 1 otherwise."""
        return 100.0 if self.unit == "%" else 1.0


PERCENT, FROM_ZERO = (0.0, 100.0), (0.0, math.inf)
TEST_ACCURACY = Metric(
    "test_accuracy", "Test accuracy", 2, "proportion", "%", "higher",
    items="test_samples", answers="test_correct", noun="test images",
)  # fmt: skip
TRAIN_TIME = Metric("train_time_ms", "Training time", 0, "time", "ms", "lower")
TEST_TIME = Metric("test_time_ms", "Test time", 0, "time", "ms", "lower")
PEAK_MEMORY = Metric("peak_memory_mb", "Peak memory", 0, "time", "MB", "lower")
