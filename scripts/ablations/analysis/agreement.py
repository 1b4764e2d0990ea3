"""Agreement: whether measured values agree with published ones, judged by what noise explains."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, NamedTuple

from ablations.analysis.cells import Cell
from ablations.analysis.distributions import normal_ppf, normal_sf, t_ppf, t_sf
from ablations.analysis.inference import holm_level
from ablations.kinds import Kind

Outcome = Literal["reproduced", "within noise", "differs", "more than the items explain", "not comparable"]
# The reason for an outcome.
Reason = Literal[
    "exact",
    "items",
    "seeds",
    "machine",
    "no_measure",
    "diverged",
    "missing",
    "not_in_the_grid",
]


class Spread(NamedTuple):
    """The standard deviation between seeds, with its degrees of freedom."""

    sd: float
    df: int


@dataclass(frozen=True)
class Verdict:
    """Whether a measured value agrees with a published one, and why.

    `difference` is measured minus published, `ratio` (of times and memory) is measured over published, and
    `allowed` is the largest absolute difference that counts as agreement.
    """

    outcome: Outcome
    reason: Reason
    difference: float | None = None
    ratio: float | None = None
    allowed: float | None = None
    spread: Spread | None = None


@dataclass(frozen=True)
class Compared:
    """A published value, as printed, beside its cell, of so many items, and the spread between seeds."""

    published: str
    cell: Cell
    items: int = 0
    spread: Spread | None = None


def last_digit(published: str) -> int:
    """The power of ten of the last printed digit: -2 for `0.33`, and 1 for `12e1`."""
    exponent = Decimal(published.strip()).as_tuple().exponent
    assert isinstance(exponent, int)
    return exponent


def pooled_spread(cells: Sequence[Cell]) -> Spread | None:
    """The standard deviation over seeds, pooled over cells; None if no cell has values that differ."""
    several = [cell for cell in cells if cell.sd is not None]
    df = sum(len(cell.values) - 1 for cell in several)
    squares = sum((len(cell.values) - 1) * cell.sd**2 for cell in several if cell.sd)
    return Spread(math.sqrt(squares / df), df) if squares else None


def compare(values: Sequence[Compared], kind: Kind) -> tuple[list[Verdict], float, int]:
    """Compare cells with published values: the verdicts, the level of their tests, and how many were tested.

    A value that is not random (a count, a run of a kind without seeds) is `reproduced` if it rounds to the
    printed one. A random value is `within noise` if it is inside the prediction interval of one more run,
    t · sd · √(1 + 1/n), for the spread between seeds and a published value of one run on the same items.
    If the spread is unknown, a proportion has the binomial errors of both values on its items, and a larger
    difference may still be that of seeds. The level is that at which Holm's procedure stops, so that the
    verdicts are those of his correction over all values. Half a unit of the last printed digit is always
    allowed. Times and memory depend on the machine and are `not comparable`.
    """
    judged = [_judge(value, kind) for value in values]
    tests = [each for each in judged if isinstance(each, _Test)]
    level = holm_level([test.p for test in tests])
    verdicts = [each.verdict(level) if isinstance(each, _Test) else each for each in judged]
    return verdicts, level, len(tests)


@dataclass(frozen=True)
class _Test:
    """The test of a random value: its difference in standard errors, of the given spread or else of items."""

    difference: float
    error: float
    rounding: float
    spread: Spread | None

    def _half(self, level: float) -> float:
        """The half-width of the interval at this level."""
        half = t_ppf(1 - level / 2, self.spread.df) if self.spread else normal_ppf(1 - level / 2)
        return max(half * self.error, self.rounding)

    @property
    def p(self) -> float:
        t = abs(self.difference) / self.error
        p = t_sf(t, self.spread.df) if self.spread else normal_sf(t)
        return 1.0 if abs(self.difference) <= self.rounding else 2 * p

    def verdict(self, level: float) -> Verdict:
        allowed = self._half(level)
        larger: Outcome = "differs" if self.spread else "more than the items explain"
        return Verdict(
            "within noise" if abs(self.difference) <= allowed else larger,
            "seeds" if self.spread else "items",
            self.difference,
            allowed=allowed,
            spread=self.spread,
        )


def _judge(value: Compared, kind: Kind) -> Verdict | _Test:
    content, metric = value.cell, value.cell.metric
    if content.mean is None:
        return Verdict("differs", "diverged") if content.diverged else Verdict("not comparable", "missing")
    expected = float(value.published)
    if metric.noise == "time":
        return Verdict("not comparable", "machine", ratio=content.mean / expected)
    difference = content.mean - expected
    # With a margin for rounding errors of float arithmetic.
    rounding = 0.5 * 10.0 ** last_digit(value.published)
    if metric.noise == "exact" or not kind.is_random:
        same = abs(difference) <= rounding + 1e-9
        return Verdict("reproduced" if same else "differs", "exact", difference, allowed=rounding)
    if value.spread:
        error = value.spread.sd * math.sqrt(1 + 1 / len(content.values))
        return _Test(difference, error, rounding, value.spread)
    of_items = 0.0
    if metric.noise == "proportion" and value.items:
        of_items = sum(p * (metric.whole - p) / value.items for p in (expected, content.mean))
    if not of_items:
        return Verdict("not comparable", "no_measure", difference)
    return _Test(difference, math.sqrt(of_items), rounding, None)
