"""Clusters that are otherwise: each is a documented line of the profile away."""

import pytest
from checkout import PROJECT
from cluster import Cluster
from studies import Study, edit_profile

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


@pytest.fixture(scope="module")
def bare():
    """A cluster without accounting and without GPUs."""
    cluster = Cluster.launch(accounting=False, gpus=0)
    yield cluster
    cluster.down()


def documented(line: str) -> str:
    """A line to put into the profile, which the documentation has to name."""
    for text in (PROJECT / "docs/cluster.md", PROJECT / "profiles/slurm/config.yaml"):
        if line in text.read_text():
            return line
    raise AssertionError(f"nothing tells the user of '{line}'")


def test_without_accounting_and_without_gpus(executor, bare, checkout):
    edit_profile(
        checkout,
        ('slurm_account: "my_account"', documented('slurm_account: ""')),
        ('    slurm_partition: "gpu"\n    gres: "gpu:1"', '    slurm_partition: "cpu"\n    #'),
        ("status-checks: 10", "status-checks: 3"),
    )
    checkout.config(CONFIG)
    study = Study(checkout, bare, executor)
    try:
        study.start()
        assert study.finish() == 0, study.printed
        assert (checkout.root / "results/tables/s.md").is_file()
    finally:
        study.end()


def test_where_jobs_take_whole_nodes(executor, bare, checkout):
    line = documented("""slurm_extra: "'--exclusive'\"""")
    edit_profile(
        checkout,
        ('slurm_account: "my_account"', 'slurm_account: ""'),
        ('    gres: "gpu:1"', f"    {line} #"),
        ("status-checks: 10", "status-checks: 3"),
    )
    checkout.config(CONFIG)
    study = Study(checkout, bare, executor)
    try:
        study.start()
        job = study.freeze_a_network()
        assert bare.call("squeue", "-h", "-j", job.job, "-o", "%C").strip() == "2", "all of the node's"
        job.thaw()
        assert study.finish() == 0, study.printed
    finally:
        study.end()
