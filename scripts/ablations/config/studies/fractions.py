"""Fractions: the smallest part of a grid that keeps some effects apart from each other."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ablations.config.sections import ConfigError
from ablations.config.studies.contrasts import contrasts
from ablations.config.studies.part_sections import Fraction, Point

# The exchange begins at so many points of the grid, and ends where it gains less than this factor. Effects
# times points: with more than the first there are fewer starts, as each takes seconds; with more than the
# second, no fraction is taken.
STARTS, GAIN = 8, 1e-7
MANY_NUMBERS, MOST_NUMBERS = 4_000_000, 6_000_000
# The search for a regular fraction tries so many columns.
MOST_TRIALS = 20_000
# How many times as many points as the effects need a regular fraction may have.
MOST_TIMES = 2
Factors = Mapping[str, Sequence[Any]]
Pairs = Sequence[tuple[str, str]]


def fraction_of(points: Sequence[Mapping[str, Any]], fraction: Fraction) -> list[Point]:
    """The points of a fraction of a grid, in its order.

    It has as many as the effects need, chosen by an exchange that increases the determinant of their
    information (D-optimality; Fedorov 1972). Where these are not orthogonal, and a regular fraction has at
    most twice as many points, it is that one. Raises ConfigError, with the key within the study.
    """
    levels = {name: list(dict.fromkeys(point[name] for point in points)) for name in points[0]}
    factors = {name: found for name, found in levels.items() if len(found) > 1}
    pairs = [(one, other) for one, other in fraction.interactions]
    _check_pairs(pairs, factors)
    contrasts_of = {name: len(found) - 1 for name, found in factors.items()}
    needed = 1 + sum(contrasts_of.values()) + sum(contrasts_of[a] * contrasts_of[b] for a, b in pairs)
    if needed * len(points) > MOST_NUMBERS:
        raise ConfigError(
            f"fraction: these effects need {needed:,} of {len(points):,} points, too many to choose; "
            "use `sample`, or fewer levels"
        )
    rows = effect_columns(points, factors, pairs)
    if needed > len(points) or np.linalg.matrix_rank(rows.T @ rows, hermitian=True) < needed:
        raise ConfigError(
            "fraction: the whole grid does not keep these effects apart, and so no part of it does; "
            "`snakemake design` without `fraction` names the aliased ones"
        )
    if fraction.points is not None and not needed <= fraction.points <= len(points):
        raise ConfigError(
            f"fraction.points: {fraction.points} points cannot be chosen; these effects need {needed}, and "
            f"the grid has {len(points)}"
        )
    chosen = _exchanged(rows, fraction.points or needed)
    best = efficiency([points[i] for i in chosen], factors, pairs) > 1 - GAIN
    is_product = len(points) == math.prod(map(len, factors.values()))
    if not best and fraction.points is None and is_product:
        chosen = _regular(points, factors, pairs, MOST_TIMES * needed) or chosen
    return [Point(points[i]) for i in chosen]


def _check_pairs(pairs: Pairs, factors: Factors) -> None:
    for i, pair in enumerate(pairs):
        for name in pair:
            if name not in factors:
                raise ConfigError(
                    f"fraction.interactions[{i}]: '{name}' does not vary in the grid (what varies is "
                    f"{', '.join(factors)})"
                )
        if len(set(pair)) == 1 or set(pair) in map(set, pairs[:i]):
            raise ConfigError(f"fraction.interactions[{i}]: it names {' and '.join(pair)}, twice the same")


def effect_columns(points: Sequence[Mapping[str, Any]], factors: Factors, pairs: Pairs) -> np.ndarray:
    """The constant, the main effects and some interactions at each point, in orthonormal contrasts."""
    main = {name: contrasts([point[name] for point in points], levels) for name, levels in factors.items()}
    both = [(main[a][:, :, None] * main[b][:, None, :]).reshape(len(points), -1) for a, b in pairs]
    return np.column_stack([np.ones(len(points)), *main.values(), *both])


def efficiency(points: Sequence[Mapping[str, Any]], factors: Factors, pairs: Pairs) -> float:
    """The D-efficiency of points: 1 for an orthogonal array, 0 where these effects are aliased."""
    rows = effect_columns(points, factors, pairs)
    sign, log_size = np.linalg.slogdet(rows.T @ rows / len(rows))
    return float(math.exp(log_size / rows.shape[1])) if sign > 0 else 0.0


def _regular(
    points: Sequence[Mapping[str, Any]], factors: Factors, pairs: Pairs, most: int
) -> list[int] | None:
    """The places of a regular fraction; None where the smallest has more than `most` points, or all.

    Factors with the same prime number of levels are columns over its field, and the fraction has all
    combinations of as few basic ones as keep the effects apart (Franklin & Bailey 1977). Others are crossed.
    """
    codes: list[tuple[list[str], int, list[tuple[int, ...]]]] = []
    alike: dict[Any, list[str]] = {}
    for name, levels in factors.items():
        alike.setdefault(len(levels) if _is_prime(len(levels)) else name, []).append(name)
    for names in alike.values():
        base = len(factors[names[0]])
        own = [(names.index(a), names.index(b)) for a, b in pairs if a in names and b in names]
        for basic in range(1, len(names) + 1):
            if found := _columns(len(names), basic, base, own):
                codes.append((names, base, found))
                break
    size = math.prod(base ** len(columns[0]) for _, base, columns in codes)
    if size > most or size == len(points):
        return None
    wanted = set()
    for basics in itertools.product(
        *(itertools.product(range(base), repeat=len(columns[0])) for _, base, columns in codes)
    ):
        at: dict[str, Any] = {}
        for (names, base, columns), basic_levels in zip(codes, basics, strict=True):
            for name, column in zip(names, columns, strict=True):
                number = sum(c * level for c, level in zip(column, basic_levels, strict=True)) % base
                at[name] = factors[name][number]
        wanted.add(tuple(at[name] for name in factors))
    return [i for i, point in enumerate(points) if tuple(point[name] for name in factors) in wanted]


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, math.isqrt(number) + 1))


def _columns(
    count: int, basic: int, base: int, pairs: Sequence[tuple[int, int]]
) -> list[tuple[int, ...]] | None:
    """So many combinations of basic columns that no effect is a multiple of another; None if there are none.

    The first is found in the order of trial, which begins with the basic columns.
    """
    choices = [c for c in itertools.product(range(base), repeat=basic) if any(c)]
    choices = [c for c in choices if next(filter(None, c)) == 1]  # one of each line through 0
    choices.sort(key=lambda c: (sum(map(bool, c)) > 1, -sum(map(bool, c)), c[::-1]))
    if count > len(choices):
        return None

    def line(vector: Sequence[int]) -> tuple[int, ...]:
        lead = next(filter(None, vector), 0)
        return tuple(v * pow(lead, -1, base) % base for v in vector) if lead else tuple(vector)

    trials = itertools.count()

    def extended(chosen: list[tuple[int, ...]], taken: set[tuple[int, ...]]) -> list[tuple[int, ...]] | None:
        if len(chosen) == count:
            return chosen
        last = len(chosen)
        for choice in choices:
            if next(trials) > MOST_TRIALS:
                return None
            lines = [choice]
            for a, b in pairs:
                if max(a, b) == last:
                    other = chosen[min(a, b)]
                    lines += [
                        line([(x + times * y) % base for x, y in zip(choice, other, strict=True)])
                        for times in range(1, base)
                    ]
            fresh = set(lines)
            apart = len(fresh) == len(lines) and not fresh & taken and (0,) * basic not in fresh
            if apart and (found := extended([*chosen, choice], taken | fresh)):
                return found
        return None

    return extended([], set())


def _exchanged(rows: np.ndarray, size: int) -> list[int]:
    """The places of `size` rows whose determinant no exchange of one increases; the best of some starts."""
    best, largest = [], -math.inf
    starts = max(1, min(STARTS, MANY_NUMBERS // rows.size))
    for start in dict.fromkeys(i * len(rows) // starts for i in range(starts)):
        chosen = _improved(rows, _start(rows, size, start))
        value = float(np.linalg.slogdet(rows[chosen].T @ rows[chosen])[1])
        if value > largest + GAIN:
            best, largest = chosen, value
    return sorted(best)


def _start(rows: np.ndarray, size: int, first: int) -> list[int]:
    """Linearly independent rows, each the furthest from those before it, and then the least known ones."""
    chosen, rest = [first], rows.copy()
    while len(chosen) < rows.shape[1]:
        axis = rest[chosen[-1]] / np.linalg.norm(rest[chosen[-1]])
        rest = rest - np.outer(rest @ axis, axis)
        chosen.append(_first_largest(np.sum(rest**2, axis=1)))
    while len(chosen) < size:
        inverse = np.linalg.inv(rows[chosen].T @ rows[chosen])
        unknown = np.einsum("ij,jk,ik->i", rows, inverse, rows)
        unknown[chosen] = -1
        chosen.append(_first_largest(unknown))
    return chosen


def _improved(rows: np.ndarray, chosen: list[int]) -> list[int]:
    chosen = list(chosen)
    while True:
        own = rows[chosen]
        inverse = np.linalg.inv(own.T @ own)
        mixed = own @ inverse @ rows.T
        of_own, of_all = np.sum((own @ inverse) * own, axis=1), np.einsum("ij,jk,ik->i", rows, inverse, rows)
        gain = of_all[None, :] - (of_own[:, None] * of_all[None, :] - mixed**2) - of_own[:, None]
        gain[:, chosen] = 0
        place = _first_largest(gain.ravel())
        if gain.ravel()[place] < GAIN:
            return chosen
        chosen[place // len(rows)] = place % len(rows)


def _first_largest(values: np.ndarray) -> int:
    """The place of the first of the largest values, so that the rounding of a machine decides nothing."""
    return int(np.argmax(values > values.max() - GAIN * max(1.0, abs(float(values.max())))))
