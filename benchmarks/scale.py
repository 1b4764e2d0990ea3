"""What the submitit executor costs at scale: queries, CPU time, memory, and how late it sees a job's end.

    python benchmarks/scale.py [--jobs 10000 100000] [--pack 8] [--at-a-time 1000] [--submit-limit 10000]

The executor's own code runs: it makes packs and arrays, writes scripts and pickles, reads squeue's text and
results. Snakemake and SLURM are stubs, and the clock is virtual: a command of SLURM takes the time that it
takes on a busy cluster, and nothing waits for it. A look of the executor is taken to last no longer than the
second between two looks; the last column says whether that is so.

Allocations start when there is room for them, `at-a-time` of them at the same time, and their jobs last 5 to
15 minutes. SLURM refuses an array that would bring more than `submit-limit` allocations into its queue.
"""

import argparse
import heapq
import json
import os
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

PROJECT = Path(__file__).parent.parent
sys.path.insert(0, str(PROJECT / "plugins/snakemake-executor-plugin-submitit/src"))

import submitit.core.utils
from snakemake_executor_plugin_submitit import executor as executor_module
from snakemake_executor_plugin_submitit.clusters import slurm
from snakemake_executor_plugin_submitit.results import result_path
from snakemake_executor_plugin_submitit.settings import ExecutorSettings

# Seconds: of one sbatch, of one squeue (it grows with the queue), and of a job.
SBATCH_S, SQUEUE_S, LENGTH_S = (0.5, 5.0), (1.0, 30.0), (300.0, 900.0)
# How many allocations are in the queue when squeue takes its longest.
LONG_QUEUE = 10_000
# SLURM forgets a job so many seconds after its end (MinJobAge).
FORGOTTEN_S = 300.0
DONE = json.dumps({"exit": 0, "why": ""})


class Queue:
    """A stub of SLURM on a virtual clock, with the number and the latency of real commands."""

    def __init__(self, at_a_time: int, limit: int, seed: int) -> None:
        self.now, self.at_a_time, self.limit = 0.0, at_a_time, limit
        self.random = random.Random(seed)  # noqa: S311, not for secrets
        self.calls: Counter[str] = Counter()
        # What the stub itself takes of the process's CPU time.
        self.cpu_s = 0.0
        self._next = 100
        # Job id -> [name, state, end]; waiting ids in order; (end, id, member) of what runs.
        self.jobs: dict[str, list] = {}
        self.folders: dict[str, Path] = {}
        self.waiting: list[str] = []
        self.running: list[tuple[float, str, int]] = []
        self._free, self._left, self._at = at_a_time, Counter(), 0
        self.ended_at: dict[tuple[str, int], float] = {}
        self.sizes: dict[str, int] = {}

    def sleep(self, seconds: float) -> None:
        """Let virtual time pass: jobs end and begin meanwhile."""
        begin = time.process_time()
        until = self.now + seconds
        while self.running and self.running[0][0] <= until:
            self.now, job, member = heapq.heappop(self.running)
            pack = int(job.partition("_")[2] or 0)
            result_path(self.folders[job], pack, member).write_text(DONE)
            self.ended_at[job, member] = self.now
            self._left[job] -= 1
            if not self._left[job]:
                self.jobs[job][1:] = ["COMPLETED", self.now]
                self._free += 1
                self._begin()
        self.now = until
        self.cpu_s += time.process_time() - begin

    def _begin(self) -> None:
        while self._free and self._at < len(self.waiting):
            job = self.waiting[self._at]
            self._at, self._free = self._at + 1, self._free - 1
            self.jobs[job][1] = "RUNNING"
            self._left[job] = self.sizes[job]
            for member in range(self.sizes[job]):
                heapq.heappush(self.running, (self.now + self.random.uniform(*LENGTH_S), job, member))

    def queued(self) -> int:
        """How many allocations wait or run."""
        return len(self.waiting) - self._at + self.at_a_time - self._free

    def call(self, *command: str) -> str | None:
        """In place of the executor's calls of SLURM."""
        self.calls[command[0]] += 1
        if command[0] == "scontrol":
            return "MaxArraySize = 1001\n"
        if command[0] != "squeue":
            return ""
        share = min(1.0, self.queued() / LONG_QUEUE)
        self.sleep(SQUEUE_S[0] + share * self.random.random() * (SQUEUE_S[1] - SQUEUE_S[0]))
        begin = time.process_time()
        self.jobs = {
            job: each
            for job, each in self.jobs.items()
            if each[2] is None or each[2] > self.now - FORGOTTEN_S
        }
        text = "".join(f"{job}|{state}|None|{name}\n" for job, (name, state, _) in self.jobs.items())
        self.cpu_s += time.process_time() - begin
        return text

    def sbatch(self, script: Path) -> str:
        """Accept an array, or refuse it as SLURM does."""
        self.calls["sbatch"] += 1
        self.sleep(self.random.uniform(*SBATCH_S))
        text = script.read_text()
        array = re.search(r"^#SBATCH --array=0-(\d+)", text, re.M)
        count = int(array[1]) + 1 if array else 1
        if self.queued() + count > self.limit:
            self.calls["refused"] += 1
            raise submitit.core.utils.FailedJobError(
                "sbatch: error: QOSMaxSubmitJobPerUserLimit"
            ) from subprocess.CalledProcessError(
                1, "sbatch", stderr="sbatch: error: QOSMaxSubmitJobPerUserLimit"
            )
        number, self._next = self._next, self._next + 1
        name = re.search(r"^#SBATCH --job-name=(\S+)", text, re.M)[1]
        folder = script.parents[1] / "results"
        packs = json.loads((script.parents[1] / "manifest.json").read_text())["packs"]
        for task in range(count):
            job = f"{number}_{task}" if array else str(number)
            self.jobs[job], self.folders[job], self.sizes[job] = (
                [name, "PENDING", None],
                folder,
                len(packs[task]),
            )
            self.waiting.append(job)
        self._begin()
        return f"Submitted batch job {number}\n"


