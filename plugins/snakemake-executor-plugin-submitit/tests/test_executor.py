"""Snakemake with this executor: on this machine, and with a stub of SLURM that is slow, wrong or silent."""

import logging
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import queues
from queues import PATIENCE_S
from snakemake_executor_plugin_submitit.adoption import Adoption
from snakemake_executor_plugin_submitit.clusters.base import Phase, State
from snakemake_executor_plugin_submitit.clusters.local import Local
from snakemake_executor_plugin_submitit.executor import Executor
from snakemake_executor_plugin_submitit.folder import Submission
from snakemake_executor_plugin_submitit.interrupts import interrupt_once
from snakemake_executor_plugin_submitit.private_folder import make_private
from snakemake_executor_plugin_submitit.queue_watch import QueueWatch
from snakemake_executor_plugin_submitit.refusals import may_pass
from snakemake_executor_plugin_submitit.resources import request_of
from snakemake_executor_plugin_submitit.results import Result, write_result
from snakemake_executor_plugin_submitit.settings import ExecutorSettings
from snakemake_executor_plugin_submitit.submissions import (
    Submissions,
    SubmittedMember,
    TrackedMember,
    TrackedSubmission,
    UnconfirmedSubmission,
    WaitingJob,
)
from snakemake_executor_plugin_submitit.submitting import Submitter

SNAKEFILE = """
rule all:
    input: [f"done/{{i}}" for i in range({jobs})]
rule one:
    output: "done/{{i}}"
    log: "log/{{i}}"
    resources: mem_mb=500, runtime={runtime}
    shell: "echo begun >> began{{wildcards.i}}; {command}; touch {{output}}"
"""


def prepare(limit: int | None) -> None:
    """Of a process: answer Ctrl-C, with at most so many open files."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))


class Workflow:
    """A Snakemake call in its own directory."""

    def __init__(self, root: Path, command: str, jobs: int = 3, runtime: int = 10) -> None:
        self.root = root
        (root / "Snakefile").write_text(SNAKEFILE.format(jobs=jobs, command=command, runtime=runtime))
        # Neither a job nor its supervisor imports what somebody has planted in the working directory.
        for name in ("submitit", "snakemake", "cloudpickle"):
            (root / f"{name}.py").write_text("raise SystemExit('planted')")
        self.process: subprocess.Popen | None = None

    def start(self, *arguments: str, cluster: str = "local", environment: dict[str, str] | None = None,
              limit: int | None = None):  # fmt: skip
        plain = ["--executor", "submitit", "--submitit-cluster", cluster, "--submitit-linger", "0.2"]
        plain += ["--jobs", "1000", "--scheduler", "greedy", "--max-jobs-per-timespan", "10000/1s"]
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-m",
                "snakemake",
                "--keep-going",
                "--rerun-incomplete",
                *plain,
                *arguments,
            ],
            cwd=self.root,
            env=environment,
            stdout=(self.root / "out").open("wb"),
            stderr=subprocess.STDOUT,
            preexec_fn=lambda: prepare(limit),
            start_new_session=True,
        )
        return self

    def run(self, *arguments: str, **options) -> int:
        return self.start(*arguments, **options).process.wait(PATIENCE_S)

    @property
    def printed(self) -> str:
        return (self.root / "out").read_text()

    def done(self) -> list[str]:
        return sorted(path.name for path in self.root.glob("done/*"))

    def submitted(self) -> int:
        """How many jobs it has reported as submitted."""
        return sum(map(int, re.findall(r"has been submitted: (\d+) job", self.printed)))

    def began(self, i: int) -> int:
        path = self.root / f"began{i}"
        return path.read_text().count("begun") if path.exists() else 0

    def wait_for(self, happened: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE_S
        while not happened():
            assert time.monotonic() < end, self.printed
            time.sleep(0.05)


def jobs_of(root: Path) -> list[psutil.Process]:
    """The processes of jobs that were submitted from this directory."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or [])
        if str(root) in line and "submitit.local._local" in line and process.status() != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def test_a_failed_job_does_not_affect_its_pack(tmp_path):
    workflow = Workflow(tmp_path, "[ {wildcards.i} != 1 ] || [ -e mended ] || exit 7")
    assert workflow.run("--submitit-pack", "3") == 1
    assert workflow.done() == ["0", "2"]
    assert "3 jobs in 1 allocation." in workflow.printed
    assert (tmp_path / ".snakemake/submitit_logs/one/i_1.log").read_text().count("Error in rule one") == 1
    (tmp_path / "mended").touch()
    assert workflow.run("--submitit-pack", "3") == 0
    assert [workflow.began(i) for i in range(3)] == [1, 2, 1]


def test_a_failed_job_is_retried_alone(tmp_path):
    workflow = Workflow(tmp_path, "[ {wildcards.i} != 1 ] || [ $(wc -l < began1) = 2 ]")
    assert workflow.run("--submitit-pack", "3", "--retries", "1") == 0
    assert [workflow.began(i) for i in range(3)] == [1, 2, 1]


def test_finished_submissions_leave_no_pickles_behind(tmp_path):
    workflow = Workflow(tmp_path, "true")
    assert workflow.run() == 0
    workflow.wait_for(lambda: not jobs_of(tmp_path))
    (tmp_path / "done/1").unlink()
    assert workflow.run("done/1") == 0
    left = list((tmp_path / ".snakemake/submitit").glob("*/jobs/*.pkl"))
    assert len(left) <= 2, "those of the last call only"


