"""Folders that only their owner can enter. submitit keeps pickles there, and a pickle is code."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from snakemake_interface_common.exceptions import WorkflowError


def make_private(folder: Path) -> None:
    """Create `folder` for its owner alone, or check that an existing one is private.

    Raises WorkflowError if it is a link, belongs to another user, or can be entered by others.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    close_to_others(folder.parent)
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    with opened_private(folder):
        pass


def close_to_others(folder: Path) -> None:
    """Take from others the right to write into `folder`, where they could exchange what is executed.

    With a umask of 002, Snakemake makes `.snakemake` writable by the group.

    Raises WorkflowError if it belongs to another user, or is a link that another user has made.
    """
    own = folder.is_symlink() and folder.lstat().st_uid == os.getuid()
    with _opened(folder.resolve() if own else folder) as handle:
        mode = stat.S_IMODE(os.fstat(handle).st_mode)
        if mode & 0o022:
            os.fchmod(handle, mode & ~0o022)


@contextmanager
def opened_private(folder: Path) -> Iterator[Path]:
    """Yield a path that names the folder as it was checked, even if `folder` is renamed meanwhile.

    Raises WorkflowError if it is a link, belongs to another user, or can be entered by others.
    """
    with _opened(folder) as handle:
        mode = stat.S_IMODE(os.fstat(handle).st_mode)
        if mode & 0o077:
            raise WorkflowError(
                f"{folder} is open to others (mode {mode:o}), who could have run any code as you through its "
                f"files. If you trust its content: chmod 700 {folder}"
            )
        # Linux has a name for the open folder itself; other systems rely on the check alone.
        alias = Path(f"/proc/self/fd/{handle}")
        yield alias if alias.exists() else folder


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    """A descriptor of a folder of the user. Raises WorkflowError if it is a link or somebody else's."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise WorkflowError(
            f"{folder} is not a folder in which jobs can be kept ({error.strerror})"
        ) from None
    try:
        owner = os.fstat(handle).st_uid
        if owner != os.getuid():
            raise WorkflowError(
                f"{folder} belongs to user {owner}, but you are user {os.getuid()}: its files could run any "
                "code as you. Move it away."
            )
        yield handle
    finally:
        os.close(handle)


def open_log(path: Path) -> int:
    """Open a log to be appended to, and return its descriptor.

    Raises OSError if it is a link, or leads through one below the working directory's own entries.
    """
    here = Path.cwd()
    for each in (path, *path.parents):
        if each.parent != here and each.is_relative_to(here) and each != here and each.is_symlink():
            raise OSError(errno.ELOOP, "it is a link, and nothing is written through it", str(each))
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o666)
