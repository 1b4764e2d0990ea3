"""The device that a run trains on: never another one than was requested or allocated."""

import logging
import re
import warnings
from collections.abc import Mapping

import torch

from ablations.errors import AblationsError
from ablations.runs.energy import Meter
from ablations.runs.gpus import VISIBLE, driver_version, given_gpus, hidden_gpus
from ablations.runs.provenance import processor_name

log = logging.getLogger(__name__)


def device_of(requested: str, environment: Mapping[str, str]) -> str:
    """`cpu` or `cuda`: what this machine gives of a `requested` device, see `choose_device`."""
    problem = None if requested == "cpu" else problem_of_cuda()
    return choose_device(requested, environment, problem, driver_version())


def choose_device(
    requested: str, environment: Mapping[str, str], problem: str | None, driver: str | None
) -> str:
    """`cpu` or `cuda`, for a `requested` device of auto, cpu or cuda.

    `problem` is why torch cannot use a GPU, None if it can; `driver` is the version of NVIDIA's driver, if
    there is one. Where auto takes the CPU of a machine with a driver, the log says why.

    Raises AblationsError if a GPU was requested or allocated and cannot be used. To train on the CPU
    instead would block the GPU for hours and record the wrong times.
    """
    if requested == "cpu":
        return "cpu"
    if problem is None:
        return "cuda"
    given, hidden = given_gpus(environment), hidden_gpus(environment)
    if requested == "cuda" or given:
        reason = f"this job was given a GPU ({given})" if given else "device is cuda"
        raise AblationsError(
            f"{reason}, and torch finds no usable CUDA device here: {hidden or problem}; nvidia-smi shows "
            "the GPUs and their driver; put that right, or set device: cpu in the config"
        )
    if hidden:
        log.info("%s: the run trains on the CPU", hidden)
    elif driver:
        log.warning(
            "this machine has an NVIDIA driver (%s), and the run trains on the CPU: %s; put that right, or "
            "set device: cpu in the config",
            driver,
            problem,
        )
    return "cpu"


def problem_of_cuda() -> str | None:
    """Why torch cannot use a GPU here; None if it can."""
    with warnings.catch_warnings():
        # It is said below, in one sentence.
        warnings.simplefilter("ignore")
        if torch.cuda.is_available():
            return _lacking_code()
    if not torch.backends.cuda.is_built():
        return f"torch {torch.__version__} is built for the CPU alone"
    try:
        torch.cuda.init()
    except RuntimeError as error:
        return _in_short(str(error))
    return "torch counts no GPU"


def _in_short(words: str) -> str:
    """What torch says when it cannot begin with CUDA, without its advice."""
    if found := re.search(r"too old \(found version (\d+)\)", words):
        supported = f"{int(found[1]) // 1000}.{int(found[1]) % 1000 // 10}"
        return (
            f"the NVIDIA driver is too old: it supports CUDA {supported} at most, and torch "
            f"{torch.__version__} needs CUDA {torch.version.cuda}"
        )
    if found := re.search(r"Error \d+: .*", words):
        return found[0]
    return words.partition("\n")[0].partition(". ")[0].rstrip(".")


def _lacking_code() -> str | None:
    """That this torch has no code for the GPU, which would be found at its first kernel; None if it has."""
    major, minor = torch.cuda.get_device_capability()
    built = [re.fullmatch(r"(sm|compute)_(\d+)(\d)", name) for name in torch.cuda.get_arch_list()]
    found = [(each[1], int(each[2]), int(each[3])) for each in built if each]
    # Machine code runs on later GPUs of its generation, and intermediate code on all later ones.
    runs = [
        each[1:] <= (major, minor) and (each[1] == major or each[0] == "compute")
        for each in found
    ]  # fmt: skip
    if any(runs) or not found:
        return None
    name = torch.cuda.get_device_name()
    return f"torch {torch.__version__} has no code for {name} (compute capability {major}.{minor})"


def name_of(device: torch.device, meter: Meter) -> str:
    """The name of the device. The log tells what to know of a GPU, and `meter` counts its energy."""
    if device.type != "cuda":
        return processor_name()
    name, visible = torch.cuda.get_device_name(device), torch.cuda.device_count()
    if visible > 1:
        log.warning("%d GPUs are visible, and the run uses the first (%s); %s chooses another",
                    visible, name, VISIBLE)  # fmt: skip
    if " MIG " in name:
        log.warning("%s is a part of a GPU: times are of this part, and its energy is not counted", name)
    else:
        meter.add_gpus([f"GPU-{torch.cuda.get_device_properties(device).uuid}"])
    return name


def identity(device: torch.device, name: str) -> dict[str, str]:
    """What a checkpoint must agree in, so that a resumed run has the same bits: the device, and libraries."""
    versions = {"device": name, "torch": str(torch.__version__)}
    if device.type == "cuda":
        versions["cudnn"] = str(torch.backends.cudnn.version())
    return versions
