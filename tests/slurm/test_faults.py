"""Everything that happens to jobs on a cluster, done to real jobs on a real SLURM.

After each fault the same command finishes the study; what was finished is not trained again, no run
has two writers, and tables, records and histories equal those of a study that nothing happened to.
"""

import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from checkout import Checkout
from cluster import ACCOUNT, Cluster
from studies import FrozenRun, NotEnded, Study, content, edit_profile
from variants import VARIANT

CONFIG = """
device: cpu
studies:
  networks:
    title: Small networks on digits
    kind: cnn
    grid: [{dataset: digits, model: shufflenet_v2_x0_5, batch_size: [32, 40], optimizer: adam, lr: 0.001,
            epochs: 8, pin_memory: false, train_samples: 160}]
    table: {rows: [batch_size], values: [test_accuracy, train_loss, params_m]}
"""
RUNS = 2
# What needs all runs. Effects and figures are made of the same records: no fault of a cluster reaches them.
TABLES = ("results/tables/networks.tsv",)


class SubmittedTwice(AssertionError):
    """A run for which a job was there already."""


class BegunAnew(AssertionError):
    """A run that was stopped and has no checkpoint."""


# Where both fall short, the mark next to the function counts.
not_told_with_cgroups = pytest.mark.falls_short(
    "slurm",
    condition=VARIANT.cgroups,
    reason="with proctrack/cgroup SLURM signals only the processes that it has started itself: Snakemake in "
    "the job, and not the run, which is killed without a checkpoint",
    raises=BegunAnew,
)


@pytest.fixture(scope="module")
def undisturbed(made_once) -> Checkout:
    """The study as nothing happens to it, on this machine and without SLURM."""

    def make(checkout: Checkout) -> None:
        checkout.config(CONFIG)
        done = checkout.snakemake("--configfile", "my.yaml", "--", *TABLES)
        assert done.returncode == 0, done.stderr

    return made_once("undisturbed", make)


@pytest.fixture
def prepared(undisturbed: Checkout, tmp_path: Path) -> Checkout:
    """A checkout that has its data and the cost of its models, and no run."""
    return prepare(undisturbed, tmp_path / "project")


def prepare(undisturbed: Checkout, root: Path) -> Checkout:
    checkout = Checkout(root, like=undisturbed)
    for gone in ("runs", "tables"):
        subprocess.run(["rm", "-r", f"{root}/results/{gone}"], check=True)
    (root / "results/records.tsv").unlink()
    edit_profile(
        checkout,
        ('"my_account"', f'"{ACCOUNT}"'),
        ("status-checks: 10", "status-checks: 3"),
        # Its file system has no latency, and jobs whose output cannot be written would be waited for.
        ("latency-wait: 60", "latency-wait: 5"),
        ("max_runtime: 480", "max_runtime: 30"),
    )
    return checkout


@pytest.fixture
def study(prepared: Checkout, cluster: Cluster, executor: str) -> Iterator[Study]:
    """The study, to be started."""
    study = Study(prepared, cluster, executor, TABLES)
    yield study
    study.end()


def assert_finished_as(undisturbed: Checkout, study: Study, before: dict[str, int] | None = None) -> None:
    """The promise: all is there, as if nothing had happened, and nothing of it was done twice."""
    assert content(study.checkout) == content(undisturbed)
    after = study.checkout.records()
    assert len(after) == RUNS
    assert {record: after[record] for record in before or {}} == (before or {}), "no finished run again"
    assert max(study.writers.values()) == 1, "no run has two writers"
    assert not study.jobs(), "nothing is left in the queue"
    left = [path.name for path in study.root.glob("results/runs/**/*") if path.is_file()]
    assert set(left) == {"record.tsv", "history.tsv", "run.log", "run.lock"}


