"""What earlier versions left is kept: paths, records and histories of version 0.1.0, in tests/earlier/."""

import shutil
from pathlib import Path

import pytest
from ablations.runs.records import merge, read_history, read_record
from checkout import Checkout, jobs

EARLIER = Path(__file__).parents[1] / "earlier"
RECORDS = sorted(EARLIER.glob("results/runs/**/record.tsv"))
STUDIES = """
studies:
  networks:
    title: Networks on digits
    kind: cnn
    grid:
      - {dataset: digits, model: shufflenet_v2_x0_5, batch_size: 32, optimizer: sgd, lr: 0.1, momentum: 0.9,
         epochs: 2, pin_memory: false, train_samples: 160}
    table: {rows: [batch_size], values: test_accuracy}
  machines:
    title: Machines on digits
    kind: svm
    grid: [{dataset: digits, kernel: poly, train_samples: 200},
           {dataset: digits, kernel: rbf, train_samples: all, C: 0.5}]
    table: {rows: [kernel, train_samples, C], values: test_accuracy}
"""


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.parent.name)
def test_a_record_is_read_and_its_run_has_the_same_path(path):
    run, record = read_record(path)
    assert path == EARLIER / run.record
    assert record.status == "ok"
    assert record.test_accuracy is not None
    if run.kind.has_history:
        assert len(read_history(path.with_name("history.tsv"))) == run.value("epochs")


def test_the_records_are_merged():
    assert len(RECORDS) == 4
    _, rows = merge(RECORDS, EARLIER, {})
    assert len(rows) == 4


def test_no_run_of_an_earlier_version_is_planned_again(checkout: Checkout):
    shutil.copytree(EARLIER / "results", checkout.root / "results")
    config = ("--configfile", checkout.config(STUDIES))
    done = checkout.snakemake("stage", *config)
    assert done.returncode == 0, done.stderr
    planned = jobs(checkout.snakemake("-n", *config))
    assert planned == {"profile_model": 1, "merge_records": 1, "make_table": 10, "plot_study": 9, "all": 1}
