"""The cluster, and the executors that studies are run by."""

import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest
from cluster import PACKAGES, SEARCH, Cluster, missing_programs, wait_until
from studies import EXECUTORS
from variants import NEWER, VARIANT


@pytest.fixture(scope="session", autouse=True)
def _slurm_is_here() -> None:
    if lacking := missing_programs():
        reason = (
            f"NO SLURM HERE ({', '.join(lacking)} not found): nothing that happens on a cluster was tested; "
            f"as root: apt-get install {PACKAGES}"
        )
        # Where the checks are made for others, what did not run must not pass.
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    if VARIANT.newer:
        command = [shutil.which("slurmctld", path=SEARCH), "-V"]
        version = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert NEWER in version, f"this is {version}; newer_slurm.py calls pytest where SLURM is {NEWER}"


@pytest.fixture(scope="session")
def running_cluster() -> Iterator[Cluster]:
    """A cluster for all tests of a worker."""
    cluster = Cluster.launch()
    yield cluster
    cluster.down()


@pytest.fixture
def cluster(running_cluster: Cluster) -> Cluster:
    """The cluster, with an empty queue and two idle nodes."""
    wait_until(lambda: not running_cluster.call("squeue", "-h"))
    wait_until(
        lambda: running_cluster.call("sinfo", "-h", "-p", "gpu", "-o", "%D %T").split() == ["2", "idle"]
    )
    return running_cluster


@pytest.fixture(params=EXECUTORS)
def executor(request: pytest.FixtureRequest) -> str:
    """Each executor in turn. A test that one cannot pass names it in its `falls_short` mark."""
    for mark in request.node.iter_markers("falls_short"):
        if mark.args[0] == request.param:
            # Anything but the shortcoming itself is a failure.
            request.applymarker(pytest.mark.xfail(strict=True, **mark.kwargs))
    return request.param
