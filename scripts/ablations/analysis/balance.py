"""Balance: the largest complete product of levels and seeds among the runs of a study."""

import itertools
import math
from collections.abc import Collection
from typing import Any

# Limits of the search.
MOST_STARTS, MOST_ORDERS, MOST_CELLS = 60, 24, 20_000
Level = tuple[Any, ...]
# The level of each factor, and last the seed.
Key = tuple[Level, ...]


def worth(part: list[list[Level]]) -> tuple[int, bool, int, int]:
    """How good a part is: that it keeps all factors, then several seeds, then its size."""
    *factors, seeds = map(len, part)
    return sum(n > 1 for n in factors), seeds > 1, math.prod(factors) * seeds, seeds


def balanced(cells: Collection[Key], axes: int) -> list[list[Level]]:
    """The levels of each factor, and the seeds, whose product is complete, and the best that is found.

    Finding the largest is hard in general (a biclique problem). The result is the best of many greedy
    searches, which start at different cells and add levels of the axes in different orders, and of one
    that removes the levels with the most missing cells.
    """
    levels = [list(dict.fromkeys(key[i] for key in cells)) for i in range(axes)]
    if len(cells) == math.prod(map(len, levels)):
        return levels
    there = set(cells)
    # Many axes have too many orders. Each axis still comes first in some of them.
    turns = [[*range(i, axes), *range(i)] for i in range(axes)]
    few = math.factorial(axes) <= MOST_ORDERS
    orders = list(itertools.permutations(range(axes))) if few else [*turns, *(t[::-1] for t in turns)]
    keys = list(cells)
    starts = max(1, min(MOST_STARTS, MOST_CELLS // max(1, len(keys))))
    best = _pruned(cells, levels)
    for start in keys[:: -(-len(keys) // starts) or 1]:
        for order in orders:
            # Either one more level of each axis first, which keeps the most factors, or all of an axis.
            for rounds in ((2, math.inf), (math.inf,)):
                part = [[level] for level in start]
                for most in rounds:
                    _grow(part, levels, there, order, most)
                if worth(part) > worth(best):
                    best = part
    return [[level for level in levels[i] if level in best[i]] for i in range(axes)]


def _grow(
    part: list[list[Level]], levels: list[list[Level]], there: set[Key], order: Collection[int], most: float
) -> None:
    """Add levels to a part, axis by axis, as long as it stays complete and no axis has more than `most`."""
    for i in order:
        for level in levels[i]:
            if level in part[i] or len(part[i]) >= most:
                continue
            added = [*part[:i], [level], *part[i + 1 :]]
            if all(key in there for key in itertools.product(*added)):
                part[i].append(level)


def _pruned(cells: Collection[Key], levels: list[list[Level]]) -> list[list[Level]]:
    """The levels that remain after removing, one by one, the level with the most missing cells."""
    levels = [list(each) for each in levels]
    kept = list(cells)
    while kept and len(kept) < math.prod(map(len, levels)):
        whole = math.prod(map(len, levels))
        shares = [
            (sum(key[i] == level for key in kept) * len(of) / whole, -len(of), i, level)
            for i, of in enumerate(levels)
            if len(of) > 1
            for level in of
        ]
        _, _, i, worst = min(shares, key=lambda share: share[:3])
        levels[i].remove(worst)
        kept = [key for key in kept if key[i] != worst]
    return levels if kept else [[] for _ in levels]