def test_after_a_kill_running_jobs_are_taken_over_and_finished_ones_are_not_rerun(tmp_path):
    """One job ends between the calls, one ends after them, and one fails after them."""
    workflow = Workflow(
        tmp_path, "[ {wildcards.i} = 0 ] || until [ -e go ]; do sleep 0.1; done; [ {wildcards.i} != 2 ]"
    )
    workflow.start("--submitit-pack", "3")
    workflow.wait_for(lambda: all(workflow.began(i) for i in range(3)))
    workflow.process.kill()
    workflow.process.wait()
    workflow.wait_for(lambda: workflow.done() == ["0"])
    # As the README says; the other tests ignore the lock.
    subprocess.run([sys.executable, "-P", "-m", "snakemake", "--unlock"], cwd=tmp_path, check=True)
    workflow.start("--submitit-pack", "3")
    workflow.wait_for(lambda: workflow.printed.count("is taken over") >= 2)
    (tmp_path / "go").touch()
    assert workflow.process.wait(PATIENCE_S) == 1
    assert "has been submitted" not in workflow.printed
    assert workflow.done() == ["0", "1"]
    assert [workflow.began(i) for i in range(3)] == [1, 1, 1]


def test_a_job_that_ended_before_the_next_call_is_taken_over(tmp_path):
    """Its output exists, but Snakemake is told to plan it nevertheless: it does not run twice."""
    workflow = Workflow(tmp_path, "until [ -e go ]; do sleep 0.1; done", jobs=1)
    workflow.start()
    workflow.wait_for(lambda: workflow.began(0))
    kill(workflow)
    (tmp_path / "go").touch()
    workflow.wait_for(lambda: workflow.done() == ["0"])
    workflow.wait_for(lambda: not jobs_of(tmp_path))
    assert workflow.run("--nolock", "--forcerun", "one") == 0
    assert "is taken over" in workflow.printed
    assert workflow.began(0) == 1


def test_a_second_call_leaves_the_jobs_of_the_first_alone(tmp_path):
    workflow = Workflow(tmp_path, "[ {wildcards.i} = 0 ] || until [ -e go ]; do sleep 0.1; done")
    first = workflow.start("--submitit-pack", "2").process
    workflow.wait_for(lambda: all(workflow.began(i) for i in range(3)))
    (tmp_path / "second").mkdir()
    (tmp_path / "second/Snakefile").write_text("rule all:\n    input: 'done/0'\n")
    printed = workflow.printed
    assert workflow.run("--nolock", "--snakefile", "second/Snakefile") == 0
    assert "taken over" not in workflow.printed
    (tmp_path / "go").touch()
    assert first.wait(PATIENCE_S) == 0, printed
    assert [workflow.began(i) for i in range(3)] == [1, 1, 1]


# Each job records when it starts and when it has stopped, which takes two seconds.
SLOW_TO_STOP = (
    "trap 'sleep 2; echo ended >> began{wildcards.i}; exit 1' TERM; until [ -e go ]; do sleep 0.1; done"
)


def kill_pack(root: Path) -> None:
    """Kill the processes that run packs, all at once, but no member."""
    submitit = [p for p in jobs_of(root) for p in (*p.children(), p)]
    for process in submitit:
        process.suspend()
    for process in submitit:
        process.kill()


def kill(workflow: Workflow) -> None:
    workflow.process.kill()
    workflow.process.wait()


@pytest.mark.parametrize("changed", ["an input", "params", "params without name", "params that are no JSON"])
def test_a_conflicting_job_is_ended_first(changed, tmp_path):
    """An earlier call left it: its result would be stale, and a new job would be a second writer."""
    (tmp_path / "given").write_text("1")
    workflow = Workflow(tmp_path, SLOW_TO_STOP, jobs=1)
    params = {
        "an input": "value=1",
        "params": "value=1",
        "params without name": "'--value=1'",
        "params that are no JSON": "value=1, other=pathlib.Path('x')",
    }
    text = (
        (tmp_path / "Snakefile")
        .read_text()
        .replace("rule one:", f"import pathlib\nrule one:\n    input: 'given'\n    params: {params[changed]}")
    )
    (tmp_path / "Snakefile").write_text(text)
    workflow.start()
    workflow.wait_for(lambda: workflow.began(0))
    kill(workflow)
    if changed == "an input":
        os.utime(tmp_path / "given")
    else:
        (tmp_path / "Snakefile").write_text(text.replace("value=1", "value=2"))
    workflow.start("--nolock")
    workflow.wait_for(lambda: workflow.began(0) == 2)
    (tmp_path / "go").touch()
    assert workflow.process.wait(PATIENCE_S) == 0, workflow.printed
    assert (tmp_path / "began0").read_text().split() == ["begun", "ended", "begun"]
    assert workflow.printed.count("it is cancelled, and this call waits for its end") == 1


@pytest.mark.parametrize(
    "given",
    [
        # The order of a set, and the address of an object without a value, differ between processes.
        "params: some={'a', 'b', 'c'}, more=object(), deep=[{'x': {'d', 'e', 'f'}}]",
        # Its age does not count, as in Snakemake.
        "input: ancient('given')",
    ],
)
def test_an_unchanged_job_is_taken_over(given, tmp_path):
    (tmp_path / "given").touch()
    workflow = Workflow(tmp_path, "until [ -e go ]; do sleep 0.1; done", jobs=1)
    text = (tmp_path / "Snakefile").read_text().replace("rule one:", f"rule one:\n    {given}")
    (tmp_path / "Snakefile").write_text(text)
    workflow.start()
    workflow.wait_for(lambda: workflow.began(0))
    kill(workflow)
    os.utime(tmp_path / "given")
    workflow.start("--nolock")
    workflow.wait_for(lambda: "is taken over" in workflow.printed)
    (tmp_path / "go").touch()
    assert workflow.process.wait(PATIENCE_S) == 0
    assert workflow.began(0) == 1


