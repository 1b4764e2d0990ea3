"""torch's settings for a run, and its optimizer."""

from typing import Any

import torch
from torch import nn

from ablations.kinds.cnn import CnnHyperparameters
from ablations.training.batches import Source


def pin_memory_works(hp: CnnHyperparameters, device: torch.device, source: Source) -> bool:
    """Whether `pin_memory` is set and has an effect: it speeds up only transfers from host to GPU."""
    return hp.pin_memory and device.type == "cuda" and source == "host"


def precision_in_effect(hp: CnnHyperparameters, device: torch.device) -> str:
    """The precision that the device computes in: only some GPUs support tf32."""
    if hp.precision == "tf32" and not (device.type == "cuda" and torch.cuda.is_tf32_supported()):
        return "fp32"
    return hp.precision


def make_optimizer(model: nn.Module, hp: CnnHyperparameters) -> torch.optim.Optimizer:
    """torch's fused optimizer with these hyperparameters; on a GPU its steps can be recorded in a graph."""
    common: dict[str, Any] = {"lr": hp.lr, "weight_decay": hp.weight_decay, "fused": True}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if hp.optimizer == "sgd":
        return torch.optim.SGD(trained, momentum=hp.momentum, **common)
    cls = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[hp.optimizer]
    return cls(trained, capturable=trained[0].is_cuda, **common)


def configure(hp: CnnHyperparameters, threads: int) -> None:
    """Set torch's global state for a run: determinism, threads, precision and seed."""
    torch.manual_seed(hp.seed)
    torch.set_num_threads(threads)
    # Some layers have no deterministic version on a GPU (the adaptive pooling of vgg and alexnet). torch
    # then writes a warning to the run's log, and the run continues.
    torch.set_deterministic_debug_mode("warn")
    # Otherwise torch would fill every new tensor, hundreds per step, as a safeguard against reading it
    # before it is written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a property
    torch.backends.cudnn.benchmark = False
    # By default torch allows cuDNN to use tf32; here tf32 is a hyperparameter.
    precision = "tf32" if hp.precision == "tf32" else "ieee"
    torch.backends.cuda.matmul.fp32_precision = precision
    torch.backends.cudnn.conv.fp32_precision = precision  # type: ignore[attr-defined]  # a property
