"""NVIDIA's multi-process service, by which the members of a pack use a GPU at the same time."""

import contextlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

log = logging.getLogger("submitit")

# Makes a context on the first GPU, as every member will. Not by torch, which takes seconds to import.
CLIENT = """
import ctypes, sys
cuda, device, context = ctypes.CDLL("libcuda.so.1"), ctypes.c_int(), ctypes.c_void_p()
error = (
    cuda.cuInit(0)
    or cuda.cuDeviceGet(ctypes.byref(device), 0)
    or cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device)
)
sys.exit(error and f"CUDA error {error}")
"""
CLIENT_PATIENCE_S = 60


@contextlib.contextmanager
def multi_process_service(wanted: bool) -> Iterator[dict[str, str]]:
    """Run the service for this allocation alone; yield the environment that members need to use it.

    If the service cannot be started, or no client can use it, the environment is empty and the members share
    the GPU in turns.
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
            # The control process starts the server when the first client comes. A server that cannot start
            # would leave every member without a GPU.
            members = own | _renumbered()
            if problem := _problem_of_a_client(members):
                log.warning("no CUDA MPS (%s): the members share the GPU in turns", problem)
                members = {}
            yield members
        finally:
            with contextlib.suppress(subprocess.TimeoutExpired):
                subprocess.run(control, env=environment, input=b"quit\n", check=False, timeout=30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _problem_of_a_client(members: dict[str, str]) -> str | None:
    """Why a process in the environment of the members cannot use the GPU, or None if it can."""
    command = [sys.executable, "-c", CLIENT]
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **members},
            capture_output=True,
            check=False,
            timeout=CLIENT_PATIENCE_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"a client could not be tried: {error}"
    if done.returncode == 0:
        return None
    last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
    return f"a client cannot use the GPU: {last}"


def _renumbered() -> dict[str, str]:
    """The GPUs of this allocation as the service's clients must name them: the service counts from 0."""
    devices = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    numbered = all(device.strip().isdigit() for device in devices)
    return {"CUDA_VISIBLE_DEVICES": ",".join(map(str, range(len(devices))))} if numbered else {}