def test_a_job_whose_output_was_overwritten_is_not_taken_over(tmp_path):
    """Three calls write the same output. The first and the third have equal params, the second has others."""
    workflow = Workflow(tmp_path, "[ {params} = 1 ] || until [ -e go ]; do sleep 0.1; done", jobs=1)
    first = (tmp_path / "Snakefile").read_text().replace("rule one:", "rule one:\n    params: 1")
    (tmp_path / "Snakefile").write_text(first)
    workflow.start()
    workflow.wait_for(lambda: workflow.done() == ["0"])
    kill(workflow)
    workflow.wait_for(lambda: not jobs_of(tmp_path))
    (tmp_path / "Snakefile").write_text(first.replace("params: 1", "params: 2"))
    workflow.start("--nolock", "--forcerun", "one")
    workflow.wait_for(lambda: workflow.began(0) == 2)
    kill(workflow)
    (tmp_path / "Snakefile").write_text(first)
    assert workflow.run("--nolock") == 0, workflow.printed
    assert "taken over" not in workflow.printed
    assert workflow.began(0) == 3
    workflow.wait_for(lambda: not jobs_of(tmp_path))


def test_a_member_of_a_dead_pack_is_ended_and_not_taken_over(tmp_path):
    """Pack and controller were killed together. The member gets one SIGTERM: a second could disturb it."""
    workflow = Workflow(tmp_path, SLOW_TO_STOP, jobs=1).start()
    workflow.wait_for(lambda: workflow.began(0))
    kill_pack(tmp_path)
    kill(workflow)
    workflow.start("--nolock")
    workflow.wait_for(lambda: workflow.began(0) == 2)
    (tmp_path / "go").touch()
    assert workflow.process.wait(PATIENCE_S) == 0, workflow.printed
    assert (tmp_path / "began0").read_text().split() == ["begun", "ended", "begun"]
    assert "taken over" not in workflow.printed


def test_the_same_command_right_after_ctrl_c_waits_for_the_cancelled_jobs(tmp_path):
    workflow = Workflow(tmp_path, SLOW_TO_STOP, jobs=1).start()
    workflow.wait_for(lambda: workflow.began(0))
    workflow.process.send_signal(signal.SIGINT)
    assert workflow.process.wait(PATIENCE_S) != 0
    workflow.start()
    workflow.wait_for(lambda: workflow.began(0) == 2)
    (tmp_path / "go").touch()
    assert workflow.process.wait(PATIENCE_S) == 0, workflow.printed
    assert (tmp_path / "began0").read_text().split() == ["begun", "ended", "begun"]
    assert "taken over" not in workflow.printed


def test_members_of_a_killed_pack_are_ended_before_they_are_retried(tmp_path):
    workflow = Workflow(tmp_path, SLOW_TO_STOP, jobs=1).start("--retries", "1", "--submitit-latency", "1")
    workflow.wait_for(lambda: workflow.began(0))
    kill_pack(tmp_path)
    workflow.wait_for(lambda: workflow.began(0) == 2)
    (tmp_path / "go").touch()
    assert workflow.process.wait(PATIENCE_S) == 0, workflow.printed
    assert (tmp_path / "began0").read_text().split() == ["begun", "ended", "begun"]


def test_a_result_in_a_pack_is_kept_until_the_next_call_needs_it(tmp_path):
    """The next call runs one job at a time."""
    workflow = Workflow(tmp_path, "until [ -e go ]; do sleep 0.1; done")
    workflow.start("--submitit-pack", "3", "--submitit-latency", "1")
    workflow.wait_for(lambda: all(workflow.began(i) for i in range(3)))
    kill(workflow)
    workflow.start("--nolock", "--submitit-latency", "1", "--jobs", "1")
    workflow.wait_for(lambda: "is taken over" in workflow.printed)
    (tmp_path / "go").touch()
    assert workflow.process.wait(PATIENCE_S) == 0
    assert workflow.printed.count("is taken over") == 3
    assert [workflow.began(i) for i in range(3)] == [1, 1, 1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_call_cancels_its_jobs(number, tmp_path):
    told = "trap 'touch told{wildcards.i}; exit 1' TERM; while :; do sleep 0.1; done"
    workflow = Workflow(tmp_path, told).start("--submitit-pack", "2")
    workflow.wait_for(lambda: all(workflow.began(i) for i in range(3)))
    workflow.process.send_signal(number)
    assert workflow.process.wait(PATIENCE_S) != 0
    workflow.wait_for(lambda: not jobs_of(tmp_path))
    assert sorted(path.name for path in tmp_path.glob("told*")) == ["told0", "told1", "told2"]
    assert workflow.done() == []


def test_a_second_sigterm_does_not_break_the_cancelling(capfd):
    """SLURM sends one to the script of a controller in a job and one to all its processes."""
    before = signal.signal(signal.SIGTERM, interrupt_once)
    interrupt = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGINT) is interrupt, "Ctrl-C still works"
    finally:
        signal.signal(signal.SIGTERM, before)
    assert "The jobs are being cancelled" in capfd.readouterr().err


def test_at_its_limit_a_job_is_requeued_under_the_same_number(tmp_path):
    command = "trap 'touch saved; exit 1' TERM; [ -e saved ] || while :; do sleep 0.1; done"
    workflow = Workflow(tmp_path, command, jobs=1, runtime=1)
    assert workflow.run() == 0, workflow.printed
    assert workflow.began(0) == 2
    assert workflow.printed.count("has been submitted") == 1


