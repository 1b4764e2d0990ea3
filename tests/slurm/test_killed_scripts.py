"""A user's own script on a real SLURM: killed, told to stop, and stopped at its time limit."""

import signal
from collections.abc import Iterator

import psutil
import pytest
from checkout import Checkout
from cluster import ACCOUNT, Cluster
from studies import Study, edit_profile

# It counts epochs. In its second it waits as long as there is a file `hold-DEPTH`. On SIGTERM it writes how
# far it is, as it does after each epoch.
SCRIPT = """
import json, os, pathlib, signal, sys, time

depth = int(sys.argv[1])
hold = pathlib.Path(f"hold-{depth}")
checkpoint = pathlib.Path(os.environ["ABLATIONS_CHECKPOINTS"], "epoch")
epoch = int(checkpoint.read_text()) if checkpoint.exists() else 0
print("starting at epoch", epoch, flush=True)


def stop(*_):
    checkpoint.write_text(str(epoch))
    print("stopped at epoch", epoch, flush=True)
    sys.exit(1)


signal.signal(signal.SIGTERM, stop)
while epoch < 4:
    if epoch == 2:
        print("half", flush=True)
        while hold.exists():
            time.sleep(0.05)
    epoch += 1
    with open(sys.argv[2], "a") as history:
        print(json.dumps({"epoch": epoch, "epochs": 4, "score": epoch / 4}), file=history)
    checkpoint.write_text(str(epoch))
print(json.dumps({"score": depth * epoch}))
"""
CONFIG = """
kinds:
  counter:
    command: python script.py {depth} {history}
    hyperparameters: {depth: int}
    metrics: {score: {better: higher}}
    random: false
    code: script.py
studies:
  all:
    title: All depths
    kind: counter
    grid: [{depth: [4, 8, 16]}]
    table: {rows: [depth], values: score}
  some:
    title: Some depths
    kind: counter
    grid: [{depth: [8, 16]}]
    table: {rows: [depth], values: score}
"""
RUNS = "results/runs/counter/none/none"
TABLES = ("results/tables/all.tsv", "results/tables/some.tsv")
RECORDS = tuple(f"{RUNS}/depth={depth}/record.tsv" for depth in (4, 8, 16))
PROFILE = """  run_counter:
    slurm_partition: gpu
    gres: gpu:1
    pack: 4
    mem_mb: 500
    min_runtime: 1
    max_runtime: 1
"""


@pytest.fixture
def study(checkout: Checkout, cluster: Cluster, executor: str) -> Iterator[Study]:
    checkout.config(CONFIG)
    (checkout.root / "script.py").write_text(SCRIPT)
    edit_profile(
        checkout,
        ('"my_account"', f'"{ACCOUNT}"'),
        ("status-checks: 10", "status-checks: 3"),
        ("set-resources:\n", f"set-resources:\n{PROFILE}"),
    )
    study = Study(checkout, cluster, executor, (*TABLES, *RECORDS))
    yield study
    study.end()


def test_an_own_script_survives_what_happens_to_jobs(study):
    """One run is killed, one is told to stop, and one is held until its time limit; all resume."""
    folders = {depth: study.root / RUNS / f"depth={depth}" for depth in (4, 8, 16)}
    holds = {depth: study.root / f"hold-{depth}" for depth in folders}
    for hold in holds.values():
        hold.touch()
    study.start()
    runs = {depth: study.wait_for("half of it", lambda d=depth: process_at(study, d)) for depth in folders}
    study.wait_for("its progress", lambda: study.status()[RECORDS[0]]["epoch"] == "epoch 3/4")
    # The script of the killed one lives on for a moment: the next attempt waits for it.
    runs[4].send_signal(signal.SIGKILL)
    runs[8].send_signal(signal.SIGTERM)
    study.wait_for("the stop", lambda: "stopped at epoch 2" in log(folders[8]))
    holds[4].unlink()
    holds[8].unlink()
    study.wait_for("the time limit", lambda: "stopped at epoch 2" in log(folders[16]))
    holds[16].unlink()
    assert study.finish() == 0, study.printed
    assert (study.root / TABLES[0]).read_text() == "depth\tscore\n4\t16.00\n8\t32.00\n16\t64.00\n"
    assert (study.root / TABLES[1]).read_text() == "depth\tscore\n8\t32.00\n16\t64.00\n"
    assert max(study.writers.values()) == 1
    for folder in folders.values():
        history = (folder / "history.tsv").read_text()
        assert history == "epoch\tepochs\tscore\n1\t4\t0.25\n2\t4\t0.5\n3\t4\t0.75\n4\t4\t1\n"
        assert {path.name for path in folder.iterdir()} == {
            "record.tsv", "history.tsv", "run.log", "run.lock",
        }  # fmt: skip
    assert "starting at epoch 2" in log(folders[8])
    assert "starting at epoch 2" in log(folders[16])
    before = study.checkout.records()
    (folders[8] / "record.tsv").unlink()
    study.start()
    assert study.finish() == 0, study.printed
    after = study.checkout.records()
    assert [record for record in before if after[record] != before[record]] == [RECORDS[1]]
    study.start("-n")
    assert study.finish() == 0
    assert "Nothing to be done" in study.printed


def log(folder) -> str:
    path = folder / "run.log"
    return path.read_text() if path.exists() else ""


def process_at(study: Study, depth: int) -> psutil.Process | None:
    """The process of a run whose script has come to its second epoch."""
    assert study.process.poll() is None, study.printed
    for process, record in study.runs():
        if record.parent.name == f"depth={depth}" and "\nhalf\n" in log(record.parent):
            return process
    return None
