"""A Snakemake executor on submitit: arrays of packs, requeued with checkpoints, adopted after a crash."""

import hashlib
import json
import os
import re
import signal
import threading
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any, Optional

from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface
from snakemake_interface_executor_plugins.settings import CommonSettings, ExecutorSettingsBase

from snakemake_executor_plugin_submitit.clusters import (
    ENDING,
    HELD,
    UNKNOWN,
    Cluster,
    Local,
    Phase,
    Slurm,
    State,
)
from snakemake_executor_plugin_submitit.folder import Result, Submission, make_private
from snakemake_executor_plugin_submitit.pack import Member, Pack
from snakemake_executor_plugin_submitit.packing import by_key, chunks, packs_of
from snakemake_executor_plugin_submitit.resources import Request, request_of, signal_delay_s

# Results are looked for once a second; the cluster is asked after three, and then ever more rarely while
# nothing happens, up to the status interval.
LOOK_S = 1
FIRST_QUERY_S = 3.0
# Jobs that come one by one are waited for no longer than this many times the linger.
LONGEST_LINGER = 10
# The job's fate, and not its run's: it goes back to the queue without counting as an attempt.
BLAMELESS = {"PREEMPTED", "NODE_FAIL", "BOOT_FAIL"}
# What an earlier call cancelled may take this long to end.
SETTLING_S = 90.0
QUEUE_UNSEEN = (
    "The queue cannot be seen now, and an earlier call left jobs in it. Call again when it can: their runs "
    "would be submitted twice otherwise."
)
# Before sbatch is called again, after it could not be answered or a limit was reached.
RETRY_S, LONGEST_RETRY_S = 10.0, 60.0
# A limit on how many jobs may be submitted, which passes as they end.
LIMIT = re.compile(r"(QOS|Assoc)\w*Submit\w*Limit|MaxJobCount|too many", re.I)
# Any other limit that SLURM names is one that the job itself exceeds.
EXCEEDED = re.compile(r"(QOS|Assoc)(Max|Grp|Min)\w*Limit", re.I)
TRANSIENT = re.compile(
    "timed out|unable to contact|connect|communication|temporarily|try again|submit limit|zero bytes|standby|"
    "message (receive|send)|unexpected message|unspecified error|i/o error|socket|plugin initialization",
    re.I,
)
# Between two looks at whether what an earlier call left has stopped writing.
RIVAL_S = 3.0


@dataclass
class ExecutorSettings(ExecutorSettingsBase):
    cluster: Optional[str] = field(
        default="slurm",
        metadata={
            "help": "Where jobs run: `slurm`, or `local` for this machine.",
            "choices": ["slurm", "local"],
        },
    )
    pack: Optional[int] = field(
        default=1,
        metadata={
            "help": "How many jobs run at the same time in one allocation, which asks for so many times "
            "their CPUs and memory, and one time their GPU. The resource `pack` of a job counts more.",
            "type": int,
        },
    )
    waves: Optional[int] = field(
        default=1,
        metadata={
            "help": "How many jobs an allocation takes in turn in each place, where there are more jobs than "
            "--submitit-array-parallelism allocations run at a time. For runs of seconds.",
            "type": int,
        },
    )
    linger: Optional[float] = field(
        default=1.0,
        metadata={"help": "Seconds to wait for more jobs to submit together.", "type": float},
    )
    gather: Optional[float] = field(
        default=60.0,
        metadata={
            "help": "Seconds that jobs too few for a whole pack wait for more, while allocations of their "
            "kind run: else each job that ends would be followed by an allocation for one.",
            "type": float,
        },
    )
    array_size: Optional[int] = field(
        default=1000,
        metadata={"help": "The most allocations in one array; the cluster may allow fewer.", "type": int},
    )
    array_parallelism: Optional[int] = field(
        default=1000,
        metadata={"help": "The most allocations of one array that run at a time.", "type": int},
    )
    requeues: Optional[int] = field(
        default=10,
        metadata={
            "help": "How often an allocation may go back to the queue at its time limit, or be submitted "
            "again after it was preempted for good or its node failed.",
            "type": int,
        },
    )
    status_interval: Optional[int] = field(
        default=30,
        metadata={
            "help": "The most seconds between two looks at the queue, one query for all jobs.",
            "type": int,
        },
    )
    latency: Optional[int] = field(
        default=15,
        metadata={
            "help": "Seconds that the shared file system may take to show what a job wrote at its end.",
            "type": int,
        },
    )
    jobname_prefix: Optional[str] = field(
        default="snakemake", metadata={"help": "The first part of all jobs' names."}
    )
    logdir: Optional[Path] = field(
        default=None,
        metadata={"help": "Where each job's log goes; .snakemake/submitit_logs without it.", "type": Path},
    )
    mps: bool = field(
        default=False,
        metadata={"help": "Start NVIDIA's multi-process service in each allocation that several jobs share."},
    )

    def __post_init__(self) -> None:
        for name in ("pack", "waves", "array_size", "array_parallelism", "status_interval"):
            if getattr(self, name) < 1:
                raise WorkflowError(
                    f"--submitit-{name.replace('_', '-')} is {getattr(self, name)}; at least 1"
                )
        for name in ("linger", "gather", "requeues", "latency"):
            if getattr(self, name) < 0:
                raise WorkflowError(f"--submitit-{name} is {getattr(self, name)}; at least 0")
        if self.cluster not in ("slurm", "local"):
            raise WorkflowError(f"--submitit-cluster is '{self.cluster}'; it may be slurm or local")