def test_jobs_see_the_same_gpus_as_their_controller(tmp_path):
    workflow = Workflow(tmp_path, "(printenv CUDA_VISIBLE_DEVICES || echo unset) > {log}", jobs=1)
    environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    assert workflow.run(environment=environment) == 0, workflow.printed
    assert (tmp_path / "log/0").read_text() == "unset\n"
    (tmp_path / "done/0").unlink()
    assert workflow.run(environment={**environment, "CUDA_VISIBLE_DEVICES": "3"}) == 0
    assert (tmp_path / "log/0").read_text() == "3\n"


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--submitit-pack", "0"], "--submitit-pack is 0; it must be at least 1"),
        (["--submitit-latency", "-1"], "--submitit-latency is -1; it must be at least 0"),
        (["--submitit-jobname-prefix", "10%j"], "--submitit-jobname-prefix is '10%j'; it may have letters"),
        (["--default-resources", "slurm_extra='--output=x'"], "which this executor sets itself"),
        (["--submitit-cluster", "slurm"], "without SLURM: --submitit-cluster local"),
    ],
)
def test_a_wrong_setting_is_reported_in_a_sentence(flags, sentence, tmp_path):
    workflow = Workflow(tmp_path, "true", jobs=1)
    assert workflow.run(*flags) == 1
    assert sentence in workflow.printed
    assert "Traceback" not in workflow.printed


# --- a queue that is slow, wrong or silent -------------------------------------------------------


def test_the_executor_waits_for_results_that_come_late(tmp_path):
    """The queue shows COMPLETED at once; the results of the jobs appear seconds later."""
    environment = queues.install(tmp_path / "queue", STATE="COMPLETED", DELAY_S="5")
    workflow = Workflow(tmp_path, "true")
    assert workflow.run(cluster="slurm", environment=environment) == 0, workflow.printed
    assert workflow.done() == ["0", "1", "2"]


@pytest.mark.parametrize(
    "state", ["COMPLETED", "CANCELLED by 0", "OUT_OF_MEMORY", "TIMEOUT", "FAILED", "GONE"]
)
def test_a_job_that_ended_without_a_result_has_failed(state, tmp_path):
    """COMPLETED is not a success either: only a result is."""
    environment = queues.install(tmp_path / "queue", STATE=state, RUNS="no")
    workflow = Workflow(tmp_path, "true", jobs=1)
    began = time.monotonic()
    assert workflow.run("--submitit-latency", "2", cluster="slurm", environment=environment) == 1
    assert time.monotonic() - began < 30
    word = "an unknown state" if state == "GONE" else state.split()[0]
    assert f"has ended with {word}, and this run had not finished" in workflow.printed


@pytest.mark.parametrize("state", ["PREEMPTED", "NODE_FAIL"])
def test_a_job_that_lost_its_allocation_is_submitted_again_a_few_times(state, tmp_path):
    environment = queues.install(tmp_path / "queue", STATE=state, RUNS="no")
    workflow = Workflow(tmp_path, "true", jobs=1)
    flags = ("--submitit-latency", "1", "--submitit-requeues", "2")
    assert workflow.run(*flags, cluster="slurm", environment=environment) == 1
    assert workflow.printed.count("is submitted again") == 2
    assert len(list((tmp_path / "queue").glob("job-*"))) == 3


def test_an_unknown_state_and_a_silent_queue_are_neither_success_nor_failure(tmp_path):
    environment = queues.install(tmp_path / "queue", STATE="QUITE_NEW", RUNS="no")
    workflow = Workflow(tmp_path, "true", jobs=1)
    flags = ("--submitit-latency", "1", "--submitit-status-interval", "3")
    workflow.start(*flags, cluster="slurm", environment=environment)
    asked = tmp_path / "queue/asked"
    workflow.wait_for(lambda: asked.exists() and len(asked.read_text().split()) >= 3)
    (tmp_path / "queue/silent").touch()
    (tmp_path / "queue/state").write_text("FAILED")
    before = len(asked.read_text().split())
    workflow.wait_for(lambda: len(asked.read_text().split()) >= before + 3)
    assert workflow.process.poll() is None
    assert "Error" not in workflow.printed
    (tmp_path / "queue/silent").unlink()
    assert workflow.process.wait(PATIENCE_S) == 1
    assert "has ended with FAILED" in workflow.printed


def test_jobs_that_become_ready_one_by_one_still_fill_packs(tmp_path):
    """With as many jobs at a time as a pack has places, each job that ends lets one more start."""
    workflow = Workflow(tmp_path, "sleep 0.$(( {wildcards.i} % 4 * 3 ))", jobs=12)
    assert workflow.run("--jobs", "4", "--submitit-pack", "4", "--submitit-gather", "100") == 0
    sizes = re.findall(r"has been submitted: (\d+) jobs? in (\d+) allocation", workflow.printed)
    assert sizes == [("4", "1")] * 3


def test_jobs_too_few_for_a_pack_do_not_wait_forever(tmp_path):
    workflow = Workflow(tmp_path, "[ {wildcards.i} != 0 ] || until [ -e go ]; do sleep 0.1; done", jobs=4)
    workflow.start("--jobs", "2", "--submitit-pack", "2", "--submitit-gather", "3")
    workflow.wait_for(lambda: len(workflow.done()) == 3)
    (tmp_path / "go").touch()
    assert workflow.process.wait(PATIENCE_S) == 0


def test_an_array_that_exceeds_a_limit_is_divided(tmp_path):
    environment = queues.install(tmp_path / "queue", STATE="RUNNING", LARGEST="3")
    workflow = Workflow(tmp_path, "true", jobs=5)
    assert workflow.run(cluster="slurm", environment=environment) == 0
    assert "Error" not in workflow.printed
    assert [workflow.began(i) for i in range(5)] == [1] * 5


@pytest.mark.parametrize(
    "said",
    [
        "Zero Bytes were transmitted or received",
        "Slurm backup controller in standby mode",
        "Message receive failure",
        "I/O error writing script/environment to file",
    ],
)
def test_errors_of_an_unavailable_slurm_may_pass(said):
    assert may_pass(f"SLURM did not take the job: sbatch: error: Batch job submission failed: {said}")


