"""Lanes: what members are told, so that one process of their program can carry out several of them."""

import contextlib
import logging
import shutil
import tempfile
from collections.abc import Iterator

log = logging.getLogger("submitit")

# In the environment of a member: how many may share a process, and the folder in which they find it. The
# README documents both.
LANES, FOLDER = "SNAKEMAKE_SUBMITIT_LANES", "SNAKEMAKE_SUBMITIT_LANES_FOLDER"


@contextlib.contextmanager
def shared_folder(lanes: int, places: int) -> Iterator[dict[str, str | None]]:
    """Make the folder for a pack with that many lanes; yield the environment of its members."""
    alone: dict[str, str | None] = {LANES: None, FOLDER: None}
    if min(lanes, places) < 2:
        yield alone
        return
    try:
        # On this node, and for this user alone. Not a TemporaryDirectory: each member is a fork of this
        # process and would remove it when it ends.
        folder = tempfile.mkdtemp(prefix="lanes-")
    except OSError as error:
        log.warning("no lanes (%s): each member has a process of its own", error)
        yield alone
        return
    try:
        yield {LANES: str(lanes), FOLDER: folder}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
