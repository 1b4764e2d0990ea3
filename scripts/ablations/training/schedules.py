"""The learning rate of each step, as a function of the step alone: a checkpoint need not hold it."""

import math
from collections.abc import Callable

import torch

from ablations.kinds.cnn_hyperparameters import CnnHyperparameters

# `step`: after these shares of the training the learning rate is a tenth of what it was.
DROPS, DROP = (0.5, 0.75), 0.1
# `one_cycle`: torch's defaults for OneCycleLR, and from `lr` / 25 up to `lr`, then down to a 10,000th of the
# start. The momentum stays as it is.
RISE, START, END = 0.3, 1 / 25, 1e-4 / 25


def _one_cycle(step: int, steps: int) -> float:
    top, last = RISE * steps - 1, steps - 1
    if step <= top:
        return _cosine(START, 1, step / top)
    return _cosine(1, END, (step - top) / (last - top))


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


# From (step, steps) to the share of `lr`; steps count from 0.
SCHEDULES: dict[str, Callable[[int, int], float]] = {
    "constant": lambda step, steps: 1.0,
    "cosine": lambda step, steps: _cosine(1, 0, step / steps),
    "step": lambda step, steps: DROP ** sum(step >= share * steps for share in DROPS),
    "one_cycle": _one_cycle,
}


class LearningRate:
    """The learning rate of `optimizer`, set before each step.

    In a CUDA graph numbers are constants: there it is a tensor, which a replay reads anew.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        hp: CnnHyperparameters,
        steps_per_epoch: int,
        device: torch.device,
    ) -> None:
        self.optimizer, self.hp = optimizer, hp
        self._warm_up = hp.warmup_epochs * steps_per_epoch
        self._steps = hp.epochs * steps_per_epoch - self._warm_up
        self._is_constant = hp.schedule == "constant" and not hp.warmup_epochs
        on_gpu = device.type == "cuda" and not self._is_constant
        self._tensor = torch.empty((), device=device) if on_gpu else None

    def at(self, step: int) -> float:
        """The learning rate of a step, counted from 0: during the warm-up it rises in proportion."""
        if step < self._warm_up:
            return self.hp.lr * (step + 1) / self._warm_up
        return self.hp.lr * SCHEDULES[self.hp.schedule](step - self._warm_up, self._steps)

    def set(self, step: int) -> None:
        """Give the optimizer the learning rate of a step."""
        if self._is_constant:
            return
        rate = self.at(step)
        if self._tensor is not None:
            self._tensor.fill_(rate)
        for group in self.optimizer.param_groups:
            group["lr"] = rate if self._tensor is None else self._tensor