def test_the_executor_warns_once_about_a_job_that_may_wait_forever(tmp_path):
    environment = queues.install(tmp_path / "queue", STATE="PENDING JobHeldAdmin", RUNS="no")
    workflow = Workflow(tmp_path, "true").start(cluster="slurm", environment=environment)
    asked = tmp_path / "queue/asked"
    workflow.wait_for(lambda: asked.exists() and len(asked.read_text().split()) >= 3)
    workflow.process.send_signal(signal.SIGINT)
    workflow.process.wait(PATIENCE_S)
    assert workflow.printed.count("may wait forever: JobHeldAdmin") == 1
    assert "slurm job 100_0 100_1 100_2 may wait" in workflow.printed


@pytest.mark.parametrize("name", ["lr5%all", "10%noise", "%j"])
def test_a_directory_whose_name_is_a_format_is_refused_at_the_start(name, tmp_path):
    environment = queues.install(tmp_path / "queue", STATE="RUNNING")
    root = tmp_path / name
    root.mkdir()
    assert Workflow(root, "true", jobs=1).run(cluster="slurm", environment=environment) == 1
    assert f"the directory {root} has a % in its path" in (root / "out").read_text()
    assert list(root.rglob("*.pkl")) == []
    assert list((tmp_path / "queue").glob("job-*")) == []


def test_a_call_with_many_submissions_needs_few_descriptors(tmp_path):
    """Each run has a time limit of its own, and so a submission of its own; all of them fail."""
    environment = queues.install(tmp_path / "queue", STATE="FAILED", RUNS="no")
    workflow = Workflow(tmp_path, "true", jobs=60)
    text = (tmp_path / "Snakefile").read_text()
    varied = text.replace("runtime=10", "runtime=lambda wildcards: 10 + int(wildcards.i)")
    (tmp_path / "Snakefile").write_text(varied)
    workflow.start("--submitit-latency", "1", cluster="slurm", environment=environment, limit=60)
    assert workflow.process.wait(PATIENCE_S) == 1
    assert workflow.printed.count("has ended with FAILED") == 60


def test_the_error_log_of_a_job_that_could_not_begin_is_quoted(tmp_path):
    environment = queues.install(tmp_path / "queue", STATE="FAILED", RUNS="no")
    workflow = Workflow(tmp_path, "true", jobs=1).start(
        "--submitit-latency", "2", cluster="slurm", environment=environment
    )
    workflow.wait_for(lambda: "has been submitted" in workflow.printed)
    (jobs,) = tmp_path.glob(".snakemake/submitit/*/jobs")
    (jobs / "100_0_log.err").write_text("Traceback\nFileNotFoundError: no scontrol\n")
    assert workflow.process.wait(PATIENCE_S) == 1
    assert "Its own log ends with: Traceback | FileNotFoundError: no scontrol" in workflow.printed


def test_a_job_that_the_queue_does_not_show_is_cancelled_before_it_is_given_up(tmp_path):
    environment = queues.install(tmp_path / "queue", STATE="GONE", RUNS="no")
    workflow = Workflow(tmp_path, "true", jobs=1)
    assert workflow.run("--submitit-latency", "1", cluster="slurm", environment=environment) == 1
    assert "has ended with an unknown state" in workflow.printed
    assert queues.cancelled(tmp_path / "queue").keys() == {"100"}


def test_the_number_of_turns_respects_the_time_limit_of_the_partition(tmp_path):
    environment = queues.install(
        tmp_path / "queue", STATE="RUNNING", NODES="all*|64|256000|(null)|(null)|35:00"
    )
    workflow = Workflow(tmp_path, "true", jobs=8)
    plain = ("--submitit-waves", "100", "--submitit-array-parallelism", "1")
    assert workflow.run(*plain, cluster="slurm", environment=environment) == 0
    scripts = "".join(path.read_text() for path in (tmp_path / "queue").glob("script-*"))
    assert set(re.findall(r"^#SBATCH --time=(\d+)$", scripts, re.M)) == {"20", "30"}
    assert "6 jobs in 2 allocations" in workflow.printed
    assert "2 jobs in 1 allocation" in workflow.printed


def test_queries_of_the_queue_become_rarer_while_nothing_happens(tmp_path):
    environment = queues.install(tmp_path / "queue", STATE="PENDING", RUNS="no")
    workflow = Workflow(tmp_path, "true").start(cluster="slurm", environment=environment)
    asked = tmp_path / "queue/asked"
    workflow.wait_for(lambda: asked.exists() and len(asked.read_text().split()) >= 4)
    times = [float(line) for line in asked.read_text().split()]
    workflow.process.send_signal(signal.SIGINT)
    workflow.process.wait(PATIENCE_S)
    gaps = [b - a for a, b in pairwise(times)]
    assert min(gaps) > 1, "one query for all jobs"
    assert gaps[2] > 1.5 * gaps[0], gaps
    assert queues.cancelled(tmp_path / "queue") == {"100": {"0", "1", "2"}}


def test_a_second_ctrl_c_leaves_nothing_in_the_queue(tmp_path):
    environment = queues.install(tmp_path / "queue", STATE="PENDING", RUNS="no", SLOW_CANCEL_S="3")
    workflow = Workflow(tmp_path, "true").start(cluster="slurm", environment=environment)
    workflow.wait_for(lambda: "has been submitted" in workflow.printed)
    for _ in range(3):
        os.killpg(workflow.process.pid, signal.SIGINT)
        time.sleep(0.8)
    assert workflow.process.wait(PATIENCE_S) != 0
    assert queues.cancelled(tmp_path / "queue") == {"100": {"0", "1", "2"}}
    assert "The jobs are being cancelled; this takes a moment." in workflow.printed


