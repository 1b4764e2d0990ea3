"""The view of the queue: when to ask for the states of the jobs, and which jobs have ended for sure."""

import time
from collections.abc import Mapping

from snakemake_interface_executor_plugins.logging import LoggerExecutorInterface

from snakemake_executor_plugin_submitit.clusters.base import HELD, UNKNOWN, Cluster, Phase, State
from snakemake_executor_plugin_submitit.submissions import Submissions, TrackedSubmission

# When the queue is asked for the first time after a submission. Queries become rarer while nothing happens.
FIRST_QUERY_S = 3.0
# What a job has ended with that the cluster does not know, or no longer.
UNKNOWN_STATE = "an unknown state"


class QueueWatch:
    """The states of tracked jobs, from one query for all of them and from the results that they wrote.

    The watching thread alone calls it, and the main thread once the watching thread has ended; so it needs
    no lock.
    """

    def __init__(
        self,
        cluster: Cluster,
        submissions: Submissions,
        logger: LoggerExecutorInterface,
        latency_s: float,
        longest_interval_s: float,
    ) -> None:
        self.cluster, self.submissions, self.logger = cluster, submissions, logger
        self.latency_s, self.longest_interval_s = latency_s, longest_interval_s
        self.next_query = 0.0
        # When the queue gave its last answer.
        self.asked_at = 0.0
        self._interval_s = FIRST_QUERY_S
        self._states: dict[str, State] = {}
        # Since when a job is not alive in the queue; and the jobs that still were not after the latency.
        self._over_since: dict[str, float] = {}
        self._over: set[str] = set()
        # The submissions with such jobs.
        self._ending: set[str] = set()
        # Jobs about which the user was warned that they may wait forever.
        self._warned: set[str] = set()

    def ask_soon(self) -> None:
        """Plan a query for new jobs. It does not delay a query about earlier ones."""
        soon = time.monotonic() + FIRST_QUERY_S
        if self.submissions.tracked:
            self.next_query = min(self.next_query, soon)
        else:
            self.next_query, self._interval_s = soon, FIRST_QUERY_S

    def ask_now(self) -> None:
        """Query the queue at the next look."""
        self.next_query = 0.0

    def look(self) -> None:
        """Query the queue if it is time; then read results, which are so at least as new as the answer."""
        tracked = self.submissions.tracked
        if tracked and time.monotonic() >= self.next_query:
            self._query()
        for each in tracked.values():
            submission = each.submission
            ending = submission.id in self._ending and any(
                self.is_over(submission.jobs[pack]) for pack, _ in each.waited_for
            )
            if ending:
                submission.refresh()
            # A run without a result counts as lost, so the time of the folder is not relied on.
            each.read_results(anyway=ending)

    def is_quiet(self, tracked: TrackedSubmission) -> bool:
        """Whether none of the members that are waited for has a result, or an allocation that is over."""
        return tracked.submission.id not in self._ending and tracked.waited_for.isdisjoint(tracked.results)

    def is_over(self, job: str) -> bool:
        """Whether the last answer did not show a job as alive."""
        return job in self._over_since

    def is_waiting(self, job: str) -> bool:
        """Whether the last answer showed a job as alive and not as running."""
        state = self._states.get(job, UNKNOWN)
        return state.phase is Phase.ALIVE and state.word.lower() != "running"

    def lost_state(self, job: str) -> str | None:
        """The final state of a job, once any result that it wrote must be visible; None before that."""
        if job not in self._over:
            return None
        return self._states.get(job, UNKNOWN).word or UNKNOWN_STATE

    def forget(self, job: str) -> None:
        """Drop a job that is no longer tracked."""
        self._over_since.pop(job, None)
        self._over.discard(job)

    def _query(self) -> None:
        states = self.cluster.states(self.submissions.submissions())
        now = time.monotonic()
        self._interval_s = min(self._interval_s * 1.5, self.longest_interval_s)
        if states is not None:
            self._states, self.asked_at = states, now
            self._warn_of_held(states)
            if any(s.phase is not Phase.ALIVE and job not in self._over_since for job, s in states.items()):
                self.submissions.note_room()
            for job, state in states.items():
                if state.phase is Phase.ALIVE:
                    self.forget(job)
                elif now >= self._over_since.setdefault(job, now) + self.latency_s:
                    self._over.add(job)
            self._ending = {
                each.id for each in self.submissions.submissions() if any(map(self.is_over, each.jobs))
            }
        self.next_query = now + self._interval_s
        unconfirmed = [since for job, since in self._over_since.items() if job not in self._over]
        if unconfirmed:
            confirmed_at = min(unconfirmed) + self.latency_s
            self.next_query = max(now + 1, min(self.next_query, confirmed_at))

    def _warn_of_held(self, states: Mapping[str, State]) -> None:
        """Warn once about each job that may wait forever."""
        reasons: dict[str, list[str]] = {}
        for job, state in sorted(states.items(), key=lambda item: item[0]):
            reason = next(filter(HELD.search, (state.reason, state.word)), None)
            if reason and state.phase is Phase.ALIVE and job not in self._warned:
                reasons.setdefault(reason, []).append(job)
                self._warned.add(job)
        for reason, jobs in reasons.items():
            named = f"{' '.join(jobs[:10])}{' …' if len(jobs) > 10 else ''}"
            self.logger.warning(
                f"{self.cluster.name} job {named} may wait forever: {reason}. "
                f"For details: scontrol show job {jobs[0]}"
            )
