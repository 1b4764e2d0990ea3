"""What a training needs of torch before its first step: global state, precision, and the optimizer."""

from typing import Any

import torch
from torch import nn

from ablations.kinds.hyperparameters import CnnHyperparameters
from ablations.training.batches import Source


def pin_memory_works(hp: CnnHyperparameters, device: torch.device, source: Source) -> bool:
    """Whether `pin_memory` is asked for and has an effect: only transfers to a GPU profit."""
    return hp.pin_memory and device.type == "cuda" and source == "host"


def precision_in_effect(hp: CnnHyperparameters, device: torch.device) -> str:
    """The precision that the device computes in: tf32 exists on some GPUs only."""
    if hp.precision == "tf32" and not (device.type == "cuda" and torch.cuda.is_tf32_supported()):
        return "fp32"
    return hp.precision


def make_optimizer(model: nn.Module, hp: CnnHyperparameters) -> torch.optim.Optimizer:
    """torch's optimizer of that name, in its fused form; on a GPU a graph can hold its steps."""
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
    # A few layers have no deterministic version on a GPU (the adaptive pooling of vgg and alexnet);
    # torch then warns, in the run's log, and the run goes on.
    torch.set_deterministic_debug_mode("warn")
    # It would fill every new tensor, hundreds a step, in case one were read before it is written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a property
    torch.backends.cudnn.benchmark = False
    # torch's default lets cuDNN use tf32; here it is a hyperparameter.
    precision = "tf32" if hp.precision == "tf32" else "ieee"
    torch.backends.cuda.matmul.fp32_precision = precision
    torch.backends.cudnn.conv.fp32_precision = precision  # type: ignore[attr-defined]  # a property