class Job:
    """A ready job of Snakemake, as far as the executor looks at it."""

    def __init__(self, number: int) -> None:
        self.jobid, self.name, self.threads = number, "train", 1
        self.input, self.output, self.params = [], [f"results/runs/{number}/record.tsv"], None
        self.resources = {"mem_mb": 4000, "runtime": 60, "gres": "gpu:1", "slurm_partition": "gpu"}

    def is_group(self) -> bool:
        return False

    def properties(self) -> str:
        return json.dumps({"params": {}, "wildcards": {"i": self.jobid}})

    def logfile_suggestion(self, prefix: str) -> str:
        return f"{prefix}/{self.name}/{self.jobid}.log"


class Simulated(executor_module.Executor):
    """The executor with a stub of Snakemake."""

    def __init__(self, queue: Queue, folder: Path, settings: ExecutorSettings) -> None:
        quiet = SimpleNamespace(**dict.fromkeys(("info", "warning", "error", "debug"), lambda *words: None))
        self.workflow = SimpleNamespace(
            executor_settings=settings, persistence=SimpleNamespace(path=folder / ".snakemake")
        )
        self.logger, self.queue, self.active, self.lags = quiet, queue, [], []
        self.failed = 0

    def format_job_exec(self, job: Job) -> str:
        return f"python -m snakemake --snakefile Snakefile --target-jobs train:i={job.jobid} --mode remote"

    def envvars(self) -> dict[str, str]:
        return {}

    def report_job_submission(self, info) -> None:
        self.active.append(info)

    def report_job_success(self, info) -> None:
        member = info.aux["member"]
        self.lags.append(self.queue.now - self.queue.ended_at[member.external_id, member.member])

    def report_job_error(self, info, **said) -> None:
        self.failed += 1


async def _look(simulated: Simulated) -> None:
    active, simulated.active = simulated.active, []
    still = [info async for info in simulated.check_active_jobs(active)]
    simulated.active += still


def measure(jobs: int, options: argparse.Namespace) -> dict[str, float]:
    """One study of `jobs` runs that are all ready at once, in a process of its own."""
    queue = Queue(options.at_a_time, options.submit_limit, options.seed)
    with tempfile.TemporaryDirectory(dir=options.directory, prefix="scale-") as name:
        folder = Path(name)
        (folder / ".snakemake").mkdir()
        (folder / "srun").touch(mode=0o755)
        os.environ["PATH"] = f"{folder}:{os.environ['PATH']}"
        os.chdir(folder)
        slurm.call = queue.call
        submitit.core.utils.CommandFunction = lambda command, **_: lambda: queue.sbatch(Path(command[-1]))
        time.monotonic = time.time = lambda: queue.now
        time.sleep = queue.sleep
        settings = ExecutorSettings(pack=options.pack, direct="never")
        simulated = Simulated(queue, folder, settings)
        simulated.__post_init__()
        memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        begin, queue.cpu_s = time.process_time(), 0.0
        for number in range(jobs):
            simulated.submissions.add(_accepted(simulated, Job(number)))
        look_s = []
        while len(simulated.lags) + simulated.failed < jobs:
            before, own = time.process_time(), queue.cpu_s
            coroutine = _look(simulated)
            with suppress(StopIteration):
                coroutine.send(None)
            look_s.append(time.process_time() - before - (queue.cpu_s - own))
            queue.sleep(1.0)
        cpu_s = time.process_time() - begin - queue.cpu_s
    lags = sorted(simulated.lags)
    return {
        "jobs": jobs,
        "failed": simulated.failed,
        "virtual_s": queue.now,
        "submissions": queue.calls["sbatch"],
        "refused": queue.calls["refused"],
        "queries": queue.calls["squeue"],
        "cpu_s": cpu_s,
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - memory_mb,
        "lag_median_s": statistics.median(lags),
        "lag_p95_s": lags[int(0.95 * len(lags))],
        "lag_longest_s": lags[-1],
        "look_ms": 1000 * statistics.median(look_s),
        "longest_look_s": max(look_s),
    }


def _accepted(simulated: Simulated, job: Job) -> executor_module.WaitingJob:
    """What `run_job` makes of a job, without the signal handler that it sets."""
    request = executor_module.request_of(job.resources, job.threads, simulated.settings.pack)
    key = executor_module.job_key(job)
    # The default would be the real time.
    return executor_module.WaitingJob(job, request, key, since=simulated.queue.now)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--jobs", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--pack", type=int, default=8)
    parser.add_argument("--at-a-time", type=int, default=1000, help="allocations that run at the same time")
    parser.add_argument("--submit-limit", type=int, default=10_000, help="allocations that SLURM lets in")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--directory", help="where the executor's files are written; /dev/shm is fastest")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.jobs[0], options)))
        return
    for jobs in options.jobs:
        words = [f"--{name.replace('_', '-')}={value}" for name, value in vars(options).items()
                 if name not in ("jobs", "one") and value is not None]  # fmt: skip
        done = subprocess.run(
            [sys.executable, __file__, "--one", "--jobs", str(jobs), *words],
            stdout=subprocess.PIPE,
            check=True,
        )
        for name, value in json.loads(done.stdout).items():
            print(f"{name:16} {value:12,.2f}".removesuffix(".00"))
        print(flush=True)


if __name__ == "__main__":
    main()
