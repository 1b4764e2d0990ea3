"""Which jobs share an allocation, and which allocations share an array."""

import math
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def packs_of(jobs: Sequence[T], size: int, waves: int, at_a_time: int) -> list[list[T]]:
    """Divide jobs among packs that run `size` of them at the same time.

    With `waves`, a pack takes up to so many in turn in each place. It does so only when there are more
    jobs than `at_a_time` packs could run at once, so that nothing waits behind another that could have run
    beside it. Sizes differ by one place at most; the order is kept.
    """
    fewest = math.ceil(len(jobs) / (size * waves))
    count = max(fewest, min(math.ceil(len(jobs) / size), at_a_time))
    if count * size >= len(jobs):
        # One wave: full packs, and a short last one.
        return [list(jobs[i : i + size]) for i in range(0, len(jobs), size)]
    each, more = divmod(len(jobs), count)
    packs, start = [], 0
    for i in range(count):
        end = start + each + (i < more)
        packs.append(list(jobs[start:end]))
        start = end
    return packs


def by_key(jobs: Iterable[tuple[Hashable, T]]) -> dict[Hashable, list[T]]:
    """Jobs with equal keys together, in their order."""
    groups: dict[Hashable, list[T]] = {}
    for key, job in jobs:
        groups.setdefault(key, []).append(job)
    return groups


def chunks(packs: Sequence[T], most: int) -> Iterator[Sequence[T]]:
    """Parts of at most `most`."""
    for i in range(0, len(packs), most):
        yield packs[i : i + most]


def share_cpus(cpus: Sequence[int], places: int) -> list[set[int]]:
    """Divide processors among places, each its own; with fewer processors than places, all share all."""
    each = len(cpus) // places
    if each == 0:
        return [set(cpus)] * places
    return [set(cpus[i * each : (i + 1) * each]) for i in range(places)]
