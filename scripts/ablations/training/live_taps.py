"""Convolutions without the taps that only multiply padding.

On small images the last maps of a network are 2×2 or 1×1, and most taps of a 3×3 kernel lie outside the
map at every position. Such a dead tap multiplies zeros, and its gradient is exactly zero: without it, the
network computes the same. `trim` removes the dead taps from the parameters, so that products, gradients and
the optimizer do not include them. If every output of a convolution sees the whole map, the convolution is
computed as matrix products.

The mathematics is that of the plain model. A state dict contains all taps at their places, with the values
that they would have in the plain model, and a state dict of the plain model can be loaded.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from ablations.training.probes import Probe

# The layout of the parameters after `trim`. The state of an optimizer can be used only with its own layout.
LAYOUT = "live taps 1"


def trim(model: nn.Module, image_shape: tuple[int, int, int], decay: bool = False) -> nn.Module:
    """Replace, in place, each convolution of `model` that has dead taps on images (channels, height, width).

    `model` must be on the device where it trains: products by tap are used on a CPU only. With weight
    decay, dead taps shrink as all weights do. With `decay` they stay parameters that require a gradient,
    and `give_zero_gradients` must be called at every step.
    """
    for path, size in _map_sizes(model, image_shape).items():
        conv = model.get_submodule(path)
        assert isinstance(conv, nn.Conv2d)
        rows, columns = _Span.of(conv, size, 0), _Span.of(conv, size, 1)
        by_product = _is_product(conv, rows, columns) and (conv.weight.is_cpu or rows.out * columns.out == 1)
        if rows.is_whole and columns.is_whole and not by_product:
            continue
        parent = model.get_submodule(path.rpartition(".")[0])
        setattr(parent, path.rpartition(".")[2], LiveConv2d(conv, rows, columns, by_product, decay))
    return model


def give_zero_gradients(model: nn.Module) -> None:
    """Set the gradient of dead taps that require one to zero; call it after `zero_grad`."""
    for module in model.modules():
        if isinstance(module, LiveConv2d) and module.dead.requires_grad:
            module.dead.grad = module.no_gradient


def _map_sizes(model: nn.Module, image_shape: tuple[int, int, int]) -> dict[str, tuple[int, int]]:
    """The (height, width) of the map that each convolution receives, unless it receives several sizes."""
    seen: dict[str, set[tuple[int, int]]] = {}
    probe = Probe(model, image_shape)
    shared = _shared(probe.model)
    for path, module in probe.model.eval().named_modules():
        if type(module) is not nn.Conv2d or isinstance(module.padding, str) or module in shared:
            continue
        if module.padding_mode == "zeros":

            def note(_: nn.Module, given: tuple[torch.Tensor], path: str = path) -> None:
                height, width = given[0].shape[-2:]
                seen.setdefault(path, set()).add((height, width))

            module.register_forward_pre_hook(note)
    probe.look(1)
    return {path: sizes.pop() for path, sizes in seen.items() if len(sizes) == 1}


def _shared(model: nn.Module) -> set[nn.Module]:
    """Modules that others depend on: they are used in two places, share a parameter, or have hooks."""
    modules = Counter(module for _, module in model.named_modules(remove_duplicate=False))
    owners = Counter(parameter for module in modules for parameter in module.parameters(recurse=False))
    return {
        module
        for module, places in modules.items()
        if places > 1
        or any(owners[parameter] > 1 for parameter in module.parameters(recurse=False))
        or module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
    }


@dataclass(frozen=True)
class _Span:
    """One axis of a convolution on a map of one size: the live taps, and what they see.

    The live taps are the `count` taps from `first` on. `before` and `after` are the padding that remains
    (negative if the map has a margin that no live tap sees). The `out` outputs see the `window` of the map.
    """

    kernel: int
    stride: int
    out: int
    first: int
    count: int
    before: int
    after: int
    window: tuple[int, int]

    @classmethod
    def of(cls, conv: nn.Conv2d, size: tuple[int, int], axis: int) -> "_Span":
        kernel, stride, dilation = conv.kernel_size[axis], conv.stride[axis], conv.dilation[axis]
        padding, length = int(conv.padding[axis]), size[axis]
        out = (length + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        met = {
            tap: [p for o in range(out) if 0 <= (p := o * stride - padding + tap * dilation) < length]
            for tap in range(kernel)
        }
        live = [tap for tap, places in met.items() if places]
        first, count = live[0], live[-1] - live[0] + 1
        before = padding - first * dilation
        after = (out - 1) * stride + (count - 1) * dilation + 1 - length - before
        places = [p for tap in live for p in met[tap]]
        return cls(kernel, stride, out, first, count, before, after, (min(places), max(places) + 1))

    @property
    def is_whole(self) -> bool:
        return self.count == self.kernel

    @property
    def sees_all(self) -> bool:
        """Whether every output sees every place of the window, each through one tap."""
        return all(
            0 <= place + self.before - o * self.stride < self.count
            for o in range(self.out)
            for place in range(*self.window)
        )

    def taps(self) -> list[list[int]]:
        """The live tap between each output and each place of the window."""
        return [[p + self.before - o * self.stride for p in range(*self.window)] for o in range(self.out)]


def _is_product(conv: nn.Conv2d, rows: _Span, columns: _Span) -> bool:
    """Whether the convolution equals matrix products: it is dense, and every output sees all places."""
    return conv.groups == 1 and conv.dilation == (1, 1) and rows.sees_all and columns.sees_all


class LiveConv2d(nn.Conv2d):
    """`conv` on maps of one size, with only its live taps in `weight`.

    `weight` has the shape (outputs, inputs, height, width) of the live taps. If several outputs see the
    whole map, it has the shape (taps, outputs, inputs), one matrix for each tap.
    """

    def __init__(self, conv: nn.Conv2d, rows: _Span, columns: _Span, by_product: bool, decay: bool) -> None:
        kept = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups")
        options: dict[str, Any] = {name: getattr(conv, name) for name in kept}
        super().__init__(**options, bias=conv.bias is not None, device="meta")
        self.rows, self.columns = rows, columns
        self.by_product = by_product
        self.by_tap = by_product and rows.out * columns.out > 1
        # The tap between each output position and each place of the window, both in row-major order.
        self.table = [
            [down * columns.count + across for down in row for across in column]
            for row in rows.taps() for column in columns.taps()
        ]  # fmt: skip
        self.alive = torch.zeros(conv.kernel_size, dtype=torch.bool)
        self.alive[rows.first : rows.first + rows.count, columns.first : columns.first + columns.count] = True
        live, dead = self._split(conv.weight.detach())
        self.weight = nn.Parameter(live)
        self.bias = conv.bias
        # Shape (outputs, inputs, taps). State dicts contain these weights, and weight decay shrinks them.
        self.dead = nn.Parameter(dead, requires_grad=decay and dead.numel() > 0)
        self.no_gradient = torch.zeros_like(dead) if self.dead.requires_grad else None
        self.train(conv.training)

    def _split(self, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Split the weights of all taps into the live ones, in the layout of `weight`, and the dead ones."""
        flat = weight.flatten(2)
        alive = self.alive.flatten().to(weight.device)
        live, dead = flat[:, :, alive], flat[:, :, ~alive].contiguous()
        if self.by_tap:
            return live.permute(2, 0, 1).contiguous(), dead
        return live.reshape(*live.shape[:2], self.rows.count, self.columns.count).contiguous(), dead

    def _live(self) -> torch.Tensor:
        """The live taps as a view of shape (outputs, inputs, height, width)."""
        if not self.by_tap:
            return self.weight
        return self.weight.permute(1, 2, 0).unflatten(2, (self.rows.count, self.columns.count))

    def full_weight(self) -> torch.Tensor:
        """The weight of the plain model, of shape (outputs, inputs, height, width), with all taps."""
        shape = (self.out_channels, self.in_channels // self.groups, *self.kernel_size)
        full = torch.empty(shape, dtype=self.weight.dtype, device=self.weight.device)
        alive = self.alive.to(full.device)
        full[:, :, alive] = self._live().detach().flatten(2)
        full[:, :, ~alive] = self.dead.detach()
        return full

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.by_product:
            top, bottom = self.rows.window
            left, right = self.columns.window
            seen = x[:, :, top:bottom, left:right]
            if not self.by_tap:
                return F.linear(seen.flatten(1), self.weight.flatten(1), self.bias)[:, :, None, None]
            if not torch.is_autocast_enabled("cpu"):
                y = _ProductsByTap.apply(seen.flatten(2), self.weight, self.table)
                y = y if self.bias is None else y + self.bias[:, None]
                return y.unflatten(2, (self.rows.out, self.columns.out))
        rows, columns = self.rows, self.columns
        padding = (rows.before, columns.before)
        if padding != (rows.after, columns.after) or min(padding) < 0:
            x = F.pad(x, (columns.before, columns.after, rows.before, rows.after))
            padding = (0, 0)
        return F.conv2d(x, self._live(), self.bias, self.stride, padding, self.dilation, self.groups)

    # --- state dicts, which contain all taps ---

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[f"{prefix}weight"] = self.full_weight()
        del destination[f"{prefix}dead"]

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        full = state_dict.get(f"{prefix}weight")
        if full is not None and full.shape[2:] == torch.Size(self.kernel_size):
            live, dead = self._split(full)
            state_dict |= {f"{prefix}weight": live, f"{prefix}dead": dead}
        super()._load_from_state_dict(state_dict, prefix, *args)


class _ProductsByTap(torch.autograd.Function):
    """A convolution in which every output position sees every place of the map.

    The shapes are (images, inputs, places) of x, (taps, outputs, inputs) of the weight, and (images,
    outputs, positions) of the result. `table[position][place]` is the tap between the two.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, table: list[list[int]]) -> torch.Tensor:
        places = [place.contiguous() for place in x.unbind(2)]
        positions = []
        for taps in table:
            y = places[0] @ weight[taps[0]].t()
            for place, tap in zip(places[1:], taps[1:], strict=True):
                y.addmm_(place, weight[tap].t())
            positions.append(y)
        ctx.save_for_backward(weight, *places)
        ctx.table = table
        return torch.stack(positions, 2)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor, None]:
        weight, *places = ctx.saved_tensors
        positions = [position.contiguous() for position in gradient.unbind(2)]
        of_weight = torch.zeros_like(weight)
        of_places: list[torch.Tensor] = []
        for i, place in enumerate(places):
            taps = [row[i] for row in ctx.table]
            of_place = positions[0] @ weight[taps[0]]
            for position, tap in zip(positions[1:], taps[1:], strict=True):
                of_place.addmm_(position, weight[tap])
            of_places.append(of_place)
            for position, tap in zip(positions, taps, strict=True):
                of_weight[tap].addmm_(position.t(), place)
        return torch.stack(of_places, 2), of_weight, None
