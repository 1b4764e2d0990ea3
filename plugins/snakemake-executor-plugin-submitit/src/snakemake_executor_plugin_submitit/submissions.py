"""The jobs of this call: those that wait to be submitted, and the submissions that contain the others."""

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from snakemake_interface_executor_plugins.jobs import JobExecutorInterface

from snakemake_executor_plugin_submitit.folder import Submission
from snakemake_executor_plugin_submitit.listing import NewResults
from snakemake_executor_plugin_submitit.resources import Request, kind_of
from snakemake_executor_plugin_submitit.results import Result

# Jobs that arrive one by one are collected for at most this many times the linger.
LONGEST_LINGER = 10


@dataclass
class WaitingJob:
    """A job to be submitted, at the time `since` or later.

    `again` counts how often it was submitted and lost its allocation, `refused` how often SLURM refused it.
    A `held` job waits for others to fill a pack or for a free place in one, and one that waits for `room` for
    a job of this call to end.
    """

    job: JobExecutorInterface
    request: Request
    key: str
    since: float = field(default_factory=time.monotonic)
    again: int = 0
    refused: int = 0
    held: bool = False
    room: bool = False


@dataclass
class SubmittedMember:
    """A job that was submitted as member `member` of pack `pack` of a submission."""

    submission: Submission
    pack: int
    member: int
    waiting: WaitingJob

    @property
    def external_id(self) -> str:
        """The id of its allocation."""
        return self.submission.jobs[self.pack]

    @property
    def log(self) -> str:
        """The path of its log."""
        return self.submission.packs[self.pack][self.member]["log"]


@dataclass
class TrackedSubmission:
    """A submission, the members that Snakemake waits for as (pack, member), and their results."""

    submission: Submission
    waited_for: set[tuple[int, int]] = field(default_factory=set)
    request: Request | None = None
    results: dict[tuple[int, int], Result] = field(default_factory=dict)
    failed: bool = False
    _new: NewResults = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._new = NewResults(self.submission.results)

    def read_results(self, anyway: bool = False) -> None:
        """Take in the results that were written since the last call; for `anyway`, see `NewResults`."""
        self.results |= self._new.read(anyway)


class TrackedMember(NamedTuple):
    """A member of a tracked submission, whether or not Snakemake waits for it."""

    tracked: TrackedSubmission
    pack: int
    member: int

    @property
    def external_id(self) -> str:
        """The id of its allocation."""
        return self.tracked.submission.jobs[self.pack]


@dataclass
class UnconfirmedSubmission:
    """A submission that the cluster answered with an error, though it may have accepted the jobs."""

    submission: Submission
    members: list[SubmittedMember]
    error: str
    due: float


class Count(NamedTuple):
    """How many jobs Snakemake waits for: submitted ones, and those that wait for room or for a free place."""

    submitted: int
    without_room: int


class Submissions:
    """The jobs of this call that wait to be submitted, and the submissions that it tracks, by id.

    Snakemake's main thread adds waiting jobs, sets `stopped`, and reads a copy of `tracked` when it cancels.
    The watching thread does everything else; the main thread does so too once the watching thread has ended.
    `_lock` guards `_waiting`. The other attributes have one writer, and the reader takes copies that are
    atomic in CPython (`list(...)`).
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[WaitingJob] = []
        self.tracked: dict[str, TrackedSubmission] = {}
        # Whether this call was cancelled: nothing is submitted any more.
        self.stopped = False

    def add(self, *jobs: WaitingJob) -> None:
        """Add jobs to be submitted."""
        with self._lock:
            self._waiting += jobs

    def note_room(self) -> None:
        """Let the jobs that wait for room in the queue be submitted now: a job of this call has ended."""
        with self._lock:
            now = time.monotonic()
            for each in self._waiting:
                if each.room:
                    each.since, each.room = min(each.since, now), False

    def take_ready(self, linger: float, free: Mapping[str, int] | None = None) -> list[WaitingJob]:
        """Remove and return the jobs that are due, once no more have arrived for `linger` seconds.

        Those for which places are `free`, by the kind of their request, do not wait for others or for room.
        """
        now, places = time.monotonic(), free or {}
        with self._lock:
            jobs = [each for each in self._waiting if each.since <= now]
            arrived = [each.since for each in jobs if not each.held]
            if arrived and now < min(max(arrived) + linger, min(arrived) + LONGEST_LINGER * linger):
                jobs = _for_places(jobs, places)
            if places:
                # A queue that takes no more allocations does not keep a run from one that is there.
                jobs += _for_places(
                    [each for each in self._waiting if each.room and each.since > now], places
                )
            taken = set(map(id, jobs))
            self._waiting = [each for each in self._waiting if id(each) not in taken]
        return jobs

    def with_room(self, jobs: Sequence[WaitingJob]) -> list[WaitingJob]:
        """Those of these jobs that may be submitted; the others, taken for free places, wait again."""
        now = time.monotonic()
        early = [each for each in jobs if each.room and each.since > now]
        self.add(*early)
        return [each for each in jobs if not (each.room and each.since > now)]

    def track(self, member: SubmittedMember, tracked: TrackedSubmission) -> None:
        """Note that Snakemake waits for this member."""
        self.tracked[member.submission.id] = tracked
        tracked.request = tracked.request or member.waiting.request
        tracked.waited_for.add((member.pack, member.member))

    def is_running(self, request: Request | None = None) -> bool:
        """Whether Snakemake waits for a submitted job, or for one with this request."""
        return any(
            each.waited_for and (request is None or each.request == request) for each in self.tracked.values()
        )

    def count(self) -> Count:
        """How many jobs Snakemake waits for, apart from those that are about to be submitted."""
        submitted = sum(len(each.waited_for) for each in self.tracked.values())
        with self._lock:
            return Count(submitted, sum(each.room or each.held for each in self._waiting))

    def submissions(self) -> Iterable[Submission]:
        """The submissions that are tracked."""
        return [each.submission for each in self.tracked.values()]


def _for_places(jobs: Iterable[WaitingJob], free: Mapping[str, int]) -> list[WaitingJob]:
    """The first jobs of each kind, as many as there are free places for it."""
    left, found = dict(free), []
    for each in jobs:
        if not left:
            break
        kind = kind_of(each.request)
        if kind in left:
            found.append(each)
            left[kind] -= 1
            if left[kind] <= 0:
                del left[kind]
    return found
