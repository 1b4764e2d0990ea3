"""Batch normalisation's counters of batches, increased together.

torchvision's models normalise with a fixed momentum, for which the counters matter only in the state dict.
Each layer increases its own with a kernel of its own, which is a twentieth of the kernels of a ResNet's step.
"""

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


class BatchCounters:
    """The counters of `model`. Between `take` and `give_back` its layers have none to increase."""

    def __init__(self, model: nn.Module) -> None:
        layers = [module for module in model.modules() if isinstance(module, _BatchNorm)]
        # Without a momentum, a layer computes with its counter.
        self._layers = [layer for layer in layers if layer.momentum is not None and layer.track_running_stats]
        counters = [layer.num_batches_tracked for layer in self._layers]
        self._counters = [counter for counter in counters if counter is not None]

    def take(self) -> None:
        """Take the counters from the layers: from now on the owner of the training calls `increase`."""
        for layer in self._layers:
            layer.num_batches_tracked = None

    def increase(self) -> None:
        """Count a batch in every layer."""
        if self._counters:
            torch._foreach_add_(self._counters, 1)

    def give_back(self) -> None:
        """Give the counters back: the state dict has them, and each layer counts by itself."""
        for layer, counter in zip(self._layers, self._counters, strict=True):
            layer.num_batches_tracked = counter
