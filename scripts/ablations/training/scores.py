"""Scores of a classifier on its test set, beyond the accuracy, from its logits and predicted classes.

In float64, whatever the precision of the training.
"""

import numpy as np

from ablations.kinds.hyperparameters import spell

# The bins of confidence of the calibration error, as in Guo et al. (2017).
BINS = 15


def scores(logits: np.ndarray, predicted: np.ndarray, labels: np.ndarray) -> dict[str, object]:
    """The columns of a record that come from the logits of the last evaluation.

    Shapes: (images, classes) of `logits`, (images,) of the others. `predicted` is given and not computed, so
    that a tie of two logits counts as it does in the accuracy. All logits are finite.
    """
    accuracies = class_accuracies(predicted, labels, logits.shape[1])
    return {
        "test_macro_f1": 100 * macro_f1(predicted, labels),
        "test_ece": 100 * calibration_error(logits, predicted == labels),
        "test_nll": negative_log_likelihood(logits, labels),
        "worst_class_accuracy": 100 * float(np.nanmin(accuracies)),
        "test_class_accuracy": ";".join("" if np.isnan(a) else spell(round(100 * a, 6)) for a in accuracies),
    }


def class_accuracies(predicted: np.ndarray, labels: np.ndarray, classes: int) -> list[float]:
    """The share of the images of each class that are classified correctly; NaN for a class without images."""
    images = np.bincount(labels, minlength=classes)
    correct = np.bincount(labels[predicted == labels], minlength=classes)
    return [int(c) / int(n) if n else float("nan") for c, n in zip(correct, images, strict=True)]


def macro_f1(predicted: np.ndarray, labels: np.ndarray) -> float:
    """The mean over classes of F1, the harmonic mean of precision and recall.

    A class that is neither a label nor predicted is left out, as by scikit-learn's `f1_score`.
    """
    classes = 1 + max(int(predicted.max()), int(labels.max()))
    both = np.bincount(labels[predicted == labels], minlength=classes)
    either = np.bincount(predicted, minlength=classes) + np.bincount(labels, minlength=classes)
    return float(np.mean(2 * both[either > 0] / either[either > 0]))


def calibration_error(logits: np.ndarray, correct: np.ndarray) -> float:
    """The expected calibration error, with BINS bins of equal width that contain their upper bound.

    It is the mean over images of |accuracy − mean confidence| of the bin of the image; the confidence is the
    largest probability. Source: Guo et al., On calibration of modern neural networks, ICML 2017, equation 3.
    """
    confidence = np.exp(_log_probabilities(logits).max(1))
    bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    gaps = np.bincount(bins, weights=correct - confidence, minlength=BINS)
    return min(1.0, float(np.abs(gaps).sum()) / len(correct))


def negative_log_likelihood(logits: np.ndarray, labels: np.ndarray) -> float:
    """The mean of −log p of the labels, in nats: the cross-entropy."""
    return float(-_log_probabilities(logits)[np.arange(len(labels)), labels].mean())


def _log_probabilities(logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
