"""The published part B on the real images: fetched, verified, fitted, and equal to the last digit."""

from pathlib import Path

import numpy as np
import pytest
from ablations.config.reading import load_config
from ablations.data.staged import open_staged, read_metadata
from ablations.kinds.svm import SvmHyperparameters
from ablations.training import svm
from checkout import PROJECT, Checkout
from sklearn.svm import SVC

pytestmark = pytest.mark.xdist_group("part B")


@pytest.fixture(scope="module")
def part_b(made_once) -> Checkout:
    def make(checkout: Checkout) -> None:
        tables = ("results/tables/part_b.tsv", "results/tables/part_b_vs_published.tsv")
        done = checkout.snakemake("--config", "studies=[part_b]", "--", *tables)
        assert done.returncode == 0, done.stdout + done.stderr

    return made_once("part_b", make)


def staged_file(checkout: Checkout, dataset: str) -> Path:
    (path,) = checkout.root.glob(f"data/{dataset}-*.safetensors")
    return path


def test_all_four_accuracies_are_the_published_ones(part_b):
    lines = (part_b.root / "results/tables/part_b.tsv").read_text().splitlines()
    assert [line.split("\t")[:4] for line in lines[1:]] == [
        ["mnist", "rbf", "10000", "95.94"],
        ["mnist", "poly", "10000", "95.15"],
        ["fashion_mnist", "rbf", "10000", "85.31"],
        ["fashion_mnist", "poly", "10000", "81.66"],
    ]
    compared = (part_b.root / "results/tables/part_b_vs_published.tsv").read_text()
    assert compared.count("\treproduced") == 4
    assert compared.count("\tnot comparable") == 4


def test_the_images_are_verified_and_whole(part_b):
    files = [PROJECT / "config/datasets.yaml", PROJECT / "config/config.yaml"]
    definitions = load_config(files, root=PROJECT).datasets
    for name in ("mnist", "fashion_mnist"):
        path = staged_file(part_b, name)
        dataset = open_staged(path, "np")
        assert dataset.train.images.shape == (60000, 1, 28, 28)
        assert np.bincount(dataset.test.labels).sum() == 10000
        staged = read_metadata(path)["definition"]["files"]["train_images"]["sha256"]
        assert staged == definitions[name].files["train_images"].sha256


# Each dataset and each kernel once, and 4,000 images: the accuracies of all four fits to 10,000 are compared
# above, and scikit-learn's own take most of a minute each.
@pytest.mark.parametrize(("dataset", "kernel"), [("mnist", "rbf"), ("fashion_mnist", "poly")])
def test_labels_equal_scikit_learns_on_every_test_image(part_b, dataset, kernel):
    staged = open_staged(staged_file(part_b, dataset), "np", 4_000)
    train = staged.train.images.reshape(4_000, -1)
    test = staged.test.images.reshape(10_000, -1)
    hp = SvmHyperparameters(kernel=kernel, train_samples=4_000)
    ours = svm.fit(train, staged.train.labels, hp)
    theirs = SVC(kernel=kernel).fit(train / 255, staged.train.labels)
    assert ours.support_vectors == len(theirs.support_)
    assert (ours.predict(test) == theirs.predict(test / 255)).all()
