"""Rankings: whether a study compares enough settings, on enough datasets or with enough seeds."""

from typing import Any

from ablations.config.studies.study import Study
from ablations.runs.run import Run

# Of fewer blocks, the distribution of ranks is too coarse; two settings are a pair, and need no ranks.
FEWEST_DATASETS, FEWEST_SETTINGS = 5, 3
# Of fewer seeds, half of them are hardly any.
FEWEST_SEEDS = 5

# Its factors besides the dataset, with their levels.
Setting = tuple[tuple[str, Any], ...]


def settings_by_dataset(study: Study) -> dict[Setting, dict[Any, list[Run]]]:
    """The runs of each setting by dataset, in the order of the table."""
    factors = [name for name in study.factors if name != "dataset" and study.varies(name)]
    found: dict[Setting, dict[Any, list[Run]]] = {}
    for values, runs in study.points():
        setting = tuple((name, values[name]) for name in factors)
        found.setdefault(setting, {})[values["dataset"]] = runs
    return found


def is_ranked(study: Study) -> bool:
    """Whether a study has a table and a figure of ranks."""
    enough = "dataset" in study.factors and len(study.levels("dataset")) >= FEWEST_DATASETS
    return enough and len(settings_by_dataset(study)) >= FEWEST_SETTINGS


def is_profiled(study: Study) -> bool:
    """Whether a study has a table and a figure of profiles."""
    return len(study.seeds) >= FEWEST_SEEDS and len(settings_by_dataset(study)) > 1
