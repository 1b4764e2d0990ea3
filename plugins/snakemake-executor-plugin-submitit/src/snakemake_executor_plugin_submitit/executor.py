"""The executor: what Snakemake calls to run jobs, to learn how they ended, and to cancel them."""

import signal
import threading
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface

from snakemake_executor_plugin_submitit.adoption import Adoption, as_submitted
from snakemake_executor_plugin_submitit.clusters.base import Cluster
from snakemake_executor_plugin_submitit.clusters.local import Local
from snakemake_executor_plugin_submitit.clusters.slurm import Slurm
from snakemake_executor_plugin_submitit.descriptors import raise_limit
from snakemake_executor_plugin_submitit.efficiency import Efficiency
from snakemake_executor_plugin_submitit.folder import Submission
from snakemake_executor_plugin_submitit.identity import job_key
from snakemake_executor_plugin_submitit.interrupts import ask_for_patience, interrupt_once
from snakemake_executor_plugin_submitit.leaving import Departure
from snakemake_executor_plugin_submitit.private_folder import make_private
from snakemake_executor_plugin_submitit.queue_watch import UNKNOWN_STATE, QueueWatch
from snakemake_executor_plugin_submitit.refill import Refill
from snakemake_executor_plugin_submitit.resources import request_of
from snakemake_executor_plugin_submitit.results import Result
from snakemake_executor_plugin_submitit.settings import ExecutorSettings
from snakemake_executor_plugin_submitit.submissions import (
    Submissions,
    SubmittedMember,
    TrackedSubmission,
    WaitingJob,
)
from snakemake_executor_plugin_submitit.submitting import Submitter
from snakemake_executor_plugin_submitit.usage import read_usage

# How often results are read. The queue is asked less often: see `QueueWatch`.
LOOK_S = 1.0
# How often before anything is submitted, and while places of packs on this machine are to be filled.
QUICK_LOOK_S = 0.25
# States in which an allocation was lost through no fault of its runs. They are submitted again, and the loss
# does not count as an attempt.
LOST_ALLOCATION = {"PREEMPTED", "NODE_FAIL", "BOOT_FAIL"}


