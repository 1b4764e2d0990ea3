"""Kind `svm`: a support vector classifier, fitted to flattened images."""

from typing import Annotated, Literal

from pydantic import Field

from ablations.kinds.hyperparameters import FLOAT_OF_YAML, AllOrCount, Hyperparameters
from ablations.kinds.kind import Duration, Kind
from ablations.kinds.metrics import PEAK_MEMORY, TEST_ACCURACY, TEST_TIME, TRAIN_TIME, Metric
from ablations.kinds.record import IMAGE_TIMES, ImageRecord, Text

# Seconds of a run on 10,000 images, and of its start-up.
USUAL_S, USUAL_STARTUP_S = 10.0, 5.0


class SvmHyperparameters(Hyperparameters):
    """What determines a fitted support vector classifier; it has no seed, nothing is random."""

    kernel: Annotated[Literal["linear", "poly", "rbf", "sigmoid"], Field(description="kernel function")]
    train_samples: Annotated[AllOrCount, Field(description="how many of the first training images, or all")]
    C: Annotated[
        float,
        Field(gt=0, description="inverse strength of regularisation", allow_inf_nan=False),
        FLOAT_OF_YAML,
    ] = 1.0
    gamma: Annotated[
        Annotated[float, Field(gt=0, allow_inf_nan=False), FLOAT_OF_YAML] | Literal["scale", "auto"],
        Field(description="kernel coefficient"),
    ] = "scale"
    degree: Annotated[int, Field(ge=1, le=20, description="degree of the poly kernel")] = 3

    def conflict(self, model: str | None = None) -> str | None:
        defaults = type(self).model_fields
        if self.kernel != "poly" and self.degree != defaults["degree"].default:
            return f"degree belongs to the poly kernel, and has no meaning for {self.kernel}"
        if self.kernel == "linear" and self.gamma != defaults["gamma"].default:
            return "gamma has no meaning for the linear kernel"
        return None


class SvmRecord(ImageRecord):
    """The record of a support vector classifier: `backend` is what computed its kernel."""

    support_vectors: Annotated[int, Field(ge=1)]
    backend: Literal["pairwise_gram", "sklearn"]
    scikit_learn_version: Text


SVM = Kind(
    name="svm",
    noun="support vector machines",
    rule="fit_svm",
    threads=2,
    hyperparameters=SvmHyperparameters,
    record=SvmRecord,
    metrics={
        "test_accuracy": TEST_ACCURACY,
        "train_time_ms": TRAIN_TIME,
        "test_time_ms": TEST_TIME,
        "peak_memory_mb": PEAK_MEMORY,
        "support_vectors": Metric("support_vectors", "Support vectors", 0, "exact", better="lower"),
    },
    is_random=False,
    has_history=False,
    models_are_counted=False,
    duration=Duration(
        settings=("kernel",),
        usual_seconds=lambda images, macs: USUAL_S * (images / 10_000) ** 2 + USUAL_STARTUP_S,
    ),
    costs=("train_time_ms",),
    times=IMAGE_TIMES,
    libraries=("numpy", "scikit-learn"),
    # There is no architecture to choose.
    places=("dataset",),
    fixed={"model": "svc"},
    reads_staged_datasets=True,
    labels={
        "dataset": "Dataset",
        "kernel": "Kernel",
        "train_samples": "Training images",
        "C": "C",
        "gamma": "Gamma",
        "degree": "Degree",
    },
    clear_factors=("dataset", "kernel"),
)