def test_a_run_that_dies_is_rerun_alone(study, undisturbed):
    study.start("--retries", "0")
    frozen = study.freeze_a_network()
    record = str(frozen.record.relative_to(study.root))
    assert study.status()[record]["state"] == "running"
    assert study.status()[record]["epoch"].endswith("/8")
    frozen.process.kill()
    assert study.finish() == 1
    assert study.status().keys() == {record}
    assert (study.status()[record]["state"], study.status()[record]["why"]) == ("failed", "killed")
    before = study.checkout.records()
    assert len(before) == RUNS - 1, "the others were not stopped by it"
    study.start()
    assert study.finish() == 0, study.printed
    assert_finished_as(undisturbed, study, before)
    assert frozen.columns()["attempts"] == "2"
    assert study.status() == {}


def test_a_run_that_dies_is_tried_again_within_the_call(study, undisturbed):
    study.start()
    study.freeze_a_network().process.kill()
    assert study.finish() == 0, study.printed
    assert_finished_as(undisturbed, study)


@not_told_with_cgroups
def test_jobs_near_and_at_their_time_limit_resume(study, undisturbed):
    """Two networks stand still. With the stock executor one moves again near the end of its limit, and stops
    by itself; the other is ended by SLURM, and what it is told then is enough for a checkpoint. With ours
    both are told before the limit, and their job goes back to the queue.
    """
    edit_profile(study.checkout, ("min_runtime: 10", "min_runtime: 1"), ("max_runtime: 30", "max_runtime: 1"))
    study.start()
    near, at = study.freeze_a_network(), study.freeze_a_network()
    if study.executor == "submitit":
        assert near.job == at.job, "they share it"
        assert study.finish() == 0, study.printed
        assert study.state(near.job) == "COMPLETED", "the same job"
        assert "Trying to restart" not in study.printed, "it counts as no attempt"
        assert_resumed(near, at)
        assert_finished_as(undisturbed, study)
        return
    # A run keeps a quarter of a short limit, counted from its own start, to stop in.
    study.wait_for("the margin", lambda: time.time() > near.process.create_time() + 46)
    near.thaw()
    study.wait_for("the end of the first job", lambda: study.state(near.job) == "FAILED")
    study.wait_for("the time-out of the second", lambda: study.state(at.job) == "TIMEOUT")
    assert study.finish() == 0, study.printed
    assert "error: its job is about to reach its time limit; the checkpoint" in study.printed
    assert_finished_as(undisturbed, study)
    assert_resumed(near, at)


def assert_resumed(*runs: FrozenRun) -> None:
    """These were begun twice, and the second time where the first had come to."""
    for frozen in runs:
        log = frozen.record.with_name("run.log").read_text()
        if "resuming from epoch" not in log:
            raise BegunAnew(log)
        assert frozen.columns()["attempts"] == "2"


# What SLURM writes into the log of a job that it ends for its memory: without cgroups, and with them.
ENDED_FOR_MEMORY = re.compile("exceeded memory limit|oom[-_]kill event", re.I)


def test_a_job_that_takes_too_much_memory_gets_more(study, undisturbed):
    edit_profile(study.checkout, ("mem_mb: 8000 * attempt", "mem_mb: 300 * attempt**2"))
    study.start()
    assert study.finish() == 0, study.printed
    if study.executor == "submitit":
        logs, killed = study.root.glob("logs/slurm/train_cnn/**/*.log"), re.compile("and its share is 300 MB")
    else:
        logs, killed = study.root.glob("logs/slurm/rule_train_cnn/*/*.log"), ENDED_FOR_MEMORY
    found = sum(bool(killed.search(log.read_text())) for log in logs)
    if study.executor == "submitit" and found < 2:
        # Both hold too much at once: SLURM, which looks every second here, may end their whole pack first.
        jobs = study.root.glob(".snakemake/submitit/*/jobs/*log*")
        found = 2 * any(ENDED_FOR_MEMORY.search(log.read_text()) for log in jobs)
    assert found == 2, "both networks, at the first attempt"
    assert_finished_as(undisturbed, study)


