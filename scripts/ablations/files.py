"""Writing files so that a reader sees either the old content or the new, and reading them within bounds."""

import errno
import hashlib
import io
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ablations.errors import AblationsError

# Of a dataset or of weights, uncompressed, in bytes: a small archive can hold more than any memory.
LARGEST_FILE = 2**31
# Of a text: a record, a state, a history, a published table.
LARGEST_TEXT = 2**26
CHUNK = 2**20


def refuse_links(*paths: Path) -> None:
    """Raise AblationsError if one of the paths below the working directory is a link, or leads through one.

    The first directory may be a link, such as `results` on a scratch file system, if it was made by the user,
    by the owner of the working directory or by root. Further down, a link may have been planted by whoever
    gave the directory away, so that files elsewhere are overwritten.
    """
    here, seen = Path.cwd(), set[Path]()
    for path in paths:
        place = Path(os.path.normpath(here / path))
        if not place.is_relative_to(here):
            continue  # a place that the user named, such as a data_dir elsewhere
        for each in (place, *place.parents):
            if each == here or each in seen:
                break
            seen.add(each)
            if each.is_symlink() and not (each.parent == here and _is_trusted(each, here)):
                raise AblationsError(
                    f"{each} is a link to {each.readlink()}, and nothing is written through it: remove "
                    "it. Only a first directory, such as results, may be a link, and one of your own"
                )


def _is_trusted(link: Path, directory: Path) -> bool:
    return link.lstat().st_uid in (os.geteuid(), directory.stat().st_uid, 0)


def open_own(path: Path, flags: int) -> int:
    """Open the user's own regular file at `path`, and return its descriptor; `flags` may create it.

    Raises OSError for anything else, such as a link or a second name of another file.
    """
    handle = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    found = os.fstat(handle)
    if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and found.st_nlink == 1:
        return handle
    os.close(handle)
    raise OSError(errno.EPERM, "it is not a regular file of yours, or has a second name", str(path))


@contextmanager
def atomic_path(path: Path, *, to_disk: bool = True) -> Iterator[Path]:
    """Yield a temporary name beside `path`; rename it to `path` if the block succeeds.

    The content is flushed to disk before the rename, so that a crash of the machine leaves no
    empty file under the final name; without `to_disk` it may, and nobody waits for the disk. If the block
    raises, the temporary file is removed and the old content of `path` stays.

    Raises AblationsError if a link leads there (see `refuse_links`). A link under the final name is replaced.
    """
    path = Path(path)
    refuse_links(path.parent)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    # The kernel applies the umask. Reading it by setting it would change it for other threads.
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
    mode = stat.S_IMODE(os.fstat(handle).st_mode)
    os.close(handle)
    try:
        yield temporary
        if to_disk:
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
        # safetensors puts a private file of its own under this name.
        temporary.chmod(mode)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str, *, to_disk: bool = True) -> None:
    """Write `text` to `path` as UTF-8, atomically."""
    with atomic_path(path, to_disk=to_disk) as temporary:
        temporary.write_text(text, encoding="utf-8")


def chunks(file: io.BufferedIOBase, most: int | None = None) -> Iterator[bytes]:
    """The content of an open file in parts; ValueError when it is larger than `most`, or LARGEST_FILE."""
    most = left = LARGEST_FILE if most is None else most
    while chunk := file.read(CHUNK):
        if (left := left - len(chunk)) < 0:
            raise ValueError(f"its content is larger than {most:,} bytes")
        yield chunk


def digest(path: Path, algorithm: str) -> str:
    """The hexadecimal digest (`sha256`, `md5`) of the content of `path`, a regular file."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def open_regular(path: Path) -> io.BufferedReader:
    """`path`, opened for reading. Raises OSError, also for a pipe or a device, which may have no end."""
    # Without O_NONBLOCK, opening a pipe would wait for its writer.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return os.fdopen(handle, "rb")


def read_bytes(path: Path, most: int = LARGEST_TEXT) -> bytes:
    """The content of a regular file. Raises OSError, also where it has more than `most` bytes."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise OSError(errno.EFBIG, f"it has {size:,} bytes, and at most {most:,} are read", str(path))
        # A file may grow meanwhile.
        return file.read(size)


def read_text(path: Path, most: int = LARGEST_TEXT) -> str:
    """The content of a regular file as UTF-8, each end of a line as `\\n`, and without a byte order mark.

    Raises OSError as `read_bytes`, and UnicodeDecodeError, a ValueError, for other encodings.
    """
    text = read_bytes(path, most).decode("utf-8-sig")
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def changed_at(path: Path) -> int | None:
    """When a file was last changed, in nanoseconds; None if it does not exist, or no longer."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def is_there(path: Path) -> bool:
    """Whether `path` exists. Where pathlib raises, as in a folder that may not be read, it does not."""
    return os.path.exists(path)  # noqa: PTH110, as above


def first_existing(path: str, folders: Sequence[Path]) -> Path:
    """`path` in the first of the folders that has it, or in the last one if none has."""
    return next((found for folder in folders if is_there(found := folder / path)), folders[-1] / path)