common_settings = CommonSettings(
    non_local_exec=True,
    implies_no_shared_fs=False,
    job_deploy_sources=False,
    pass_group_args=True,
    # Set in the job's process, and not written into a command.
    pass_envvar_declarations_to_cmd=False,
    auto_deploy_default_storage_provider=False,
    init_seconds_before_status_checks=1,
)


@dataclass
class _Waiting:
    """A job that is to be submitted, from `since` on.

    `again` counts how often it was, and was taken away; `refused` how often SLURM did not take it. What is
    `held` waits for others to fill a pack.
    """

    job: JobExecutorInterface
    request: Request
    key: str
    since: float = field(default_factory=time.monotonic)
    again: int = 0
    refused: int = 0
    held: bool = False


@dataclass
class _Place:
    """Where a submitted job is: member `member` of pack `pack` of a submission."""

    submission: Submission
    pack: int
    member: int
    waiting: _Waiting

    @property
    def external_id(self) -> str:
        return self.submission.jobs[self.pack]

    @property
    def log(self) -> str:
        return self.submission.packs[self.pack][self.member]["log"]


@dataclass
class _Open:
    """A submission, which of its members Snakemake waits for, and how those are known to have ended."""

    submission: Submission
    waited_for: set[tuple[int, int]] = field(default_factory=set)
    request: Request | None = None
    results: dict[tuple[int, int], Result] = field(default_factory=dict)
    failed: bool = False


# A member of a pack of a submission.
_At = tuple[_Open, int, int]


@dataclass
class _Doubtful:
    """A submission that was answered with an error: the cluster may have taken it all the same."""

    submission: Submission
    places: list[_Place]
    error: str
    due: float


