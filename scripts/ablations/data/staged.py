"""Staged datasets: one memory-mapped safetensors file each, opened by a run in milliseconds."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, safe_open

from ablations.errors import AblationsError
from ablations.files import open_regular

PARTS = ("train_images", "train_labels", "test_images", "test_labels")


@dataclass(frozen=True)
class Split:
    """Images as uint8, shape (n, channels, height, width), and their labels as int64, shape (n,).

    Both are numpy arrays or torch tensors, depending on how the dataset was opened.
    """

    images: Any
    labels: Any

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class StagedDataset:
    """A verified dataset, with what a run needs to know about it.

    `mean` and `std` are per channel, of pixels scaled to the range 0 to 1. `sha256` is the digest of all
    arrays. `validation` are training images that were held out.
    """

    name: str
    sha256: str
    image_shape: tuple[int, int, int]
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    train: Split
    test: Split
    validation: Split | None = None


def read_metadata(path: Path) -> dict[str, Any]:
    """What `staging.stage` wrote about the dataset: its name, definition, source and digests.

    Raises AblationsError if `path` is not a staged dataset.
    """
    try:
        with _opened(path, "np") as file:
            found = json.loads((file.metadata() or {})["dataset"])
            _check(found, {part: file.get_slice(part) for part in PARTS})
            return found
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise AblationsError(_not_staged(path, error)) from None


def _opened(path: Path, framework: str) -> Any:
    # safetensors would wait for the writer of a pipe.
    open_regular(path).close()
    return safe_open(path, framework=framework)


def _check(metadata: Any, parts: dict[str, Any]) -> None:
    """Raise ValueError, KeyError or TypeError unless the metadata and the arrays are of one dataset."""
    definition = metadata["definition"]
    shape, channels = definition["image_shape"], definition["image_shape"][0]
    numbers = [*shape, definition["classes"], *definition["mean"], *definition["std"]]
    if not all(isinstance(number, (int, float)) and 0 <= number < 1e6 for number in numbers):
        raise ValueError("its definition has other values than numbers")
    if not len(definition["mean"]) == len(definition["std"]) == channels:
        raise ValueError("its definition has not one mean and deviation for each channel")
    if not all(isinstance(metadata[key], str) for key in ("name", "sha256")):
        raise ValueError("its name or digest is not text")
    for split in ("train", "test"):
        images, labels = parts[f"{split}_images"], parts[f"{split}_labels"]
        count = images.get_shape()[0]
        types = images.get_dtype(), labels.get_dtype()
        if images.get_shape()[1:] != shape or labels.get_shape() != [count] or types != ("U8", "I64"):
            raise ValueError(f"its {split} arrays have other shapes or types than its definition")


def count_images(path: Path) -> int | None:
    """The number of training images of a staged dataset, or None if `path` is not one."""
    try:
        with _opened(path, "np") as file:
            return file.get_slice("train_labels").get_shape()[0] or None
    except (OSError, SafetensorError, IndexError):
        return None


def open_staged(
    path: Path,
    framework: Literal["np", "pt"],
    train_samples: int | Literal["all"] = "all",
    digest: str | None = None,
) -> StagedDataset:
    """Open a staged dataset with the first `train_samples` training images.

    With `pt` the tensors are views of the mapped file: each page is read when it is first used, and
    runs on the same machine share the pages. With `np` the arrays are copies.

    Raises AblationsError if the file is not a staged dataset, has fewer training images, or was
    staged from a definition whose digest is not `digest`.
    """
    metadata = read_metadata(path)
    if digest is not None and metadata.get("definition_digest") != digest:
        raise AblationsError(
            f"{path} was staged from another definition of {metadata['name']} than the config's (its "
            "shape, normalisation, classes or files differ); remove the file to stage the dataset again, "
            "or set data_dir to another directory"
        )
    definition = metadata["definition"]
    try:
        with _opened(path, framework) as file:
            available = file.get_slice("train_labels").get_shape()[0]
            count = available if train_samples == "all" else train_samples
            if count > available:
                raise AblationsError(
                    f"train_samples is {count}, and {metadata['name']} has {available} training "
                    "images; lower train_samples, or set it to 'all'"
                )
            if framework == "np":
                train = Split(*(file.get_slice(f"train_{p}")[:count] for p in ("images", "labels")))
            else:
                train = Split(*(file.get_tensor(f"train_{p}")[:count] for p in ("images", "labels")))
            test = Split(*(file.get_tensor(f"test_{p}") for p in ("images", "labels")))
    except (OSError, SafetensorError) as error:
        raise AblationsError(_not_staged(path, error)) from None
    return StagedDataset(
        name=metadata["name"],
        sha256=metadata["sha256"],
        image_shape=tuple(definition["image_shape"]),
        classes=definition["classes"],
        mean=tuple(definition["mean"]),
        std=tuple(definition["std"]),
        train=train,
        test=test,
    )


def _not_staged(path: Path, error: Exception) -> str:
    return (
        f"{path} is not a staged dataset ({error}); remove the file and rerun the workflow, which stages "
        "it again, or run scripts/stage_dataset.py"
    )