waits_where_jobs_are_cancelled = pytest.mark.falls_short(
    "slurm",
    condition=not VARIANT.requeue,
    reason="where SLURM cancels what it preempts, the executor waits forever: it takes PREEMPTED for a job "
    "that SLURM will bring back",
    raises=NotEnded,
)


def finish_after_preemption(study: Study) -> int:
    """The stock executor asks forever where nothing of it is left in the queue."""
    asks_forever = study.executor == "slurm" and not VARIANT.requeue
    if asks_forever:
        study.wait_for("an empty queue", lambda: not study.jobs())
    return study.finish(looks=2 if asks_forever else None)


@not_told_with_cgroups
@waits_where_jobs_are_cancelled
def test_a_preempted_job_resumes_when_it_is_its_turn_again(study, undisturbed):
    study.start()
    frozen = study.freeze_a_network()
    preempt(study, frozen.job)
    study.wait_for("the preemption", lambda: study.state(frozen.job) != "RUNNING")
    assert finish_after_preemption(study) == 0, study.printed
    assert_finished_as(undisturbed, study)
    assert_resumed(frozen)


def preempt(study: Study, job: str) -> None:
    """Submit a job of a higher partition that needs the whole node of `job`, for a moment."""
    node = study.cluster.call("squeue", "-h", "-j", job, "-o", "%N").strip()
    study.cluster.call(
        "sbatch", f"--account={ACCOUNT}", "--partition=urgent", f"--nodelist={node}", "--exclusive",
        "--output=/dev/null", "--wrap=sleep 2",
    )  # fmt: skip


@not_told_with_cgroups
@waits_where_jobs_are_cancelled
def test_a_job_that_is_preempted_with_grace_resumes(study, undisturbed):
    """It is told, and may end by itself before it is made to."""
    edit_profile(study.checkout, ('slurm_partition: "gpu"', 'slurm_partition: "graceful"'))
    study.start()
    frozen = study.freeze_a_network()
    preempt(study, frozen.job)
    study.wait_for("the preemption", lambda: study.state(frozen.job) != "RUNNING")
    assert finish_after_preemption(study) == 0, study.printed
    assert_finished_as(undisturbed, study)
    if study.executor == "submitit":
        # Where SLURM cancels what it preempts, it is another job.
        assert study.state(frozen.job) == ("COMPLETED" if VARIANT.requeue else "PREEMPTED")
        assert not VARIANT.requeue or "Trying to restart" not in study.printed, "it counts as no attempt"
    assert_resumed(frozen)


@pytest.mark.falls_short(
    "slurm",
    reason="where a partition cancels what it preempts, the executor waits forever: it takes PREEMPTED "
    "for a job that SLURM will bring back",
    raises=NotEnded,
)
def test_a_job_that_was_preempted_for_good_is_submitted_again(study, undisturbed):
    edit_profile(study.checkout, ('slurm_partition: "gpu"', 'slurm_partition: "scavenger"'))
    study.start()
    frozen = study.freeze_a_network()
    preempt(study, frozen.job)
    study.wait_for("the preemption", lambda: study.state(frozen.job) == "PREEMPTED")
    study.wait_for("all else", lambda: not study.jobs())
    # The stock executor asks forever.
    assert study.finish(looks=2 if study.executor == "slurm" else None) == 0, study.printed
    assert_finished_as(undisturbed, study)


def test_the_jobs_of_a_node_that_goes_down_resume_elsewhere(study, undisturbed):
    study.start()
    frozen = study.freeze_a_network()
    node = study.cluster.call("squeue", "-h", "-j", frozen.job, "-o", "%N").strip()
    study.cluster.tell(f"kill {node}")
    try:
        assert study.finish() == 0, study.printed
        assert_finished_as(undisturbed, study)
        assert frozen.columns()["attempts"] == "2"
    finally:
        study.cluster.tell(f"start {node}")