def test_two_thousand_ready_jobs_are_a_few_submissions(tmp_path):
    environment = queues.install(
        tmp_path / "queue", STATE="PENDING", RUNS="no", MAX_ARRAY_SIZE="601", LARGEST="601"
    )
    workflow = Workflow(tmp_path, "true", jobs=2000).start(
        "--jobs", "2000", "--submitit-array-size", "1000", "--submitit-array-parallelism", "40",
        "--submitit-linger", "2", cluster="slurm", environment=environment,
    )  # fmt: skip
    workflow.wait_for(lambda: workflow.submitted() == 2000)
    workflow.process.send_signal(signal.SIGINT)
    workflow.process.wait(PATIENCE_S)
    scripts = [path.read_text() for path in sorted((tmp_path / "queue").glob("script-*"))]
    assert len(scripts) < 20, "2,000 by 601, in as many calls as they came"
    arrays = [re.search(r"^#SBATCH --array=0-(\d+)%(\d+)$", text, re.M).groups() for text in scripts]
    assert max(int(last) + 1 for last, _ in arrays) <= 601
    assert sum(int(last) + 1 for last, _ in arrays) == 2000
    assert {limit for _, limit in arrays} == {"40"}
    assert sum(map(len, queues.cancelled(tmp_path / "queue").values())) == 2000


def test_a_controller_that_died_while_it_submitted_leaves_nothing_behind(tmp_path):
    """sbatch was called and its answer was not recorded: these jobs have nothing to run."""
    environment = queues.install(tmp_path / "queue", STATE="RUNNING", RUNS="no")
    workflow = Workflow(tmp_path, "true").start(cluster="slurm", environment=environment)
    workflow.wait_for(lambda: "has been submitted" in workflow.printed)
    workflow.process.kill()
    workflow.process.wait()
    (manifest,) = tmp_path.glob(".snakemake/submitit/*/manifest.json")
    manifest.write_text(re.sub(r'"jobs": \[.*?\]', '"jobs": []', manifest.read_text()))
    workflow.start("--nolock", cluster="slurm", environment=environment)
    workflow.wait_for(lambda: "has been submitted" in workflow.printed)
    assert queues.cancelled(tmp_path / "queue") == {"100": {"0", "1", "2"}}, "found by their name"
    workflow.process.send_signal(signal.SIGINT)
    workflow.process.wait(PATIENCE_S)


def test_jobs_left_in_a_queue_that_does_not_answer_are_not_submitted_twice(tmp_path):
    environment = queues.install(tmp_path / "queue", STATE="RUNNING", RUNS="no")
    workflow = Workflow(tmp_path, "true").start(cluster="slurm", environment=environment)
    workflow.wait_for(lambda: "has been submitted" in workflow.printed)
    workflow.process.kill()
    workflow.process.wait()
    (tmp_path / "queue/silent").touch()
    assert workflow.run("--nolock", cluster="slurm", environment=environment) == 1
    assert "Their runs would be submitted twice otherwise" in workflow.printed
    assert len(list((tmp_path / "queue").glob("job-*"))) == 1


@pytest.mark.parametrize("taken", ["taken", "not taken"])
def test_a_submission_that_was_not_answered_runs_exactly_once(taken, tmp_path):
    """SLURM's controller was unavailable for a moment, before or after it accepted the jobs."""
    environment = queues.install(tmp_path / "queue", STATE="RUNNING")
    refuses = tmp_path / "queue/refuses"
    refuses.write_text(f"Batch job submission failed: Socket timed out on send/recv operation|{taken}")
    workflow = Workflow(tmp_path, "true").start(cluster="slurm", environment=environment)
    workflow.wait_for(lambda: list(tmp_path.glob(".snakemake/submitit/*/jobs")))
    time.sleep(1)
    refuses.unlink()
    assert workflow.process.wait(PATIENCE_S) == 0, workflow.printed
    assert "Error in rule" not in workflow.printed
    assert [workflow.began(i) for i in range(3)] == [1, 1, 1]
    left = {"100": {"0", "1", "2"}} if taken == "taken" else {}
    assert queues.cancelled(tmp_path / "queue") == left


def test_the_reason_of_a_final_refusal_is_reported(tmp_path):
    environment = queues.install(tmp_path / "queue", STATE="RUNNING")
    (tmp_path / "queue/refuses").write_text("invalid partition specified: nowhere|not taken")
    assert Workflow(tmp_path, "true", jobs=1).run(cluster="slurm", environment=environment) == 1
    assert "SLURM did not take the job: sbatch: error: invalid partition" in (tmp_path / "out").read_text()


def test_a_slow_answer_of_the_queue_does_not_end_a_job(tmp_path):
    """Each query takes longer than the latency, so the states in its answer are old."""
    environment = queues.install(tmp_path / "queue", STATE="COMPLETED", DELAY_S="1", SLOW_S="4")
    workflow = Workflow(tmp_path, "true")
    assert workflow.run("--submitit-latency", "2", cluster="slurm", environment=environment) == 0
    assert workflow.done() == ["0", "1", "2"]


def test_a_slow_answer_at_the_start_does_no_harm(tmp_path):
    environment = queues.install(tmp_path / "queue", STATE="RUNNING", SLOW_START_S="3")
    assert Workflow(tmp_path, "true", jobs=1).run(cluster="slurm", environment=environment) == 0


def test_what_was_reported_is_never_taken_over(tmp_path):
    """A failed job keeps the submission of its pack, whose other results were reported."""
    workflow = Workflow(tmp_path, "[ {wildcards.i} != 1 ]")
    assert workflow.run("--submitit-pack", "3") == 1
    assert workflow.run("--submitit-pack", "3", "--forcerun", "one") == 1
    assert "taken over" not in workflow.printed
    assert [workflow.began(i) for i in range(3)] == [2, 2, 2]


