"""A forward pass of blank images, which shows what a model does with their shape before it trains."""

import copy

import torch
from torch import nn

# Up to this many pixels, a pass on the CPU takes less time than importing what the meta device needs.
SMALL = 64 * 64


class Probe:
    """A copy of `model` for blank images of one shape (channels, height, width).

    A pass changes neither the weights and statistics of the model nor the state of torch's generators.
    """

    def __init__(self, model: nn.Module, image_shape: tuple[int, int, int]) -> None:
        _, height, width = image_shape
        self.device = "cpu" if height * width <= SMALL else "meta"
        self.image_shape = image_shape
        self.model = copy.deepcopy(model).to(self.device, torch.float32)

    def look(self, images: int) -> object:
        """What the copy makes of this many images. Raises what the model raises."""
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            return self.model(torch.zeros(images, *self.image_shape, device=self.device))
