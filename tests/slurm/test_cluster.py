"""The test cluster itself: it comes, obeys, and leaves nothing behind, however it ends."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil
import pytest
from cluster import ACCOUNT, DAEMONS, Cluster, wait_until
from variants import VARIANT

HERE = Path(__file__).parent


def processes_of(root: Path) -> list[psutil.Process]:
    """Every process that has to do with a cluster: its daemons, and the jobs they started."""
    return [
        process
        for process in psutil.process_iter(["name", "cmdline", "environ"])
        if str(root)
        in " ".join([*(process.info["cmdline"] or ()), *(process.info["environ"] or {}).values()])
    ]


def names(processes: list[psutil.Process]) -> list[str]:
    return [process.info["name"] for process in processes]


def submit_a_job(cluster: Cluster) -> None:
    """Submit a job of two processes, and wait for both: SLURM says RUNNING before there is any."""
    cluster.call(
        "sbatch", f"--account={ACCOUNT}", "--output=/dev/null", "--wrap=sleep 1000 & sleep 1000; wait"
    )
    wait_until(lambda: names(processes_of(cluster.root)).count("sleep") == 2)


def test_two_nodes_with_accounts_and_gpus(cluster, tmp_path):
    assert cluster.call("sinfo", "-h", "-p", "gpu", "-o", "%D %T").split() == ["2", "idle"]
    script = "echo $SLURMD_NODENAME $CUDA_VISIBLE_DEVICES"
    job = cluster.call(
        "sbatch",
        "--parsable",
        "--wait",
        f"--account={ACCOUNT}",
        "--gres=gpu:2",
        f"--output={tmp_path}/out",
        f"--wrap={script}",
    ).strip()
    assert (tmp_path / "out").read_text().split() == ["n1", "0,1"]
    if not VARIANT.accounting:
        return
    query = ("sacct", "-X", "-n", "-P", "-j", job, "-o", "State,Account,AllocTRES")
    wait_until(lambda: f"COMPLETED|{ACCOUNT}|" in cluster.call(*query))
    assert "gres/gpu=2" in cluster.call(*query)


def test_daemons_share_no_file_with_those_of_another_cluster(cluster):
    shared, own = [], []
    for process in processes_of(cluster.root):
        if process.info["name"] in DAEMONS:
            for descriptor in Path(f"/proc/{process.pid}/fd").iterdir():
                # Temporary files have no other name; sockets are no paths at all.
                with suppress(FileNotFoundError):
                    file = descriptor.readlink()
                    if file.is_relative_to(cluster.root):
                        own.append(file)
                    elif file.is_relative_to(tempfile.gettempdir()):
                        shared.append(file)
    assert not VARIANT.accounting or any(file.is_relative_to(cluster.root / "tmp") for file in own)
    assert own
    assert shared == []


def test_nothing_is_left_when_it_is_told_to_go(cluster):
    other = Cluster.launch()
    submit_a_job(other)
    daemons = {"munged", "slurmctld", "slurmd"} | ({"mariadbd", "slurmdbd"} if VARIANT.accounting else set())
    assert daemons <= set(names(processes_of(other.root)))
    other.down()
    assert not other.root.exists()
    assert processes_of(other.root) == []
    assert cluster.call("sinfo", "-h", "-p", "gpu", "-o", "%T").strip() == "idle", "another cluster lives on"


def test_nothing_is_left_when_the_test_that_launched_it_is_killed(tmp_path):
    code = (
        "import time; from test_cluster import *\n"
        "cluster = Cluster.launch(accounting=False); submit_a_job(cluster)\n"
        "print(cluster.root, flush=True); time.sleep(1000)"
    )
    launcher = subprocess.Popen([sys.executable, "-c", code], cwd=HERE, stdout=subprocess.PIPE, text=True)
    root = Path(launcher.stdout.readline().strip())
    assert root.is_dir()
    launcher.kill()
    launcher.wait()
    wait_until(lambda: not root.exists())
    wait_until(lambda: not processes_of(root))


def snapshot(directory: str) -> dict[str, int]:
    return {str(path): path.lstat().st_mtime_ns for path in Path(directory).rglob("*")}


def play(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Call the cluster as `make slurm-up` does, with `directory` for the temporary one."""
    return subprocess.run(
        [sys.executable, str(HERE / "cluster.py"), *arguments],
        env={**os.environ, "TMPDIR": str(directory)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A temporary directory in whose name there is room for that of a socket; pytest's own has none."""
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory)


def test_a_developer_plays_on_one(short_path):
    """`make slurm-up` and `make slurm-down`, in a temporary directory of the test's own."""
    call = partial(play, short_path)

    before = snapshot("/etc")
    assert call("down").stderr == "error: no cluster is up; make slurm-up starts one\n"
    up = call("up")
    assert up.returncode == 0, up.stderr
    path = up.stdout.partition("export PATH=")[2].partition(":")[0]
    sinfo = subprocess.run([f"{path}/sinfo", "-h", "-o", "%P"], capture_output=True, text=True, check=True)
    assert "gpu*" in sinfo.stdout.split()
    assert call("up").returncode == 0, "it is up already"
    assert call("tell", "kill", "n2").returncode == 0
    assert call("down").returncode == 0
    assert list(short_path.iterdir()) == []
    assert snapshot("/etc") == before, "nothing under /etc"


def test_one_that_cannot_start_is_a_sentence(short_path):
    far = short_path / ("far" * 40)
    far.mkdir()
    up = play(far, "up")
    assert up.returncode == 1
    assert up.stderr.startswith("error: the cluster did not start: the path of its directory is too long")
    assert list(far.iterdir()) == []