class Executor(RemoteExecutor):
    """The controller's side: what is submitted, adopted, looked at and cancelled.

    Snakemake's main thread hands jobs over and cancels; all else is done by the thread that looks.
    """

    def __post_init__(self) -> None:
        settings: ExecutorSettings = self.workflow.executor_settings
        # All of it before the cluster is asked: the thread that looks has been started already.
        self.settings = settings
        self.next_seconds_between_status_checks = LOOK_S
        self._guard = threading.Lock()
        self._waiting: list[_Waiting] = []
        self._stopped = False
        self._listens = False
        self._open: dict[str, _Open] = {}
        self._doubtful: list[_Doubtful] = []
        self._states: dict[str, State] = {}
        # Jobs that have ended or are not known: since when, and which were so after the latency too.
        self._silent_since: dict[str, float] = {}
        self._silent: set[str] = set()
        # Jobs of which was said that they may wait for ever.
        self._held: set[str] = set()
        # Requests of which was said that no node has room for a whole pack.
        self._too_large: set[Request] = set()
        # How many packs are submitted as one: fewer, where a limit would not let more in.
        self._array_size = 1
        self._next_query = 0.0
        self._interval = FIRST_QUERY_S
        # Of earlier calls: by key, what can be taken over; by output, what may still write it; and the
        # submissions with nothing left in the queue.
        self._adoptable: dict[str, _At] = {}
        self._writers: dict[str, list[_At]] = {}
        self._ending: set[str] = set()
        self._rival_s = RIVAL_S
        self._gone: list[Submission] = []
        self.folder = Path(self.workflow.persistence.path).absolute() / "submitit"
        self.logdir = Path(settings.logdir or self.folder.with_name("submitit_logs")).absolute()
        make_private(self.folder)
        self.cluster: Cluster = Slurm(settings.array_size) if settings.cluster == "slurm" else Local()
        self._array_size = self.cluster.most_packs
        self._find_adoptable()

    # --- after a crash ---------------------------------------------------------------------------

    def _find_adoptable(self) -> None:
        """Learn what an earlier call left: what still runs, or has ended well and was not yet reported."""
        found = [s for path in self.folder.iterdir() if (s := Submission.load(path))]
        left = []
        for submission in sorted(found, key=lambda s: s.made_at()):
            if submission.cluster != self.cluster.name:
                continue
            if submission.hold():
                left.append(submission)
            else:
                self.logger.warning(
                    f"{submission.name} is looked after by another call ({submission.holder()}), and its "
                    f"jobs are left to it. If that is dead for sure, remove {submission.folder}/controller."
                )
        states = self._states_when_settled(left) if left else {}
        adoptable: dict[str, _At] = {}
        writers: dict[str, list[_At]] = {}
        newest: dict[str, str] = {}
        for submission in left:
            opened = _Open(submission, results=submission.read_results(set()))
            reported, cancelled = submission.read_reported(), submission.read_cancelled()
            for p, (pack, job) in enumerate(zip(submission.packs, submission.jobs, strict=False)):
                state = states.get(job, UNKNOWN)
                for m, member in enumerate(pack):
                    result = opened.results.get((p, m))
                    goes_on = state.phase is Phase.ALIVE and result is None
                    for output in member["outputs"]:
                        # What an earlier one wrote is no more.
                        adoptable.pop(newest.get(output, ""), None)
                        newest[output] = member["key"]
                        if goes_on:
                            writers.setdefault(output, []).append((opened, p, m))
                    ended_well = result is not None and result.exit == 0
                    to_end = job in cancelled or state.word in ENDING
                    if (p, m) not in reported and (ended_well or (goes_on and not to_end)):
                        adoptable[member["key"]] = (opened, p, m)
            if all(states.get(job, UNKNOWN).phase is not Phase.ALIVE for job in submission.jobs):
                self._gone.append(submission)
        # At once: the thread that looks has been started already.
        self._adoptable, self._writers = adoptable, writers

    def _states_when_settled(self, left: list[Submission]) -> dict[str, State]:
        """The states of what was left, once nothing of it is just being ended.

        What was submitted by a call that died before it had noted so may lack what it was to run: it is
        cancelled.
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
                    self.cluster.cancel(found)
            states = self.cluster.states(left)
            if states is None:
                raise WorkflowError(QUEUE_UNSEEN)
            settling = any(state.word in ENDING for state in states.values())
            if not settling or time.monotonic() > end:
                return states
            time.sleep(2)

    def _adopt(self, waiting: _Waiting) -> bool:
        found = self._adoptable.pop(waiting.key, None)
        if found is None:
            return False
        opened, pack, member = found
        outputs = opened.submission.packs[pack][member]["outputs"]
        writers = [at for output in outputs for at in self._writers.get(output, ())]
        alone = all(at[0] is opened and at[1:] == (pack, member) for at in writers)
        if not alone or not opened.submission.is_current(pack, member, waiting.job):
            return False
        for output in outputs:
            self._writers.pop(output, None)
        place = _Place(opened.submission, pack, member, waiting)
        self.logger.info(
            f"Job {waiting.job.jobid} of an earlier call is taken over: "
            f"{self.cluster.name} job {place.external_id}."
        )
        self._report(place, opened)
        return True

    def _without_rivals(self, jobs: list[_Waiting]) -> list[_Waiting]:
        """Those whose outputs nothing of an earlier call still writes; the others wait until it has ended.

        It was begun with other params or inputs, or was being ended when that call ended itself.
        """
        rivals = [[at for o in map(str, each.job.output) for at in self._writers.get(o, ())] for each in jobs]
        submissions = {at[0].submission.id: at[0].submission for found in rivals for at in found}
        if not submissions:
            return jobs
        states = self.cluster.states(list(submissions.values()))
        free, blocked, alive = [], [], []
        for each, found in zip(jobs, rivals, strict=True):
            still = [at for at in found if states is None or self._goes_on(at, states)]
            if still:
                blocked.append(each)
                alive += still
                continue
            for output in map(str, each.job.output):
                self._writers.pop(output, None)
            free.append(each)
        self._end(alive)
        self._rival_s = RIVAL_S if free else min(1.5 * self._rival_s, float(self.settings.status_interval))
        since = time.monotonic() + self._rival_s
        for each in blocked:
            self._wait(replace(each, since=since))
        return free

    def _goes_on(self, at: _At, states: Mapping[str, State]) -> bool:
        opened, pack, member = at
        state = states.get(opened.submission.jobs[pack], UNKNOWN)
        return state.phase is Phase.ALIVE and not opened.submission.has_result(pack, member)

    def _end(self, members: Sequence[_At]) -> None:
        """Cancel the jobs of these, but no pack of which others were taken over: that may end by itself."""
        packs: dict[str, _At] = {}
        for opened, p, m in members:
            job = opened.submission.jobs[p]
            if job not in self._ending and not any(pack == p for pack, _ in opened.waited_for):
                packs[job] = (opened, p, m)
        if self._stopped or not packs:
            return
        named = f"{' '.join(list(packs)[:10])}{' …' if len(packs) > 10 else ''}"
        self.logger.info(
            f"{self.cluster.name} job {named} of an earlier call writes what is to be written now, from "
            "other inputs or params: it is cancelled, and its end waited for."
        )
        for opened, p, _ in packs.values():
            opened.submission.note_cancelled([opened.submission.jobs[p]])
        self._adoptable = {
            key: (opened, p, m)
            for key, (opened, p, m) in self._adoptable.items()
            if opened.submission.jobs[p] not in packs or (p, m) in opened.results
        }
        self._ending |= packs.keys() - set(self.cluster.cancel(list(packs)))

    # --- submitting ------------------------------------------------------------------------------

    def run_job(self, job: JobExecutorInterface) -> None:
        """Take a job; it is submitted with others that ask for the same."""
        if not self._listens and threading.current_thread() is threading.main_thread():
            # Snakemake would wait for all that is in the queue.
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            self._listens = True
        try:
            request = request_of(job.resources, job.threads, self.settings.pack)
        except WorkflowError as error:
            self.report_job_error(SubmittedJobInfo(job), msg=f"{error}. ")
            return
        self._wait(_Waiting(job, request, _key(job)))

    def _wait(self, waiting: _Waiting) -> None:
        with self._guard:
            self._waiting.append(waiting)

    def _flush(self) -> None:
        """Submit what waits, once no more has come for a moment, and is not there from an earlier call."""
        now, linger = time.monotonic(), self.settings.linger
        with self._guard:
            jobs = [each for each in self._waiting if each.since <= now]
            came = [each.since for each in jobs if not each.held]
            if not jobs or (came and now < min(max(came) + linger, min(came) + LONGEST_LINGER * linger)):
                return
            self._waiting = [each for each in self._waiting if each.since > now]
        jobs = self._without_rivals([each for each in jobs if not self._adopt(each)])
        for asked, alike in by_key((each.request, each) for each in jobs).items():
            request = self._fitted(asked)
            alike = self._without_remainder(asked, request.pack, alike)
            limit_min = self.cluster.longest_min(request)
            waves = min(self.settings.waves, max(1, (limit_min or 10**9) // request.runtime_min))
            packs = packs_of(alike, request.pack, waves, self.settings.array_parallelism)
            for (places, turns), same in by_key((_shape(pack, request), pack) for pack in packs).items():
                for part in chunks(same, self._array_size):
                    if self._stopped:
                        return
                    self._submit(request, part, places, turns)

    def _without_remainder(self, asked: Request, pack: int, jobs: list[_Waiting]) -> list[_Waiting]:
        """Those that fill packs; the others wait for more a while, where more are to be expected.

        That is while allocations for the same run: each job that ends lets another come. What was taken
        away once has waited already.
        """
        running = any(opened.request == asked and opened.waited_for for opened in self._open.values())
        now, gather = time.monotonic(), self.settings.gather
        rest = jobs[len(jobs) - len(jobs) % pack :] if running else []
        if any(each.again or each.refused or now >= each.since + gather for each in rest):
            return jobs
        for each in rest:
            self._wait(replace(each, held=True))
        return jobs[: len(jobs) - len(rest)]

    def _fitted(self, request: Request) -> Request:
        """With a smaller pack where a whole one would be larger than any node: it would wait for ever."""
        room = self.cluster.room(request) if request.pack > 1 else None
        if room is None or room >= request.pack:
            return request
        fitted = replace(request, pack=max(1, room))
        if request not in self._too_large:
            self._too_large.add(request)
            self.logger.info(
                f"No node has room for a pack of {request.pack} (a job has {request.cpus} CPUs and "
                f"{request.member_memory_mb()} MB): packs of {fitted.pack} instead."
            )
        return fitted

    def _submit(self, request: Request, packs: Sequence[list[_Waiting]], places: int, waves: int) -> None:
        prefix = self.settings.jobname_prefix
        members = [[self._describe(each) for each in pack] for pack in packs]
        submission = Submission.create(self.folder, prefix, self.cluster.name, members)
        runtime_min = request.runtime_min * waves
        options = request.of_pack(places)
        options["comment"] = _comment([each.job for pack in packs for each in pack])
        every = [
            _Place(submission, p, m, each) for p, pack in enumerate(packs) for m, each in enumerate(pack)
        ]
        try:
            calls = [
                Pack(
                    number=number,
                    members=[
                        Member(self.format_job_exec(each.job), described["log"], request.member_memory_mb())
                        for each, described in zip(pack, members[number], strict=True)
                    ],
                    places=places,
                    results=str(submission.results),
                    workdir=str(Path.cwd()),
                    environment=dict(self.envvars()),
                    runtime_min=runtime_min,
                    delay_s=signal_delay_s(runtime_min),
                    requeues=self.settings.requeues,
                    mps=self.settings.mps,
                )
                for number, pack in enumerate(packs)
            ]
            # Before: a controller that dies in between finds its jobs by their name.
            submission.save()
            submission.jobs = self.cluster.submit(submission, calls, options, self.settings.array_parallelism)
            submission.save()
        except (OSError, WorkflowError) as error:
            self._doubtful.append(_Doubtful(submission, every, str(error), time.monotonic() + 2))
            return
        self._submitted(submission, every)

    def _submitted(self, submission: Submission, places: Sequence[_Place]) -> None:
        number = submission.jobs[0]
        number = number.partition("_")[0] if len(submission.jobs) > 1 else number
        jobs, allocations = len(places), len(submission.packs)
        what = f"{jobs} job{'s' * (jobs > 1)} in {allocations} allocation{'s' * (allocations > 1)}"
        self.logger.info(f"{self.cluster.name} job {number} has been submitted: {what}. Logs: {self.logdir}")
        soon = time.monotonic() + FIRST_QUERY_S
        # What was submitted before is not asked for later because of it.
        self._next_query = min(self._next_query, soon) if self._open else soon
        self._interval = self._interval if self._open else FIRST_QUERY_S
        opened = _Open(submission)
        for place in places:
            self._report(place, opened)
        self._array_size = min(self.cluster.most_packs, max(self._array_size, 2 * allocations))
        if self._stopped:
            self.cluster.cancel(submission.jobs)

    def _report(self, place: _Place, opened: _Open) -> None:
        self._open[place.submission.id] = opened
        opened.request = place.waiting.request
        opened.waited_for.add((place.pack, place.member))
        info = SubmittedJobInfo(place.waiting.job, external_jobid=place.external_id, aux={"place": place})
        self.report_job_submission(info)

    def _settle_doubts(self) -> None:
        """Of what sbatch answered with an error: was it taken? If not, again later, or a failure.

        Jobs that were taken all the same have nothing to run, as nobody gave it to them: they are cancelled.
        """
        now = time.monotonic()
        for doubt in [doubt for doubt in self._doubtful if now >= doubt.due]:
            if doubt.submission.jobs:
                # Only a note of it could not be written.
                with suppress(OSError, WorkflowError):
                    doubt.submission.save()
                self._doubtful.remove(doubt)
                self._submitted(doubt.submission, doubt.places)
                continue
            jobs = self.cluster.find(doubt.submission)
            if jobs is None or (jobs and self.cluster.cancel(jobs)):
                # Nobody knows; and to submit it again could run it twice.
                doubt.due = now + RETRY_S
                continue
            self._doubtful.remove(doubt)
            doubt.submission.remove()
            # While jobs of one's own fill a limit, it is no reason to give up.
            full = LIMIT.search(doubt.error) and any(opened.waited_for for opened in self._open.values())
            passes = LIMIT.search(doubt.error) or (
                TRANSIENT.search(doubt.error) and not EXCEEDED.search(doubt.error)
            )
            if LIMIT.search(doubt.error):
                # An array is taken as a whole or not at all.
                self._array_size = max(1, min(self._array_size, len(doubt.submission.packs) // 2))
            for waiting in (place.waiting for place in doubt.places):
                if full:
                    self._wait(replace(waiting, since=now + LONGEST_RETRY_S))
                elif passes and waiting.refused < self.settings.requeues:
                    refused = waiting.refused + 1
                    pause_s = min(LONGEST_RETRY_S, RETRY_S * refused)
                    self._wait(replace(waiting, since=now + pause_s, refused=refused))
                else:
                    self.report_job_error(SubmittedJobInfo(waiting.job), msg=f"{doubt.error}. ")

    def _describe(self, waiting: _Waiting) -> dict[str, Any]:
        """A member as the manifest has it."""
        log = waiting.job.logfile_suggestion(str(self.logdir))
        if any(len(os.fsencode(part)) > 200 for part in Path(log).parts):
            log = str(self.logdir / waiting.job.name / f"{waiting.key[:16]}.log")
        outputs = sorted(map(str, waiting.job.output))
        return {"key": waiting.key, "outputs": outputs, "log": log}

    # --- looking ---------------------------------------------------------------------------------

    async def check_active_jobs(self, active_jobs: list[SubmittedJobInfo]) -> AsyncIterator[SubmittedJobInfo]:
        """Report what has ended; yield the rest."""
        self._flush()
        self._settle_doubts()
        self._look()
        for info in active_jobs:
            place: _Place = info.aux["place"]
            opened = self._open[place.submission.id]
            result = opened.results.get((place.pack, place.member))
            word = self._lost(place) if result is None else None
            if result is None and word is None:
                yield info
                continue
            self._close(opened, place)
            if result is not None and result.exit == 0:
                self.report_job_success(info)
            elif word in BLAMELESS and place.waiting.again < self.settings.requeues:
                self.logger.info(f"Job {info.job.jobid} was ended ({word}), and is submitted again.")
                self._wait(replace(place.waiting, again=place.waiting.again + 1, since=time.monotonic()))
            else:
                opened.failed = True
                what = f"{self.cluster.name} job {place.external_id}"
                if result is None:
                    msg = f"{what} has ended with {word}, and this run had not. "
                elif result.why:
                    msg = f"{what}: {result.why}. "
                else:
                    msg = f"{what}: it has ended with exit status {result.exit}. "
                self.report_job_error(info, msg=msg, aux_logs=[place.log])
        self._tidy()

    def _look(self) -> None:
        """Ask the cluster, if it is time; then read what jobs wrote, which is so no older than the answer."""
        if self._open and time.monotonic() >= self._next_query:
            self._query()
        for opened in self._open.values():
            submission = opened.submission
            if any(submission.jobs[p] in self._silent_since for p, _ in opened.waited_for):
                submission.refresh()
            opened.results |= submission.read_results(set(opened.results))

    def _query(self) -> None:
        states = self.cluster.states([opened.submission for opened in self._open.values()])
        now = time.monotonic()
        self._interval = min(self._interval * 1.5, float(self.settings.status_interval))
        if states is not None:
            self._states = states
            self._tell_of_held(states)
            for job, state in states.items():
                if state.phase is Phase.ALIVE:
                    self._silent_since.pop(job, None)
                    self._silent.discard(job)
                elif now >= self._silent_since.setdefault(job, now) + self.settings.latency:
                    self._silent.add(job)
        self._next_query = now + self._interval
        unconfirmed = [at for job, at in self._silent_since.items() if job not in self._silent]
        if unconfirmed:
            confirmed_at = min(unconfirmed) + self.settings.latency
            self._next_query = max(now + 1, min(self._next_query, confirmed_at))

    def _tell_of_held(self, states: Mapping[str, State]) -> None:
        """Say once of each job that it waits for what may never come."""
        reasons: dict[str, list[str]] = {}
        for job, state in sorted(states.items(), key=lambda item: item[0]):
            said = next(filter(HELD.search, (state.reason, state.word)), None)
            if said and state.phase is Phase.ALIVE and job not in self._held:
                reasons.setdefault(said, []).append(job)
                self._held.add(job)
        for reason, jobs in reasons.items():
            named = f"{' '.join(jobs[:10])}{' …' if len(jobs) > 10 else ''}"
            self.logger.warning(
                f"{self.cluster.name} job {named} may wait for ever: {reason}. `scontrol show job {jobs[0]}` "
                "says more."
            )

    def _lost(self, place: _Place) -> str | None:
        """The state in which a job ended without a word of this member, once that word must have come."""
        if place.external_id not in self._silent:
            return None
        return self._states.get(place.external_id, UNKNOWN).word or "an unknown state"

    def _close(self, opened: _Open, place: _Place) -> None:
        # Noted first: what is reported to Snakemake is never taken over by another call.
        opened.submission.note_reported(place.pack, place.member)
        opened.waited_for.discard((place.pack, place.member))

    def _tidy(self) -> None:
        """Remove what nobody will ask for again; what failed keeps its logs until the next call."""
        asked_for_later = {opened.submission.id for opened, _, _ in self._adoptable.values()}
        for number, opened in list(self._open.items()):
            jobs = opened.submission.jobs
            if not opened.waited_for and all(job in self._silent_since for job in jobs):
                del self._open[number]
                for job in jobs:
                    self._silent_since.pop(job, None)
                    self._silent.discard(job)
                if number in asked_for_later:
                    self._gone.append(opened.submission)
                elif not opened.failed:
                    opened.submission.remove()

    # --- ending ----------------------------------------------------------------------------------

    def cancel(self) -> None:
        """Cancel all that this call has submitted or taken over, and nothing else."""
        self._stopped = True
        if threading.current_thread() is threading.main_thread():
            # A second Ctrl-C would leave in the queue what is not cancelled yet.
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, self._patience)
        super().cancel()

    def _patience(self, number: int, frame: FrameType | None) -> None:
        # Not by the logger: it may be what was interrupted.
        os.write(2, b"The jobs are being cancelled; this takes a moment.\n")

    def cancel_jobs(self, active_jobs: list[SubmittedJobInfo]) -> None:
        """Cancel every allocation that holds a job of this call."""
        # The other thread may be about to change these; it cancels by itself what it submits from now on.
        opened = list(self._open.values())
        jobs = []
        for each in opened:
            of_it = sorted({each.submission.jobs[p] for p, _ in list(each.waited_for)})
            each.submission.note_cancelled(of_it)
            jobs += of_it
        left = self.cluster.cancel(jobs) if jobs else []
        if left:
            self.logger.error(
                f"These jobs could not be cancelled: {' '.join(left[:20])} ({len(left)} in all)"
            )

    def _cancel_doubtful(self) -> None:
        for doubt in self._doubtful:
            self.cluster.cancel(doubt.submission.jobs or self.cluster.find(doubt.submission) or [])

    def shutdown(self) -> None:
        """The last call of this executor: what nobody will ask for any more is removed."""
        super().shutdown()
        if self._stopped:
            # What was not asked for yet may be asked for by the next call.
            self._cancel_doubtful()
        else:
            self._adoptable.clear()
        self._next_query = 0.0
        self._look()
        self._tidy()
        kept = {opened.submission.id for opened, _, _ in self._adoptable.values()} | self._open.keys()
        for submission in self._gone:
            if submission.id not in kept:
                submission.remove()


def _shape(pack: Sequence[_Waiting], request: Request) -> tuple[int, int]:
    """How many of a pack run at the same time, and how many one after the other."""
    places = min(request.pack, len(pack))
    return places, -(-len(pack) // places)


def _key(job: JobExecutorInterface) -> str:
    """What makes two jobs of two calls the same: all that is known to determine their outputs."""
    kept = [
        {
            "rule": each.name,
            "params": _params(each),
            "input": sorted(map(str, each.input)),
            "output": sorted(map(str, each.output)),
        }
        for each in (job.jobs if job.is_group() else [job])
    ]
    kept.sort(key=lambda of_job: (of_job["rule"], of_job["output"]))
    return hashlib.sha256(json.dumps(kept).encode()).hexdigest()


def _params(job: JobExecutorInterface) -> str:
    """A job's params as text, the same in every process.

    `properties` has none at all where one of them is no JSON; the job itself has them.
    """
    params = getattr(job, "params", None)
    given = _properties(job).get("params", {}) if params is None else [dict(params.items()), list(params)]
    # What `repr` says of an object of no value of its own is another in each process.
    return re.sub(r" at 0x[0-9a-f]+", "", _text(given))


def _text(value: object) -> str:
    """`repr`, with a set in order."""
    if isinstance(value, dict):
        return f"{{{', '.join(sorted(f'{_text(key)}: {_text(each)}' for key, each in value.items()))}}}"
    if isinstance(value, set | frozenset):
        return f"{{{', '.join(sorted(map(_text, value)))}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_text, value))}]"
    return repr(value)


def _comment(jobs: Sequence[JobExecutorInterface]) -> str:
    """What stands in the queue for a person."""
    if len(jobs) > 1:
        names = sorted({job.name for job in jobs})
        return f"{len(jobs)} jobs of {' and '.join(names)}"
    wildcards = _properties(jobs[0]).get("wildcards") or {}
    text = f"rule_{jobs[0].name}"
    text += f"_wildcards_{'_'.join(map(str, wildcards.values()))}" if wildcards else ""
    return text if text.isprintable() else f"rule_{jobs[0].name}"


def _properties(job: JobExecutorInterface) -> dict[str, Any]:
    return json.loads(job.properties())
