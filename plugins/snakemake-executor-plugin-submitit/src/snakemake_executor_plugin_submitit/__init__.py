"""A Snakemake executor on submitit: arrays of packs, requeued with checkpoints, adopted after a crash."""

import hashlib
import json
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Optional

from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface
from snakemake_interface_executor_plugins.settings import CommonSettings, ExecutorSettingsBase

from snakemake_executor_plugin_submitit.clusters import UNKNOWN, Cluster, Local, Phase, Slurm, State
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
        for name in ("linger", "requeues", "latency"):
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
    """A job that is to be submitted."""

    job: JobExecutorInterface
    request: Request
    key: str
    again: int = 0


@dataclass
class _Place:
    """Where a submitted job is: member `member` of pack `pack` of a submission."""

    submission: Submission
    pack: int
    member: int
    waiting: _Waiting

    @property
    def slurm_job(self) -> str:
        return self.submission.jobs[self.pack]

    @property
    def log(self) -> str:
        return self.submission.packs[self.pack][self.member]["log"]


class Executor(RemoteExecutor):
    """The controller's side: what is submitted, adopted, looked at and cancelled."""

    def __post_init__(self) -> None:
        settings: ExecutorSettings = self.workflow.executor_settings
        self.settings = settings
        self.folder = Path(self.workflow.persistence.path).absolute() / "submitit"
        self.logdir = Path(settings.logdir or self.folder.with_name("submitit_logs")).absolute()
        make_private(self.folder)
        self.cluster: Cluster = Slurm(settings.array_size) if settings.cluster == "slurm" else Local()
        self.next_seconds_between_status_checks = LOOK_S
        self._waiting: list[_Waiting] = []
        self._first_came = self._last_came = 0.0
        self._stopped = False
        self._guard = threading.Lock()
        # Submissions with members that have not been reported, and how those are known to have ended.
        self._open: dict[str, tuple[Submission, set[tuple[int, int]]]] = {}
        self._results: dict[tuple[str, int, int], Result] = {}
        self._failed: set[str] = set()
        self._states: dict[str, State] = {}
        self._silent_since: dict[str, float] = {}
        self._next_query = 0.0
        self._interval = FIRST_QUERY_S
        self._listens = False
        self._adoptable: dict[str, tuple[Submission, int, int]] = {}
        # Of earlier calls, with nothing left in the queue.
        self._gone: list[Submission] = []
        self._find_adoptable()

    # --- after a crash ---------------------------------------------------------------------------

    def _find_adoptable(self) -> None:
        """Learn what an earlier call submitted: what still runs or has ended well can be adopted."""
        left = [s for path in sorted(self.folder.iterdir()) if (s := Submission.load(path))]
        # A call that lives looks after its own.
        left = [s for s in left if s.cluster == self.cluster.name and s.hold()]
        for submission in left:
            submission.jobs = submission.jobs or self.cluster.find(submission)
        states = self.cluster.states(left) if left else {}
        if states is None:
            raise WorkflowError(
                "The queue cannot be seen now (squeue does not answer), and an earlier call left jobs in it. "
                "Call again when it can: their runs would be submitted twice otherwise."
            )
        for submission in left:
            results = submission.read_results(set())
            found = {}
            for p, (pack, job) in enumerate(zip(submission.packs, submission.jobs, strict=False)):
                alive = states.get(job, UNKNOWN).phase is Phase.ALIVE
                for m, member in enumerate(pack):
                    result = results.get((p, m))
                    if alive if result is None else result.exit == 0:
                        found[member["key"]] = (submission, p, m)
            self._adoptable |= found
            gone = all(states.get(job, UNKNOWN).phase is not Phase.ALIVE for job in submission.jobs)
            if gone:
                self._gone.append(submission)

    def _adopt(self, waiting: _Waiting) -> bool:
        found = self._adoptable.pop(waiting.key, None)
        if found is None:
            return False
        submission, pack, member = found
        result = submission.read_results(set()).get((pack, member))
        if result is not None and (result.exit != 0 or not all(map(os.path.exists, waiting.job.output))):
            return False
        place = _Place(submission, pack, member, waiting)
        self.logger.info(
            f"Job {waiting.job.jobid} of an earlier call is taken over: "
            f"{self.cluster.name} job {place.slurm_job}."
        )
        self._report(place)
        return True

    # --- submitting ------------------------------------------------------------------------------

    def run_job(self, job: JobExecutorInterface) -> None:
        """Take a job; it is submitted with others that ask for the same."""
        if not self._listens and threading.current_thread() is threading.main_thread():
            # Snakemake would wait for all that is in the queue.
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            self._listens = True
        request = request_of(job.resources, job.threads, self.settings.pack)
        waiting = _Waiting(job, request, _key(job))
        if not self._adopt(waiting):
            self._wait(waiting)

    def _wait(self, waiting: _Waiting) -> None:
        with self._guard:
            self._last_came = time.monotonic()
            if not self._waiting:
                self._first_came = self._last_came
            self._waiting.append(waiting)

    def _flush(self) -> None:
        """Submit what waits, once no more has come for a moment."""
        now, linger = time.monotonic(), self.settings.linger
        with self._guard:
            if now < min(self._last_came + linger, self._first_came + LONGEST_LINGER * linger):
                return
            jobs, self._waiting = self._waiting, []
        settings = self.settings
        for request, alike in by_key((each.request, each) for each in jobs).items():
            request = self._fitted(request)
            packs = packs_of(alike, request.pack, settings.waves, settings.array_parallelism)
            for (places, waves), same in by_key((_shape(pack, request), pack) for pack in packs).items():
                for part in chunks(same, self.cluster.most_packs):
                    if self._stopped:
                        return
                    self._submit(request, part, places, waves)

    def _fitted(self, request: Request) -> Request:
        """With a smaller pack where a whole one would be larger than any node: it would wait for ever."""
        room = self.cluster.room(request) if request.pack > 1 else None
        if room is None or room >= request.pack:
            return request
        fitted = replace(request, pack=max(1, room))
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
        every = [
            _Place(submission, p, m, each) for p, pack in enumerate(packs) for m, each in enumerate(pack)
        ]
        try:
            # Before: a controller that dies in between finds its jobs by their name.
            submission.save()
            submission.jobs = self.cluster.submit(submission, calls, options, self.settings.array_parallelism)
            submission.save()
        except (OSError, WorkflowError) as error:
            if not submission.jobs:
                submission.remove()
            for place in every:
                self.report_job_error(SubmittedJobInfo(place.waiting.job), msg=f"{error} ")
            return
        if self._stopped:
            self.cluster.cancel(submission.jobs)
        numbers = submission.jobs[0].partition("_")[0] if len(packs) > 1 else submission.jobs[0]
        what = f"{len(every)} jobs in {len(packs)} allocations" if len(every) > 1 else "1 job"
        self.logger.info(
            f"{what} has been submitted as {self.cluster.name} job {numbers}. Logs: {self.logdir}"
        )
        self._next_query, self._interval = time.monotonic() + FIRST_QUERY_S, FIRST_QUERY_S
        for place in every:
            self._report(place)

    def _report(self, place: _Place) -> None:
        submission = place.submission
        self._open.setdefault(submission.id, (submission, set()))[1].add((place.pack, place.member))
        info = SubmittedJobInfo(place.waiting.job, external_jobid=place.slurm_job, aux={"place": place})
        self.report_job_submission(info)

    def _describe(self, waiting: _Waiting) -> dict[str, Any]:
        """A member as the manifest has it."""
        log = waiting.job.logfile_suggestion(str(self.logdir))
        if any(len(part) > 200 for part in Path(log).parts):
            log = str(self.logdir / waiting.job.name / f"{waiting.key[:16]}.log")
        outputs = sorted(map(str, waiting.job.output))
        return {"key": waiting.key, "outputs": outputs, "log": log}

    # --- looking ---------------------------------------------------------------------------------

    async def check_active_jobs(self, active_jobs: list[SubmittedJobInfo]) -> AsyncIterator[SubmittedJobInfo]:
        """Report what has ended; yield the rest."""
        self._flush()
        self._look()
        for info in active_jobs:
            place: _Place = info.aux["place"]
            result = self._results.get((place.submission.id, place.pack, place.member))
            if result is None:
                word = self._lost(place)
                if word is None:
                    yield info
                    continue
                if word in BLAMELESS and place.waiting.again < self.settings.requeues:
                    self.logger.info(f"Job {info.job.jobid} was ended ({word}), and is submitted again.")
                    self._close(place)
                    self._wait(
                        _Waiting(info.job, place.waiting.request, place.waiting.key, place.waiting.again + 1)
                    )
                    continue
                self._failed.add(place.submission.id)
                msg = (
                    f"{self.cluster.name} job {place.slurm_job} has ended with {word}, and this run had not. "
                )
                self._close(place)
                self.report_job_error(info, msg=msg, aux_logs=[place.log])
            elif result.exit == 0:
                self._close(place)
                self.report_job_success(info)
            else:
                self._failed.add(place.submission.id)
                msg = (
                    f"It has ended with exit status {result.exit}. " if not result.why else f"{result.why}. "
                )
                self._close(place)
                self.report_job_error(info, msg=msg, aux_logs=[place.log])
        self._tidy()

    def _look(self) -> None:
        """Read what jobs wrote; ask the cluster, if it is time."""
        now = time.monotonic()
        for submission, waited_for in self._open.values():
            known = {(p, m) for s, p, m in self._results if s == submission.id}
            if any(submission.jobs[p] in self._silent_since for p, _ in waited_for):
                submission.refresh()
            for (p, m), result in submission.read_results(known).items():
                self._results[submission.id, p, m] = result
                self._interval = FIRST_QUERY_S
        if not self._open or now < self._next_query:
            return
        states = self.cluster.states([submission for submission, _ in self._open.values()])
        self._interval = min(self._interval * 1.5, float(self.settings.status_interval))
        if states is not None:
            if states != self._states:
                self._interval = FIRST_QUERY_S
            for job, state in states.items():
                if state.phase is Phase.ALIVE:
                    self._silent_since.pop(job, None)
                else:
                    self._silent_since.setdefault(job, now)
            self._states = states
        self._next_query = time.monotonic() + self._interval

    def _lost(self, place: _Place) -> str | None:
        """The state in which a job ended without a word of this member, once that word must have come."""
        since = self._silent_since.get(place.slurm_job)
        if since is None or time.monotonic() < since + self.settings.latency:
            return None
        return self._states.get(place.slurm_job, UNKNOWN).word or "an unknown state"

    def _close(self, place: _Place) -> None:
        _, waited_for = self._open[place.submission.id]
        waited_for.discard((place.pack, place.member))

    def _tidy(self) -> None:
        """Remove what nobody will ask for again; what failed keeps its logs until the next call."""
        for number, (submission, waited_for) in list(self._open.items()):
            ended = all(job in self._silent_since for job in submission.jobs)
            if not waited_for and ended:
                del self._open[number]
                for job in submission.jobs:
                    self._silent_since.pop(job, None)
                if number not in self._failed:
                    submission.remove()

    # --- ending ----------------------------------------------------------------------------------

    def cancel(self) -> None:
        """Cancel all that this call has submitted or taken over, and nothing else."""
        self._stopped = True
        super().cancel()

    def shutdown(self) -> None:
        """The last call of this executor: what nobody will ask for any more is removed."""
        super().shutdown()
        self._next_query = 0.0
        self._look()
        self._tidy()
        for submission in self._gone:
            if submission.id not in self._open:
                submission.remove()

    def cancel_jobs(self, active_jobs: list[SubmittedJobInfo]) -> None:
        """Cancel every allocation that holds a job of this call."""
        open_now = list(self._open.values())
        jobs = sorted({submission.jobs[p] for submission, waited_for in open_now for p, _ in waited_for})
        if jobs:
            self.cluster.cancel(jobs)


def _shape(pack: Sequence[_Waiting], request: Request) -> tuple[int, int]:
    """How many of a pack run at the same time, and how many one after the other."""
    places = min(request.pack, len(pack))
    return places, -(-len(pack) // places)


def _key(job: JobExecutorInterface) -> str:
    """What makes two jobs of two calls the same: all that is known to determine their outputs."""
    kept = {
        name: value
        for name, value in _properties(job).items()
        if name in ("type", "rule", "wildcards", "params")
    }
    kept |= {"input": sorted(map(str, job.input)), "output": sorted(map(str, job.output))}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


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
