"""The cost of a model's forward pass: operations and parameters."""

import copy
import warnings
from dataclasses import dataclass

import torch
from torch import nn

from ablations.training.models import unfit_images


@dataclass(frozen=True)
class ModelCost:
    """The cost of a forward pass of one image, which `profile.tsv` of a model has.

    `macs` are the multiply-accumulates that thop counts, `flops` the floating-point operations that torch
    counts (two for each multiply-accumulate), and `params` the number of parameters.
    """

    macs: int
    flops: int
    params: int


def model_cost(model: nn.Module, image_shape: tuple[int, int, int]) -> ModelCost:
    """The cost of `model` for an image of this shape (channels, height, width).

    thop counts on a copy, because it adds buffers to the model. Raises AblationsError if the model cannot
    take such images.
    """
    with warnings.catch_warnings():
        # thop compares versions with distutils, which is deprecated.
        warnings.simplefilter("ignore")
        import thop
    # Imported here: it imports torch's compiler, which a training does not need.
    from torch.utils.flop_counter import FlopCounterMode

    image = torch.zeros(1, *image_shape)
    model = model.eval()
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(image)
        macs, _ = thop.profile(copy.deepcopy(model), inputs=(image,), verbose=False)
    except (ValueError, RuntimeError, AssertionError) as error:
        raise unfit_images(type(model).__name__, image_shape, error) from None
    return ModelCost(
        macs=int(macs),
        flops=int(counter.get_total_flops()),
        params=sum(parameter.numel() for parameter in model.parameters()),
    )
