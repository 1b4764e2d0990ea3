"""Folders that only their owner can enter. submitit keeps pickles there, and a pickle is code."""

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
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    with opened_private(folder):
        pass


@contextmanager
def opened_private(folder: Path) -> Iterator[Path]:
    """Yield a path that names the folder as it was checked, even if `folder` is renamed meanwhile.

    Raises WorkflowError if it is a link, belongs to another user, or can be entered by others.
    """
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise WorkflowError(
            f"{folder} is not a folder in which jobs can be kept ({error.strerror})"
        ) from None
    try:
        found = os.fstat(handle)
        if found.st_uid != os.getuid():
            raise WorkflowError(
                f"{folder} belongs to user {found.st_uid}, but you are user {os.getuid()}: its files "
                "could run any code as you. Move it away."
            )
        if stat.S_IMODE(found.st_mode) & 0o077:
            raise WorkflowError(
                f"{folder} is open to others (mode {stat.S_IMODE(found.st_mode):o}), who could have run any "
                f"code as you through its files. If you trust its content: chmod 700 {folder}"
            )
        # Linux has a name for the open folder itself; other systems rely on the check alone.
        alias = Path(f"/proc/self/fd/{handle}")
        yield alias if alias.exists() else folder
    finally:
        os.close(handle)
