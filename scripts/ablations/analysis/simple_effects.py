"""Simple effects: a difference between two levels at each level of another hyperparameter, or dataset."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ablations.analysis.effects import Effect, Pairing
from ablations.analysis.inference import ALPHA, Comparison, holm

# On fewer datasets it says little on how many of them an effect is found.
FEWEST_DATASETS = 3


@dataclass(frozen=True)
class SimpleEffect:
    """An effect at one level of another factor, with its p-value after Holm's correction."""

    effect: Effect
    level: Any
    comparison: Comparison
    p: float | None

    @property
    def is_clear(self) -> bool:
        return self.p is not None and self.p < ALPHA


@dataclass(frozen=True)
class Replication:
    """On how many of the datasets that compare it an effect has the same sign, and is significant too.

    `units` is the largest number of units on a dataset; 0 for effects that have none.
    """

    datasets: int
    same_sign: int
    clear: int
    units: int = 0


# An effect by its factor and levels, and the other factor.
Place = tuple[str, Any, Any, str]


def simple_effects(
    pairing: Pairing, found: Sequence[Effect], depends: Mapping[str, Sequence[str]]
) -> dict[Place, list[SimpleEffect]]:
    """The effects by seeds that depend on other factors, at each level of each of these.

    Holm's correction is over all of them. Differences between datasets are not of interest.
    """
    every = {
        (effect.factor, effect.first, effect.second, other): list(_at_levels(pairing, effect, other))
        for effect in found
        if effect.comparison and effect.comparison.noise == "seeds" and effect.factor != "dataset"
        for other in depends.get(effect.factor, ())
    }
    corrected = iter(_corrected([each for simple in every.values() for each in simple]))
    return {place: [next(corrected) for _ in simple] for place, simple in every.items() if simple}


def replications(pairing: Pairing, found: Sequence[Effect]) -> list[Replication | None]:
    """The replication of each effect; None for fewer than three datasets.

    Holm's correction is over the datasets of each effect.
    """
    if len(pairing.levels.get("dataset", ())) < FEWEST_DATASETS:
        return [None for _ in found]
    return [_replication(pairing, effect) for effect in found]


def _replication(pairing: Pairing, effect: Effect) -> Replication | None:
    if effect.factor == "dataset" or effect.comparison is None or not effect.pairs:
        return None
    simple = _corrected(list(_at_levels(pairing, effect, "dataset")))
    same = [each for each in simple if each.comparison.difference * effect.comparison.difference > 0]
    units = max((len(each.comparison.values) for each in simple), default=0)
    return Replication(len(simple), len(same), sum(each.is_clear for each in same), units) if simple else None


def _at_levels(pairing: Pairing, effect: Effect, other: str) -> Iterator[SimpleEffect]:
    for level in pairing.levels[other]:
        found = pairing.compare(effect.factor, effect.first, effect.second, (other, level)).comparison
        if found is not None:
            yield SimpleEffect(effect, level, found, found.p)


def _corrected(simple: Sequence[SimpleEffect]) -> list[SimpleEffect]:
    corrected = iter(holm([each.p for each in simple if each.p is not None]))
    return [each if each.p is None else replace(each, p=next(corrected)) for each in simple]
