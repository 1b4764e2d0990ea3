"""Formats of datasets: idx files, the archive of CIFAR-10, and scikit-learn's digits.

Each is decoded to the same four arrays. torchvision's readers are not used: they open files by name, so
that the bytes which were verified would be read again, and unpickle CIFAR-10 without restrictions.
"""

import gzip
import io
import pickle
import struct
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ablations.config.datasets import Dataset
from ablations.data.staged import PARTS
from ablations.errors import AblationsError
from ablations.files import chunks

# The last 360 of scikit-learn's 1,797 digits (a fifth) are the test images.
DIGITS_TRAIN = 1437
# The code of a type of numbers in an idx file.
UNSIGNED_BYTES = 0x08
# The key is one of PARTS. Images are uint8 (n, channels, height, width), and labels int64 (n,).
Arrays = dict[str, np.ndarray]


def decode(format_name: str, contents: Mapping[str, bytes]) -> Arrays:
    """The arrays in the verified files of an `idx` or `cifar10` dataset, given by their role.

    Raises ValueError if the files are not of this format.
    """
    decoder = {"idx": _decode_idx, "cifar10": _decode_cifar10}[format_name]
    try:
        return decoder(contents)
    except Exception as error:  # the readers of damaged archives and pickles raise many types
        raise ValueError(str(error) or type(error).__name__) from error


def _decode_idx(contents: Mapping[str, bytes]) -> Arrays:
    arrays = {}
    for part in PARTS:
        content = _uncompressed(contents[part])
        if content[2] != UNSIGNED_BYTES:
            raise ValueError(f"the numbers of {part} are of type 0x{content[2]:02x}, and not unsigned bytes")
        rank = content[3]
        shape = struct.unpack(f">{rank}I", content[4 : 4 + 4 * rank])
        array = np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)
        arrays[part] = array[:, None] if part.endswith("images") else array
    for split in ("train", "test"):
        images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
        if labels.shape != images.shape[:1]:
            raise ValueError(f"the {split} images are {len(images)}, and the labels {labels.shape}")
        arrays[f"{split}_labels"] = labels.astype(np.int64)
    return arrays


def _uncompressed(content: bytes) -> bytes:
    if content[:2] != b"\x1f\x8b":
        return content
    return b"".join(chunks(gzip.GzipFile(fileobj=io.BytesIO(content))))


class _Bytes:
    """Stands for numpy's type of the pixels. numpy's own can be given a state that crashes the process."""

    def __init__(self, code: object, *ignored: object) -> None:
        if code not in ("u1", b"u1"):
            raise pickle.UnpicklingError(f"it has an array of type {code!r}, and not of unsigned bytes")

    def __setstate__(self, state: object) -> None:
        """The state says how the bytes of larger numbers are ordered."""


class _Array:
    """Stands for numpy's array while it is read: `array` is it afterwards."""

    array: np.ndarray

    def __setstate__(self, state: tuple[int, tuple[int, ...], _Bytes, bool, bytes]) -> None:
        _, shape, kind, is_fortran, content = state
        if not isinstance(kind, _Bytes):
            raise pickle.UnpicklingError("it has an array without a type")
        self.array = np.frombuffer(content, np.uint8).reshape(shape, order="F" if is_fortran else "C")


class _ArraysOnly(pickle._Unpickler):
    """Reads the pickles that CIFAR-10 is distributed as, and creates nothing but arrays of bytes.

    It is the one in Python: that in C reserves as much memory as a few bytes of a pickle ask for.
    """

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):
            return super().find_class(module, name)
        stands_for = {
            ("numpy", "ndarray"): _Array,
            ("numpy", "dtype"): _Bytes,
            ("numpy.core.multiarray", "_reconstruct"): _new_array,
            ("numpy._core.multiarray", "_reconstruct"): _new_array,
        }
        if (module, name) not in stands_for:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not an array")
        return stands_for[module, name]


def _new_array(cls: type, shape: tuple[int, ...], code: bytes) -> _Array:
    """An array whose state follows."""
    return _Array()


def _decode_cifar10(contents: Mapping[str, bytes]) -> Arrays:
    batches = {}
    with tarfile.open(fileobj=io.BytesIO(_uncompressed(contents["archive"])), mode="r:") as tar:
        for member in tar:
            name = Path(member.name).name
            file = tar.extractfile(member) if "_batch" in name else None
            if file is not None:
                batches[name] = _ArraysOnly(file, encoding="bytes").load()
                if not all(type(label) is int for label in batches[name][b"labels"]):
                    raise ValueError(f"the labels of {name} are not all integers")
    train = [batches[name] for name in sorted(batches) if name.startswith("data_batch")]
    arrays = {}
    for prefix, parts in (("train", train), ("test", [batches["test_batch"]])):
        arrays[f"{prefix}_images"] = np.concatenate([p[b"data"].array for p in parts]).reshape(-1, 3, 32, 32)
        arrays[f"{prefix}_labels"] = np.concatenate([p[b"labels"] for p in parts]).astype(np.int64)
    return arrays


def read_digits() -> Arrays:
    from sklearn.datasets import load_digits

    digits = load_digits()
    # The pixels are integers from 0 to 16.
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[:, None]
    labels = digits.target.astype(np.int64)
    return {
        "train_images": images[:DIGITS_TRAIN],
        "train_labels": labels[:DIGITS_TRAIN],
        "test_images": images[DIGITS_TRAIN:],
        "test_labels": labels[DIGITS_TRAIN:],
    }


def check(name: str, definition: Dataset, arrays: Mapping[str, np.ndarray]) -> None:
    """Raise AblationsError unless the arrays have the shape and classes of the definition."""
    shape, classes = tuple(definition.image_shape), definition.classes
    for split in ("train", "test"):
        images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
        if images.shape[1:] != shape or len(images) != len(labels):
            raise AblationsError(
                f"{name}: the {split} images have the shape {images.shape[1:]} and the config says "
                f"{shape}; there are {len(images)} images and {len(labels)} labels"
            )
        if len(labels) == 0 or labels.min() < 0 or labels.max() >= classes:
            raise AblationsError(
                f"{name}: the {split} labels are not all between 0 and {classes - 1}, which "
                f"datasets.{name}.classes requires"
            )
