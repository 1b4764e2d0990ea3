"""Drawn points: those of a grid that `sample` takes, the same on each machine and in each version."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from hashlib import sha256
from typing import Any

import numpy as np

from ablations.config.sections import ConfigError
from ablations.config.studies.grids import Block, check_recipes, in_block, matches, runs_of
from ablations.config.studies.part_sections import Point, Sample
from ablations.config.studies.ranges import Range
from ablations.kinds import Kind
from ablations.runs.run import Run

# Binary digits of a Sobol point: more than the significant digits of a value can show.
BITS = 30
# The first draws are 2 ** 6; each batch doubles their number. One without a new point is the last.
FIRST_DRAWS, MOST_DRAWS = 6, 20
# So many points one after the other that `exclude` removes are taken for all that are left.
MOST_EXCLUDED = 2_000


def draw(kind: Kind, grid: Sequence[Block], exclude: Sequence[Block], sample: Sample) -> list[Point]:
    """The first points that are drawn from a grid: its blocks take turns, and none comes twice.

    More points begin with the same ones. Raises ConfigError, with the key within the study, where a block
    has points that are not runs, or the grid has fewer points.
    """
    for i, block in enumerate(grid):
        with in_block(i):
            check_recipes(block.axes())
    whole = [entry for entry in exclude if "seed" not in entry.written]
    found: dict[Any, Point] = {}
    turns = [_draws(kind, block, whole, f"{sample.seed} {i}", i) for i, block in enumerate(grid)]
    while turns and len(found) < sample.points:
        for turn in list(turns):
            if (drawn := next(turn, None)) is None:
                turns.remove(turn)
            elif len(found) < sample.points:
                found.setdefault(*drawn)
    if len(found) < sample.points:
        raise ConfigError(
            f"sample.points: {sample.points:,} points cannot be drawn, as the grid has {len(found):,} that "
            "differ; draw fewer, or leave `sample` out to have all of a grid of lists"
        )
    return list(found.values())


def _draws(
    kind: Kind, block: Block, exclude: Sequence[Block], key: str, number: int
) -> Iterator[tuple[Any, Point]]:
    """The points of a block in the order in which they are drawn, each once, with its run."""
    # In the order of the kind: the order in which a writer names keys changes nothing.
    order = {name: i for i, name in enumerate(kind.factors)}
    axes = sorted(block.axes(), key=lambda axis: order.get(axis[0], len(order)))
    seen: set[Run] = set()
    excluded = 0
    for batch in _shares([name for name, settings in axes if _varies(settings)], key):
        before = len(seen)
        for shares in batch:
            rest = iter(shares)
            chosen = [_setting(settings, next(rest) if _varies(settings) else 0) for _, settings in axes]
            point = Point({name: value for setting in chosen for name, value in setting.items()})
            with in_block(number):
                run = next(runs_of(kind, point, [0]))
            if run not in seen:
                seen.add(run)
                excluded = excluded + 1 if any(matches(run, entry) for entry in exclude) else 0
                if not excluded:
                    yield run, point
        if len(seen) == before or excluded > MOST_EXCLUDED:
            return


def _varies(settings: Sequence[Mapping[str, Any]]) -> bool:
    return len(settings) > 1 or isinstance(next(iter(settings[0].values()), None), Range)


def _setting(settings: Sequence[Mapping[str, Any]], share: int) -> Mapping[str, Any]:
    """The setting at a share of an axis, which counts in parts of 2 ** BITS."""
    if len(settings) > 1:
        return settings[share * len(settings) >> BITS]
    return {
        name: value.value(Decimal(share) / 2**BITS) if isinstance(value, Range) else value
        for name, value in settings[0].items()
    }


def _shares(names: Sequence[str], key: str) -> Iterator[list[tuple[int, ...]]]:
    """Batches of scrambled Sobol points, with one number from 0 to 2 ** BITS for each name."""
    if not names:
        yield [()]
        return
    # Its import takes longer than all else here, and few studies draw.
    from scipy.stats.qmc import Sobol

    # SciPy's own scrambling takes NumPy's random numbers, which another version may change.
    engine = Sobol(len(names), scramble=False, bits=BITS)
    for m in [FIRST_DRAWS, *range(FIRST_DRAWS, MOST_DRAWS)]:
        points = (engine.random_base2(m) * 2**BITS).astype(np.int64)
        columns = [_scrambled(points[:, i], f"{key} {name}") for i, name in enumerate(names)]
        yield list(zip(*(column.tolist() for column in columns), strict=True))


def _scrambled(numbers: np.ndarray, key: str) -> np.ndarray:
    """The numbers with their binary digits scrambled (Matoušek 1998), as the digest of the key says.

    Each digit becomes its sum with a random choice of those before it, and with a random digit.
    """
    words = [
        int.from_bytes(sha256(f"{key} {i}".encode()).digest()[:8]) >> (64 - BITS) for i in range(BITS + 1)
    ]
    found = np.full_like(numbers, words[BITS])
    for i in range(BITS):
        digit = 1 << (BITS - 1 - i)
        mask = words[i] & ~(2 * digit - 1) | digit
        found ^= (np.bitwise_count(numbers & mask).astype(np.int64) & 1) * digit
    return found
