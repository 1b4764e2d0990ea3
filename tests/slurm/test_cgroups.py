"""What the kernel enforces where SLURM uses cgroups: memory, devices and processors of a job."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cluster import ACCOUNT, Cluster, wait_until
from variants import VARIANT

pytestmark = pytest.mark.skipif(
    not VARIANT.cgroups, reason="cgroups: make test-slurm-matrix has clusters that use them"
)

EATS = "data = [bytearray(b'1' * 2**20) for _ in range(2000)]"
# Without mem_mb, the executor itself limits nothing, and the limit is what sbatch asks for.
# The first attempt at number 0 takes all memory. A node has processors for a pack of two.
PACK = f"""
rule all:
    input: [f"done/{{i}}" for i in range(2)]
rule stub:
    output: "done/{{i}}"
    resources: mem_mb=0, runtime=2, slurm_account="{ACCOUNT}"
    shell: "echo {{wildcards.i}} >> begun; "
        "if [ {{wildcards.i}} = 0 ] && mkdir tried; then {sys.executable} eats.py; touch killed; fi; "
        "until [ -e tried ]; do sleep 0.1; done; sleep 2; echo $SLURM_JOB_ID > {{output}}"
"""
LOOK = """
import os, sys, time
from pathlib import Path
seen = [os.environ["CUDA_VISIBLE_DEVICES"], sorted(os.sched_getaffinity(0))]
for number in (1, 2):
    try:
        os.close(os.open(f"/dev/tty{number}", os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK))
        seen.append(f"tty{number}")
    except PermissionError:
        pass
print(seen, flush=True)
"""


def snakemake(root: Path, cluster: Cluster, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "snakemake", "--executor", "submitit", "--jobs", "9", *flags],
        cwd=root,
        env={**os.environ, **cluster.environment, "SBATCH_MEM_PER_NODE": "300M"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("direct", ["auto", "never"])
def test_the_kernel_ends_one_member_of_a_pack_for_its_memory(direct, cluster, tmp_path):
    (tmp_path / "Snakefile").write_text(PACK)
    (tmp_path / "eats.py").write_text(EATS)
    # A full pack does not linger.
    flags = ("--submitit-pack", "2", "--submitit-linger", "5", "--submitit-direct", direct)
    done = snakemake(tmp_path, cluster, *flags, "--retries", "1")
    assert done.returncode == 0, done.stdout
    assert not (tmp_path / "killed").exists()
    assert sorted((tmp_path / "begun").read_text().split()) == ["0", "0", "1"], "the other survived"
    assert "for a pack of" not in done.stdout, "both were in it"
    first, other = [(tmp_path / f"done/{i}").read_text().strip() for i in range(2)]
    assert other != first
    assert "the kernel killed a process of its allocation for want of memory" in done.stdout
    # SLURM may call the whole pack so, and the member that survived has succeeded all the same.
    state = cluster.call("squeue", "-h", "--states=all", "-j", other, "-o", "%T").strip()
    assert state in ("COMPLETED", "OUT_OF_MEMORY")


def test_a_job_has_its_own_device_and_processor(cluster, tmp_path):
    """Both jobs are on one node at the same time."""
    (tmp_path / "look.py").write_text(LOOK)
    meet = "touch here.$SLURM_JOB_ID; until [ $(ls here.* | wc -l) = 2 ]; do sleep 0.1; done"
    jobs = [
        cluster.call(
            "sbatch", "--parsable", f"--account={ACCOUNT}", "--nodelist=n1", "--gres=gpu:1", "--mem=300",
            f"--chdir={tmp_path}", "--output=out.%j", f"--wrap={meet}; {sys.executable} look.py",
        ).strip()
        for _ in range(2)
    ]  # fmt: skip
    outs = [tmp_path / f"out.{job}" for job in jobs]
    # Not for what they write: the folder in which they meet stays as long as they look into it.
    wait_until(lambda: not cluster.call("squeue", "-h"))
    seen = [eval(out.read_text()) for out in outs]
    assert sorted(each[2:] for each in seen) == [["tty1"], ["tty2"]], seen
    # Of what it may use, a job counts from 0.
    assert [each[0] for each in seen] == ["0", "0"]
    cpus = [each[1] for each in seen]
    assert [len(each) for each in cpus] == [1, 1]
    assert cpus[0] != cpus[1]
