"""The free places of a running pack, and the further runs that it takes."""

import logging
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from snakemake_interface_common.exceptions import WorkflowError

from snakemake_executor_plugin_submitit.member import Member
from snakemake_executor_plugin_submitit.places import (
    FOLDER,
    HANDED,
    TAKEN,
    WITHDRAWN,
    HandedRun,
    OpenPack,
    claim,
    list_places,
    open_path,
    read_handed,
)
from snakemake_executor_plugin_submitit.private_folder import opened_private
from snakemake_executor_plugin_submitit.results import refresh, write_json

log = logging.getLogger("submitit")

# The pauses between two looks for runs; they grow while none comes.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 2.0
# After this pause, a look makes a network file system list the folder again.
REFRESH_PAUSE_S = 0.5


class FreePlaces:
    """What a pack runs beside the members that it was submitted with: `members`, by number.

    It takes such runs from `open` on, until the allocation has no minute left, no member has run for
    `idle_s`, or its controller closes it. `until` is the end of the allocation, in seconds since the epoch.
    """

    def __init__(self, submission: Path, pack: int, idle_s: float, until: float) -> None:
        self._folder, self._pack, self._idle_s, self._until = submission / FOLDER, pack, idle_s, until
        self.members: dict[int, Member] = {}
        self._is_open = False
        self._free, self._pause_s, self._next_look = 0, FIRST_PAUSE_S, 0.0
        self._busy_at = time.monotonic()

    def open(self, places: int, kind: str) -> None:
        """Read what this pack has taken in an earlier attempt, and let the controller hand over more."""
        try:
            with opened_private(self._folder) as folder:
                refresh(folder)
                for run in self._runs(folder, TAKEN):
                    if member := _member_of(read_handed(folder, run)):
                        self.members[run.member] = member
                    else:
                        log.warning("run %d that was handed over cannot be read", run.member)
                said = OpenPack(places, self._until, time.time(), kind)
                write_json(open_path(folder, self._pack), asdict(said))
        except (OSError, WorkflowError) as error:
            log.warning("this allocation takes no further runs: %s", error)
            return
        self._is_open = True

    def close(self) -> None:
        """Take no more. What was handed over is left to the controller."""
        if self._is_open:
            self._is_open = False
            open_path(self._folder, self._pack).unlink(missing_ok=True)

    def await_more(self, busy: bool) -> bool:
        """Whether the pack goes on although no member waits; `busy` if one runs."""
        now = time.monotonic()
        if busy:
            self._busy_at = now
        elif now > self._busy_at + self._idle_s:
            self.close()
        return self._is_open

    def take(self, free: int) -> list[int]:
        """The numbers of at most `free` further runs. The folder is read only if it is time to look."""
        now = time.monotonic()
        if free > self._free:
            self._next_look, self._pause_s = now, FIRST_PAUSE_S
        self._free = free
        if not free or not self._is_open or now < self._next_look:
            return []
        taken: list[int] = []
        try:
            with opened_private(self._folder) as folder:
                if self._pause_s > REFRESH_PAUSE_S:
                    refresh(folder)
                if self._until < time.time() + 60 or not open_path(folder, self._pack).exists():
                    self.close()
                for run in self._runs(folder, HANDED) if self._is_open else ():
                    if len(taken) < free and self._takes(folder, run):
                        taken.append(run.member)
        except (OSError, WorkflowError) as error:
            log.warning("further runs cannot be read: %s", error)
        self._pause_s = FIRST_PAUSE_S if taken else min(1.5 * self._pause_s, LONGEST_PAUSE_S)
        self._next_look, self._free = now + self._pause_s, free - len(taken)
        return taken

    def _runs(self, folder: Path, state: str) -> list[HandedRun]:
        return [run for run in list_places(folder)[0] if run.pack == self._pack and run.state == state]

    def _takes(self, folder: Path, run: HandedRun) -> bool:
        """Claim a run, unless it cannot be read or too little time is left; the controller gets it back."""
        content = read_handed(folder, run)
        planned_min, member = content.get("runtime_min") if content else None, _member_of(content)
        in_time = isinstance(planned_min, int) and time.time() + 60 * planned_min <= self._until
        if member is None or not in_time:
            claim(folder, run.pack, run.member, WITHDRAWN)
            return False
        if not claim(folder, run.pack, run.member, TAKEN):
            return False
        self.members[run.member] = member
        return True


def _member_of(content: dict[str, Any] | None) -> Member | None:
    """The member that was handed over; None if it cannot be read, or another version described it."""
    try:
        return Member(**content["work"]) if content else None
    except (TypeError, KeyError):
        return None