def test_a_result_that_is_older_than_an_input_is_not_taken_over(tmp_path):
    (tmp_path / "given").write_text("1")
    workflow = Workflow(tmp_path, "until [ -e go ]; do sleep 0.1; done", jobs=1)
    text = (tmp_path / "Snakefile").read_text().replace("rule one:", "rule one:\n    input: 'given'")
    (tmp_path / "Snakefile").write_text(text)
    workflow.start()
    workflow.wait_for(lambda: workflow.began(0))
    kill(workflow)
    (tmp_path / "go").touch()
    workflow.wait_for(lambda: workflow.done() == ["0"])
    workflow.wait_for(lambda: not jobs_of(tmp_path))
    os.utime(tmp_path / "given")
    assert workflow.run("--nolock") == 0
    assert "taken over" not in workflow.printed
    assert workflow.began(0) == 2


def test_ctrl_c_in_a_terminal_leaves_the_jobs_time_to_stop(tmp_path):
    """It reaches all processes of the group at once."""
    told = "trap 'sleep 2; touch told{wildcards.i}; exit 1' TERM; while :; do sleep 0.1; done"
    workflow = Workflow(tmp_path, told, jobs=1).start()
    workflow.wait_for(lambda: workflow.began(0))
    os.killpg(workflow.process.pid, signal.SIGINT)
    assert workflow.process.wait(PATIENCE_S) != 0
    workflow.wait_for(lambda: not jobs_of(tmp_path))
    assert (tmp_path / "told0").exists()


# --- between submissions -------------------------------------------------------------------------


class Snakemake:
    """Takes the reports of a submitter, in place of the executor."""

    def __init__(self) -> None:
        self.errors: list[str] = []

    def report_refused(self, job, error: str) -> None:
        self.errors.append(error)


def make_submitter(folder: Path, **settings) -> Submitter:
    settings = ExecutorSettings(cluster="local", **settings)
    return Submitter(Snakemake(), Local(), Submissions(), settings, folder, folder, LOG)


LOG = logging.getLogger("quiet")


def waiting(**changes) -> WaitingJob:
    return WaitingJob(None, request_of({}, 1, 1), "key", **changes)


def submission(folder: Path) -> Submission:
    make_private(folder)
    made = Submission.create(folder, "it", "local", [[{"key": "key", "outputs": ["out"], "log": "log"}]])
    made.save()
    made.jobs = ["1"]
    return made


def test_a_submission_does_not_delay_the_query_about_earlier_ones(tmp_path):
    submissions, planned = Submissions(), []
    watch = QueueWatch(Local(), submissions, LOG, latency_s=15, longest_interval_s=30)
    for _ in range(60):
        made = submission(tmp_path / "submitit")
        watch.ask_soon()
        submissions.track(SubmittedMember(made, 0, 0, waiting()), TrackedSubmission(made))
        planned.append(watch.next_query)
    assert max(planned) == planned[0]


def test_the_queue_is_asked_about_a_new_submission_and_not_about_a_run_in_a_known_one(tmp_path):
    made, asked = submission(tmp_path / "submitit"), []
    executor = SimpleNamespace(
        submissions=Submissions(),
        _watch=SimpleNamespace(ask_soon=lambda: asked.append(1)),
        _track=lambda member, tracked: executor.submissions.track(member, tracked),
    )
    for number in range(3):
        Executor.report_submitted(executor, made, [SubmittedMember(made, 0, number, waiting())])
    assert len(asked) == 1
    assert executor.submissions.tracked[made.id].waited_for == {(0, 0), (0, 1), (0, 2)}


def test_a_look_before_the_executor_is_ready_finds_nothing():
    """Snakemake starts the watching thread before `__post_init__`; an error in it is never seen again."""
    looking = Executor.__new__(Executor).check_active_jobs([])
    with pytest.raises(StopAsyncIteration):
        looking.__anext__().send(None)


def test_a_submission_is_quiet_until_a_member_has_a_result_or_its_allocation_is_over(tmp_path):
    made = submission(tmp_path / "submitit")
    tracked = TrackedSubmission(made, waited_for={(0, 0)})
    submissions, states = Submissions(), {made.jobs[0]: State(Phase.ALIVE, "RUNNING")}
    submissions.tracked = {made.id: tracked}
    cluster = SimpleNamespace(name="it", states=lambda submissions: states)
    watch = QueueWatch(cluster, submissions, LOG, latency_s=15, longest_interval_s=30)
    watch.look()
    assert watch.is_quiet(tracked)
    write_result(made.results, 0, 0, Result(0))
    watch.look()
    assert not watch.is_quiet(tracked)
    tracked.waited_for.clear()
    assert watch.is_quiet(tracked)
    states[made.jobs[0]] = State(Phase.ENDED, "NODE_FAIL")
    watch.ask_now()
    watch.look()
    assert not watch.is_quiet(tracked)
    states[made.jobs[0]] = State(Phase.ALIVE, "RUNNING")
    watch.ask_now()
    watch.look()
    assert watch.is_quiet(tracked), "it was requeued"


@pytest.mark.parametrize("word", ["NODE_FAIL", ""], ids=["ended", "vanished"])
def test_a_run_with_a_result_is_not_lost_though_the_time_of_its_folder_stays(word, tmp_path, monkeypatch):
    """Its result is listed before its state says how its allocation was lost, however new it is."""
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    made = submission(tmp_path / "submitit")
    tracked = TrackedSubmission(made, waited_for={(0, 0)})
    submissions, states = Submissions(), {made.jobs[0]: State(Phase.ALIVE, "RUNNING")}
    submissions.tracked = {made.id: tracked}
    monkeypatch.setattr(made, "refresh", lambda folder=None: None)
    cluster = SimpleNamespace(name="it", states=lambda submissions: states)
    watch = QueueWatch(cluster, submissions, LOG, latency_s=0, longest_interval_s=30)
    for now[0] in (100, 106, 107):
        watch.look()
    before = made.results.stat().st_mtime_ns
    write_result(made.results, 0, 0, Result(0))
    os.utime(made.results, ns=(before, before))
    states[made.jobs[0]] = State(Phase.ENDED if word else Phase.UNKNOWN, word)
    watch.ask_now()
    watch.look()
    assert watch.lost_state(made.jobs[0]) is not None
    assert tracked.results == {(0, 0): Result(0)}


