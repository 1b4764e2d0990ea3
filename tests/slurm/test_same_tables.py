"""The whole quickstart on a real SLURM: the same tables as on this machine alone."""

import os
import re
import subprocess
import sys

import pytest
from checkout import Checkout
from cluster import ACCOUNT, Cluster
from studies import EXECUTORS, content, edit_profile

QUICKSTART = ("--configfile", "config/quickstart.yaml", "--config", "device=cpu")


@pytest.fixture(scope="module")
def local(module_checkout: Checkout) -> Checkout:
    """The quickstart as it is run without a cluster."""
    done = module_checkout.snakemake(*QUICKSTART)
    assert done.returncode == 0, done.stderr
    return module_checkout


def test_the_quickstart_comes_to_the_same_tables(executor, cluster: Cluster, local, checkout):
    edit_profile(checkout, ('"my_account"', f'"{ACCOUNT}"'))
    process = subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--profile", EXECUTORS[executor], *QUICKSTART],
        cwd=checkout.root,
        env={**os.environ, **cluster.environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    # What a user sees in the queue while it runs.
    queues = set()
    for line in process.stdout:
        if "has been submitted" in line:
            queues.add(cluster.call("squeue", "-h", "-o", "%j %k %b"))
    assert process.wait() == 0
    queue = max(queues, key=len)
    assert "ablations" in queue, "the prefix of the names"
    if executor == "submitit":
        assert any("jobs of train_cnn" in q for q in queues)
    else:
        run = "digits_resnet50_batch_size=32+optimizer=adam+lr=0.0003+epochs=2+pin_memory=false"
        assert any(f"rule_train_cnn_wildcards_{run}" in q for q in queues), "which run is which"
    assert "gres:gpu:1" in queue
    assert content(checkout) == content(local)
    # Staging and tables stay where Snakemake runs.
    comments = cluster.call("sacct", "-X", "-n", "-P", "-o", "Comment").splitlines()
    rules = {re.sub(r"^(rule_|\d+ jobs of )|_wildcards.*$", "", comment) for comment in comments}
    assert rules == {"train_cnn", "fit_svm", "profile_model"}
