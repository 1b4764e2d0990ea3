"""Changes: what a point has that the baseline of its study has not, in words."""

from collections.abc import Mapping
from typing import Any

from ablations.config.baselines import base_points
from ablations.config.studies import Study
from ablations.kinds.hyperparameters import spell
from ablations.presentation.wording import in_sentence

BASELINE = "baseline"


def changes(study: Study) -> list[str]:
    """What each point of a study changes of its baseline: `without augmentation`, `learning rate 0.1 → 0.01`.

    Where rows show their levels, several changes are only counted.
    """
    bases = {level: points[0][0] for level, points in base_points(study).items()}
    return [_named(study, values, bases[study.column(values)]) for values, _ in study.points()]


def _named(study: Study, values: Mapping[str, Any], base: Mapping[str, Any]) -> str:
    in_rows = [name for name in study.factors if name not in study.table.columns]
    changed = [name for name in in_rows if values[name] != base[name]]
    texts = [change_text(study, name, base[name], values[name]) for name in changed]
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
