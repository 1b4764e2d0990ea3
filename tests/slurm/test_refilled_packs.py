"""Jobs over all GPUs of a node whose places take further runs, on a real SLURM."""

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from checkout import PATIENCE_S
from cluster import ACCOUNT, Cluster, wait_until

SNAKEFILE = f"""
rule all:
    input: [f"done/{{i}}" for i in range(6)]
rule stub:
    output: "done/{{i}}"
    resources: mem_mb=500, runtime=1, slurm_account="{ACCOUNT}", gres="gpu:1", gpus_per_job=2
    shell: "echo {{wildcards.i}} >> begun; mkdir a || mkdir b || until [ -e go ]; do sleep 0.1; done; "
        "echo $SLURM_JOB_ID:$CUDA_VISIBLE_DEVICES >> jobs; touch {{output}}"
"""
CALL = {
    "executor": "submitit", "jobs": 100, "submitit-linger": 0.2,
    "submitit-array-parallelism": 1, "submitit-waves": 9, "submitit-refill": 60,
}  # fmt: skip


def start(root: Path, cluster: Cluster) -> subprocess.Popen:
    flags = [word for name, value in CALL.items() for word in (f"--{name}", str(value))]
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "snakemake", "--nolock", "--rerun-incomplete", *flags],
        cwd=root,
        env={**os.environ, **cluster.environment},
        stdout=(root / "out").open("ab"),
        stderr=subprocess.STDOUT,
    )


def lines(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


@pytest.mark.parametrize("fault", ["nothing", "its requeue", "a crash of Snakemake"])
def test_one_job_runs_all(fault, cluster, tmp_path):
    """The first two runs end at once, and the next two are running when it happens."""
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    process = start(tmp_path, cluster)
    wait_until(lambda: len(lines(tmp_path / "begun")) == 4)
    (job,) = cluster.call("squeue", "-h", "-o", "%A").split()
    interrupted = lines(tmp_path / "begun")[2:] if fault == "its requeue" else []
    if fault == "its requeue":
        cluster.call("scontrol", "requeue", job)
        wait_until(lambda: len(lines(tmp_path / "begun")) == 6)
    elif fault == "a crash of Snakemake":
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE_S)
        process = start(tmp_path, cluster)
        wait_until(lambda: (tmp_path / "out").read_text().count("is taken over") >= 2)
    (tmp_path / "go").touch()
    assert process.wait(PATIENCE_S) == 0, (tmp_path / "out").read_text()
    ran = Counter(lines(tmp_path / "jobs"))
    assert ran.keys() == {f"{job}:0", f"{job}:1"}, "no other job was needed; each run had one of its GPUs"
    assert ran.total() == 6
    assert Counter(lines(tmp_path / "begun")) == Counter([*map(str, range(6)), *interrupted])
    wait_until(lambda: not cluster.call("squeue", "-h"))
