"""What a table can show of its runs: each metric's label, unit, decimals, and how to compare it."""

from dataclasses import dataclass
from typing import Literal

# How a measured value is held against a published one: `exact` values depend on no chance, `accuracy` is
# a proportion of images, a value of a `machine` compares as a ratio only, and of a `loss` no noise is known.
Comparison = Literal["exact", "accuracy", "machine", "loss"]


@dataclass(frozen=True)
class Metric:
    """One column of values: `scale` turns the record's unit into the table's."""

    label: str
    decimals: int
    comparison: Comparison
    kinds: tuple[str, ...] = ("cnn", "svm")
    column: str = ""
    scale: float = 1.0


METRICS = {
    "test_accuracy": Metric("Test accuracy (%)", 2, "accuracy"),
    "train_accuracy": Metric("Training accuracy (%)", 2, "accuracy", kinds=("cnn",)),
    "train_loss": Metric("Training loss", 4, "loss", kinds=("cnn",)),
    "train_time_ms": Metric("Training time (ms)", 0, "machine"),
    "test_time_ms": Metric("Test time (ms)", 0, "machine"),
    "peak_memory_mb": Metric("Peak memory (MB)", 0, "machine"),
    "support_vectors": Metric("Support vectors", 0, "exact", kinds=("svm",)),
    "gmacs": Metric("MACs (G)", 4, "exact", kinds=("cnn",), column="macs", scale=1e-9),
    "gflops": Metric("FLOPs (G)", 4, "exact", kinds=("cnn",), column="flops", scale=1e-9),
    "params_m": Metric("Parameters (M)", 2, "exact", kinds=("cnn",), column="params", scale=1e-6),
}
