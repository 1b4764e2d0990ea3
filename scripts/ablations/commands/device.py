"""The device that a command may use: the GPU that its job was given, or the processor."""

import os
import subprocess
from collections.abc import Mapping

from ablations.runs.provenance import processor_name


def device(environment: Mapping[str, str] = os.environ) -> tuple[str, str]:
    """`cuda` with the GPU's name where the job has one, and otherwise `cpu` with the processor's."""
    given = environment.get("CUDA_VISIBLE_DEVICES", "")
    if given not in ("", "-1"):
        command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader", "--id", given.split(",")[0]]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
            return "cuda", done.stdout.strip().splitlines()[0]
        except (OSError, subprocess.SubprocessError, IndexError):
            pass  # a name of a GPU without the GPU: it has to run on the processor
    return "cpu", processor_name()
