"""From waiting jobs to submissions: packs, arrays, and what follows when sbatch reports an error."""

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface
from snakemake_interface_executor_plugins.logging import LoggerExecutorInterface
from snakemake_interface_executor_plugins.workflow import WorkflowExecutorInterface

from snakemake_executor_plugin_submitit.clusters.base import Cluster
from snakemake_executor_plugin_submitit.direct import changed_environment, describe
from snakemake_executor_plugin_submitit.fitting import Fitting
from snakemake_executor_plugin_submitit.folder import Submission
from snakemake_executor_plugin_submitit.identity import queue_comment, work_digest
from snakemake_executor_plugin_submitit.manifest import ManifestMember
from snakemake_executor_plugin_submitit.member import Member
from snakemake_executor_plugin_submitit.pack import Pack
from snakemake_executor_plugin_submitit.packing import by_key, packs_of
from snakemake_executor_plugin_submitit.places import FOLDER
from snakemake_executor_plugin_submitit.private_folder import make_private
from snakemake_executor_plugin_submitit.refill import Opening, Refill
from snakemake_executor_plugin_submitit.refusals import is_job_limit, may_pass
from snakemake_executor_plugin_submitit.resources import Request, kind_of, signal_delay_s
from snakemake_executor_plugin_submitit.settings import ExecutorSettings
from snakemake_executor_plugin_submitit.submissions import (
    Submissions,
    SubmittedMember,
    UnconfirmedSubmission,
    WaitingJob,
)

# How long to wait before sbatch is called again after an error.
RETRY_S, LONGEST_RETRY_S = 10.0, 60.0
# How long to wait before the queue is searched for jobs that sbatch may have submitted despite an error.
CONFIRM_S = 2.0
# For how long jobs are submitted before results are read again: each sbatch may take seconds.
SUBMITTING_S = 10.0
# The longest part of a log's path, in bytes; file systems allow 255.
LONGEST_NAME = 200


class Controller(Protocol):
    """What a submitter needs of the executor."""

    workflow: WorkflowExecutorInterface

    def format_job_exec(self, job: JobExecutorInterface) -> str:
        """The command that runs a job."""

    def envvars(self) -> Mapping[str, str]:
        """The environment variables that the workflow declares."""

    def report_submitted(self, submission: Submission, members: Sequence[SubmittedMember]) -> None:
        """Track a submission that the cluster has accepted."""

    def report_refused(self, job: JobExecutorInterface, error: str) -> None:
        """Report to Snakemake that a job has failed because it could not be submitted."""


