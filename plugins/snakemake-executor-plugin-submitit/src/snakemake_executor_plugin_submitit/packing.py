"""How jobs are divided among packs, and processors among the places of a pack."""

import math
from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


def packs_of(jobs: Sequence[T], size: int, waves: int, at_a_time: int) -> list[list[T]]:
    """Divide jobs among packs that run `size` of them at the same time.

    With `waves`, a pack runs up to that many jobs in turn in each place, but only if there are more jobs
    than `at_a_time` packs can run at once: no job waits for another if the two could run at the same time.
    The numbers of jobs differ by at most one, apart from a short last pack. The order is kept.
    """
    fewest = math.ceil(len(jobs) / (size * waves))
    count = max(fewest, min(math.ceil(len(jobs) / size), at_a_time))
    if count * size >= len(jobs):
        # One wave: full packs and a short last one.
        return [list(jobs[i : i + size]) for i in range(0, len(jobs), size)]
    each, more = divmod(len(jobs), count)
    packs, start = [], 0
    for i in range(count):
        end = start + each + (i < more)
        packs.append(list(jobs[start:end]))
        start = end
    return packs


def by_key(jobs: Iterable[tuple[K, T]]) -> dict[K, list[T]]:
    """Group jobs with equal keys, in their order."""
    groups: dict[K, list[T]] = {}
    for key, job in jobs:
        groups.setdefault(key, []).append(job)
    return groups


def share_cpus(cpus: Sequence[int], places: int) -> list[set[int]]:
    """Give each place its own processors; if there are fewer processors than places, all share all."""
    each = len(cpus) // places
    if each == 0:
        return [set(cpus)] * places
    return [set(cpus[i * each : (i + 1) * each]) for i in range(places)]
