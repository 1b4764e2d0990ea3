"""What a forward pass of a model costs."""

import copy
import warnings
from dataclasses import dataclass

import torch
from torch import nn

from ablations.training.models import unfit_images


@dataclass(frozen=True)
class Profile:
    """What one forward pass of one image costs.

    `macs` are thop's multiply-accumulates, `flops` torch's count of floating-point operations, two
    for each multiply-accumulate, and `params` the parameters.
    """

    macs: int
    flops: int
    params: int


def profile(model: nn.Module, image_shape: tuple[int, int, int]) -> Profile:
    """Count on a copy of `model`: thop leaves buffers in what it counts.

    Raises AblationsError if the model cannot take the images.
    """
    with warnings.catch_warnings():
        # thop compares versions with the deprecated distutils.
        warnings.simplefilter("ignore")
        import thop
    # It imports torch's compiler, which no run needs.
    from torch.utils.flop_counter import FlopCounterMode

    image = torch.zeros(1, *image_shape)
    model = model.eval()
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(image)
        macs, _ = thop.profile(copy.deepcopy(model), inputs=(image,), verbose=False)
    except (ValueError, RuntimeError, AssertionError) as error:
        raise unfit_images(type(model).__name__, image_shape, error) from None
    return Profile(
        macs=int(macs),
        flops=int(counter.get_total_flops()),
        params=sum(parameter.numel() for parameter in model.parameters()),
    )
