"""Support vector classification with exact kernels from matrix products.

scikit-learn's `SVC(kernel=…)` computes each kernel value separately, one scalar product at a time. Here
matrix products compute them, and prediction is a matrix product too. The solver is the same: libsvm, through
`SVC(kernel="precomputed")`. libsvm trains one machine for each pair of classes, and so does this module:
only the kernel values of one pair are in memory at a time.

Pixels are integers from 0 to 255. Minus 128 they lie within ±128, a product of two lies within 2**14, and a
sum of up to 1,024 products within 2**24. float32 represents every such partial sum exactly, in any order of
summation. The fast single-precision product therefore gives exact scalar products.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sklearn import config_context
from sklearn.svm import SVC

from ablations.errors import AblationsError
from ablations.kinds.svm import SvmHyperparameters

# The number of products that float32 sums exactly: 2**24 / 128**2.
EXACT_FEATURES = 1024
# The rows of a tile of kernel values. With a thousand columns of float64, a tile stays in a core's cache
# during the passes over it, and is large enough for an efficient matrix product.
TILE_ROWS = 256
# The number of images that prediction processes at a time.
PREDICT_ROWS = 2048
OVERFLOW = "the values of the kernel overflow: lower gamma, degree or C, or exclude this point from the grid"


@dataclass(frozen=True)
class Classifier:
    """A fitted classifier. `predict` takes uint8 pixels (n, features) and returns labels (n,)."""

    backend: str
    support_vectors: int
    predict: Callable[[np.ndarray], np.ndarray]


def fit(
    pixels: np.ndarray,
    labels: np.ndarray,
    hyperparameters: SvmHyperparameters,
    memory_mb: float = float("inf"),
) -> Classifier:
    """Fit a classifier to uint8 `pixels` (n, features), divided by 255, and `labels` (n,).

    If the kernel matrices do not fit in `memory_mb`, scikit-learn's SVC is used, which keeps only a part of
    a matrix in memory. `backend` names the implementation that was used.

    Raises AblationsError if all labels are of one class, or values of the kernel overflow, which `predict`
    may raise as well.
    """
    classes, counts = np.unique(labels, return_counts=True)
    if len(classes) < 2:
        if hyperparameters.train_samples == "all":
            raise AblationsError(f"all {len(labels)} training images are of one class")
        raise AblationsError(
            f"the first {len(labels)} training images are all of one class; raise train_samples"
        )
    try:
        # Overflows are errors below, and not warnings.
        with np.errstate(all="ignore"):
            if kernel_memory_mb(counts, pixels.shape[1]) > memory_mb:
                return _fit_sklearn(pixels, labels, hyperparameters, memory_mb)
            return _fit_pairs(pixels, labels, classes, hyperparameters)
    except ValueError as error:  # which libsvm's coefficients that are not finite give
        raise AblationsError(f"{OVERFLOW} ({error})") from None


def kernel_memory_mb(counts: np.ndarray, features: int) -> float:
    """The memory in MB that `_fit_pairs` needs for classes of `counts` images.

    It consists of the kernel matrix of the two largest classes, the matrix of each class with itself, and
    the pixels as float32, which exist twice while they are sorted by class.
    """
    largest = int(np.sort(counts)[-2:].sum())
    matrices = largest**2 + int((counts.astype(np.int64) ** 2).sum())
    return (8 * matrices + 8 * int(counts.sum()) * features) / 1e6


def _fit_sklearn(
    pixels: np.ndarray, labels: np.ndarray, hp: SvmHyperparameters, memory_mb: float
) -> Classifier:
    svc = SVC(
        kernel=hp.kernel,
        C=hp.C,
        gamma=hp.gamma,
        degree=hp.degree,
        cache_size=max(200, memory_mb / 2),
    )
    svc.fit(pixels / 255, labels)
    return Classifier("sklearn", len(svc.support_), lambda pixels: svc.predict(pixels / 255))


def _fit_pairs(
    pixels: np.ndarray, labels: np.ndarray, classes: np.ndarray, hp: SvmHyperparameters
) -> Classifier:
    kernel = Kernel(hp, Pixels(pixels))
    members = [Pixels(pixels[labels == c]) for c in classes]
    counts = [len(member) for member in members]
    diagonal = [kernel(member, member) for member in members]
    room = np.empty(sum(sorted(counts)[-2:]) ** 2)
    coefficients = [np.zeros((count, len(classes))) for count in counts]
    intercepts = {}
    # The input of SVC is finite by construction; SVC need not check it.
    with config_context(assume_finite=True):
        for i, j in itertools.combinations(range(len(classes)), 2):
            split, n = counts[i], counts[i] + counts[j]
            matrix = room[: n * n].reshape(n, n)
            matrix[:split, :split], matrix[split:, split:] = diagonal[i], diagonal[j]
            kernel(members[i], members[j], out=matrix[:split, split:])
            matrix[split:, :split] = matrix[:split, split:].T
            svc = SVC(kernel="precomputed", C=hp.C).fit(matrix, np.repeat([0, 1], (split, counts[j])))
            # For two classes scikit-learn inverts libsvm's signs: positive means class 1.
            weights = np.zeros(n)
            weights[svc.support_] = -svc.dual_coef_[0]
            coefficients[i][:, j], coefficients[j][:, i] = weights[:split], weights[split:]
            intercepts[i, j] = -svc.intercept_[0]
    kept = [np.flatnonzero(weights.any(axis=1)) for weights in coefficients]
    vote = _Vote(
        kernel,
        classes,
        [member[keep] for member, keep in zip(members, kept, strict=True)],
        [weights[keep] for weights, keep in zip(coefficients, kept, strict=True)],
        intercepts,
    )
    return Classifier("pairwise_gram", sum(map(len, kept)), vote)


class Pixels:
    """Images as float32 rows of integers minus 128, with what their scalar products need."""

    def __init__(self, pixels: np.ndarray) -> None:
        # The margins of most classes are black. Such a column adds nothing to any scalar product.
        self.active = pixels.any(axis=0)
        self.rows = pixels.astype(np.float32)
        # Integers below 2**53 are exact in float64, in any order of summation.
        self.squares = np.einsum("ij,ij->i", self.rows, self.rows, dtype=np.float64)
        self.rows -= 128

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: slice | np.ndarray) -> "Pixels":
        part = object.__new__(Pixels)
        part.active, part.rows, part.squares = self.active, self.rows[rows], self.squares[rows]
        return part

    def variance(self) -> float:
        """The variance of all pixels, divided by 255."""
        n = self.rows.size
        mean = self.rows.sum(dtype=np.float64) / n + 128
        return (self.squares.sum() / n - mean**2) / 255**2


class Kernel:
    """The kernel function of a fit, on pixels divided by 255."""

    def __init__(self, hp: SvmHyperparameters, training: Pixels) -> None:
        self.name, self.degree = hp.kernel, hp.degree
        features = training.rows.shape[1]
        if hp.gamma == "scale":
            variance = training.variance()
            self.gamma = 1 / (features * variance) if variance else 1.0
        else:
            self.gamma = 1 / features if hp.gamma == "auto" else float(hp.gamma)

    def __call__(self, left: Pixels, right: Pixels, out: np.ndarray | None = None) -> np.ndarray:
        """The kernel values between the rows of `left` (n) and `right` (m), as float64 (n, m)."""
        if out is None:
            out = np.empty((len(left), len(right)))
        both = left.active & right.active
        columns = slice(None) if both.all() else np.flatnonzero(both)
        x, y = left.rows[:, columns], right.rows[:, columns]
        # The products of pixels, computed from those of pixels minus 128:
        # (x' + 128)·(y' + 128) = x'·y' + 128 Σx' + (128 Σy' + 128² columns)
        of_row = 128.0 * x.sum(axis=1, dtype=np.float64)
        of_column = 128.0 * y.sum(axis=1, dtype=np.float64) + 128.0**2 * x.shape[1]
        scale = (1.0 if self.name == "linear" else self.gamma) / 255**2
        if self.name == "rbf":
            # −γ |x − y|² = 2γ x·y − γ |x|² − γ |y|²
            of_row -= left.squares / 2
            of_column -= right.squares / 2
            scale *= 2
        of_row *= scale
        of_column *= scale
        for start in range(0, len(x), TILE_ROWS):
            tile = slice(start, start + TILE_ROWS)
            values = out[tile]
            np.multiply(_products(x[tile], y), scale, out=values, dtype=np.float64)
            values += of_row[tile, None]
            values += of_column
            self._nonlinear(values)
        return out

    def _nonlinear(self, values: np.ndarray) -> None:
        if self.name == "rbf":
            np.exp(values, out=values)
        elif self.name == "sigmoid":
            np.tanh(values, out=values)
        elif self.name == "poly":
            # np.power takes ten times as long as repeated products.
            base = values.copy()
            for _ in range(self.degree - 1):
                values *= base


def _products(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The exact x @ y.T of integers within ±128, in float64 if float32 would round."""
    if x.shape[1] <= EXACT_FEATURES:
        return x @ y.T
    total = np.zeros((len(x), len(y)))
    for start in range(0, x.shape[1], EXACT_FEATURES):
        columns = slice(start, start + EXACT_FEATURES)
        total += x[:, columns] @ y[:, columns].T
    return total


