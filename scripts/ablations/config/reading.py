"""Reading a config: YAML files, overrides, selection of studies, and every check."""

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ablations.config.checks import check_files, check_studies
from ablations.config.config import Config, config_model
from ablations.config.lengths import check_lengths
from ablations.config.messages import sentences
from ablations.config.own_kinds import read_kinds
from ablations.config.sections import ConfigError, show
from ablations.config.yaml_files import check_bounds, read_yaml
from ablations.errors import nearest, one_line

# That one call names: a person mends these first.
MOST_PROBLEMS = 50


def load_config(
    files: Sequence[Path],
    overrides: Mapping[str, Any] | None = None,
    root: Path = Path(),
    expand: bool = True,
) -> Config:
    """Read and check the config.

    `files` are merged in order, later ones over earlier ones; then `overrides`, in which
    `studies` may be a list of names that selects among the studies defined. Paths in the config
    are relative to the folders of its files, the last one first, and then to `root`. With
    `expand=False`, what only the list of all runs can show is not checked: to make that list
    takes seconds where there are hundreds of thousands of them.

    Raises ConfigError with one line for each problem found.
    """
    check_bounds(overrides or {})
    data: dict[str, Any] = {}
    for file in files:
        _merge(data, read_yaml(Path(file)))
    # Snakemake takes True and 1 from its command line, and leaves YAML's true as a text.
    texts = {"true": True, "false": False}
    overrides = {
        key: texts.get(value, value) if isinstance(value, str) else value
        for key, value in (overrides or {}).items()
    }
    selection = overrides.pop("studies", ...)
    if isinstance(selection, Mapping):
        # A mapping holds studies, and an empty one leaves none of those in the files.
        overrides["studies"], selection = selection, ...
        data = data if overrides["studies"] else data | {"studies": {}}
    _merge(data, overrides)
    # For YAML's anchors: what begins with `x-` is no part of the config.
    data = {key: value for key, value in data.items() if not str(key).startswith("x-")}
    try:
        kinds = read_kinds(data.get("kinds", {}))
        config = config_model(kinds).model_validate(data, strict=True)
    except ValidationError as error:
        raise _refusal(sentences(error, data, MOST_PROBLEMS + 1)) from None
    config._folders = _folders(files, root)
    if selection is not ...:
        config = _select(config, selection)
    for check in (check_studies, check_lengths, check_files):
        if problems := list(islice(check(config, expand), MOST_PROBLEMS + 1)):
            raise _refusal(problems)
    return config


def _refusal(problems: Sequence[str]) -> ConfigError:
    """One line for each problem, whatever the config holds."""
    more = ["config: there are more problems of this kind"] if len(problems) > MOST_PROBLEMS else []
    return ConfigError("\n".join(map(one_line, [*problems[:MOST_PROBLEMS], *more])))


def _folders(files: Sequence[Path], root: Path) -> tuple[Path, ...]:
    """The folders that paths are relative to; `root` as it is given, with which the paths of inputs begin."""
    folders = dict.fromkeys(Path(file).absolute().parent for file in reversed(files))
    return (*(folder for folder in folders if not folder.samefile(root)), root)


def _select(config: Config, selection: Any) -> Config:
    names = [selection] if isinstance(selection, str) else selection
    if not isinstance(names, list) or not names:
        raise ConfigError(f"studies: it holds {show(selection)}; select with 'studies=[a, b]'")
    for name in names:
        if name not in config.studies:
            raise ConfigError(
                f"studies: there is no study '{name}'{nearest(name, config.studies)} "
                f"(there are {', '.join(config.studies)})"
            )
    chosen = {name: study for name, study in config.studies.items() if name in names}
    return config.model_copy(update={"studies": chosen})


def _merge(into: dict[str, Any], data: Mapping[str, Any]) -> None:
    for key, value in data.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value
