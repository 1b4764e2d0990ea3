"""Clusters that are otherwise: each is a documented line of the profile away."""

import sys

import pytest
from checkout import PROJECT
from cluster import Cluster
from studies import EXECUTORS, Study, edit_profile

CONFIG = """
device: cpu
studies:
  s:
    title: A network and a machine
    kind: cnn
    grid: [{dataset: digits, model: shufflenet_v2_x0_5, batch_size: 32, optimizer: sgd, lr: 0.01,
            epochs: 1, pin_memory: false, train_samples: 64}]
    table: {rows: [model], values: test_accuracy}
"""
TABLE = "results/tables/s.md"


@pytest.fixture(scope="module")
def bare():
    """A cluster without accounting and without GPUs."""
    cluster = Cluster.launch(accounting=False, gpus=0)
    yield cluster
    cluster.down()


@pytest.fixture
def ready(bare, checkout):
    """A checkout whose profile is edited for that cluster."""
    edit_profile(
        checkout,
        ('slurm_account: "my_account"', documented('slurm_account: ""')),
        ('    slurm_partition: "gpu"\n    gres: "gpu:1"', '    slurm_partition: "cpu"\n    #'),
        ("status-checks: 10", "status-checks: 3"),
    )
    checkout.config(CONFIG)
    return checkout


def documented(line: str) -> str:
    """A line to put into the profile, which the documentation has to name."""
    for text in (PROJECT / "docs/cluster.md", PROJECT / "profiles/slurm/config.yaml"):
        if line in text.read_text():
            return line
    raise AssertionError(f"nothing tells the user of '{line}'")


def test_without_accounting_and_without_gpus_with_a_plan(executor, bare, ready):
    study = Study(ready, bare, executor, (TABLE,))
    try:
        assert ready.snakemake("plan", "--configfile", "my.yaml").returncode == 0
        study.start()
        run = study.freeze_a_network()
        assert bare.call("squeue", "-h", "-j", run.job, "-o", "%l").strip() == "10:00", (
            "as planned, and no less"
        )
        run.thaw()
        assert study.finish() == 0, study.printed
        assert (ready.root / TABLE).is_file()
    finally:
        study.end()


def test_where_jobs_take_whole_nodes(executor, bare, ready):
    line = documented("""slurm_extra: "'--exclusive'\"""")
    edit_profile(ready, ("    mem_mb: 8000", f"    {line}\n    mem_mb: 8000"))
    study = Study(ready, bare, executor, (TABLE,))
    try:
        study.start()
        run = study.freeze_a_network()
        assert bare.call("squeue", "-h", "-j", run.job, "-o", "%C").strip() == "2", "all of the node's"
        run.thaw()
        assert study.finish() == 0, study.printed
    finally:
        study.end()


def test_snakemake_may_run_in_a_job_of_its_own(executor, bare, ready):
    """Told to stop before its limit, as the documented line has SLURM do, it takes its jobs with it."""
    study = Study(ready, bare, executor)
    command = f"exec {sys.executable} -m snakemake --profile {EXECUTORS[executor]} --configfile my.yaml"
    command += f" -- {TABLE}"
    # SLURM exports the environment of this call, in which its commands are found.
    submit = ("sbatch", "--parsable", "--partition=cpu", documented("--signal=B:INT@300"), "--time=60")
    submit += (f"--output={ready.root}/controller.out", f"--chdir={ready.root}", f"--wrap={command}")
    try:
        controller = bare.call(*submit).strip()
        study.freeze_a_network()
        bare.call("scancel", "--batch", "--signal=INT", controller)
        study.wait_for("an empty queue", lambda: not study.jobs())
        assert not list(ready.root.glob(".snakemake/locks/*"))
        bare.call(*submit, "--wait")
        assert (ready.root / TABLE).is_file()
        assert not study.jobs()
    finally:
        study.end()
