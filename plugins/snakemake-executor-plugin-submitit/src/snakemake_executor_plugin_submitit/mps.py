"""NVIDIA's multi-process service, by which the members of a pack use a GPU at the same time."""

import contextlib
import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

log = logging.getLogger("submitit")


@contextlib.contextmanager
def multi_process_service(wanted: bool) -> Iterator[dict[str, str]]:
    """Run the service for this allocation alone; yield the environment that members need to use it.

    If the service cannot be started, the environment is empty and the members share the GPU in turns.
    """
    if not wanted:
        yield {}
        return
    # Not a TemporaryDirectory: each member is a fork of this process and would remove it when it ends.
    folder = tempfile.mkdtemp(prefix="mps-")
    own = {"CUDA_MPS_PIPE_DIRECTORY": f"{folder}/pipe", "CUDA_MPS_LOG_DIRECTORY": f"{folder}/log"}
    for path in own.values():
        Path(path).mkdir()
    control, environment = ["nvidia-cuda-mps-control"], {**os.environ, **own}
    try:
        try:
            subprocess.run([*control, "-d"], env=environment, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            log.warning("no CUDA MPS (%s): the members share the GPU in turns", error)
            yield {}
            return
        try:
            yield own | _renumbered()
        finally:
            with contextlib.suppress(subprocess.TimeoutExpired):
                subprocess.run(control, env=environment, input=b"quit\n", check=False, timeout=30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _renumbered() -> dict[str, str]:
    """The GPUs of this allocation as the service's clients must name them: the service counts from 0."""
    devices = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    numbered = all(device.strip().isdigit() for device in devices)
    return {"CUDA_VISIBLE_DEVICES": ",".join(map(str, range(len(devices))))} if numbered else {}
