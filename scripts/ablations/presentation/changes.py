"""Changes: what a point has that the baseline of its study has not, in words."""

from collections.abc import Iterable, Mapping
from typing import Any

from ablations.config.studies.baselines import base_points, changed_levels
from ablations.config.studies.study import Study
from ablations.kinds.hyperparameters import spell
from ablations.presentation.wording import in_sentence

BASELINE = "baseline"


def changes(study: Study, points: Iterable[Mapping[str, Any]]) -> list[str]:
    """What points change of the baseline of a study: `without augmentation`, `learning rate 0.1 → 0.01`.

    Where rows show their levels, several changes are only counted.
    """
    bases = {level: of_level[0][0] for level, of_level in base_points(study).items()}
    return [_named(study, values, bases[study.column(values)]) for values in points]


def spelt(study: Study, points: Iterable[Mapping[str, Any]]) -> list[str]:
    """The same with each change by its name, and the column of the table, for a sentence."""
    bases = {level: of_level[0][0] for level, of_level in base_points(study).items()}
    found = []
    for values in points:
        texts = _changes(study, values, bases[study.column(values)])
        column = ", ".join(study.level_label(name, values[name]) for name in study.table.columns)
        found.append(", ".join(texts) + f" in '{column}'" * bool(column))
    return found


def _changes(study: Study, values: Mapping[str, Any], base: Mapping[str, Any]) -> list[str]:
    changed = [name for name in changed_levels(study, values, base) if name not in study.table.columns]
    return [change_text(study, name, base[name], values[name]) for name in changed]


def _named(study: Study, values: Mapping[str, Any], base: Mapping[str, Any]) -> str:
    texts = _changes(study, values, base)
    if not texts:
        return BASELINE
    if study.ablate and study.ablate.all and len(texts) == len(study.base) > 1:
        return "all changes"
    return ", ".join(texts) if study.ablate or len(texts) == 1 else f"{len(texts)} changes"


def change_text(study: Study, name: str, first: Any, second: Any) -> str:
    """One change from a level to another."""
    label = in_sentence(study.label(name))
    if name not in study.level_labels:
        if second is False or (isinstance(second, str) and second == "none"):
            return f"without {label}"
        if second is True:
            return f"with {label}"
    return f"{label} {study.level_label(name, first)} → {study.level_label(name, second)}"


def base_text(study: Study) -> str:
    """The levels of the baseline in a sentence."""
    levels = study.base.items()
    return ", ".join(
        f"{in_sentence(study.label(name))} {study.level_label(name, spell(v))}" for name, v in levels
    )
