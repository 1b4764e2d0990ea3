"""Sections of the config: mappings that know their keys, and the types of text in them."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, model_validator
from pydantic_core import PydanticCustomError, core_schema

from ablations.errors import AblationsError, nearest

# Of a file's or directory's name, on every usual file system.
MOST_NAME_BYTES = 255


class ConfigError(AblationsError):
    """The config is wrong; the message has one line for each problem."""


class Section(BaseModel):
    """A mapping of the config: it knows its keys, and refuses others by name."""

    # Deferred: a process needs few of the models, and each takes milliseconds to build.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)
    # Keys that belong elsewhere, with the place.
    elsewhere: ClassVar[Mapping[str, str]] = {}
    _written: dict[str, Any] = PrivateAttr(default_factory=dict)

    @model_validator(mode="wrap")
    @classmethod
    def _check_keys(cls, data: Any, handler: Any) -> "Section":
        if not isinstance(data, Mapping):
            return handler(data)
        known = [field.alias or name for name, field in cls.model_fields.items()]
        for key in data:
            if key not in known:
                raise PydanticCustomError(
                    "unknown_key",
                    "unknown key '{key}'{hint} (the keys here are {known})",
                    {
                        "key": str(key),
                        "hint": f"; {cls.elsewhere[key]}" if key in cls.elsewhere else nearest(key, known),
                        "known": ", ".join(known),
                    },
                )
        section = handler(data)
        section._written = dict(data)
        return section

    @property
    def written(self) -> dict[str, Any]:
        """The section as its writer wrote it: the order of keys is that of rows."""
        return self._written


def show(value: Any) -> str:
    """A value as its writer would recognise it, shortened."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list):
        return "a list" if len(str(value)) > 40 else str(value)
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "...'"


class OneOrMore:
    """Marks a list that may be written as a single value: `16` for `[16]`."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        def as_list(value: Any) -> Any:
            values = value if isinstance(value, list) else [value]
            if not values:
                raise ValueError("it holds an empty list, and needs at least one value")
            seen = set()
            for item in values:
                # 1 and true are equal in Python, and are not the same value in a grid.
                if (key := (type(item), repr(item))) in seen:
                    raise ValueError(f"it holds {show(item)} twice")
                seen.add(key)
            return values

        return core_schema.no_info_before_validator_function(as_list, handler(source))

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> Any:
        listed = handler(schema)
        return {"anyOf": [listed["items"], {**listed, "minItems": 1}]}


def _text_of_one_line(value: str) -> str:
    if not value.strip() or not value.isprintable():
        raise ValueError("it is empty, or has line breaks or control characters")
    return value


def _path(value: str) -> str:
    _text_of_one_line(value)
    if any(len(part.encode()) > MOST_NAME_BYTES for part in value.split("/")) or len(value.encode()) > 4095:
        raise ValueError(f"a path has names of at most {MOST_NAME_BYTES} bytes, and 4095 bytes in all")
    if re.search(r"[{}*?<>|;&$`~\"'\\]", value):
        raise ValueError("a path here holds no wildcards, braces, quotes, ~ or shell characters")
    return value


def _code(value: str) -> str:
    _path(value)
    if not re.fullmatch(r".*[^/]\.py:[A-Za-z_]\w*", value, re.ASCII):
        raise ValueError("it is a file and a function that builds the model, such as models.py:build")
    return value


Line = Annotated[str, AfterValidator(_text_of_one_line)]
PathText = Annotated[str, AfterValidator(_path)]
CodeText = Annotated[str, AfterValidator(_code)]
StudyName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
