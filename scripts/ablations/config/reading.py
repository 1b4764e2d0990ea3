"""Reading a config: YAML files, overrides, selection of studies, and every check."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ablations.config.checks import check_studies
from ablations.config.config import Config, config_model
from ablations.config.messages import sentences
from ablations.config.own_kinds import read_kinds
from ablations.config.sections import ConfigError, show
from ablations.errors import nearest


def load_config(
    files: Sequence[Path],
    overrides: Mapping[str, Any] | None = None,
    root: Path = Path(),
    expand: bool = True,
) -> Config:
    """Read and check the config.

    `files` are merged in order, later ones over earlier ones; then `overrides`, in which
    `studies` may be a list of names that selects among the studies defined. Paths in the config
    are relative to `root`. With `expand=False`, what only the list of all runs can show is not
    checked: to make that list takes seconds where there are hundreds of thousands of them.

    Raises ConfigError with one line for each problem found.
    """
    data: dict[str, Any] = {}
    for file in files:
        _merge(data, _read_yaml(Path(file)))
    # Snakemake takes True and 1 from its command line, and leaves YAML's true as a text.
    texts = {"true": True, "false": False}
    overrides = {
        key: texts.get(value, value) if isinstance(value, str) else value
        for key, value in (overrides or {}).items()
    }
    selection = overrides.get("studies")
    if isinstance(selection, Mapping):
        selection = None
    else:
        overrides.pop("studies", None)
    _merge(data, overrides)
    try:
        kinds = read_kinds(data.get("kinds", {}))
        config = config_model(kinds).model_validate(data, strict=True)
    except ValidationError as error:
        raise ConfigError("\n".join(sentences(error, data))) from None
    if selection is not None:
        config = _select(config, selection)
    if problems := list(check_studies(config, root, expand)):
        raise ConfigError("\n".join(problems))
    return config


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


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML says that keys are unique; PyYAML keeps the last and drops the others silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = key_node.value
            if key != "<<" and isinstance(key, str):
                if key in seen:
                    line = key_node.start_mark.line + 1
                    raise ConfigError(f"line {line}: the key '{key}' is repeated here")
                seen.add(key)
        return super().construct_mapping(node, deep)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        with path.open(encoding="utf-8") as file:
            data = yaml.load(file, Loader=_UniqueKeyLoader)  # noqa: S506, a SafeLoader
    except OSError as error:
        raise ConfigError(f"{path}: it cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: it is not UTF-8 text") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise ConfigError(f"{path}: line {line}: it is not YAML ({error.problem})") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: it is not YAML ({error})") from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: it holds {show(data)}, and a config is a mapping")
    return data


def _merge(into: dict[str, Any], data: Mapping[str, Any]) -> None:
    for key, value in data.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value
