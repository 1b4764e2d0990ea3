"""What the taps of a convolution see of a map of one size."""

from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

from torch import nn


@dataclass(frozen=True)
class Span:
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
    def of(cls, conv: nn.Conv2d, size: tuple[int, int], axis: int) -> "Span":
        kernel, stride, dilation = conv.kernel_size[axis], conv.stride[axis], conv.dilation[axis]
        padding, length = int(conv.padding[axis]), size[axis]
        out = (length + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        met = {
            tap: [p for o in range(out) if 0 <= (p := o * stride - padding + tap * dilation) < length]
            for tap in range(kernel)
        }
        live = [tap for tap, places in met.items() if places]
        if not live:
            return cls(kernel, stride, out, 0, 0, 0, 0, (0, 0))
        first, count = live[0], live[-1] - live[0] + 1
        before = padding - first * dilation
        after = (out - 1) * stride + (count - 1) * dilation + 1 - length - before
        places = [p for tap in live for p in met[tap]]
        return cls(kernel, stride, out, first, count, before, after, (min(places), max(places) + 1))

    @property
    def is_blind(self) -> bool:
        """Whether all outputs see padding alone."""
        return self.count == 0

    @property
    def is_whole(self) -> bool:
        return self.count == self.kernel

    @property
    def has_blind_outputs(self) -> bool:
        """Whether an output sees padding alone."""
        return any(all(tap is None for tap in row) for row in self.taps())

    @property
    def sees_all(self) -> bool:
        """Whether every output sees every place of the window, each through one tap."""
        return all(
            0 <= place + self.before - o * self.stride < self.count
            for o in range(self.out)
            for place in range(*self.window)
        )

    def taps(self) -> list[list[int | None]]:
        """The live tap between each output and each place of the window, or None."""
        met = [[p + self.before - o * self.stride for p in range(*self.window)] for o in range(self.out)]
        return [[tap if 0 <= tap < self.count else None for tap in row] for row in met]


class Pair(NamedTuple):
    """An output position and a place of the window, in row-major order, and the tap between them."""

    position: int
    place: int
    tap: int
    is_first: bool  # of its position


def pairs_of(rows: Span, columns: Span) -> list[Pair]:
    """What each output position sees."""
    pairs: list[Pair] = []
    for position, (down, across) in enumerate(product(rows.taps(), columns.taps())):
        seen = [
            (place, row * columns.count + column)
            for place, (row, column) in enumerate(product(down, across))
            if row is not None and column is not None
        ]
        pairs += [Pair(position, *pair, is_first=i == 0) for i, pair in enumerate(seen)]
    return pairs
