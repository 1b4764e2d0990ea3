"""Kind `cnn`: one of torchvision's classifiers, trained on images."""

from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar, Literal

from ablations.kinds.architectures import TORCHVISION_CLASSIFIERS
from ablations.kinds.cnn_hyperparameters import CnnHyperparameters
from ablations.kinds.kind import Duration, Kind
from ablations.kinds.metrics import (
    FROM_ZERO,
    PEAK_MEMORY,
    PERCENT,
    TEST_ACCURACY,
    TEST_TIME,
    TRAIN_TIME,
    Metric,
)
from ablations.kinds.record import IMAGE_TIMES, ImageRecord, Images, NotNegative, Percent, Positive, Text

# The published resnet18: 60,000 images of 33.2 million multiply-accumulates, 5 epochs in 408 s.
PUBLISHED_MACS_PER_S = 60_000 * 33.184e6 * 5 / 408
MACS_NOTE = (
    "MACs are multiply-accumulate operations counted by thop, for the forward pass of one image. Some "
    "publications call them FLOPs."
)
FLOPS_NOTE = (
    "FLOPs are floating-point operations counted by torch, two per multiply-accumulate, for the forward pass "
    "of one image."
)
# thop and torch count different operations. A larger relative difference is noted below a table.
COUNTERS_DISAGREE = 0.05


class CnnRecord(ImageRecord):
    """The record of a network, with the path that its training took.

    `batches` says where they came from, `cuda_graph` whether steps were launched as one, and
    `pin_memory_effective` is false where nothing was transferred to an accelerator. On a GPU, `warm_up_ms` is
    the part of the training time in which kernels were loaded and the step was recorded, and
    `reserved_memory_mb` what torch held of the GPU's memory at most; `host_peak_mb` is then the memory of the
    process. `test_class_accuracy` has the accuracy of each class in percent, in the order of the classes,
    between semicolons. Where images were held out, `best_epoch` is the first with the highest validation
    accuracy. `model_sha256` is the digest of the file that built a model of the user's own, and
    `model_imports_sha256` that of what it imported from beside itself. `shares_process` is true where other
    runs took their turns in the same process.
    """

    ADDED: ClassVar[tuple[str, ...]] = (
        *ImageRecord.ADDED,
        "batches",
        "cuda_graph",
        "deterministic",
        "warm_up_ms",
        "reserved_memory_mb",
        "host_peak_mb",
        "test_macro_f1",
        "test_ece",
        "test_nll",
        "worst_class_accuracy",
        "test_class_accuracy",
        "val_accuracy",
        "val_loss",
        "val_samples",
        "best_epoch",
        "test_accuracy_at_best",
        "model_sha256",
        "model_imports_sha256",
        "shares_process",
    )

    test_macro_f1: Percent | None = None
    test_ece: Percent | None = None
    test_nll: NotNegative | None = None
    worst_class_accuracy: Percent | None = None
    test_class_accuracy: Text | None = None
    val_accuracy: Percent | None = None
    val_loss: NotNegative | None = None
    val_samples: Images | None = None
    best_epoch: Positive | None = None
    test_accuracy_at_best: Percent | None = None
    train_accuracy: Percent | None = None
    train_loss: float | None = None
    batches: Literal["device", "host"] | None = None
    cuda_graph: bool | None = None
    deterministic: bool | None = None
    warm_up_ms: NotNegative | None = None
    reserved_memory_mb: NotNegative | None = None
    host_peak_mb: NotNegative | None = None
    pin_memory_effective: bool
    precision_effective: Text
    weights_not_loaded: Text | None = None
    model_sha256: Text | None = None
    model_imports_sha256: Text | None = None
    shares_process: bool | None = None
    torch_version: Text
    torchvision_version: Text


def _idle(records: Collection[Mapping[str, str]], metric: Metric) -> list[str]:
    """pin_memory, which times alone show where something is transferred, and precision where there is one."""
    pinned = {record.get("pin_memory_effective") for record in records if record.get("pin_memory") == "true"}
    asked, got = ({record.get(name) for record in records} for name in ("precision", "precision_effective"))
    has_one = len(asked) > 1 and len(got) == 1 and None not in got
    is_idle = pinned == {"false"} or metric.noise != "time"
    return ["pin_memory"] * is_idle + ["precision"] * has_one


