"""YAML files: as their writers mean them, where YAML 1.1 reads something else."""

import re
from pathlib import Path
from typing import Any

import yaml

from ablations.config.sections import ConfigError, show

TEXT, TIMESTAMP = "tag:yaml.org,2002:str", "tag:yaml.org,2002:timestamp"
# 032 is 26 in YAML 1.1, and 1:30 is 90: octal and sexagesimal numbers, which nobody means.
SURPRISING = re.compile(r"[-+]?0[0-9_]+|[-+]?[0-9][0-9_]*(:[0-9_.]+)+")


class _Loader(yaml.SafeLoader):
    """A loader whose keys are unique texts, without dates and surprising numbers.

    YAML says that keys are unique; PyYAML keeps the last and drops the others silently.
    """

    # A date is text here: no key of the config holds one.
    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != TIMESTAMP]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise ConfigError(f"line {key.start_mark.line + 1}: a key is a single word, and not {key.id}")
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            # `no`, `2024` and `1.0` are names like any other where they are keys.
            key.tag = TEXT
            if key.value in seen:
                raise ConfigError(f"line {key.start_mark.line + 1}: the key '{key.value}' is repeated here")
            seen.add(key.value)
        return node

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        is_float = node.tag.endswith("float")
        number: int | float = self.construct_yaml_float(node) if is_float else self.construct_yaml_int(node)
        if SURPRISING.fullmatch(node.value):
            line = node.start_mark.line + 1
            meant = "a plain number" if ":" in node.value else f"{int(node.value)}"
            raise ConfigError(
                f"line {line}: YAML reads {node.value} as {number:g}; write {meant}, or put text in quotes"
            )
        return number


for _kind in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _Loader.construct_number)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises ConfigError, with the line where there is one."""
    try:
        with path.open(encoding="utf-8") as file:
            data = yaml.load(file, Loader=_Loader)  # noqa: S506, a SafeLoader
    except OSError as error:
        raise ConfigError(f"{path.absolute()}: it cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: it is not UTF-8 text") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise ConfigError(f"{path}: line {line}: it is not YAML ({error.problem})") from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    except RecursionError:
        raise ConfigError(f"{path}: it is nested too deeply") from None
    except Exception as error:  # PyYAML raises many types for what is not of its tag, such as `!!bool x`
        raise ConfigError(f"{path}: it is not YAML ({error})") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: it holds {show(data)}, and a config is a mapping")
    return data