@dataclass(frozen=True)
class _Vote:
    """libsvm's prediction: each pair of classes votes, and the first class with the most votes wins.

    `coefficients[c]` contains, for each support vector of class c, its weight against every class, which is
    zero for the pairs that it does not support.
    """

    kernel: Kernel
    classes: np.ndarray
    support: list[Pixels]
    coefficients: list[np.ndarray]
    intercepts: dict[tuple[int, int], float]

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        images = Pixels(pixels)
        # sums[c][:, d] is the contribution of the support vectors of class c to the pair of c and d.
        sums = [self._contribution(images, c) for c in range(len(self.classes))]
        votes = np.zeros((len(images), len(self.classes)), np.int32)
        for (i, j), intercept in self.intercepts.items():
            first = sums[i][:, j] + sums[j][:, i] + intercept > 0
            votes[:, i] += first
            votes[:, j] += ~first
        return self.classes[votes.argmax(axis=1)]

    def _contribution(self, images: Pixels, c: int) -> np.ndarray:
        support, weights = self.support[c], self.coefficients[c]
        total = np.empty((len(images), len(self.classes)))
        for start in range(0, len(images), PREDICT_ROWS):
            rows = slice(start, start + PREDICT_ROWS)
            with np.errstate(all="ignore"):
                total[rows] = self.kernel(images[rows], support) @ weights
        if not np.isfinite(total).all():
            raise AblationsError(OVERFLOW)
        return total
