"""Image folders: every picture is staged as a viewer shows it, and what is left out is said."""

import logging
import os
from pathlib import Path

import numpy as np
import pytest
from ablations.config.datasets import Dataset
from ablations.data.sources import StagingRequest
from ablations.data.staged import open_staged, read_metadata
from ablations.data.staging import stage
from ablations.errors import AblationsError
from PIL import Image


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for split, count in (("train", 3), ("test", 2)):
        for label, name in enumerate(("cat", "dog")):
            (tmp_path / "pets" / split / name).mkdir(parents=True)
            for i in range(count):
                picture = Image.new("RGB", (9, 7), (100 * label + i, 0, 50))
                picture.save(tmp_path / "pets" / split / name / f"{i}.png")
    return tmp_path / "pets"


def image_folder(images: Path, **changes) -> StagingRequest:
    plain = {
        "format": "image_folder",
        "path": str(images),
        "image_shape": [3, 8, 8],
        "classes": 2,
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
    }
    return StagingRequest("pets", Dataset.model_validate(plain | changes))


def test_an_image_folder_is_resized_and_mixed(images, tmp_path):
    stage(image_folder(images), tmp_path / "pets.safetensors")
    dataset = open_staged(tmp_path / "pets.safetensors", "np")
    assert dataset.train.images.shape == (6, 3, 8, 8)
    assert sorted(dataset.train.labels.tolist()) == [0, 0, 0, 1, 1, 1]
    assert dataset.train.labels.tolist() != [0, 0, 0, 1, 1, 1], "the first few are not all of one class"
    assert all(
        (image[0] >= 100).all() == bool(label)
        for image, label in zip(dataset.train.images, dataset.train.labels, strict=True)
    )


def test_an_image_folder_may_be_grey(images, tmp_path):
    stage(image_folder(images, image_shape=[1, 8, 8], mean=[0.5], std=[0.5]), tmp_path / "p.safetensors")
    assert open_staged(tmp_path / "p.safetensors", "np").image_shape == (1, 8, 8)


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda p: (p / "train/cat/0.png").write_bytes(b"no image"), "0.png cannot be read as an image"),
        (lambda p: (p / "train").rename(p / "training"), "there is no folder .*train"),
        (lambda p: (p / "train/cow").mkdir(), r"has 3 classes \(cat, cow, dog\), and the config says 2"),
        (lambda p: (p / "test/cow").mkdir(), "has a class cow that train/ does not have"),
        (lambda p: empty(p / "train/dog"), "the class dog has no images in .*train"),
        (
            lambda p: unknown(p / "train/dog"),
            "the class dog has no .* it has 3 files without the suffix",
        ),
        (lambda p: [empty(p / "test" / name) for name in ("cat", "dog")], "the classes in .*test contain no"),
        (
            lambda p: save(np.zeros((9, 7), np.float32), p / "train/cat/f.tif"),
            "f.tif .*its mode is F, ",
        ),
        (lambda p: save(np.zeros((9, 7), np.int32), p / "test/cat/i.tif"), "i.tif .*its mode is I, numbers"),
        (lambda p: huge(p / "train/cat/0.png"), "0.png is too large .*scale it down"),
        (lambda p: cut(p / "train/cat/0.png"), "0.png cannot be read as an image"),
    ],
)
def test_a_wrong_image_folder_is_an_error(damage, expected, images, tmp_path):
    damage(images)
    with pytest.raises(AblationsError, match=expected):
        stage(image_folder(images), tmp_path / "pets.safetensors")
    assert not (tmp_path / "pets.safetensors").exists()


