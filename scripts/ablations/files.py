"""Writing files so that a reader sees either the old content or the new, and reading them within bounds."""

import gzip
import hashlib
import io
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

# Of a dataset or of weights, uncompressed, in bytes: a small archive can hold more than any memory.
LARGEST_FILE = 2**31


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; rename it to `path` if the block succeeds.

    The content is flushed to disk before the rename, so that a crash of the machine leaves no
    empty file under the final name. If the block raises, the temporary file is removed and the
    old content of `path` stays.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    # The kernel applies the umask. Reading it by setting it would change it for other threads.
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    mode = stat.S_IMODE(os.fstat(handle).st_mode)
    os.close(handle)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        # safetensors puts a private file of its own under this name.
        temporary.chmod(mode)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def gunzip(content: bytes) -> bytes:
    """The uncompressed content. Raises ValueError if it is larger than LARGEST_FILE, and what gzip raises."""
    with gzip.open(io.BytesIO(content)) as file:
        found = file.read(LARGEST_FILE + 1)
    if len(found) > LARGEST_FILE:
        raise ValueError(f"its uncompressed content is larger than {LARGEST_FILE:,} bytes")
    return found


def digest(path: Path, algorithm: str) -> str:
    """The hexadecimal digest (`sha256`, `md5`) of the content of `path`."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def is_there(path: Path) -> bool:
    """Whether `path` exists. Where pathlib raises, as in a folder that may not be read, it does not."""
    return os.path.exists(path)  # noqa: PTH110, as above


def first_existing(path: str, folders: Sequence[Path]) -> Path:
    """`path` in the first of the folders that has it, or in the last one if none has."""
    return next((found for folder in folders if is_there(found := folder / path)), folders[-1] / path)
