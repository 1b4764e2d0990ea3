"""The GPUs of this machine: those that a job was given, and what NVIDIA's driver and torch's files tell.

Nothing here imports torch, which takes seconds.
"""

import importlib.util
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

# The variables that SLURM and CUDA set for a job with GPUs, and the values that mean none.
VISIBLE = "CUDA_VISIBLE_DEVICES"
# Set by the executor: with NVIDIA's multi-process service, CUDA's variable has other numbers.
NUMBERED = "SNAKEMAKE_SUBMITIT_GPUS"
GPU_VARIABLES = (VISIBLE, "SLURM_JOB_GPUS", "SLURM_STEP_GPUS", "SLURM_GPUS_ON_NODE")
NO_GPU = {"", "-1", "NoDevFiles", "none", "void"}
# Where Linux shows the driver and its GPUs.
DRIVER = Path("/proc/driver/nvidia")
# The oldest driver for each version of CUDA: NVIDIA's "CUDA Compatibility", minor version compatibility.
OLDEST_DRIVER = {11: 450, 12: 525, 13: 580}


def given_gpus(environment: Mapping[str, str]) -> str | None:
    """The variable that shows that this job was given GPUs, as `NAME=value`, or None."""
    for name in GPU_VARIABLES:
        value = environment.get(name, "")
        # "0" is the first device in the first three variables, and no device in the last, a count.
        if value not in NO_GPU and (name, value) != ("SLURM_GPUS_ON_NODE", "0"):
            return f"{name}={value}"
    return None


def names_of_gpus(environment: Mapping[str, str]) -> list[str]:
    """The GPUs of this job by the numbers or UUIDs that nvidia-smi knows; empty if it has none."""
    visible = environment.get(VISIBLE, "")
    return [] if visible in NO_GPU else (environment.get(NUMBERED) or visible).split(",")


def hidden_gpus(environment: Mapping[str, str]) -> str | None:
    """How the environment hides all GPUs from CUDA, or None if it hides none."""
    value = environment.get(VISIBLE)
    if value is None or value not in NO_GPU:
        return None
    return f"{VISIBLE} is {value or 'empty'}, which hides all GPUs"


def driver_version(driver: Path = DRIVER) -> str | None:
    """The version of NVIDIA's driver on this machine, or None if there is none."""
    try:
        text = (driver / "version").read_text(errors="replace")
    except OSError:
        return None
    found = re.search(r"Kernel Module.*?\s(\d+(?:\.\d+)+)\s", text)
    return found[1] if found else "of an unknown version"


@dataclass(frozen=True)
class Torch:
    """An installed torch: its version, and the version of CUDA that it is built for, if any."""

    version: str
    cuda: str | None

    @classmethod
    def installed(cls) -> "Torch | None":
        """The one that an import would take; None if there is none, or if it is built for AMD's GPUs."""
        spec = importlib.util.find_spec("torch")
        if spec is None or spec.origin is None:
            return None
        try:
            text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
        except OSError:
            return None
        told = dict(re.findall(r"^(\w+)(?::[^=]*)? = '([^']*)'", text, re.M))
        return None if "hip" in told else cls(told.get("__version__", "?"), told.get("cuda"))


def notes_before_training(
    device: str, environment: Mapping[str, str], torch: Torch | None, driver: Path = DRIVER
) -> Iterator[str]:
    """What a user should know before networks train on this machine, with this `device` of the config."""
    if device == "cpu" or torch is None:
        return
    hidden, version = hidden_gpus(environment), driver_version(driver)
    problem = hidden or _problem(torch, version)
    if problem and device == "cuda":
        yield f"device is cuda, and networks cannot train on a GPU here: {problem}"
    elif problem and version and not hidden:
        yield f"networks will train on the CPU: {problem}; put that right, or set device: cpu in the config"
    visible = environment.get(VISIBLE)
    count = len(visible.split(",")) if visible else len(list((driver / "gpus").glob("*")))
    if not problem and count > 1:
        yield f"{count} GPUs are visible, and every run uses the first; {VISIBLE} chooses another"


def _problem(torch: Torch, driver: str | None) -> str | None:
    """Why this torch cannot use a GPU of this machine, so far as that can be known without trying."""
    if torch.cuda is None:
        return f"torch {torch.version} is built for the CPU alone"
    if driver is None:
        return "this machine shows no NVIDIA driver"
    oldest = OLDEST_DRIVER.get(int(torch.cuda.partition(".")[0]), 0)
    if driver[0].isdigit() and int(driver.partition(".")[0]) < oldest:
        return f"torch {torch.version} needs an NVIDIA driver from version {oldest} on, and this is {driver}"
    return None
