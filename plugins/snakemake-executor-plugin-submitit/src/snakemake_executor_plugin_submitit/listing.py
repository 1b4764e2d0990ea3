"""The names in a folder, listed again only if the folder may have changed."""

import os
import time
from pathlib import Path

from snakemake_executor_plugin_submitit.descriptors import check_left
from snakemake_executor_plugin_submitit.results import Result, parse_result_name, read_result

# A file system may keep times in steps of seconds, in which several changes look like one.
SETTLING_S = 5.0
# A folder is listed this often even if its time stays, for file systems that do not maintain it.
ANYWAY_S = 30.0


class Listing:
    """What a folder contains, for one thread that looks at it again and again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._modified_ns: int | None = None
        self._changed_at = self._listed_at = 0.0

    def names(self, anyway: bool = False) -> list[str] | None:
        """All names, or None if nothing can have changed since the last call that did not raise OSError.

        The folder is opened to be asked for its time: a network file system then asks its server.
        """
        handle = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            # Before the folder is listed: what changes meanwhile is then seen at the next call.
            modified_ns = os.fstat(handle).st_mtime_ns
            now = time.monotonic()
            is_same = modified_ns == self._modified_ns
            # The last listing counts, not this call: calls may be more seconds apart than a time settles in.
            settled = self._listed_at > self._changed_at + SETTLING_S
            if is_same and settled and now < self._listed_at + ANYWAY_S and not anyway:
                return None
            names = os.listdir(handle)  # noqa: PTH208, not by its path
        finally:
            os.close(handle)
        if not is_same:
            self._modified_ns, self._changed_at = modified_ns, now
        self._listed_at = now
        return names


class NewResults:
    """The results in a folder, each of which is read once."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._listing = folder, Listing(folder)
        self._read: set[str] = set()
        # Names of results that could not be read, and may be at the next look.
        self._unread: set[str] = set()

    def read(self, anyway: bool = False) -> dict[tuple[int, int], Result]:
        """Those that were not read before, by (pack, member); `anyway`, list the folder in any case."""
        found = {}
        try:
            names = self._listing.names(anyway) or ()
        except OSError as error:
            check_left(error)
            names = ()
        for name in (self._unread | set(names)) - self._read:
            if (at := parse_result_name(name)) is None:
                continue
            result = read_result(self._folder / name)
            if result is None:
                self._unread.add(name)
            else:
                found[at] = result
                self._unread.discard(name)
                self._read.add(name)
        return found
