"""Metrics: what a table can show of its runs."""

from dataclasses import dataclass
from typing import Literal

# How a measured value is compared with a published one. `exact` values do not depend on chance, `accuracy`
# is a percentage of images, a value of a `machine` is compared as a ratio only, and the noise of a `loss`
# is not known.
Comparison = Literal["exact", "accuracy", "machine", "loss"]


@dataclass(frozen=True)
class Metric:
    """One measured number of a run: `scale` turns the unit of the record's `column` into the table's."""

    label: str
    decimals: int
    comparison: Comparison
    column: str = ""
    scale: float = 1.0


TEST_ACCURACY = Metric("Test accuracy (%)", 2, "accuracy")
TRAIN_TIME = Metric("Training time (ms)", 0, "machine")
TEST_TIME = Metric("Test time (ms)", 0, "machine")
PEAK_MEMORY = Metric("Peak memory (MB)", 0, "machine")
