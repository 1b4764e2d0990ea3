"""The quickstart on a real SLURM: the same tables as on this machine alone."""

import os
import re
import subprocess
import sys

import pytest
from checkout import Checkout
from cluster import ACCOUNT, Cluster
from studies import EXECUTORS, content, edit_profile

QUICKSTART = ("--configfile", "config/quickstart.yaml", "--config", "device=cpu")
# Both built-in kinds, several models and seeds. part_a has more networks of the same kind.
STUDIES = ("part_b", "question_2")
RUNS = 8
TABLES = [
    f"results/tables/{study}{of}.tsv" for study in STUDIES for of in ("", "_design", "_effects", "_variance")
]


@pytest.fixture(scope="module")
def local(quickstart: Checkout, made_once) -> Checkout:
    """The whole quickstart as it is run without a cluster, on a CPU."""
    records = [
        path.read_text().splitlines() for path in quickstart.root.glob("results/runs/cnn/**/record.tsv")
    ]
    if {row.split("\t")[head.split("\t").index("device")] for head, row in records} == {"cpu"}:
        return quickstart

    def make(checkout: Checkout) -> None:
        checkout.shorten_quickstart()
        done = checkout.snakemake(*QUICKSTART)
        assert done.returncode == 0, done.stderr

    return made_once("quickstart_on_a_cpu", make)


def test_the_quickstart_comes_to_the_same_tables(executor, cluster: Cluster, local, checkout):
    checkout.shorten_quickstart()
    edit_profile(checkout, ('"my_account"', f'"{ACCOUNT}"'))
    # Where a study varies pin_memory, as one of the whole quickstart does, all batches come from the host.
    selected = (f"studies=[{','.join(STUDIES)}]", "batches=host")
    command = [sys.executable, "-m", "snakemake", "--profile", EXECUTORS[executor], *QUICKSTART, *selected]
    process = subprocess.Popen(
        [*command, "--", *TABLES],
        cwd=checkout.root,
        env={**os.environ, **cluster.environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    # What a user sees in the queue while it runs.
    queues, printed = set(), []
    for line in process.stdout:
        printed.append(line)
        if "has been submitted" in line:
            queues.add(cluster.call("squeue", "-h", "-o", "%j %k %b"))
    assert process.wait() == 0, "".join(printed)
    queue = max(queues, key=len)
    assert "ablations" in queue, "the prefix of the names"
    if executor == "submitit":
        assert any("jobs of train_cnn" in q for q in queues)
    else:
        run = "digits_resnet34_batch_size=32+optimizer=adam+lr=0.001+epochs=1+pin_memory=true"
        assert any(f"rule_train_cnn_wildcards_{run}" in q for q in queues), "which run is which"
    assert "gres:gpu:1" in queue
    assert_the_same(content(checkout), content(local))
    # Staging and tables stay where Snakemake runs. Other tests have had jobs on this cluster.
    jobs = cluster.call("sacct", "-X", "-n", "-P", "-o", "WorkDir,Comment").splitlines()
    comments = [job.partition("|")[2] for job in jobs if job.startswith(f"{checkout.root}|")]
    rules = {re.sub(r"^(rule_|\d+ jobs of )|_wildcards.*$", "", comment) for comment in comments}
    assert rules == {"train_cnn", "fit_svm", "profile_model"}


def assert_the_same(selected: dict[str, list[list[str]]], whole: dict[str, list[list[str]]]) -> None:
    """Tables, records and histories of the studies selected are those of the whole quickstart."""
    records = "results/records.tsv"
    merged = selected.pop(records)
    # The whole quickstart has the columns of another kind, too.
    columns = [whole[records][0].index(name) for name in merged[0]]
    rows = [[row[i] for i in columns] for row in whole[records]]
    # The order is that of the studies, and one run is in a study that was not selected, too.
    assert sorted(merged) == sorted(row for row in rows if row in merged)
    assert len(merged) == 1 + RUNS
    assert sum(file.endswith("/record.tsv") for file in selected) == RUNS
    tables = {f"results/tables/{study}" for study in STUDIES}
    missing = {file for file in whole if file.startswith(tuple(tables))} - selected.keys()
    assert not missing
    assert selected == {file: whole[file] for file in selected}