VIOLATES = (
    "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, …)"
)
FULL = f"sbatch: error: QOSMaxSubmitJobPerUserLimit; {VIOLATES}"
TOO_LONG = f"sbatch: error: QOSMaxWallDurationPerJobLimit; {VIOLATES}"


@pytest.mark.parametrize(
    ("error", "busy", "rounds"), [(FULL, True, 9), (FULL, False, 2), (TOO_LONG, True, 0)]
)
def test_jobs_wait_while_jobs_of_the_same_call_fill_a_limit(error, busy, rounds, tmp_path):
    """Without such jobs they fail after `requeues` attempts; a job that is too large fails at once."""
    submitter = make_submitter(tmp_path / "submitit", requeues=2)
    other = TrackedSubmission(submission(tmp_path / "submitit"), waited_for={(0, 0)} if busy else set())
    submitter.submissions.tracked = {"other": other}
    job = waiting()
    for _ in range(rounds):
        refuse(submitter, job, error)
        assert submitter.controller.errors == []
        assert submitter.submissions.take_ready(linger=0) == []
        [job] = submitter.submissions._waiting
        assert job.since > time.monotonic() + 5, "it waits even if other jobs become ready"
    if not busy or not rounds:
        refuse(submitter, job, error)
        assert submitter.controller.errors == [error]


def refuse(submitter: Submitter, job: WaitingJob, error: str) -> None:
    made = submission(submitter.folder)
    made.jobs = []
    submitter.submissions._waiting = []
    submitter.unconfirmed = [UnconfirmedSubmission(made, [SubmittedMember(made, 0, 0, job)], error, due=0.0)]
    submitter.settle_unconfirmed()


def test_a_job_that_waits_for_room_is_submitted_when_another_ends(tmp_path):
    submitter = make_submitter(tmp_path / "submitit")
    made = submission(tmp_path / "submitit")
    tracked = TrackedSubmission(made, waited_for={(0, 0)})
    submitter.submissions.tracked = {made.id: tracked}
    refuse(submitter, waiting(), FULL)
    states = {"1": State(Phase.ALIVE, "RUNNING")}
    cluster = SimpleNamespace(name="it", states=lambda submissions: states)
    watch = QueueWatch(cluster, submitter.submissions, LOG, latency_s=15, longest_interval_s=30)
    watch.look()
    assert submitter.submissions.take_ready(linger=0) == []
    states["1"] = State(Phase.ENDED, "COMPLETED")
    watch.ask_now()
    watch.look()
    assert len(submitter.submissions.take_ready(linger=0)) == 1


def submitted_sizes(submitter: Submitter, jobs: int, *answers: int) -> list[int]:
    """The sizes of the arrays that are tried for so many jobs; each answer is how many a queue lets in."""
    sizes, now = [], time.monotonic()

    def submit(request, part, places, turns):
        sizes.append(len(part))
        if len(part) > sum(answers) - sum(sizes[:-1]):
            made = Submission.create(submitter.folder, "it", "local", [])
            submitter.unconfirmed.append(UnconfirmedSubmission(made, [], FULL, due=0.0))

    submitter._submit_array, submitter._array_size = submit, 1000
    submitter.submit([waiting(since=now) for _ in range(jobs)])
    return sizes


def test_ten_thousand_jobs_are_ten_submissions(tmp_path):
    assert submitted_sizes(make_submitter(tmp_path), 10_000, 10_000) == [1000] * 10


def test_after_a_refusal_the_other_jobs_wait_for_room(tmp_path):
    """One call of sbatch is enough to learn that the queue is full; each takes seconds."""
    submitter = make_submitter(tmp_path)
    assert submitted_sizes(submitter, 10_000, 2500) == [1000] * 3
    left = submitter.submissions._waiting
    assert len(left) == 7000
    assert all(each.room and each.since > time.monotonic() for each in left)


def test_results_are_read_between_submissions_that_take_long(tmp_path, monkeypatch):
    monkeypatch.setattr("snakemake_executor_plugin_submitit.submitting.SUBMITTING_S", -1.0)
    submitter = make_submitter(tmp_path)
    assert submitted_sizes(submitter, 10_000, 10_000) == []
    assert len(submitter.submissions.take_ready(linger=0)) == 10_000, "they are due again at once"


def test_all_conflicting_jobs_are_cancelled_in_one_call(tmp_path):
    calls = []
    cluster = SimpleNamespace(
        name="it",
        states=lambda submissions: {
            job: State(Phase.ALIVE, "RUNNING") for s in submissions for job in s.jobs
        },
        cancel=lambda jobs: calls.append(list(jobs)) or list(jobs)[:1],
    )
    submissions = Submissions()
    adoption = Adoption(cluster, submissions, LOG, longest_pause_s=30.0)
    jobs = []
    for i in range(50):
        made = submission(tmp_path / "submitit")
        made.jobs = [str(i)]
        adoption._writers[f"out{i}"] = [TrackedMember(TrackedSubmission(made), 0, 0)]
        jobs.append(replace(waiting(), job=SimpleNamespace(output=[f"out{i}"])))
    assert adoption.without_conflicts(jobs) == []
    assert [len(call) for call in calls] == [50]
    assert len(submissions._waiting) == 50
    adoption.without_conflicts(jobs)
    assert calls[1:] == [["0"]], "only the job that could not be cancelled is tried again"
