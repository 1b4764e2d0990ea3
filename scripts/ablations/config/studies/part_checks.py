"""Checks of the parts of grids that studies have, before any point of them is drawn or chosen."""

from collections.abc import Iterator

from ablations.config.studies.grids import count_points
from ablations.config.studies.part_sections import MOST_CANDIDATES
from ablations.config.studies.ranges import Range
from ablations.config.studies.study import Study


def check_part(study: Study, where: str) -> Iterator[str]:
    """Whether ranges are drawn from, and `sample` and `fraction` stand alone and have what to take from."""
    for i, block in enumerate(study.grid):
        for _, settings in block.axes():
            for key, value in settings[0].items():
                if isinstance(value, Range) and not study.sample:
                    yield (
                        f"{where}.grid[{i}].{key}: it is a range, whose values are drawn; add "
                        "`sample: {points: 40}` to the study, or write a list"
                    )
    if not study.is_part:
        return
    key = "sample" if study.sample else "fraction"
    if study.sample and study.fraction:
        yield f"{where}.fraction: the study has `sample` as well, and both choose its points; leave one out"
    if study.ablate:
        yield f"{where}.{key}: the study has `ablate`, whose points are all needed; leave one of the two out"
    for i, entry in enumerate(study.exclude):
        if not entry.written:
            yield f"{where}.exclude[{i}]: it is empty, and would remove every run"
    if study.fraction and (points := count_points(study.grid, ())) > MOST_CANDIDATES:
        yield (
            f"{where}.fraction: the grid has {points:,} points, and a fraction is taken of at most "
            f"{MOST_CANDIDATES:,}; use `sample`, or fewer levels"
        )
    if not any(study.varies(name) for name in study.factors):
        yield f"{where}.{key}: the grid has only one point; give a key a list or a range"
