"""What earlier calls left behind: which of their jobs this call takes over, and which it must end first."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.logging import LoggerExecutorInterface

from snakemake_executor_plugin_submitit.clusters.base import ENDING, UNKNOWN, Cluster, Phase, State
from snakemake_executor_plugin_submitit.folder import Submission
from snakemake_executor_plugin_submitit.submissions import (
    Submissions,
    SubmittedMember,
    TrackedMember,
    TrackedSubmission,
    WaitingJob,
)

# How long the jobs that an earlier call cancelled may take to end before this call starts.
SETTLING_S, SETTLING_POLL_S = 90.0, 2.0
# SLURM's word for a job that has not begun.
PENDING = "PENDING"
# The first pause between two checks whether conflicting jobs have ended. It grows while none has.
CONFLICT_PAUSE_S = 3.0
QUEUE_UNSEEN = (
    "The queue does not answer, and an earlier call left jobs in it. Run the same command again when it "
    "answers. Their runs would be submitted twice otherwise."
)


class _Left(NamedTuple):
    """A member of an earlier call: when it was made, and whether it may still write and can be taken over."""

    member: TrackedMember
    made_at: float
    running: bool
    available: bool


class Adoption:
    """The submissions of earlier calls, and their members that still run or were not reported.

    The main thread calls `find` while the executor starts, before the watching thread may use this. From
    then on the watching thread alone calls it, and the main thread once the watching thread has ended; so
    it needs no lock.
    """

    def __init__(
        self,
        cluster: Cluster,
        submissions: Submissions,
        logger: LoggerExecutorInterface,
        longest_pause_s: float,
    ) -> None:
        self.cluster, self.submissions, self.logger = cluster, submissions, logger
        self._longest_pause_s, self._pause_s = longest_pause_s, CONFLICT_PAUSE_S
        # Members that can be taken over, by the key of their job.
        self._available: dict[str, TrackedMember] = {}
        # Members that may still write an output, by output.
        self._writers: dict[str, list[TrackedMember]] = {}
        # Conflicting jobs that were cancelled.
        self._cancelled: set[str] = set()
        # Packs in the queue that would execute something else than this call, by submission.
        self._outdated: set[tuple[str, int]] = set()
        # Submissions of which nothing is left in the queue; removed at the end of this call.
        self._over: list[Submission] = []

    def find(self, folder: Path) -> None:
        """Read what earlier calls left in `folder`.

        Raises WorkflowError if it left jobs in a queue that does not answer.
        """
        left = self._hold_submissions(folder)
        states = self._states_when_settled(left) if left else {}
        # The key of the last job that was submitted for an output.
        newest: dict[str, str] = {}
        members = [found for submission in left for found in self._members(submission, states)]
        for found in sorted(members, key=lambda each: each.made_at):
            self._add(found, newest)
        for submission in left:
            if all(states.get(job, UNKNOWN).phase is not Phase.ALIVE for job in submission.jobs):
                self._over.append(submission)

    def _hold_submissions(self, folder: Path) -> list[Submission]:
        """The submissions to this cluster that no other live call holds, the oldest first."""
        found = [submission for path in folder.iterdir() if (submission := Submission.load(path))]
        left = []
        for submission in sorted(found, key=lambda each: each.made_at()):
            if submission.cluster != self.cluster.name:
                continue
            if submission.hold():
                submission.take_back()
                left.append(submission)
            else:
                self.logger.warning(
                    f"Another call ({submission.holder()}) holds {submission.name}, and its jobs are left to "
                    f"that call. If you are sure that it is dead, remove {submission.folder}/controller."
                )
        return left

    def _states_when_settled(self, left: list[Submission]) -> dict[str, State]:
        """The states of the jobs that were left, once none of them is about to end.

        A submission without job ids comes from a call that died while it submitted. Its jobs may have nothing
        to run, so they are cancelled.
        """
        end = time.monotonic() + SETTLING_S
        while True:
            for submission in [each for each in left if not each.jobs]:
                found = self.cluster.find(submission)
                if found is None:
                    raise WorkflowError(QUEUE_UNSEEN)
                if found:
                    submission.jobs = found
                    submission.note_cancelled(found)
                    self.cluster.cancel(submission.named(found))
            states = self.cluster.states(left)
            if states is None:
                raise WorkflowError(QUEUE_UNSEEN)
            settling = any(state.word in ENDING for state in states.values())
            if not settling or time.monotonic() > end:
                return states
            time.sleep(SETTLING_POLL_S)

    def _members(self, submission: Submission, states: Mapping[str, State]) -> Iterator[_Left]:
        """The members of a submission, apart from those that no pack has taken."""
        tracked = TrackedSubmission(submission)
        submission.refresh()
        tracked.read_results()
        reported, cancelled = submission.read_reported(), submission.read_cancelled()
        for p, (pack, job) in enumerate(zip(submission.packs, submission.jobs, strict=False)):
            state = states.get(job, UNKNOWN)
            for m in (m for m, described in enumerate(pack) if described["key"]):
                result = tracked.results.get((p, m))
                running = state.phase is Phase.ALIVE and result is None
                succeeded = result is not None and result.exit == 0
                to_end = job in cancelled or state.word in ENDING
                wanted = (p, m) not in reported and (succeeded or (running and not to_end))
                yield _Left(TrackedMember(tracked, p, m), submission.made_at(p, m), running, wanted)

    def _add(self, left: _Left, newest: dict[str, str]) -> None:
        """Note whether a member is available and whether it may still write."""
        member = left.member
        described = member.tracked.submission.packs[member.pack][member.member]
        for output in described["outputs"]:
            # This member has overwritten what an earlier one wrote.
            self._available.pop(newest.get(output, ""), None)
            newest[output] = described["key"]
            if left.running:
                self._writers.setdefault(output, []).append(member)
        if left.available:
            self._available[described["key"]] = member

    def take_over(self, waiting: WaitingJob, work_of: Callable[[WaitingJob], str]) -> TrackedMember | None:
        """The member of an earlier call that does the work of this job; None if there is none.

        A member is not taken over if an input is newer than it, or if another job writes its outputs too,
        or if it has not begun and would execute something else than `work_of` the job.
        """
        found = self._available.pop(waiting.key, None)
        if found is None:
            return None
        submission = found.tracked.submission
        outputs = submission.packs[found.pack][found.member]["outputs"]
        writers = [writer for output in outputs for writer in self._writers.get(output, ())]
        alone = all(_is_same(writer, found) for writer in writers)
        if not alone or not submission.is_current(found.pack, found.member, waiting.job):
            return None
        if self._is_outdated(found, waiting, work_of):
            return None
        for output in outputs:
            self._writers.pop(output, None)
        self.logger.info(
            f"Job {waiting.job.jobid} of an earlier call is taken over: "
            f"{self.cluster.name} job {found.external_id}."
        )
        return found

    def _is_outdated(
        self, found: TrackedMember, waiting: WaitingJob, work_of: Callable[[WaitingJob], str]
    ) -> bool:
        """Whether a member would execute something else than this job, and its pack waits in the queue.

        A pack is ended as a whole, so its other members are not taken over either.
        """
        at, tracked = (found.tracked.submission.id, found.pack), found.tracked
        if at in self._outdated:
            return True
        work = tracked.submission.packs[found.pack][found.member].get("work", "")
        if not work or (found.pack, found.member) in tracked.results or work == work_of(waiting):
            return False
        shared = any(pack == found.pack for pack, _ in tracked.waited_for)
        states = None if shared else self.cluster.states([tracked.submission])
        if states and states.get(found.external_id, UNKNOWN).word == PENDING:
            self._outdated.add(at)
            return True
        begun = "it has begun" if states else "the queue does not say that it still waits"
        why = "other jobs in it are taken over" if shared else begun
        self.logger.info(
            f"Job {waiting.job.jobid} has another command or other threads now. {self.cluster.name} job "
            f"{found.external_id} of an earlier call keeps the earlier ones: {why}."
        )
        return False

    def without_conflicts(self, jobs: list[WaitingJob]) -> list[WaitingJob]:
        """The jobs whose outputs no member of an earlier call still writes.

        The other jobs wait until the conflicting jobs have ended. Those were submitted with other params or
        inputs, or were about to end when the earlier call ended; they are cancelled.
        """
        if not self._writers:
            return jobs
        conflicts = [
            [writer for output in map(str, each.job.output) for writer in self._writers.get(output, ())]
            for each in jobs
        ]
        submissions = {w.tracked.submission.id: w.tracked.submission for found in conflicts for w in found}
        if not submissions:
            return jobs
        states = self.cluster.states(list(submissions.values()))
        free, blocked, alive = [], [], []
        for each, found in zip(jobs, conflicts, strict=True):
            still = [writer for writer in found if states is None or _is_running(writer, states)]
            if still:
                blocked.append(each)
                alive += still
                continue
            for output in map(str, each.job.output):
                self._writers.pop(output, None)
            free.append(each)
        self._cancel(alive)
        self._pause_s = CONFLICT_PAUSE_S if free else min(1.5 * self._pause_s, self._longest_pause_s)
        since = time.monotonic() + self._pause_s
        self.submissions.add(*(replace(each, since=since) for each in blocked))
        return free

    def _cancel(self, members: Sequence[TrackedMember]) -> None:
        """Cancel the allocations of these members, except where other members were taken over.

        Such an allocation is left to end by itself.
        """
        packs: dict[str, TrackedMember] = {}
        for each in members:
            shared = any(pack == each.pack for pack, _ in each.tracked.waited_for)
            if each.external_id not in self._cancelled and not shared:
                packs[each.external_id] = each
        if self.submissions.stopped or not packs:
            return
        shown = f"{' '.join(list(packs)[:10])}{' …' if len(packs) > 10 else ''}"
        self.logger.info(
            f"{self.cluster.name} job {shown} of an earlier call has another command, inputs or params and "
            "writes the same outputs as this call: it is cancelled, and this call waits for its end."
        )
        for job, each in packs.items():
            each.tracked.submission.note_cancelled([job])
        self._available = {
            key: each
            for key, each in self._available.items()
            if each.external_id not in packs or (each.pack, each.member) in each.tracked.results
        }
        named = {job: each.tracked.submission.name for job, each in packs.items()}
        self._cancelled |= packs.keys() - set(self.cluster.cancel(named))

    def available_submissions(self) -> set[str]:
        """The ids of the submissions of which members can still be taken over."""
        return {each.tracked.submission.id for each in self._available.values()}

    def give_up_available(self) -> None:
        """Take over nothing more."""
        self._available.clear()

    def keep(self, submission: Submission) -> None:
        """Keep a submission that is over until the end of this call."""
        self._over.append(submission)

    def remove_over(self, kept: set[str]) -> None:
        """Remove the submissions that are over, except those with an id in `kept`."""
        for submission in self._over:
            if submission.id not in kept:
                submission.remove()


def as_submitted(found: TrackedMember, waiting: WaitingJob) -> SubmittedMember:
    """The job of this call as the member of an earlier call that was taken over for it."""
    return SubmittedMember(found.tracked.submission, found.pack, found.member, waiting)


def _is_same(one: TrackedMember, other: TrackedMember) -> bool:
    return one.tracked is other.tracked and one[1:] == other[1:]


def _is_running(member: TrackedMember, states: Mapping[str, State]) -> bool:
    state = states.get(member.external_id, UNKNOWN)
    has_result = member.tracked.submission.has_result(member.pack, member.member)
    return state.phase is Phase.ALIVE and not has_result
