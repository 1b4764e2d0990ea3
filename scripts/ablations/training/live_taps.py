"""Convolutions without the taps that only multiply padding.

On small images the last maps of a network are 2×2 or 1×1, and most taps of a 3×3 kernel lie outside the
map at every position. Such a dead tap multiplies zeros, and its gradient is exactly zero: without it, the
network computes the same. `trim` removes the dead taps from the parameters, so that products, gradients and
the optimizer do not include them. On a CPU, convolutions of one tap, and those on the smallest maps, are
computed as matrix products.

The mathematics is that of the plain model. A state dict contains all taps at their places, with the values
that they would have in the plain model, and a state dict of the plain model can be loaded.
"""

import math
from collections import Counter
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional as F

from ablations.training.probes import Probe
from ablations.training.taps import Pair, Span, pairs_of

# Products by tap are faster up to so many outputs (2×2) and places (4×4); measured with stride 2, of ResNets.
MOST_BY_TAP = (4, 16)


def trim(model: nn.Module, image_shape: tuple[int, int, int], decay: bool = False) -> nn.Module:
    """Replace, in place, each convolution of `model` that has dead taps on images (channels, height, width).

    `model` must be on the device where it trains: products by tap are used on a CPU only. With weight
    decay, dead taps shrink as all weights do. With `decay` they stay parameters that require a gradient,
    and `give_zero_gradients` must be called at every step.
    """
    # Networks of torchvision take maps in any memory format, and call their layers by their names.
    is_known = type(model).__module__.startswith("torchvision.")
    plain: dict[str, nn.Conv2d] = {}
    for path, size in _map_sizes(model, image_shape).items():
        conv = model.get_submodule(path)
        assert isinstance(conv, nn.Conv2d)
        rows, columns = Span.of(conv, size, 0), Span.of(conv, size, 1)
        if rows.is_blind or columns.is_blind:
            continue
        way = _way_of(conv, rows, columns)
        if rows.is_whole and columns.is_whole and way == "convolution":
            continue
        plain[path] = conv
        _put(model, path, LiveConv2d(conv, rows, columns, way, decay, contiguous=not is_known))
    if plain and not is_known:
        for path in _not_called(model, image_shape):
            _put(model, path, plain[path])
    return model


def layout(device: torch.device) -> str:
    """The layout of the parameters after `trim`; the state of an optimizer is of use with the same alone."""
    return "live taps 2" if device.type == "cpu" else "live taps 1"


def _put(model: nn.Module, path: str, module: nn.Module) -> None:
    parent = model.get_submodule(path.rpartition(".")[0])
    setattr(parent, path.rpartition(".")[2], module)


def _not_called(model: nn.Module, image_shape: tuple[int, int, int]) -> list[str]:
    """The trimmed convolutions that the model does not call, as it holds the plain ones in another way."""
    probe = Probe(model, image_shape)
    left = {path for path, module in probe.model.eval().named_modules() if isinstance(module, LiveConv2d)}
    for path in left.copy():
        probe.model.get_submodule(path).register_forward_pre_hook(
            lambda module, given, path=path: left.discard(path)
        )
    probe.look(1)
    return sorted(left)


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


# How a convolution is computed: as such; as one product of all that its only output sees, or of each place
# and the only tap; or as one product for each pair of an output and a place that it sees.
Way = Literal["convolution", "of all", "of places", "by tap"]


def _way_of(conv: nn.Conv2d, rows: Span, columns: Span) -> Way:
    if conv.groups > 1 or conv.dilation != (1, 1):
        return "convolution"
    sees_all = rows.sees_all and columns.sees_all
    outputs = rows.out * columns.out
    if sees_all and outputs == 1:
        return "of all"
    if not conv.weight.is_cpu:
        return "convolution"
    if conv.kernel_size == (1, 1) and not any(conv.padding):
        # On large maps this layer alone is slower, and what follows it is faster: no network lost by it.
        return "of places"
    places = math.prod(end - start for start, end in (rows.window, columns.window))
    is_small = outputs <= MOST_BY_TAP[0] and places <= MOST_BY_TAP[1]
    has_blind = rows.has_blind_outputs or columns.has_blind_outputs
    return "by tap" if sees_all or (is_small and not has_blind) else "convolution"


class LiveConv2d(nn.Conv2d):
    """`conv` on maps of one size, with only its live taps in `weight`.

    `weight` has the shape (outputs, inputs, height, width) of the live taps. By tap, it has the shape (taps,
    outputs, inputs), one matrix for each tap. Matrix products give maps in the memory format channels-last,
    in which batch normalisation of small maps is faster too, unless they are to be `contiguous`.
    """

    def __init__(
        self, conv: nn.Conv2d, rows: Span, columns: Span, way: Way, decay: bool, *, contiguous: bool
    ) -> None:
        kept = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups")
        options: dict[str, Any] = {name: getattr(conv, name) for name in kept}
        super().__init__(**options, bias=conv.bias is not None, device="meta")
        self.rows, self.columns, self.way, self.contiguous = rows, columns, way, contiguous
        self.pairs = pairs_of(rows, columns) if way == "by tap" else []
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
        if self.way == "by tap":
            return live.permute(2, 0, 1).contiguous(), dead
        return live.reshape(*live.shape[:2], self.rows.count, self.columns.count).contiguous(), dead

    def _live(self) -> torch.Tensor:
        """The live taps as a view of shape (outputs, inputs, height, width)."""
        if self.way != "by tap":
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
        y = self._forward(x)
        return y.contiguous() if self.contiguous else y

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.way == "of places":
            seen = x[:, :, :: self.stride[0], :: self.stride[1]].permute(0, 2, 3, 1)
            return F.linear(seen, self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)
        if self.way in ("of all", "by tap"):
            top, bottom = self.rows.window
            left, right = self.columns.window
            seen = x[:, :, top:bottom, left:right]
            if self.way == "of all":
                return F.linear(seen.flatten(1), self.weight.flatten(1), self.bias)[:, :, None, None]
            if not torch.is_autocast_enabled("cpu"):
                places = seen.permute(0, 2, 3, 1).flatten(1, 2)
                y = _ProductsByTap.apply(places, self.weight, self.pairs)
                y = y if self.bias is None else y + self.bias
                return y.unflatten(1, (self.rows.out, self.columns.out)).permute(0, 3, 1, 2)
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
    """A convolution as one product for each output position and each place that it sees.

    The shapes are (images, places, inputs) of x, (taps, outputs, inputs) of the weight, and (images,
    positions, outputs) of the result.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, pairs: list[Pair]) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        ctx.pairs = pairs
        y = x.new_empty(len(x), 1 + max(pair.position for pair in pairs), weight.shape[1])
        places, positions, matrices = x.unbind(1), y.unbind(1), weight.transpose(1, 2).unbind(0)
        for position, place, tap, is_first in pairs:
            positions[position].addmm_(places[place], matrices[tap], beta=0 if is_first else 1)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        x, weight = ctx.saved_tensors
        of_x, of_weight = torch.zeros_like(x), torch.zeros_like(weight)
        places, matrices, positions = x.unbind(1), weight.unbind(0), gradient.unbind(1)
        of_places, of_matrices = of_x.unbind(1), of_weight.unbind(0)
        for position, place, tap, _ in ctx.pairs:
            of_places[place].addmm_(positions[position], matrices[tap])
            of_matrices[tap].addmm_(positions[position].t(), places[place])
        return of_x, of_weight, None
