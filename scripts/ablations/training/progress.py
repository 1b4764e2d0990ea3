"""How far a training is, and what it has measured."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Epoch:
    """One row of a history. Losses are means per image; accuracies are in percent.

    `seconds` is the time of the training, and `test_seconds` that of the evaluation on the test images.
    `val_accuracy` and `val_loss` are there where images were held out.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    test_accuracy: float
    seconds: float
    test_seconds: float
    images_per_s: float
    val_accuracy: float | None = None
    val_loss: float | None = None


@dataclass
class Training:
    """The result of a training: its status (`ok`, `diverged`), times in seconds, and history.

    `warm_up_seconds` are those of the first steps on a GPU, in which kernels are loaded and the step is
    recorded; they are a part of `train_seconds`.
    """

    status: str
    train_seconds: float
    warm_up_seconds: float
    test_seconds: float
    history: list[Epoch] = field(default_factory=list)


@dataclass
class TrainingProgress:
    """The progress of a training: `step` of `epoch`, and the sums since the epoch began."""

    epoch: int = 1
    step: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    epoch_seconds: float = 0.0
    train_seconds: float = 0.0
    warm_up_seconds: float = 0.0
    test_seconds: float = 0.0
    history: list[Epoch] = field(default_factory=list)
