"""Lengths of names that become parts of paths, against what file systems allow."""

from collections.abc import Iterator

from ablations.config.config import Config
from ablations.config.sections import MOST_NAME_BYTES
from ablations.config.studies.study import Study
from ablations.kinds.hyperparameters import SEPARATOR, spell

# `atomic_path` writes under a name that is this much longer.
TEMPORARY_BYTES = len(".") + len(".01234567.tmp")
# What follows the name of a study, and of a staged dataset, in the longest names of their files.
OF_STUDY, OF_DATASET = "_vs_published.html", "-01234567.safetensors"


def check_lengths(config: Config, expand: bool) -> Iterator[str]:
    """What would not be a name of a file or directory, one sentence for each."""
    named = [(f"studies.{name}", name, OF_STUDY) for name in config.studies]
    named += [(f"datasets.{name}", name, OF_DATASET) for name in config.datasets]
    for where, name, ending in named:
        most = MOST_NAME_BYTES - TEMPORARY_BYTES - len(ending)
        if len(name) > most:
            yield f"{_short(where)}: this name has {len(name)} letters, and may have {most}, as files bear it"
    for name in config.kinds:
        if len(name) > MOST_NAME_BYTES:
            yield f"kinds.{_short(name)}: this name has {len(name)} letters; it has at most {MOST_NAME_BYTES}"
    for name, study in config.studies.items():
        yield from _check_study(study, f"studies.{_short(name)}.grid", expand)


def _check_study(study: Study, where: str, expand: bool) -> Iterator[str]:
    if study.is_part and not expand:
        return
    longest = _longest_levels(study)
    for place in study.kind.places:
        if len(level := longest.pop(place, "")) > MOST_NAME_BYTES:
            yield (
                f"{where}: a directory would have the name {_short(level)}, of {len(level)} letters; a file "
                f"system allows {MOST_NAME_BYTES}: shorten the name of the {place}"
            )
    # Only where the longest levels together are too long is every run looked at.
    if not expand or len(SEPARATOR.join(longest.values())) <= MOST_NAME_BYTES:
        return
    for run in study.runs():
        text = run.hyperparameters.canonical()
        if len(text) > MOST_NAME_BYTES:
            yield (
                f"{where}: a directory would have the name {_short(text)}, of {len(text)} bytes; a file "
                f"system allows {MOST_NAME_BYTES}: shorten names, or give hyperparameters a default"
            )
            return


def _longest_levels(study: Study) -> dict[str, str]:
    """The longest part of a path for each key of the grid: `lr=0.001`, or the name of a place."""
    longest: dict[str, str] = {"seed": f"seed={max(study.seeds, default=0)}"}
    for block in study.blocks:
        for _, settings in block.axes():
            for key, value in (item for setting in settings for item in setting.items()):
                text = spell(value) if key in study.kind.places else f"{key}={spell(value)}"
                longest[key] = max(longest.get(key, ""), text, key=len)
    return longest


def _short(name: str) -> str:
    return name if len(name) <= 60 else f"{name[:40]}…"