def empty(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


def unknown(folder: Path) -> None:
    for file in folder.iterdir():
        file.rename(file.with_suffix(".dat"))


def save(pixels: np.ndarray, path: Path) -> None:
    Image.fromarray(pixels).save(path)


def huge(path: Path) -> None:
    """A picture of 20000 × 10000 of one colour."""
    Image.new("1", (20_000, 10_000)).save(path)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


GREY = {"image_shape": [1, 8, 8], "mean": [0.5], "std": [0.5], "classes": 1}


def staged_grey(folder: Path, tmp_path: Path) -> np.ndarray:
    """The first training image of a folder whose pictures are all the same."""
    stage(image_folder(folder, **GREY | {"classes": 2}), tmp_path / "p.safetensors")
    return open_staged(tmp_path / "p.safetensors", "np").train.images[0, 0]


RAMP = np.arange(64, dtype=np.uint16).reshape(8, 8)


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_are_scaled(suffix, channels, images, tmp_path):
    for file in list(images.rglob("*.png")):
        file.unlink()
        save(RAMP * 1040, file.with_suffix(f".{suffix}"))
    shape = {"image_shape": [channels, 8, 8], "mean": [0.5] * channels, "std": [0.5] * channels}
    stage(image_folder(images, **shape), tmp_path / "p.safetensors")
    staged = open_staged(tmp_path / "p.safetensors", "np").train.images
    assert (staged == np.rint(RAMP * 1040 / 257)).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_pictures_of_eight_bits_keep_their_values(mode, images, tmp_path):
    for file in list(images.rglob("*.png")):
        file.unlink()
        Image.new("L", (8, 8), 255).convert(mode).save(file.with_suffix(".tif"))
    assert (staged_grey(images, tmp_path) == 255).all()


def test_a_picture_is_staged_upright(images, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    for file in list(images.rglob("*.png")):
        file.unlink()
        half = np.repeat(np.uint8([0, 255]), 4)[None].repeat(8, 0)  # dark left of bright
        Image.fromarray(half).save(file.with_suffix(".jpg"), exif=exif, quality=100)
    staged = staged_grey(images, tmp_path)
    assert staged[:4].max() < 50, "dark above bright"
    assert staged[4:].min() > 200


def test_pictures_in_subfolders_are_read_and_what_is_left_out_is_said(images, tmp_path, caplog):
    (images / "train/dog/batch1/left").mkdir(parents=True)
    for file in list((images / "train/dog").glob("*.png")):
        file.rename(images / "train/dog/batch1/left" / file.name)
    (images / "train/cat/loop").symlink_to(images / "train/cat")
    for name in ("a.dat", "b.dat", "without"):
        (images / "train/cat" / name).write_bytes(b"")
    (images / "test/list.txt").write_text("")
    frames = [Image.new("L", (8, 8), i) for i in (1, 2)]
    frames[0].save(images / "test/dog/pages.tif", save_all=True, append_images=frames[1:])
    Image.new("RGBA", (8, 8), (1, 2, 3, 0)).save(images / "train/dog/batch1/clear.png")
    empty(images / "test/cat")
    with caplog.at_level(logging.INFO):
        stage(image_folder(images), tmp_path / "p.safetensors")
    metadata = read_metadata(tmp_path / "p.safetensors")
    assert metadata["labels"] == {"cat": 0, "dog": 1}
    assert metadata["train"] == {"cat": 3, "dog": 4}
    assert metadata["test"] == {"cat": 0, "dog": 3}
    assert metadata["left_out"] == {
        "a file in train/ with the suffix .dat, which is of no picture, was left out": 2,
        "a file in train/ with no suffix was left out": 1,
        "a file in test/, outside the folders of classes, was left out": 1,
        "the class cat has no images in test/": 1,
        "a picture has several frames or pages, and the first one was taken": 1,
        "a picture has transparent pixels, and their own colours were taken": 1,
    }
    assert "class dog has the label 1: 4 train and 3 test images" in caplog.text
    assert all(what in caplog.text for what in metadata["left_out"])


def test_hidden_names_are_neither_classes_nor_pictures(images, tmp_path):
    for folder in (".ipynb_checkpoints", "__MACOSX", "cat/.thumbs", "cat/@eaDir"):
        (images / "train" / folder).mkdir()
        (images / "train" / folder / "0.png").write_bytes(b"no image")
    for name in ("._0.png", ".DS_Store", "Thumbs.db", "desktop.ini"):
        (images / "train/cat" / name).write_bytes(b"no image")
    stage(image_folder(images), tmp_path / "p.safetensors")
    metadata = read_metadata(tmp_path / "p.safetensors")
    assert (metadata["train"], metadata["left_out"]) == ({"cat": 3, "dog": 3}, {})


@pytest.mark.parametrize("closed", ["train", "train/cat", "test/dog"])
def test_a_folder_that_may_not_be_read_is_not_empty(closed, images, tmp_path, monkeypatch):
    iterate = Path.iterdir

    def refuse(folder: Path):
        if folder == images / closed:
            raise PermissionError(13, os.strerror(13), str(folder))
        return iterate(folder)

    # Not by its mode, which does not stop root.
    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(AblationsError, match=f"{closed} cannot be read .Permission denied"):
        stage(image_folder(images), tmp_path / "p.safetensors")
