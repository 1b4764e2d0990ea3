"""What the hyperparameters of every kind share: types, bounds, defaults, and one canonical spelling.

A field without a default belongs to the core of its kind, and a run's path always lists it. A field with
a default is listed only where its value differs from that default, apart from those that are `LISTED`.
Defaults are therefore frozen permanently, and a new axis is a new field *with* a default: adding it renames
no finished run.
"""

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter

# Between the hyperparameters in a path. Not a comma: Snakemake gives a cluster job its wildcards as
# `--target-jobs RULE:NAME=VALUE,NAME=VALUE`, and splits the values at their commas too.
SEPARATOR = "+"
# Values appear in paths and command lines: no separators, quotes, spaces or shell characters.
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
SAFE_NAME_RULE = "letters, digits, '.', '_' and '-', and begins with a letter or digit"


def safe_name(value: str) -> str:
    """`value`, if a path and a command line can contain it unquoted."""
    if not SAFE_NAME.fullmatch(value):
        raise ValueError(f"it becomes a part of a path, and holds only {SAFE_NAME_RULE}")
    return value


def float_of_yaml(value: Any) -> Any:
    """YAML 1.1 reads `1e-3`, `1.0e3` and `.5e-3` as text; a user means the numbers."""
    if isinstance(value, str) and re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+", value, re.ASCII):
        return float(value)
    return value


Name = Annotated[str, AfterValidator(safe_name)]
# Outside the bounds, so that the JSON schema has them under its own names.
FLOAT_OF_YAML = BeforeValidator(float_of_yaml)
Count = Annotated[int, Field(ge=1)]
AllOrCount = Count | Literal["all"]


class Hyperparameters(BaseModel):
    """What all kinds of runs share: parsing and printing of the canonical spelling."""

    # Deferred: a process needs few of the models, and each takes milliseconds to build.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    # Fields that every path lists although they have a default: they got it when there were runs already.
    LISTED: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def required(cls) -> list[str]:
        """The names that have no default, in the order of a path."""
        return [name for name, field in cls.model_fields.items() if field.is_required()]

    @classmethod
    def core(cls) -> list[str]:
        """The names that every path lists, in its order."""
        return [n for n, field in cls.model_fields.items() if field.is_required() or n in cls.LISTED]

    @classmethod
    def parse_value(cls, name: str, text: str) -> Any:
        """One value from its text. Raises pydantic's ValidationError."""
        field = cls.model_fields[name]
        annotated: Any = Annotated[field.annotation, *field.metadata, None]
        return TypeAdapter(annotated).validate_strings(text)

    def canonical(self) -> str:
        """The readable and canonical spelling, such as `kernel=rbf+train_samples=10000`."""
        return SEPARATOR.join(f"{name}={spell(value)}" for name, value in self.path_items())

    def path_items(self) -> list[tuple[str, Any]]:
        """The (name, value) pairs in the path: the core, what differs from its default, the seed."""
        return [
            (name, getattr(self, name))
            for name, field in type(self).model_fields.items()
            if field.is_required() or name in self.LISTED or getattr(self, name) != field.default
        ]

    def flags(self) -> list[str]:
        """The same pairs as command-line flags: `["--kernel", "rbf", …]`."""
        words = []
        for name, value in self.path_items():
            words += [f"--{name.replace('_', '-')}", spell(value)]
        return words

    def conflict(self, model: str | None = None) -> str | None:
        """Why these values contradict each other, or the `model` that they are for; or None."""
        return None


def spell(value: Any) -> str:
    """The one spelling of a value: `true`, `0.001`, `5`, `rbf`. `1e-3` and 0.001 are one value."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value).removesuffix(".0").replace("e+", "e")
    return str(value)
