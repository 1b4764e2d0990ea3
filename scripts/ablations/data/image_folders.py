"""Image folders: pictures in train/CLASS and test/CLASS, decoded without loss that nobody was told of."""

import logging
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ablations.config.datasets import Dataset
from ablations.data.formats import Arrays
from ablations.errors import AblationsError
from ablations.files import open_regular

log = logging.getLogger(__name__)

# Files and folders that systems and tools put beside pictures, with every name that begins with a dot.
HIDDEN = {"__MACOSX", "@eaDir", "Thumbs.db", "desktop.ini"}
# Modes of Pillow that hold 8 bits per channel, or one; all of I;16 hold 16. The range of I and F is unknown.
EIGHT_BITS = {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"}
# What Pillow may take a file for. Others, such as PostScript, it gives to programs of the system.
FORMATS = ("BMP", "GIF", "ICO", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "TGA", "TIFF", "WEBP")
# Errors and notes name at most this many classes.
SHOWN = 20


@dataclass
class Contents:
    """What a folder holds: its classes in the order of their labels, and what was left out and why."""

    classes: list[str]
    images: dict[str, dict[str, int]] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)

    def described(self) -> dict[str, Any]:
        """For the metadata of the staged file: labels, images by split and class, and what was left out."""
        labels = {name: label for label, name in enumerate(self.classes)}
        return {"labels": labels, **self.images, "left_out": dict(self.left_out)}


def read_image_folder(name: str, definition: Dataset, folder: Path) -> tuple[Arrays, Contents]:
    """The arrays of an image folder, shuffled with a fixed seed.

    Raises AblationsError for a layout, class or picture that cannot be used, with its name.
    """
    for split in ("train", "test"):
        if not (folder / split).is_dir():
            raise AblationsError(
                f"{name}: there is no folder {folder / split}; {folder} must contain train/CLASS/IMAGE and "
                "test/CLASS/IMAGE"
            )
    contents = Contents(_classes(folder / "train"))
    if len(contents.classes) != definition.classes:
        shown = ", ".join(contents.classes[:SHOWN]) + (", …" if len(contents.classes) > SHOWN else "")
        raise AblationsError(
            f"{name}: {folder / 'train'} has {len(contents.classes)} classes ({shown}), and the config says "
            f"{definition.classes}; correct datasets.{name}.classes or the folder"
        )
    arrays = {}
    for split in ("train", "test"):
        images, labels = _read_split(name, definition, folder, split, contents)
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = images, labels
    for label, each in enumerate(contents.classes):
        counts = " and ".join(f"{of_class[each]} {split}" for split, of_class in contents.images.items())
        log.info("%s: class %s has the label %d: %s images", name, each, label, counts)
    for what, count in contents.left_out.items():
        log.warning("%s: %d × %s", name, count, what)
    return arrays, contents


def _entries(folder: Path) -> list[Path]:
    """What is in a folder and not hidden, sorted by name."""
    try:
        return sorted(e for e in folder.iterdir() if not e.name.startswith(".") and e.name not in HIDDEN)
    except OSError as error:
        raise AblationsError(f"{folder} cannot be read ({error.strerror})") from None


def _classes(folder: Path) -> list[str]:
    return [entry.name for entry in _entries(folder) if entry.is_dir()]


def _files(folder: Path, above: tuple[str, ...] = ()) -> Iterator[Path]:
    """The files in a folder and its subfolders; a link to a folder above is not followed."""
    real = os.path.realpath(folder)
    for entry in _entries(folder) if real not in above else ():
        if entry.is_dir():
            yield from _files(entry, (*above, real))
        else:
            yield entry


def _read_split(
    name: str, definition: Dataset, folder: Path, split: str, contents: Contents
) -> tuple[np.ndarray, np.ndarray]:
    from PIL import Image

    if unknown := set(_classes(folder / split)) - set(contents.classes):
        raise AblationsError(f"{name}: {folder / split} has a class {min(unknown)} that train/ does not have")
    outside = sum(not entry.is_dir() for entry in _entries(folder / split))
    contents.left_out[f"a file in {split}/, outside the folders of classes, was left out"] += outside
    suffixes = Image.registered_extensions()
    files: list[tuple[Path, int]] = []
    counts = contents.images.setdefault(split, {})
    for label, each in enumerate(contents.classes):
        found = list(_files(folder / split / each)) if (folder / split / each).is_dir() else []
        counts[each] = 0
        for file in found:
            if file.suffix.lower() in suffixes:
                files.append((file, label))
                counts[each] += 1
                continue
            suffix = f"the suffix {file.suffix}, which is of no picture," if file.suffix else "no suffix"
            contents.left_out[f"a file in {split}/ with {suffix} was left out"] += 1
        if not counts[each] and split == "train":
            others = f"; it has {len(found)} files without the suffix of a picture" if found else ""
            raise AblationsError(f"{name}: the class {each} has no images in {folder / split}{others}")
        if not counts[each]:
            contents.left_out[f"the class {each} has no images in {split}/"] += 1
    if not files:
        raise AblationsError(f"{name}: the classes in {folder / split} contain no images")
    contents.left_out = +contents.left_out  # without those that are 0
    channels, height, width = definition.image_shape
    images = np.empty((len(files), channels, height, width), np.uint8)
    for i, (file, _) in enumerate(files):
        pixels = _pixels(name, file, (channels, height, width), contents)
        images[i] = pixels.reshape(height, width, channels).transpose(2, 0, 1)
    # In the order of the classes, the first `train_samples` images could all be of one class.
    order = np.random.default_rng(0).permutation(len(files))
    return images[order], np.array([label for _, label in files], np.int64)[order]


def _pixels(name: str, file: Path, shape: tuple[int, int, int], contents: Contents) -> np.ndarray:
    """The pixels of a picture, upright as viewers show it, in the size and channels of the dataset."""
    from PIL import Image, ImageOps

    channels, height, width = shape
    try:
        with open_regular(file) as content, Image.open(content, formats=FORMATS) as opened:
            # Cameras put a small copy behind the picture, and call that MPO.
            if getattr(opened, "n_frames", 1) > 1 and opened.format != "MPO":
                contents.left_out["a picture has several frames or pages, and the first one was taken"] += 1
            image = _eight_bits(ImageOps.exif_transpose(opened), opened.format)
            if image.has_transparency_data and image.convert("RGBA").getextrema()[3][0] < 255:
                contents.left_out["a picture has transparent pixels, and their own colours were taken"] += 1
            image = image.convert("L" if channels == 1 else "RGB")
            return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    except Image.DecompressionBombError as error:
        raise AblationsError(f"{name}: {file} is too large ({error}); scale it down first") from None
    except Exception as error:  # Pillow's readers raise many types, and all mean that the file is unusable
        raise AblationsError(f"{name}: {file} cannot be read as an image ({error})") from None


def _eight_bits(image: Any, file_format: str | None) -> Any:
    """The picture with 8 bits per channel. Raises ValueError if the range of its values is unknown."""
    from PIL import Image

    # The reader of PGM scales to 16 bits, whatever its mode.
    if image.mode.startswith("I;16") or (image.mode == "I" and file_format == "PPM"):
        return Image.fromarray(np.rint(np.asarray(image.convert("I")) / 257).astype(np.uint8))
    if image.mode not in EIGHT_BITS:
        raise ValueError(
            f"its mode is {image.mode}, numbers of an unknown range; save it with 8 or 16 bits per channel"
        )
    return image