class Executor(RemoteExecutor):
    """The controller's side of the plugin, as Snakemake calls it.

    Snakemake's main thread calls `run_job`, `cancel`, `cancel_jobs` and `shutdown`. The watching thread calls
    `check_active_jobs`, which does everything else. They share `submissions` (see there for its lock) and
    `_ready`, which the main thread sets once. `shutdown` waits for the watching thread to end before it uses
    the other attributes.
    """

    # Snakemake starts the watching thread before `__post_init__`, until whose end there is nothing to watch.
    _ready = False
    _has_left = False

    def __post_init__(self) -> None:
        settings: ExecutorSettings = self.workflow.executor_settings
        if settings.detach:
            # Nobody waits for a pack to fill.
            settings = replace(settings, gather=0.0)
        self.settings = settings
        self.submissions = Submissions()
        self._efficiency = Efficiency()
        self._handles_sigterm = False
        raise_limit()
        folder = Path(self.workflow.persistence.path).absolute() / "submitit"
        if "%" in str(folder):
            raise WorkflowError(
                f"the directory {folder.parents[1]} has a % in its path, which SLURM and submitit replace in "
                "names of files; rename it, or work in another one (--directory)"
            )
        self._logdir = Path(settings.logdir or folder.with_name("submitit_logs")).absolute()
        make_private(folder)
        self.cluster: Cluster = Slurm(settings.array_size) if settings.cluster == "slurm" else Local()
        interval_s = float(settings.status_interval)
        self._adoption = Adoption(self.cluster, self.submissions, self.logger, interval_s)
        self._watch = QueueWatch(self.cluster, self.submissions, self.logger, settings.latency, interval_s)
        self._refill = Refill(self.submissions, self._watch, settings.array_parallelism)
        self._submitter = Submitter(
            self, self.cluster, self.submissions, settings, folder, self._logdir, self.logger, self._refill
        )
        self._departure = Departure(self.workflow, self.submissions, self.logger, settings.detach)
        self._adoption.find(folder)
        self._ready = True

    def get_python_executable(self) -> str:
        """Python for a job, which does not search the working directory: modules may be planted there."""
        return f"{super().get_python_executable()} -P"

    # --- submitting, for Snakemake and for the submitter ------------------------------------------

    def run_job(self, job: JobExecutorInterface) -> None:
        """Accept a job. It is submitted together with others that have the same request."""
        if not self._handles_sigterm and threading.current_thread() is threading.main_thread():
            # At SIGTERM, Snakemake itself would wait for all jobs in the queue.
            signal.signal(signal.SIGTERM, interrupt_once)
            self._handles_sigterm = True
        try:
            request = request_of(job.resources, job.threads, self.settings.pack)
        except WorkflowError as error:
            self.report_refused(job, str(error))
            return
        self.submissions.add(WaitingJob(job, request, job_key(job)))

    def report_refused(self, job: JobExecutorInterface, error: str) -> None:
        """Report to Snakemake that a job has failed because it could not be submitted."""
        self.report_job_error(SubmittedJobInfo(job), msg=f"{error}. ")

    def report_submitted(self, submission: Submission, members: Sequence[SubmittedMember]) -> None:
        """Track a submission that the cluster has accepted."""
        tracked = self.submissions.tracked.get(submission.id)
        if tracked is None:
            # The queue has nothing new to say of a run that was handed to an allocation.
            self._watch.ask_soon()
            tracked = TrackedSubmission(submission)
        for member in members:
            self._track(member, tracked)

    def _track(self, member: SubmittedMember, tracked: TrackedSubmission) -> None:
        self.submissions.track(member, tracked)
        job = member.waiting.job
        info = SubmittedJobInfo(job, external_jobid=member.external_id, aux={"member": member})
        self.report_job_submission(info)

    def _submit_ready(self) -> None:
        """Submit the jobs that are due, except those that an earlier call has submitted already."""
        left = []
        for waiting in self.submissions.take_ready(self.settings.linger, self._refill.free()):
            found = self._adoption.take_over(waiting, self._submitter.work_of)
            if found is None:
                left.append(waiting)
            else:
                self._track(as_submitted(found, waiting), found.tracked)
        if left:
            self._submitter.submit(self._adoption.without_conflicts(left))

    # --- watching --------------------------------------------------------------------------------

    async def check_active_jobs(self, active_jobs: list[SubmittedJobInfo]) -> AsyncIterator[SubmittedJobInfo]:
        """Submit what is due, report the jobs that have ended, and yield the others."""
        if self._ready and self._leaves():
            for info in active_jobs:
                yield info
            return
        quick, quiet = True, set()
        if self._ready:
            self._submit_ready()
            self._submitter.settle_unconfirmed()
            self._watch.look()
            if self.settings.refill:
                self._refill.look()
            # Most jobs wait in the queue. They are not looked at one by one.
            quiet = {
                number
                for number, each in self.submissions.tracked.items()
                if self._watch.is_quiet(each) and not self._refill.has_handed(number)
            }
            quick = not self.submissions.tracked or (self._refill.is_open and isinstance(self.cluster, Local))
        self.next_seconds_between_status_checks = QUICK_LOOK_S if quick else LOOK_S
        for info in active_jobs:
            member: SubmittedMember = info.aux["member"]
            if member.submission.id in quiet:
                yield info
                continue
            tracked = self.submissions.tracked[member.submission.id]
            result = tracked.results.get((member.pack, member.member))
            if self._ready and result is None and self._refill.is_returned(member):
                tracked.waited_for.discard((member.pack, member.member))
                self.submissions.add(replace(member.waiting, held=True))
                continue
            lost = self._watch.lost_state(member.external_id) if result is None else None
            if result is None and lost is None:
                yield info
                continue
            # Recorded first: another call must never take over what was reported to Snakemake.
            tracked.submission.note_reported(member.pack, member.member)
            tracked.waited_for.discard((member.pack, member.member))
            if lost == UNKNOWN_STATE:
                # The queue may have been silent about it: it must not run beside the next attempt.
                tracked.submission.note_cancelled([member.external_id])
                self.cluster.cancel(tracked.submission.named([member.external_id]))
            self._report_end(info, tracked, result, lost)
        if self._ready:
            self._remove_ended()

    def _leaves(self) -> bool:
        """Whether this call leaves its jobs. From then on nothing is submitted or reported."""
        if self._departure.status is None and self._departure.is_due():
            self._departure.begin()
        return self._departure.status is not None

    def _report_end(
        self, info: SubmittedJobInfo, tracked: TrackedSubmission, result: Result | None, lost: str | None
    ) -> None:
        """Report how a member ended: with a result, or without one in an allocation in the state `lost`."""
        member: SubmittedMember = info.aux["member"]
        waiting = member.waiting
        if result is not None and result.exit == 0:
            used = read_usage(member.submission.results, member.pack, member.member)
            self._efficiency.add(info.job.name, waiting.request, used)
            self.report_job_success(info)
        elif lost in LOST_ALLOCATION and waiting.again < self.settings.requeues:
            self.logger.info(f"Job {info.job.jobid} lost its allocation ({lost}) and is submitted again.")
            self.submissions.add(replace(waiting, again=waiting.again + 1, since=time.monotonic()))
        else:
            tracked.failed = True
            allocation = f"{self.cluster.name} job {member.external_id}"
            if result is None:
                msg = f"{allocation} has ended with {lost}, and this run had not finished. "
                if said := member.submission.end_of_log(member.external_id):
                    msg += f"Its own log ends with: {said} "
            elif result.why:
                msg = f"{allocation}: {result.why}. "
            else:
                msg = f"{allocation}: the run has ended with exit status {result.exit}. "
            # An earlier call recorded where its log is. Other files are not shown.
            own = Path(member.log).resolve().is_relative_to(self._logdir.resolve())
            self.report_job_error(info, msg=msg, aux_logs=[member.log] if own else [])

    def _remove_ended(self) -> None:
        """Remove submissions that have ended; one with a failed member keeps its logs until the next call."""
        done = [
            (number, each)
            for number, each in self.submissions.tracked.items()
            if not each.waited_for and all(map(self._watch.is_over, each.submission.jobs))
        ]
        available = self._adoption.available_submissions() if done else set()
        for number, tracked in done:
            jobs = tracked.submission.jobs
            del self.submissions.tracked[number]
            for job in jobs:
                self._watch.forget(job)
            if number in available:
                self._adoption.keep(tracked.submission)
            elif not tracked.failed:
                tracked.submission.remove()

    # --- ending ----------------------------------------------------------------------------------

    def cancel(self) -> None:
        """Cancel everything that this call has submitted or taken over, and nothing else.

        Raises SystemExit where the call leaves its jobs: Snakemake calls this for what `shutdown` has raised.
        """
        if self._has_left:
            raise SystemExit(self._departure.status)
        self.submissions.stopped = True
        if threading.current_thread() is threading.main_thread():
            # A second Ctrl-C would otherwise leave jobs in the queue that are not cancelled yet.
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, ask_for_patience)
        super().cancel()

    def cancel_jobs(self, active_jobs: list[SubmittedJobInfo]) -> None:
        """Cancel every allocation that contains a job of this call."""
        # The watching thread may change these meanwhile. From now on it cancels what it submits itself.
        jobs: dict[str, str] = {}
        for tracked in list(self.submissions.tracked.values()):
            waited_for = list(tracked.waited_for)
            of_submission = sorted({tracked.submission.jobs[pack] for pack, _ in waited_for})
            tracked.submission.note_cancelled(of_submission)
            jobs |= tracked.submission.named(of_submission)
        left = self.cluster.cancel(jobs) if jobs else []
        if left:
            self.logger.error(
                f"These jobs could not be cancelled: {' '.join(left[:20])} ({len(left)} in all)"
            )

    def shutdown(self) -> None:
        """End this executor and remove the submissions that no later call needs.

        Raises SystemExit where the call leaves its jobs, which need all that is here.
        """
        if self._departure.status is not None and not self.submissions.stopped:
            with self.lock:
                self.wait = False
            self.wait_thread.join()
            self._has_left = True
            raise SystemExit(self._departure.status)
        super().shutdown()
        if self.submissions.stopped:
            # The next call may still take over what is available.
            self._submitter.cancel_unconfirmed()
        else:
            self._adoption.give_up_available()
            if summary := self._efficiency.summary():
                self.logger.info(summary)
        self._refill.close()
        self._watch.ask_now()
        self._watch.look()
        self._remove_ended()
        self._adoption.remove_over(self._adoption.available_submissions() | self.submissions.tracked.keys())
