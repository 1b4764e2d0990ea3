"""Further runs for allocations that run: which places are free, and what is handed to them or taken back."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import dropwhile
from typing import Any, NamedTuple

from snakemake_executor_plugin_submitit.manifest import ManifestMember
from snakemake_executor_plugin_submitit.places import (
    FOLDER,
    TAKEN,
    WITHDRAWN,
    OpenPack,
    claim,
    hand,
    list_places,
    open_path,
    read_open,
    withdrawn,
)
from snakemake_executor_plugin_submitit.queue_watch import QueueWatch
from snakemake_executor_plugin_submitit.resources import Request, kind_of
from snakemake_executor_plugin_submitit.submissions import (
    Submissions,
    SubmittedMember,
    TrackedSubmission,
    WaitingJob,
)

# How often a network file system is made to list the places again.
REFRESH_S = 10.0
# More minutes than any run may take.
LONGEST_MIN = 10**9


class Opening(NamedTuple):
    """A pack that takes runs."""

    tracked: TrackedSubmission
    pack: int
    said: OpenPack

    @property
    def job(self) -> str:
        """The id of its allocation."""
        return self.tracked.submission.jobs[self.pack]

    @property
    def attempt(self) -> tuple[str, int, float]:
        """The attempt of the pack: a requeue begins another one."""
        return self.tracked.submission.id, self.pack, self.said.started

    def busy(self) -> int:
        """How many of its members have not ended, with those that it has not taken yet."""
        members = self.tracked.submission.packs[self.pack]
        return sum(
            bool(each["key"]) and (self.pack, m) not in self.tracked.results for m, each in enumerate(members)
        )

    def hand(self, described: ManifestMember, runtime_min: int, work: dict[str, Any]) -> int:
        """Hand a run to it, and return its number. Raises OSError."""
        members = self.tracked.submission.packs[self.pack]
        content = {"described": described, "runtime_min": runtime_min, "work": work}
        hand(self.tracked.submission.folder / FOLDER, self.pack, len(members), content)
        members.append({**described, "made_at": time.time()})
        return len(members) - 1

    def suits(self, request: Request) -> bool:
        """Whether a run with this request can run there: it asks for the same, and time is left for it.

        The pack says what it was submitted with: the profile of an earlier call may have been another.
        """
        return self.said.kind == kind_of(request) and 60 * request.runtime_min < self.said.until - time.time()


class Refill:
    """The free places of running packs, as the last look showed them.

    The watching thread alone calls it, and the main thread once the watching thread has ended; so it needs
    no lock.
    """

    def __init__(self, submissions: Submissions, watch: QueueWatch, parallel: int) -> None:
        self._submissions, self._watch, self._parallel = submissions, watch, parallel
        self._openings: list[Opening] = []
        self._handed: dict[str, dict[tuple[int, int], str]] = {}
        # When each attempt of a pack was first seen to be open.
        self._opened: dict[tuple[str, int, float], float] = {}
        self._refreshed = time.monotonic()
        # The minutes of the shortest run that an attempt of a pack returned: its clock may differ from the
        # one here. A shorter run, or a later attempt with its whole time, may be taken.
        self._refused: dict[tuple[str, int, float], int] = {}
        # Free places for which a run that waits elsewhere was taken back.
        self._promised = 0

    @property
    def is_open(self) -> bool:
        """Whether a pack takes runs."""
        return bool(self._openings)

    def has_handed(self, submission: str) -> bool:
        """Whether runs were handed to packs of this submission."""
        return bool(self._handed.get(submission))

    def look(self) -> None:
        """Read which packs are open, and what has become of the runs that were handed to them."""
        self._openings, self._handed, self._promised = [], {}, 0
        is_due = time.monotonic() > self._refreshed + REFRESH_S
        if is_due:
            self._refreshed = time.monotonic()
        for known in (self._opened, self._refused):
            for attempt in [each for each in known if each[0] not in self._submissions.tracked]:
                del known[attempt]
        for tracked in self._submissions.tracked.values():
            folder = tracked.submission.folder / FOLDER
            if is_due:
                tracked.submission.refresh(folder)
            handed, opened = list_places(folder)
            self._handed[tracked.submission.id] = {(run.pack, run.member): run.state for run in handed}
            for pack in opened:
                said = read_open(folder, pack) if pack < len(tracked.submission.jobs) else None
                if said is not None and self._is_running(tracked, pack, said):
                    self._openings.append(Opening(tracked, pack, said))

    def _is_running(self, tracked: TrackedSubmission, pack: int, said: OpenPack) -> bool:
        """Whether the queue agrees, unless its answer is older: a pack that was killed is open forever."""
        submission = tracked.submission
        now = time.monotonic()
        seen = self._opened.setdefault((submission.id, pack, said.started), now)
        job = submission.jobs[pack]
        return not self._watch.is_over(job) and not (
            self._watch.is_waiting(job) and self._watch.asked_at > seen
        )

    def free(self) -> dict[str, int]:
        """How many places are free for runs of each kind of request."""
        found: dict[str, int] = {}
        for each in self._openings:
            if not self._refuses(each) and (count := each.said.places - each.busy()) > 0:
                found[each.said.kind] = found.get(each.said.kind, 0) + count
        return found

    def _refuses(self, opening: Opening, runtime_min: int = LONGEST_MIN) -> bool:
        return runtime_min >= self._refused.get(opening.attempt, LONGEST_MIN + 1)

    def place_for(self, request: Request, ahead: bool = False) -> Opening | None:
        """The pack with the most room for a run; None if there is none.

        It has a free place or, `ahead`, fewer runs that wait than places.
        """
        rooms = [
            ((2 if ahead else 1) * each.said.places - each.busy(), -i, each)
            for i, each in enumerate(self._openings)
            if each.suits(request) and not self._refuses(each, request.runtime_min)
        ]
        room, _, found = max(rooms, default=(0, 0, None))
        return found if room > 0 else None

    def hand_over(
        self, jobs: Sequence[WaitingJob], size: int, hand: Callable[[WaitingJob, Opening], None]
    ) -> list[WaitingJob]:
        """Hand jobs with equal requests to packs that run; return those for further packs of that `size`.

        If no more packs may be submitted, jobs are handed over ahead of a free place, or wait here until
        there is room.
        """
        # Where one of them finds no place, the next finds none either.
        left = list(dropwhile(lambda each: self._hands(each, hand, ahead=False), jobs))
        fit = size * self._room_for_packs(left[0].request) if left else 0
        rest = dropwhile(lambda each: self._hands(each, hand, ahead=True), left[fit:])
        self._submissions.add(*(replace(each, held=True) for each in rest))
        return left[:fit]

    def _hands(self, waiting: WaitingJob, hand: Callable[[WaitingJob, Opening], None], ahead: bool) -> bool:
        found = None if self._submissions.stopped else self.place_for(waiting.request, ahead)
        try:
            if found is not None:
                hand(waiting, found)
        except OSError:
            # For example on a full disk. It waits, or an allocation of its own is tried.
            return False
        return found is not None

    def _room_for_packs(self, request: Request) -> int:
        """How many more allocations of a request may run at the same time."""
        alive = sum(
            not self._watch.is_over(job)
            for each in self._submissions.tracked.values()
            if each.request is not None and kind_of(each.request) == kind_of(request)
            for job in each.submission.jobs
        )
        return max(0, self._parallel - alive)

    def is_returned(self, member: SubmittedMember) -> bool:
        """Whether a run that was handed over must be placed again: it never runs where it was handed to.

        It is taken back from a pack that takes no more runs, and for a place that is free elsewhere.
        """
        at, submission = (member.pack, member.member), member.submission
        state = self._handed.get(submission.id, {}).get(at)
        if state is None or state == TAKEN:
            return False
        if state == WITHDRAWN:
            for each in self._openings:
                if (each.tracked.submission.id, each.pack) == (submission.id, member.pack):
                    shortest = self._refused.get(each.attempt, LONGEST_MIN)
                    self._refused[each.attempt] = min(shortest, member.waiting.request.runtime_min)
        elif not self._is_needed_back(member) or not claim(submission.folder / FOLDER, *at, WITHDRAWN):
            return False
        submission.packs[member.pack][member.member] = withdrawn(submission.packs[member.pack][member.member])
        return True

    def _is_needed_back(self, member: SubmittedMember) -> bool:
        at = [each for each in self._openings if each.tracked.submission is member.submission]
        here = next((each for each in at if each.pack == member.pack), None)
        if here is None:
            return True
        if here.busy() <= here.said.places:
            return False
        place = self.place_for(member.waiting.request)
        if place is None or self._promised >= place.said.places - place.busy():
            return False
        self._promised += 1
        return True

    def close(self) -> None:
        """Tell the open packs that nothing more is to come."""
        for each in self._openings:
            open_path(each.tracked.submission.folder / FOLDER, each.pack).unlink(missing_ok=True)
