"""The device that a command may use: the GPU that its job was given, or the processor."""

import logging
import os
import re
import subprocess
from collections.abc import Mapping

from ablations.runs.gpus import VISIBLE, names_of_gpus
from ablations.runs.provenance import processor_name

log = logging.getLogger(__name__)


def device(environment: Mapping[str, str] = os.environ) -> tuple[str, str]:
    """`cuda` with the GPU's name where the job has one, and otherwise `cpu` with the processor's."""
    gpus = names_of_gpus(environment)
    if not gpus:
        return "cpu", processor_name()
    if name := name_of_gpu(gpus[0]):
        return "cuda", name
    # A name of a GPU without the GPU: the command has to run on the processor.
    log.warning(
        "this job was given a GPU (%s=%s), which nvidia-smi does not show here: the record names the "
        "processor",
        VISIBLE,
        environment[VISIBLE],
    )
    return "cpu", processor_name()


def name_of_gpu(gpu: str) -> str | None:
    """The name of a GPU, or of a part of one (MIG), that CUDA_VISIBLE_DEVICES names by number or UUID."""
    command = ["nvidia-smi", "-L"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    whole = ""
    for line in done.stdout.splitlines():
        found = re.match(r"(?:GPU (\d+): (.*)|\s+(MIG \S+).*) \(UUID: ([^)]*)\)", line)
        if found is None:
            continue
        whole = found[2] or whole
        # CUDA takes the beginning of a UUID too.
        if gpu == found[1] or found[4].startswith(gpu):
            return whole if found[2] else f"{whole} {found[3]}"
    return None
