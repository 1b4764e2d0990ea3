"""The device that a run trains on: never another one than was requested or allocated."""

from collections.abc import Mapping

from ablations.errors import AblationsError

# The variables that SLURM and CUDA set for a job with GPUs, and the values that mean none.
GPU_VARIABLES = ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_GPUS", "SLURM_STEP_GPUS", "SLURM_GPUS_ON_NODE")
NO_GPU = {"", "-1", "0", "NoDevFiles", "none", "void"}


def given_gpus(environment: Mapping[str, str]) -> str | None:
    """The variable that shows that this job was given GPUs, as `NAME=value`, or None."""
    for name in GPU_VARIABLES:
        value = environment.get(name, "")
        # "0" is the first device in the first three variables, and no device in the last, a count.
        none = NO_GPU if name == "SLURM_GPUS_ON_NODE" else NO_GPU - {"0"}
        if value not in none:
            return f"{name}={value}"
    return None


def choose_device(requested: str, environment: Mapping[str, str], cuda_available: bool) -> str:
    """`cpu` or `cuda`, for a `requested` device of auto, cpu or cuda.

    Raises AblationsError if a GPU was requested or allocated and cannot be used. To train on the CPU
    instead would block the GPU for hours and record the wrong times.
    """
    if requested == "cpu":
        return "cpu"
    if cuda_available:
        return "cuda"
    given = given_gpus(environment)
    if requested == "cuda":
        reason = "device is cuda"
    elif given:
        reason = f"this job was given a GPU ({given})"
    else:
        return "cpu"
    raise AblationsError(
        f"{reason}, and torch finds no usable CUDA device here; check the node's driver with "
        "nvidia-smi and that torch is a CUDA build, or set device: cpu in the config"
    )
