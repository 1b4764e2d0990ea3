"""Support vector machines: scikit-learn's results from exact kernels."""

import numpy as np
import pytest
from ablations.errors import AblationsError
from ablations.kinds.svm import SvmHyperparameters
from ablations.training import svm
from sklearn.datasets import load_digits
from sklearn.metrics.pairwise import pairwise_kernels
from sklearn.svm import SVC

DIGITS = load_digits()
PIXELS = np.rint(DIGITS.data * 255 / 16).astype(np.uint8)
TRAIN, TEST = slice(0, 1200), slice(1200, None)
RNG = np.random.default_rng(0)


def hyperparameters(**changes) -> SvmHyperparameters:
    return SvmHyperparameters(**{"kernel": "rbf", "train_samples": 1200} | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"kernel": "linear"},
        {"kernel": "poly"},
        {"kernel": "poly", "degree": 1},
        {"kernel": "poly", "degree": 5},
        {"kernel": "rbf"},
        {"kernel": "rbf", "gamma": 0.02, "C": 10.0},
        {"kernel": "rbf", "gamma": "auto"},
        {"kernel": "sigmoid"},
    ],
    ids=str,
)
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_labels_and_support_vectors_equal_scikit_learns(changes, classes):
    hp = hyperparameters(**changes)
    own = DIGITS.target[TRAIN] < classes
    train, labels = PIXELS[TRAIN][own], DIGITS.target[TRAIN][own]
    ours = svm.fit(train, labels, hp)
    theirs = SVC(kernel=hp.kernel, C=hp.C, gamma=hp.gamma, degree=hp.degree).fit(train / 255, labels)
    assert ours.backend == "pairwise_gram"
    assert ours.support_vectors == len(theirs.support_)
    assert (ours.predict(PIXELS[TEST]) == theirs.predict(PIXELS[TEST] / 255)).all()


@pytest.mark.parametrize("name", ["linear", "poly", "rbf", "sigmoid"])
@pytest.mark.parametrize("features", [784, 1024, 3072])
def test_kernel_values_are_those_of_the_definition(name, features):
    x = RNG.integers(0, 256, (70, features)).astype(np.uint8)
    y = RNG.integers(0, 256, (30, features)).astype(np.uint8)
    x[:, :100] = 0  # a black margin, which is left out of the products
    kernel = svm.Kernel(hyperparameters(kernel=name), svm.Pixels(x))
    parameters = {"linear": {}, "rbf": {"gamma": kernel.gamma}}.get(name, {"gamma": kernel.gamma, "coef0": 0})
    expected = pairwise_kernels(x / 255, y / 255, metric=name, **parameters)
    np.testing.assert_allclose(kernel(svm.Pixels(x), svm.Pixels(y)), expected, rtol=1e-11, atol=1e-12)


def test_gamma_scale_is_scikit_learns():
    x = RNG.integers(0, 256, (50, 784)).astype(np.uint8)
    theirs = SVC(gamma="scale").fit(x / 255, np.arange(50) % 2)._gamma
    assert svm.Kernel(hyperparameters(), svm.Pixels(x)).gamma == pytest.approx(theirs, rel=1e-12)


def test_products_of_extreme_pixels_are_exact():
    """All black against all white is the largest sum that float32 has to hold."""
    x = np.zeros((2, svm.EXACT_FEATURES), np.uint8)
    x[1] = 255
    rows = svm.Pixels(x).rows
    expected = rows.astype(np.int64) @ rows.astype(np.int64).T
    assert (svm._products(rows, rows) == expected).all()


def test_beyond_the_memory_scikit_learn_does_the_work():
    counts = np.unique(DIGITS.target[TRAIN], return_counts=True)[1]
    needed = svm.kernel_memory_mb(counts, 64)
    args = (PIXELS[TRAIN], DIGITS.target[TRAIN], hyperparameters())
    small, large = svm.fit(*args, memory_mb=needed * 0.9), svm.fit(*args, memory_mb=needed * 1.1)
    assert (small.backend, large.backend) == ("sklearn", "pairwise_gram")
    assert (small.predict(PIXELS[TEST]) == large.predict(PIXELS[TEST])).all()


@pytest.mark.parametrize(
    "changes",
    [
        {"kernel": "poly", "degree": 20, "gamma": 10.0},
        {"kernel": "rbf", "gamma": 1e300},
        {"kernel": "sigmoid", "gamma": 1e308},
    ],
    ids=str,
)
def test_a_kernel_that_overflows_is_an_error(changes):
    with pytest.raises(AblationsError, match="the values of the kernel overflow: lower gamma"):
        svm.fit(PIXELS[:100], DIGITS.target[:100], hyperparameters(**changes))


def test_a_kernel_that_overflows_beyond_the_memory_is_an_error_too():
    hp = hyperparameters(kernel="poly", degree=20, gamma=10.0)
    with pytest.raises(AblationsError, match="the values of the kernel overflow"):
        svm.fit(PIXELS[:100], DIGITS.target[:100], hp, memory_mb=0.001)


def test_images_of_one_class_are_an_error():
    with pytest.raises(AblationsError, match="all 30 training images are of one class"):
        svm.fit(PIXELS[:30], np.zeros(30), hyperparameters(train_samples="all"))
    with pytest.raises(AblationsError, match="the first 30 training images are all of one class"):
        svm.fit(PIXELS[:30], np.zeros(30, np.int64), hyperparameters())
