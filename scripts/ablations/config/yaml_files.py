"""YAML files: as their writers mean them, where YAML 1.1 reads something else."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ablations.config.sections import ConfigError, show
from ablations.files import read_text

TEXT, TIMESTAMP = "tag:yaml.org,2002:str", "tag:yaml.org,2002:timestamp"
# 032 is 26 in YAML 1.1, and 1:30 is 90: octal and sexagesimal numbers, which nobody means.
SURPRISING = re.compile(r"[-+]?0[0-9_]+|[-+]?[0-9][0-9_]*(:[0-9_.]+)+")
# Of a config: its bytes; its values, those behind aliases as often as they are named; the levels of nesting;
# and the characters of a number. A config of 100,000 runs has far less.
MOST_BYTES, MOST_VALUES, DEEPEST, LONGEST_NUMBER = 2**20, 40_000, 50, 100
TOO_DEEP = f"it is nested too deeply, in more than {DEEPEST} levels"
TOO_MANY = f"it has more than {MOST_VALUES:,} values, those behind aliases (*) included"


class _Loader(yaml.SafeLoader):
    """A loader whose keys are unique texts, without dates and surprising numbers.

    YAML says that keys are unique; PyYAML keeps the last and drops the others silently.
    """

    # A date is text here: no key of the config holds one.
    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != TIMESTAMP]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._values = 0
        self._values_of: dict[yaml.Node, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        mark = self.peek_event().start_mark
        before, is_alias = self._values, self.check_event(yaml.AliasEvent)
        self._depth += 1
        if self._depth > DEEPEST:
            raise ConfigError(f"line {mark.line + 1}: {TOO_DEEP}")
        node = super().compose_node(parent, index)
        self._depth -= 1
        if is_alias and node not in self._values_of:
            raise ConfigError(f"line {mark.line + 1}: an alias (*) names what contains it")
        self._values += self._values_of[node] if is_alias else 1
        if self._values > MOST_VALUES:
            raise ConfigError(f"line {mark.line + 1}: {TOO_MANY}")
        self._values_of.setdefault(node, self._values - before)
        return node

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
        if len(node.value) > LONGEST_NUMBER:
            line = node.start_mark.line + 1
            raise ConfigError(f"line {line}: a number has at most {LONGEST_NUMBER} characters")
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
        data = yaml.load(read_text(path, MOST_BYTES), Loader=_Loader)  # noqa: S506, a SafeLoader
    except OSError as error:
        raise ConfigError(f"{path.absolute()}: it cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: it is not UTF-8 text") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise ConfigError(f"{path}: line {line}: it is not YAML ({error.problem})") from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    except Exception as error:  # PyYAML raises many types for what is not of its tag, such as `!!bool x`
        raise ConfigError(f"{path}: it is not YAML ({' '.join(str(error).split())})") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: it holds {show(data)}, and a config is a mapping")
    return data


def check_bounds(data: Mapping[str, Any]) -> None:
    """Refuse what no YAML file may hold, in values that come from elsewhere. Raises ConfigError."""
    values = 0
    level: list[Any] = [data]
    for _ in range(DEEPEST):
        inside: list[Any] = []
        for value in level:
            inside += value.values() if isinstance(value, Mapping) else value
            values += len(value)
            if values > MOST_VALUES:
                raise ConfigError(f"config: {TOO_MANY}")
        for value in inside:
            if isinstance(value, int) and value.bit_length() > 3 * LONGEST_NUMBER:
                raise ConfigError(f"config: a number has at most {LONGEST_NUMBER} characters")
        level = [value for value in inside if isinstance(value, Mapping | list | tuple | set)]
    if level:
        raise ConfigError(f"config: {TOO_DEEP}")
