"""Sections of the parts of grids: how the points of a study are drawn or chosen."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from ablations.config.sections import Section

# Of a grid of which a fraction is taken: the exchange compares each of its points with each of the fraction.
MOST_CANDIDATES = 20_000


class Sample(Section):
    """Points that are drawn from a grid in place of all of it."""

    points: Annotated[int, Field(ge=1, le=500_000, description="how many points, each with all seeds")]
    seed: Annotated[int, Field(ge=0, lt=2**31, description="which points; not a seed of the runs")] = 0


class Fraction(Section):
    """The smallest part of a grid in which some effects are not aliased with each other."""

    interactions: Annotated[
        list[Annotated[list[str], Field(min_length=2, max_length=2)]],
        Field(description="pairs whose interaction is kept, besides all main effects: [[optimizer, lr]]"),
    ] = []
    points: Annotated[
        int | None, Field(ge=1, le=MOST_CANDIDATES, description="how many points; the fewest by default")
    ] = None


@dataclass(frozen=True)
class Point:
    """A block of one point."""

    levels: Mapping[str, Any]

    def axes(self) -> list[tuple[str, list[dict[str, Any]]]]:
        return [("", [dict(self.levels)])]