class Submitter:
    """Submits waiting jobs and settles the submissions that the cluster did not confirm.

    The watching thread alone calls it, and the main thread once the watching thread has ended; so it needs
    no lock.
    """

    def __init__(
        self,
        controller: Controller,
        cluster: Cluster,
        submissions: Submissions,
        settings: ExecutorSettings,
        folder: Path,
        logdir: Path,
        logger: LoggerExecutorInterface,
        refill: Refill | None = None,
    ) -> None:
        self.refill = refill
        self.controller, self.cluster, self.submissions = controller, cluster, submissions
        self.settings, self.folder, self.logdir, self.logger = settings, folder, logdir, logger
        self.unconfirmed: list[UnconfirmedSubmission] = []
        # How many packs are submitted as one array: fewer while a limit does not let more in.
        self._array_size = cluster.most_packs
        # As the Snakefile, which was read before, has changed it.
        self._environment = changed_environment()
        self._fitting = Fitting(cluster, logger)

    def submit(self, jobs: Sequence[WaitingJob]) -> None:
        """Submit jobs with equal requests together."""
        until = time.monotonic() + SUBMITTING_S
        for asked, alike in by_key((each.request, each) for each in jobs).items():
            request = self._fitting.fit(asked)
            if self.settings.refill and self.refill:
                hand = partial(self._hand, request=request)
                alike = self.submissions.with_room(self.refill.hand_over(alike, request.pack, hand))
            alike = self._without_remainder(asked, request.pack, alike)
            limit_min = self.cluster.longest_min(request)
            waves = min(self.settings.waves, max(1, (limit_min or 10**9) // request.runtime_min))
            turns_each = 1 if self.settings.refill else waves
            packs = packs_of(alike, request.pack, turns_each, self.settings.array_parallelism)
            for (places, turns), same in by_key((_shape(pack, request), pack) for pack in packs).items():
                self._submit_arrays(request, same, places, waves if self.settings.refill else turns, until)

    def _submit_arrays(
        self, request: Request, packs: list[list[WaitingJob]], places: int, turns: int, until: float
    ) -> None:
        """Submit packs array by array, while there is room in the queue and until it has taken too long.

        The jobs of the others wait again. An array may be larger after one that was accepted.
        """
        while packs and not self.submissions.stopped:
            full = any(is_job_limit(each.error) for each in self.unconfirmed)
            if full or time.monotonic() > until:
                rest = [each for pack in packs for each in pack]
                # They may be 100,000, again and again: changed in place, not copied.
                for each in rest if full else ():
                    each.since, each.room = time.monotonic() + LONGEST_RETRY_S, True
                self.submissions.add(*rest)
                return
            part, packs = packs[: self._array_size], packs[self._array_size :]
            self._submit_array(request, part, places, turns)

    def _hand(self, waiting: WaitingJob, opening: Opening, request: Request) -> None:
        submission, described = opening.tracked.submission, self._describe(waiting)
        work = self._member(waiting.job, described["log"], request.member_memory_mb())
        described["work"] = work_digest(work.direct)
        number = opening.hand(described, waiting.request.runtime_min, asdict(work))
        members = [SubmittedMember(submission, opening.pack, number, waiting)]
        self.controller.report_submitted(submission, members)
        if self.submissions.stopped:
            self.cluster.cancel(submission.named([opening.job]))

    def _without_remainder(self, asked: Request, pack: int, jobs: list[WaitingJob]) -> list[WaitingJob]:
        """The jobs that fill packs; the remainder waits for a while if more jobs can be expected.

        More are expected while allocations with the same request run: each job that ends lets another start.
        A job that was submitted before does not wait again.
        """
        running = self.submissions.is_running(asked)
        now, gather = time.monotonic(), self.settings.gather
        rest = jobs[len(jobs) - len(jobs) % pack :] if running else []
        if any(each.again or each.refused or now >= each.since + gather for each in rest):
            return jobs
        self.submissions.add(*(replace(each, held=True) for each in rest))
        return jobs[: len(jobs) - len(rest)]

    def _submit_array(
        self, request: Request, packs: Sequence[list[WaitingJob]], places: int, waves: int
    ) -> None:
        manifest = [[self._describe(each) for each in pack] for pack in packs]
        submission = Submission.create(self.folder, self.settings.jobname_prefix, self.cluster.name, manifest)
        options = request.of_pack(places)
        options["comment"] = queue_comment([each.job for pack in packs for each in pack])
        members = [
            SubmittedMember(submission, p, m, each)
            for p, pack in enumerate(packs)
            for m, each in enumerate(pack)
        ]
        try:
            calls = [
                self._pack(submission, number, pack, request, places, waves)
                for number, pack in enumerate(packs)
            ]
            for pack, call in zip(submission.packs, calls, strict=True):
                for described, member in zip(pack, call.members, strict=True):
                    described["work"] = work_digest(member.direct)
            # Saved before as well: if this controller dies in between, the next one finds the jobs by name.
            submission.save()
            if self.settings.refill:
                make_private(submission.folder / FOLDER)
            submission.jobs = self.cluster.submit(submission, calls, options, self.settings.array_parallelism)
            submission.save()
        except (OSError, WorkflowError) as error:
            due = time.monotonic() + CONFIRM_S
            self.unconfirmed.append(UnconfirmedSubmission(submission, members, str(error), due))
            return
        self._accept(submission, members)

    def _describe(self, waiting: WaitingJob) -> ManifestMember:
        log = waiting.job.logfile_suggestion(str(self.logdir))
        if any(len(os.fsencode(part)) > LONGEST_NAME for part in Path(log).parts):
            log = str(self.logdir / waiting.job.name / f"{waiting.key[:16]}.log")
        outputs = sorted(map(str, waiting.job.output))
        return {"key": waiting.key, "outputs": outputs, "log": log}

    def _pack(
        self,
        submission: Submission,
        number: int,
        jobs: Sequence[WaitingJob],
        request: Request,
        places: int,
        waves: int,
    ) -> Pack:
        runtime_min = request.runtime_min * waves
        return Pack(
            number=number,
            members=[
                self._member(each.job, described["log"], request.member_memory_mb())
                for each, described in zip(jobs, submission.packs[number], strict=True)
            ],
            places=places,
            results=str(submission.results),
            workdir=str(Path.cwd()),
            environment=dict(self.controller.envvars()),
            runtime_min=runtime_min,
            delay_s=signal_delay_s(runtime_min),
            requeues=self.settings.requeues,
            mps=self.settings.mps,
            refill_s=self.settings.refill,
            kind=kind_of(jobs[0].request),
            per_gpu=request.per_gpu,
            lanes=request.lanes,
        )

    def work_of(self, waiting: WaitingJob) -> str:
        """A digest of what a job would execute if it was submitted now."""
        return work_digest(self._member(waiting.job, "", None).direct)

    def _member(self, job: JobExecutorInterface, log: str, memory_mb: int | None) -> Member:
        command, direct = self.controller.format_job_exec(job), ""
        if self.settings.direct == "auto":
            try:
                direct = describe(job, command, self.controller.workflow, self._environment).to_json()
            except Exception as error:
                # Not only a NotDirectError: a Snakefile, or another version of Snakemake, may do what is not
                # foreseen, and Snakemake in the allocation can do it.
                self.logger.debug(f"Snakemake is started in the allocation for job {job.jobid}: {error}")
        return Member(command, log, memory_mb, direct)

    def _accept(self, submission: Submission, members: Sequence[SubmittedMember]) -> None:
        number = submission.jobs[0].partition("_")[0] if len(submission.jobs) > 1 else submission.jobs[0]
        jobs, allocations = len(members), len(submission.packs)
        what = f"{jobs} job{'s' * (jobs > 1)} in {allocations} allocation{'s' * (allocations > 1)}"
        self.logger.info(f"{self.cluster.name} job {number} has been submitted: {what}. Logs: {self.logdir}")
        self.controller.report_submitted(submission, members)
        self._array_size = min(self.cluster.most_packs, max(self._array_size, 2 * allocations))
        if self.submissions.stopped:
            self.cluster.cancel(submission.named(submission.jobs))

    def settle_unconfirmed(self) -> None:
        """Find out whether the cluster accepted the submissions that it answered with an error.

        If it did, their jobs are cancelled: they have nothing to run, as sbatch's answer never came. Then the
        runs are submitted again later, or have failed.
        """
        now = time.monotonic()
        for each in [each for each in self.unconfirmed if now >= each.due]:
            if each.submission.jobs:
                # The cluster answered; only the manifest could not be written.
                with suppress(OSError, WorkflowError):
                    each.submission.save()
                self.unconfirmed.remove(each)
                self._accept(each.submission, each.members)
                continue
            jobs = self.cluster.find(each.submission)
            if jobs is None or (jobs and self.cluster.cancel(each.submission.named(jobs))):
                # It is not known whether jobs are left: to submit again now could run them twice.
                each.due = now + RETRY_S
                continue
            self.unconfirmed.remove(each)
            each.submission.remove()
            self._retry_or_fail(each)

    def _retry_or_fail(self, refused: UnconfirmedSubmission) -> None:
        """Let the jobs wait for another attempt if the error may pass; report them as failed otherwise."""
        now, error = time.monotonic(), refused.error
        if is_job_limit(error):
            # SLURM accepts an array as a whole or not at all.
            self._array_size = max(1, min(self._array_size, len(refused.submission.packs) // 2))
        # A limit that this call's own jobs fill has room again when they end, however long that takes.
        full = is_job_limit(error) and self.submissions.is_running()
        for waiting in (member.waiting for member in refused.members):
            if full:
                self.submissions.add(replace(waiting, since=now + LONGEST_RETRY_S, room=True))
            elif may_pass(error) and waiting.refused < self.settings.requeues:
                count = waiting.refused + 1
                pause_s = min(LONGEST_RETRY_S, RETRY_S * count)
                self.submissions.add(replace(waiting, since=now + pause_s, refused=count))
            else:
                self.controller.report_refused(waiting.job, error)

    def cancel_unconfirmed(self) -> None:
        """Cancel what the cluster may have accepted."""
        for each in self.unconfirmed:
            jobs = each.submission.jobs or self.cluster.find(each.submission) or []
            self.cluster.cancel(each.submission.named(jobs))


def _shape(pack: Sequence[WaitingJob], request: Request) -> tuple[int, int]:
    """How many jobs of a pack run at the same time, and how many in turn."""
    places = min(request.pack, len(pack))
    return places, -(-len(pack) // places)
