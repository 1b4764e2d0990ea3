"""How jobs, packs and processors are divided."""

import pytest
from snakemake_executor_plugin_submitit.packing import packs_of, share_cpus


@pytest.mark.parametrize(
    ("jobs", "size", "waves", "at_a_time", "sizes"),
    [
        (5, 1, 1, 1000, [1] * 5),
        (19, 8, 1, 1000, [8, 8, 3]),  # a short last pack
        (3, 8, 1, 1000, [3]),
        (200, 1, 25, 8, [25] * 8),  # as many in turn as there are more than places
        (10, 1, 25, 8, [2, 2, 1, 1, 1, 1, 1, 1]),  # never one behind the other while a place is free
        (8, 1, 25, 8, [1] * 8),
        (500, 1, 25, 8, [25] * 20),  # no more in turn than asked for
        (100, 8, 4, 2, [25] * 4),
        (0, 8, 1, 10, []),
    ],
)
def test_jobs_are_divided_among_packs(jobs, size, waves, at_a_time, sizes):
    packs = packs_of(range(jobs), size, waves, at_a_time)
    assert [len(pack) for pack in packs] == sizes
    assert [job for pack in packs for job in pack] == list(range(jobs)), "each once, in order"


@pytest.mark.parametrize(
    ("cpus", "places", "shares"),
    [
        ([0, 1, 2, 3], 2, [{0, 1}, {2, 3}]),
        ([4, 20, 5, 21], 2, [{4, 20}, {5, 21}]),  # threads of one core stay together
        ([0, 1, 2, 3, 4], 2, [{0, 1}, {2, 3}]),
        ([0, 1], 3, [{0, 1}] * 3),
        ([], 2, [set(), set()]),
    ],
)
def test_each_place_has_its_own_processors(cpus, places, shares):
    assert share_cpus(cpus, places) == shares