def _notes(records: Sequence[Mapping[str, str]], metrics: Collection[str]) -> list[str]:
    """Models that changed, settings without effect, times that are not comparable, counters that disagree."""
    notes = []
    versions: dict[str, dict[str, set[str]]] = {}
    for record in records:
        of_file = versions.setdefault(record["model"], {}).setdefault(record.get("model_sha256") or "", set())
        # An older record does not tell what the file imported.
        of_file |= {record["model_imports_sha256"]} if record.get("model_imports_sha256") else set()
    for model, files in versions.items():
        count = sum(max(len(imports), 1) for imports in files.values())
        if count > 1:
            notes.append(f"The runs of {model} were made by {count} versions of its code.")
    idle = [r for r in records if r["pin_memory"] == "true" and r["pin_memory_effective"] == "false"]
    if any(record["device"] == "cpu" for record in idle):
        notes.append("pin_memory had no effect on machines without an accelerator.")
    if any(record["device"] != "cpu" for record in idle):
        notes.append("pin_memory had no effect where the images were stored on the accelerator.")
    if len({record.get("batches") for record in records if record["device"] != "cpu"}) > 1:
        notes.append(
            "Some runs read their batches from the device and others from the host; their times are not "
            "comparable."
        )
    counted = [record for record in records if "macs" in record and {"gmacs", "gflops"} & set(metrics)]
    for record in {record["model"]: record for record in counted}.values():
        excess = int(record["flops"]) / (2 * int(record["macs"])) - 1
        if abs(excess) > COUNTERS_DISAGREE:
            percent = f"{100 * excess:+.0f} %".replace("-", "−")
            notes.append(
                f"The counters disagree for {record['model']}: torch's FLOPs differ from twice thop's MACs "
                f"by {percent}. One of them does not support a layer of this model."
            )
    return notes


CNN = Kind(
    name="cnn",
    noun="networks",
    rule="train_cnn",
    # Two threads gain almost nothing on small images, and lose everything when another process is busy.
    threads=1,
    hyperparameters=CnnHyperparameters,
    record=CnnRecord,
    metrics={
        "test_accuracy": TEST_ACCURACY,
        "train_accuracy": Metric(
            "train_accuracy", "Training accuracy", 2, "unknown", "%", "higher", limits=PERCENT
        ),
        "train_loss": Metric("train_loss", "Training loss", 4, "unknown", better="lower", limits=FROM_ZERO),
        "val_accuracy": Metric(
            "val_accuracy",
            "Validation accuracy",
            2,
            "proportion",
            "%",
            "higher",
            items="val_samples",
            noun="validation images",
        ),
        "val_loss": Metric("val_loss", "Validation loss", 4, "unknown", better="lower", limits=FROM_ZERO),
        "test_accuracy_at_best": Metric(
            "test_accuracy_at_best",
            "Test accuracy at the best epoch",
            2,
            "proportion",
            "%",
            "higher",
            items="test_samples",
            noun="test images",
            note="The best epoch of a run is the first with its highest validation accuracy.",
        ),
        "test_macro_f1": Metric(
            "test_macro_f1", "Test macro F1", 2, "unknown", "%", "higher", limits=PERCENT
        ),
        "worst_class_accuracy": Metric(
            "worst_class_accuracy", "Worst class accuracy", 2, "unknown", "%", "higher", limits=PERCENT
        ),
        "test_ece": Metric("test_ece", "Test calibration error", 2, "unknown", "%", "lower", limits=PERCENT),
        "test_nll": Metric(
            "test_nll", "Test negative log-likelihood", 4, "unknown", "nats", "lower", limits=FROM_ZERO
        ),
        "train_time_ms": TRAIN_TIME,
        "test_time_ms": TEST_TIME,
        "peak_memory_mb": PEAK_MEMORY,
        "gmacs": Metric("macs", "MACs", 4, "exact", "G", "lower", scale=1e-9, note=MACS_NOTE),
        "gflops": Metric("flops", "FLOPs", 4, "exact", "G", "lower", scale=1e-9, note=FLOPS_NOTE),
        "params_m": Metric("params", "Parameters", 2, "exact", "M", "lower", scale=1e-6),
    },
    is_random=True,
    has_history=True,
    models_are_counted=True,
    duration=Duration(
        settings=("batch_size", "optimizer", "precision", "channels_last"),
        usual_seconds=lambda images, macs: images * macs / PUBLISHED_MACS_PER_S,
        repeats="epochs",
        once=("startup_time_ms", "warm_up_ms"),
    ),
    costs=("train_time_ms", "gmacs", "params_m"),
    times=IMAGE_TIMES,
    libraries=("numpy", "torch", "torchvision"),
    reads_staged_datasets=True,
    models=TORCHVISION_CLASSIFIERS,
    model_noun="torchvision classification model",
    labels={
        "dataset": "Dataset",
        "model": "Model",
        "batch_size": "Batch size",
        "optimizer": "Optimizer",
        "lr": "Learning rate",
        "epochs": "Epochs",
        "pin_memory": "Pinned memory",
        "momentum": "Momentum",
        "weight_decay": "Weight decay",
        "precision": "Precision",
        "channels_last": "Channels last",
        "train_samples": "Training images",
        "pretrained": "Pretrained",
        "nesterov": "Nesterov momentum",
        "beta1": "β1",
        "beta2": "β2",
        "schedule": "Schedule",
        "warmup_epochs": "Warm-up epochs",
        "label_smoothing": "Label smoothing",
        "clip_norm": "Clipped norm",
        "dropout": "Dropout",
        "augment": "Augmentation",
        "validation": "Validation share",
        "data_seed": "Data seed",
    },
    clear_factors=("dataset", "model", "optimizer"),
    notes=_notes,
    idle=_idle,
    can_keep=("weights", "logits"),
    chosen_by=("val_accuracy", "val_loss"),
    held_out="validation",
    at_best={"test_accuracy": "test_accuracy_at_best"},
)