def test_the_controller_of_slurm_may_restart(study, undisturbed):
    study.start()
    frozen = study.freeze_a_network()
    study.cluster.tell("stop slurmctld")
    frozen.thaw()
    study.wait_for("the end of a run without a controller", lambda: frozen.record.exists())
    study.cluster.tell("start slurmctld")
    assert study.finish() == 0, study.printed
    assert_finished_as(undisturbed, study)
    assert frozen.columns()["attempts"] == "1"


@pytest.mark.skipif(not VARIANT.accounting, reason="this variant of the cluster has no accounting")
def test_accounting_may_be_down(study, undisturbed):
    """Down before the first job is submitted, and back when the study is done."""
    study.cluster.tell("stop slurmdbd")
    try:
        study.start()
        assert study.finish() == 0, study.printed
    finally:
        study.cluster.tell("start slurmdbd")
    assert_finished_as(undisturbed, study)


@not_told_with_cgroups
def test_a_job_that_its_user_cancels_is_tried_again(study, undisturbed):
    study.start()
    frozen = study.freeze_a_network()
    study.cluster.call("scancel", frozen.job)
    assert study.finish() == 0, study.printed
    assert "CANCELLED" in study.printed
    assert_finished_as(undisturbed, study)
    assert_resumed(frozen)


@not_told_with_cgroups
def test_snakemake_that_is_interrupted_takes_its_jobs_with_it(study, undisturbed):
    study.start()
    frozen = study.freeze_a_network()
    study.process.send_signal(signal.SIGINT)
    assert study.finish() != 0
    study.wait_for("an empty queue", lambda: not study.jobs())
    before = study.checkout.records()
    study.start()
    assert study.finish() == 0, study.printed
    assert_finished_as(undisturbed, study, before)
    assert_resumed(frozen)


def test_snakemake_that_is_terminated(study, undisturbed):
    """The stock executor waits for what is in the queue; ours takes it out, as when it is interrupted."""
    study.start("--jobs", "1")
    frozen = study.freeze_a_network()
    foreign = ("--account", ACCOUNT, "--partition=cpu", "--output=/dev/null", "--wrap=sleep 600")
    other = study.cluster.call("sbatch", "--parsable", *foreign).strip()
    study.process.send_signal(signal.SIGTERM)
    if study.executor == "submitit":
        assert study.finish() != 0
        study.wait_for("a queue without its jobs", lambda: list(study.jobs()) == [other])
        study.cluster.call("scancel", other)
        study.start()
        assert study.finish() == 0, study.printed
        assert_resumed(frozen)
        assert_finished_as(undisturbed, study)
        return
    study.cluster.call("scancel", other)
    study.wait_for("the answer", lambda: "Will exit after finishing currently running jobs" in study.printed)
    frozen.thaw()
    assert study.finish() != 0
    assert not study.jobs()
    before = study.checkout.records()
    assert str(frozen.record.relative_to(study.root)) in before
    assert not (study.root / "results/records.tsv").exists()
    study.start()
    assert study.finish() == 0, study.printed
    assert_finished_as(undisturbed, study, before)


@pytest.mark.parametrize("executor", ["submitit"])
def test_snakemake_in_a_job_leaves_its_jobs_and_takes_them_over(study, undisturbed):
    """No process is on the login node: near its time limit its own job is told, and returns to the queue."""
    study.submit()
    frozen = study.freeze_a_network()
    study.cluster.call("scancel", "--batch", "--signal=HUP", study.controller)
    study.wait_for("the leave", lambda: "This call leaves" in study.printed)
    record = str(frozen.record.relative_to(study.root))
    assert study.status()[record]["state"] == "running"
    study.wait_for("the take-over", lambda: "of an earlier call is taken over" in study.printed)
    frozen.thaw()
    study.wait_for(
        "the end", lambda: study.state(study.controller) not in ("PENDING", "RUNNING", "COMPLETING")
    )
    assert study.state(study.controller) == "COMPLETED", study.printed
    assert_finished_as(undisturbed, study)
    assert frozen.columns()["attempts"] == "1"


