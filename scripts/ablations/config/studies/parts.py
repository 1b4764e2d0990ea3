"""Parts of grids: the points of a study that are drawn, or chosen, from the product of its blocks."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, PrivateAttr

from ablations.config.sections import Section
from ablations.config.studies.grids import HasAxes, count_points, expand, holds, matches
from ablations.config.studies.part_sections import Fraction, Point, Sample
from ablations.config.studies.ranges import Range
from ablations.kinds import Kind
from ablations.runs.run import Run


def _main_effects(value: Any) -> Any:
    return {} if value == "main_effects" else value


class PartOfGrid(Section):
    """A grid of which a study may have a part only."""

    kind: ClassVar[Kind]
    grid: list[Any]
    exclude: list[Any] = []
    seeds: list[int] = [0]
    sample: Annotated[
        Sample | None, Field(description="points that are drawn from the lists and ranges of the grid")
    ] = None
    fraction: Annotated[
        Fraction | None,
        Field(
            description="the fewest points that keep effects apart: main_effects, or {interactions: [[a, b]]}"
        ),
        BeforeValidator(_main_effects, json_schema_input_type=Literal["main_effects"] | Fraction | None),
    ] = None
    _part: list[Point] | None = PrivateAttr(default=None)
    _levels: set[tuple[Any, ...]] | None = PrivateAttr(default=None)

    @property
    def is_part(self) -> bool:
        """Whether the study has a part of its grid only."""
        return self.sample is not None or self.fraction is not None

    @property
    def part(self) -> list[Point]:
        """The points that it has, in the order of drawing, or of the grid. Raises ConfigError."""
        # They import NumPy, and few studies have a part only: each job reads the config.
        from ablations.config.studies.drawn import draw
        from ablations.config.studies.fractions import fraction_of

        if self._part is None:
            if self.sample:
                self._part = draw(self.kind, self.grid, self.exclude, self.sample)
            elif self.fraction:
                runs = expand(self.kind, self.grid, self.exclude, self.seeds)
                points = {tuple(map(run.value, self.kind.factors)): None for run in runs}
                named = [dict(zip(self.kind.factors, point, strict=True)) for point in points]
                self._part = fraction_of(named, self.fraction)
        return self._part or []

    def excludes(self, run: Run) -> bool:
        """Whether an entry of `exclude` matches a run."""
        return any(matches(run, entry) for entry in self.exclude)

    @property
    def blocks(self) -> Sequence[HasAxes]:
        """The blocks whose points it has: those of its grid, or the points of its part."""
        return self.part if self.is_part else self.grid

    def holds(self, run: Run) -> bool:
        """Whether `run` is in the study, without making its runs; of a part, its points are needed."""
        if not self.is_part:
            return holds(self.kind, self.blocks, self.exclude, self.seeds, run)
        if self._levels is None:
            whole = expand(self.kind, self.part, [], self.seeds[:1])
            self._levels = {tuple(map(run.value, self.kind.factors)) for run in whole}
        return (
            run.kind is self.kind
            and tuple(map(run.value, self.kind.factors)) in self._levels
            and (not self.kind.is_random or run.value("seed") in self.seeds)
            and not self.excludes(run)
        )

    def count_points(self) -> int:
        """The number of points in its grid with their seeds, before any of them is made."""
        if self.sample:
            return self.sample.points * max(1, len(self.seeds))
        return count_points(self.grid if self.is_part else self.blocks, self.seeds)

    @property
    def ranges(self) -> dict[str, Range]:
        """The ranges in its grid, by hyperparameter."""
        named = (item for block in self.grid for _, settings in block.axes() for item in settings[0].items())
        return {name: value for name, value in named if isinstance(value, Range)}


def in_order(levels: Sequence[Any], written: Sequence[Any]) -> list[Any]:
    """The levels of a part: as the grid has them, or by size where it has a range."""
    if any(isinstance(level, Range) for level in written):
        return sorted(levels, key=lambda level: (isinstance(level, str), level))
    return [level for level in written if level in levels]
