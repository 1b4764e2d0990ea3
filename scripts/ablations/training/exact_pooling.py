"""Adaptive average pooling whose gradient on a GPU is the same each time.

torch adds its gradients in no fixed order. It is the only layer of torchvision's classifiers without a
deterministic version: vgg and alexnet pool to 7×7 and 6×6. The others pool to 1×1, which torch takes as a
mean.
"""

import torch
from torch import nn


class ExactAdaptiveAvgPool2d(nn.Module):
    """`nn.AdaptiveAvgPool2d(size)` on maps of (height, width), as weighted sums of rows and of columns."""

    def __init__(self, size: tuple[int | None, int | None]) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pool `x` of shape (images, channels, height, width)."""
        rows = _windows(x.shape[2], self.size[0] or x.shape[2], x)
        columns = _windows(x.shape[3], self.size[1] or x.shape[3], x)
        by_rows = (x.unsqueeze(2) * rows[:, :, None]).sum(3)
        return (by_rows.unsqueeze(3) * columns).sum(4).contiguous()


def _windows(of: int, to: int, like: torch.Tensor) -> torch.Tensor:
    """The weights (to, of) of the windows that torch averages, in the type and on the device of `like`."""
    places, outputs = torch.arange(of, device=like.device), torch.arange(to, device=like.device)
    first, end = outputs * of // to, -(-(outputs + 1) * of // to)
    inside = (places >= first[:, None]) & (places < end[:, None])
    return (inside / (end - first)[:, None]).to(like.dtype)


def pool_exactly(model: nn.Module) -> None:
    """Replace the adaptive average pooling of `model` to more than one place, in place."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.AdaptiveAvgPool2d) and (size := _size(child)) != (1, 1):
                setattr(module, name, ExactAdaptiveAvgPool2d(size))


def _size(pool: nn.AdaptiveAvgPool2d) -> tuple[int | None, int | None]:
    """The (height, width) that it pools to; None is that of the map."""
    size = pool.output_size
    height, width = size if isinstance(size, tuple) else (size, size)
    return height, width
