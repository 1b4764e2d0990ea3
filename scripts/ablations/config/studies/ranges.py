"""Ranges: intervals of numbers in a grid, from which the values of drawn points are taken."""

import math
from collections.abc import Callable, Mapping
from decimal import ROUND_FLOOR, Context, Decimal
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import AfterValidator, Discriminator, Field, Tag, TypeAdapter, ValidationError, model_validator

from ablations.config.sections import OneOrMore, Section
from ablations.kinds.hyperparameters import FLOAT_OF_YAML, spell

DISTRIBUTIONS = ("uniform", "log_uniform", "int_uniform")
# Decimal numbers round their logarithms correctly, and so in the same way on each machine.
EXACT = Context(prec=40)
# At so many places of a range, its values are checked against the type of the hyperparameter.
PLACES = 16
Number = Annotated[float, Field(allow_inf_nan=False), FLOAT_OF_YAML]
Ends = Annotated[list[Number], Field(min_length=2, max_length=2)] | None
IntEnds = Annotated[list[int], Field(min_length=2, max_length=2)] | None


class Range(Section):
    """An interval of numbers, both ends included, with their distribution."""

    uniform: Annotated[Ends, Field(description="all numbers alike: [low, high]")] = None
    log_uniform: Annotated[Ends, Field(description="all orders of magnitude alike")] = None
    int_uniform: Annotated[IntEnds, Field(description="all whole numbers alike")] = None
    step: Annotated[Number | None, Field(gt=0, description="low, low + step, low + 2 step and so on")] = None
    digits: Annotated[
        int | None, Field(ge=1, le=15, description="significant digits of a value; 3 by default")
    ] = None

    @model_validator(mode="after")
    def _check(self) -> "Range":
        given = [name for name in DISTRIBUTIONS if getattr(self, name)]
        if len(given) != 1:
            raise ValueError(f"a range has one of {', '.join(DISTRIBUTIONS)}, each with [low, high]")
        low, high = self.low, self.high
        if low >= high:
            raise ValueError(f"its low end {low} is not below its high end {high}")
        if self.log_uniform and low <= 0:
            raise ValueError(f"its low end is {low}, which has no logarithm; give one above 0, or `uniform`")
        if self.step and self.log_uniform:
            raise ValueError("`step` goes with `uniform` and `int_uniform`; leave it out, or write a list")
        if self.step and self.int_uniform and self.step != int(self.step):
            raise ValueError(f"`step` is {spell(self.step)}, and steps of whole numbers are whole")
        if self.step and Decimal(spell(self.step)) > high - low:
            raise ValueError(f"`step` is {spell(self.step)}, more than the {high - low} between its ends")
        if self.digits and (self.step or self.int_uniform):
            raise ValueError("`digits` goes with `uniform` and `log_uniform` without `step`; leave it out")
        return self

    def __hash__(self) -> int:
        return hash(repr(self))

    @property
    def ends(self) -> list[float]:
        """Its lowest and its highest number."""
        return self.uniform or self.log_uniform or list(self.int_uniform or ())

    @property
    def low(self) -> Decimal:
        return Decimal(spell(self.ends[0]))

    @property
    def high(self) -> Decimal:
        return Decimal(spell(self.ends[1]))

    def value(self, share: Decimal) -> float | int:
        """The value below which this share of the distribution lies, from 0 to less than 1."""
        low, high = self.low, self.high
        if step := self.step or (self.int_uniform and 1):
            by = Decimal(spell(step))
            count = ((high - low) / by).to_integral_value(ROUND_FLOOR) + 1
            found = low + (share * count).to_integral_value(ROUND_FLOOR) * by
            return int(found) if self.int_uniform else float(found)
        if self.log_uniform:
            found = EXACT.multiply(low, EXACT.exp(EXACT.multiply(share, EXACT.ln(EXACT.divide(high, low)))))
            size = found
        else:
            found, size = low + share * (high - low), high - low
        # Of a uniform range, all values have the places of the first digits of its width.
        rounded = found.quantize(Decimal(1).scaleb(size.adjusted() - (self.digits or 3) + 1), context=EXACT)
        return float(min(max(rounded, low), high))


def axis_of(tp: Any) -> Any:
    """The type of a key of a block: a value, a list of them, or, where they are numbers, a range."""
    listed = Annotated[list[tp], OneOrMore()]  # type: ignore[valid-type]
    if not _has_numbers(tp):
        return listed
    ranged = Annotated[Range, AfterValidator(_values_of(tp)), Tag("range")]
    return Annotated[
        Annotated[listed, Tag("list")] | ranged,
        Discriminator(lambda value: "range" if isinstance(value, Mapping | Range) else "list"),
    ]


def _has_numbers(tp: Any) -> bool:
    if (origin := get_origin(tp)) is Annotated:
        return _has_numbers(get_args(tp)[0])
    return any(map(_has_numbers, get_args(tp))) if origin in (Union, UnionType) else tp in (int, float)


def _values_of(tp: Any) -> Callable[[Range], Range]:
    """A check that the values of a range are values of this type."""

    def check(given: Range) -> Range:
        try:
            adapter = TypeAdapter(tp)
            for share in [Decimal(i) / PLACES for i in range(PLACES)]:
                adapter.validate_python(given.value(share), strict=True)
            for end in given.ends:
                adapter.validate_python(end, strict=True)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            if first["type"].startswith("int_"):
                raise ValueError("its values are whole numbers; write int_uniform, or a list") from None
            raise ValueError(f"{spell(first['input'])} is in it ({first['msg']})") from None
        return given

    return check


def position(value: float, is_log: bool) -> float:
    """Where a value lies on the scale of its range."""
    return math.log(value) if is_log else float(value)
