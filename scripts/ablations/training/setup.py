"""torch's settings for a run, and its optimizer."""

import os
from typing import Any

import torch
from torch import nn

from ablations.kinds.cnn_hyperparameters import CnnHyperparameters
from ablations.training.batches import Source


def pin_memory_works(hp: CnnHyperparameters, device: torch.device, source: Source) -> bool:
    """Whether `pin_memory` is set and has an effect: it speeds up only transfers from host to GPU."""
    return hp.pin_memory and device.type == "cuda" and source == "host"


def precision_in_effect(hp: CnnHyperparameters, device: torch.device) -> str:
    """The precision that the device computes in: only some GPUs support tf32."""
    if hp.precision == "tf32" and not (device.type == "cuda" and torch.cuda.is_tf32_supported()):
        return "fp32"
    return hp.precision


def is_deterministic() -> bool:
    """Whether torch refuses every operation whose result is not the same each time."""
    return torch.get_deterministic_debug_mode() == 2


def make_optimizer(model: nn.Module, hp: CnnHyperparameters) -> torch.optim.Optimizer:
    """torch's fused optimizer with these hyperparameters; on a GPU its steps can be recorded in a graph."""
    common: dict[str, Any] = {"lr": hp.lr, "weight_decay": hp.weight_decay, "fused": True}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if hp.optimizer == "sgd":
        return torch.optim.SGD(trained, momentum=hp.momentum, nesterov=hp.nesterov, **common)
    cls = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[hp.optimizer]
    return cls(trained, betas=(hp.beta1, hp.beta2), capturable=trained[0].is_cuda, **common)


def configure(hp: CnnHyperparameters, threads: int) -> None:
    """Set torch's global state for a run: determinism, threads, precision and seed."""
    torch.manual_seed(hp.seed)
    torch.set_num_threads(threads)
    # Without it, torch refuses cuBLAS in this mode. Read when torch first uses the GPU.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # Not "warn": with it, the gradients of attention are computed in no fixed order although they could be.
    torch.set_deterministic_debug_mode("error")
    # Otherwise torch would fill every new tensor, hundreds per step, as a safeguard against reading it
    # before it is written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a property
    torch.backends.cudnn.benchmark = False
    # By default torch allows cuDNN to use tf32; here tf32 is a hyperparameter.
    # The older flags first: where they contradict the newer ones, torch raises when they are read.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = hp.precision == "tf32"
    precision = "tf32" if hp.precision == "tf32" else "ieee"
    torch.backends.cuda.matmul.fp32_precision = precision
    torch.backends.cudnn.conv.fp32_precision = precision  # type: ignore[attr-defined]  # a property