def test_after_snakemake_was_killed_no_run_has_two_writers(study, undisturbed):
    """Its jobs live on. With the stock executor the same command submits their runs again; those wait, and
    take the records. Ours takes the jobs over.
    """
    study.start()
    frozen = study.freeze_a_network()
    study.process.kill()
    study.process.wait()
    study.start()
    if study.executor == "submitit":
        study.wait_for("the take-over", lambda: "of an earlier call is taken over" in study.printed)
        frozen.thaw()
        assert study.finish() == 0, study.printed
        assert_finished_as(undisturbed, study)
        assert frozen.columns()["attempts"] == "1"
        return
    log = frozen.record.with_name("run.log")
    study.wait_for(
        "a second job at the run", lambda: log.exists() and "waiting for it to end" in log.read_text()
    )
    assert f"(job {frozen.job}) is at this run" in log.read_text()
    frozen.thaw()
    assert study.finish() == 0, study.printed
    study.wait_for("the end of the jobs left behind", lambda: not study.jobs())
    # Two processes came to this run, and one of them wrote it.
    assert study.writers.pop(str(frozen.record.relative_to(study.root))) == 2
    assert_finished_as(undisturbed, study)
    assert frozen.columns()["attempts"] == "1"


@pytest.mark.falls_short(
    "slurm",
    reason="the executor does not know the jobs of a call that was killed, and submits their runs again",
    raises=SubmittedTwice,
)
def test_after_snakemake_was_killed_its_jobs_are_adopted(study, undisturbed):
    study.start()
    frozen = study.freeze_a_network()
    study.process.kill()
    study.process.wait()
    submitted = set(study.jobs())
    study.start()
    study.wait_for("the plan", lambda: "Job stats" in study.printed)
    words = re.compile("has been submitted|is taken over")
    study.wait_for("more jobs, or none", lambda: words.search(study.printed))
    try:
        if more := set(study.jobs()) - submitted:
            raise SubmittedTwice(f"jobs {more} for the runs of {submitted}")
    finally:
        frozen.thaw()
    assert study.finish() == 0, study.printed
    assert_finished_as(undisturbed, study)


def test_a_study_survives_a_shared_directory_that_is_full(undisturbed, cluster, executor, tmp_path):
    mounted = tmp_path / "shared"
    mounted.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", mounted],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip(f"NOT TESTED: a full directory needs a file system of its own ({done.stderr.strip()})")
    study = Study(prepare(undisturbed, mounted / "project"), cluster, executor, TABLES)
    try:
        # A run fails in its middle, and one fails at its start when it is tried again.
        study.start("--retries", "1")
        frozen = study.freeze_a_network()
        with filled(mounted / "fill"):
            frozen.thaw()
            assert study.finish() != 0
            study.wait_for("an empty queue", lambda: not study.jobs())
        before = study.checkout.records()
        assert len(before) < RUNS
        study.start()
        assert study.finish() == 0, study.printed
        assert_finished_as(undisturbed, study, before)
    finally:
        study.end()
        subprocess.run(["umount", "--lazy", mounted], check=True)


@contextmanager
def filled(file: Path) -> Iterator[None]:
    """Have this file take all of its file system, also what others make room of meanwhile."""
    full, over = threading.Event(), threading.Event()

    def fill() -> None:
        with file.open("ab", buffering=0) as taken:
            while not over.is_set():
                try:
                    taken.write(bytes(4096))
                except OSError:
                    full.set()
                    over.wait(0.02)

    thread = threading.Thread(target=fill)
    thread.start()
    try:
        full.wait()
        yield
    finally:
        over.set()
        thread.join()
        file.unlink()
