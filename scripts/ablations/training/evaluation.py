"""What a model predicts for the images of a split."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from ablations.training.batches import Batches

# The pixels in a batch of the evaluation: 500 images of 28×28, and fewer larger ones, so that evaluation
# needs no more memory than training. It keeps no activations for a backward pass.
PIXELS = 500 * 28 * 28


@dataclass(frozen=True)
class Evaluation:
    """The predicted class of each image and its label, both on the CPU.

    `logits`, float32 of shape (images, classes), are there where they were kept. `is_finite` tells whether
    all of them are: those that are not are no predictions.
    """

    predicted: torch.Tensor
    labels: torch.Tensor
    logits: torch.Tensor | None
    is_finite: bool

    @property
    def correct(self) -> torch.Tensor:
        """Whether each image is classified correctly."""
        return self.predicted == self.labels

    @property
    def accuracy(self) -> float:
        """The share of correct images, in percent."""
        return 100 * int(self.correct.sum()) / len(self.labels)

    @property
    def loss(self) -> float:
        """The mean cross-entropy per image. The logits must have been kept."""
        assert self.logits is not None
        return float(F.cross_entropy(self.logits.double(), self.labels))


@torch.no_grad()
def evaluate(
    logits_of: Callable[[torch.Tensor], torch.Tensor],
    batches: Batches,
    labels: torch.Tensor,
    size: int,
    *,
    keep: bool,
) -> Evaluation:
    """Evaluate all images of a split, `size` at a time; `keep` their logits."""
    predicted, kept, finite = [], [], []
    for images, _ in batches.take(range(len(labels)), size):
        logits = logits_of(images)
        predicted.append(logits.argmax(1))
        finite.append(logits.isfinite().all())
        if keep:
            kept.append(logits)
    all_kept = torch.cat(kept).cpu() if keep else None
    return Evaluation(torch.cat(predicted).cpu(), labels, all_kept, bool(torch.stack(finite).all()))
