"""Sections of the config's own kinds: a command, its hyperparameters and its metrics."""

from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter

from ablations.config.sections import Line, OneOrMore, PathText, Section
from ablations.kinds.command import split_template
from ablations.kinds.hyperparameters import FLOAT_OF_YAML, Name, float_of_yaml
from ablations.kinds.metrics import Metric

Identifier = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
KindName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
TypeName = Literal["int", "float", "bool", "str"]
TYPES: dict[str, Any] = {
    "int": int,
    "float": Annotated[float, Field(allow_inf_nan=False), FLOAT_OF_YAML],
    "bool": bool,
    "str": Name,
}


def _commands(value: str) -> str:
    if not value.strip() or not all(letter.isprintable() or letter in "\n\t" for letter in value):
        raise ValueError("it is empty, or has control characters")
    return value


def _inside(value: str) -> str:
    path = PurePosixPath(value)
    if path.is_absolute() or ".." in path.parts or not value.isprintable() or not value.strip():
        raise ValueError("it names files of the run's own directory, relative to it and without '..'")
    return value


def _printable(value: str) -> str:
    if not value.isprintable():
        raise ValueError("it has line breaks or control characters")
    return value


Commands = Annotated[str, AfterValidator(_commands)]
Inside = Annotated[str, AfterValidator(_inside)]


class HyperparameterSection(Section):
    """A hyperparameter of an own kind: its type, its bounds or choices, and its default."""

    type: TypeName | None = None
    above: Annotated[float | None, FLOAT_OF_YAML] = None
    below: Annotated[float | None, FLOAT_OF_YAML] = None
    min: Annotated[float | None, FLOAT_OF_YAML] = None
    max: Annotated[float | None, FLOAT_OF_YAML] = None
    choices: Annotated[list[Any], Field(min_length=1)] | None = None
    default: Annotated[Any, Field(description="a run's path lists other values only; never change it")] = None
    label: Annotated[Line | None, Field(description="heading in tables and figures")] = None
    description: Line | None = None

    @property
    def type_name(self) -> str | None:
        """The type as written, or that of the choices or the default."""
        if self.type:
            return self.type
        values = [*(self.choices or []), *([] if self.default is None else [self.default])]
        found = {type(float_of_yaml(value)).__name__ for value in values}
        return "float" if found == {"int", "float"} else found.pop() if len(found) == 1 else None


def type_of(section: HyperparameterSection, choices: bool = True) -> Any:
    """The annotated type of a hyperparameter."""
    found = TYPES[section.type_name or ""]
    limits: dict[str, Any] = {"gt": section.above, "lt": section.below, "ge": section.min, "le": section.max}
    if given := {name: bound for name, bound in limits.items() if bound is not None}:
        found = Annotated[found, Field(**given)]
    if not choices or not section.choices:
        return found
    allowed = [TypeAdapter(found).validate_python(choice) for choice in section.choices]
    if section.type_name == "str":
        return Literal[tuple(allowed)]

    def one_of(value: Any) -> Any:
        if value not in allowed:
            raise ValueError(f"it may hold {' or '.join(map(str, allowed))}")
        return value

    return Annotated[found, AfterValidator(one_of)]


class MetricSection(Section):
    """A metric of an own kind: how a table shows it, how its noise is known, and where it is read."""

    label: Line | None = None
    unit: Annotated[str, Field(max_length=20), AfterValidator(_printable)] = ""
    decimals: Annotated[int, Field(ge=0, le=12)] = 2
    better: Literal["higher", "lower"] | None = None
    noise: Annotated[
        Literal["proportion", "time", "exact", "none"],
        Field(description="how its noise is known: a proportion of `count` items, a time, exact, or not"),
    ] = "none"
    count: Annotated[int | None, Field(ge=1, description="how many items a proportion is of")] = None
    file: Annotated[Inside | None, Field(description="a file of the command that holds it")] = None
    key: Annotated[Line | None, Field(description="its name in that file: `eval/psnr`")] = None

    def metric(self, name: str, items: bool) -> Metric:
        """The metric; with `items`, the record tells which of its items are correct."""
        noise: Any = "unknown" if self.noise == "none" else self.noise
        answers = "items_correct" if items and noise == "proportion" else ""
        scores = "items.npy" if items and noise != "proportion" else ""
        return Metric(
            name, self.label or name, self.decimals, noise, self.unit, self.better,
            items=self.count or 0, answers=answers, scores=scores,
        )  # fmt: skip


def _type_alone(value: Any) -> Any:
    return {"type": value} if isinstance(value, str) else value


def _one_name(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _nothing(value: Any) -> Any:
    return {} if value is None else value


OneHyperparameter = Annotated[
    HyperparameterSection,
    BeforeValidator(_type_alone, json_schema_input_type=TypeName | HyperparameterSection),
]
OneMetric = Annotated[MetricSection, BeforeValidator(_nothing, json_schema_input_type=MetricSection | None)]
Names = Annotated[
    list[Name] | dict[Name, PathText],
    BeforeValidator(_one_name, json_schema_input_type=Name | list[Name] | dict[Name, PathText]),
]


class KindSection(Section):
    """A kind of run of your own; docs/own-script.md explains each key."""

    command: Annotated[
        Commands | None, Field(description="what a run executes; only runs taken from a table have none")
    ] = None
    hyperparameters: dict[Identifier, OneHyperparameter] = {}
    metrics: Annotated[dict[Identifier, OneMetric], Field(min_length=1)]
    random: Annotated[bool, Field(description="whether another seed gives another result")] = True
    datasets: Annotated[Names, Field(description="names that a grid may use, or a file for each")] = []
    models: Annotated[Names, Field(description="names that a grid may use, or a file for each")] = []
    inputs: Annotated[list[PathText], OneOrMore(), Field(description="files that every run needs")] = []
    code: Annotated[list[PathText], OneOrMore(), Field(description="files whose content is the version")] = []
    setup: Annotated[Commands | None, Field(description="lines before the command")] = None
    environment: Annotated[PathText | None, Field(description="a file for `--sdm conda`")] = None
    threads: Annotated[int, Field(ge=1, le=4096)] = 1
    history: Annotated[Inside | None, Field(description="its history, if it does not take {history}")] = None
    items: Annotated[Identifier | None, Field(description="the metric of its results per test item")] = None
    keep: Annotated[list[Inside], OneOrMore(), Field(description="files of a run that stay")] = []
    repeats: Annotated[Identifier | None, Field(description="a run takes this many times as long")] = None
    usual_minutes: Annotated[
        float, Field(gt=0, le=1e6, description="of a run, before any is finished; with `repeats`, of one")
    ] = 60

    def places(self) -> tuple[str, ...]:
        """The places that a grid of this kind chooses."""
        named = {name for _, name in split_template(self.command or "")}
        return tuple(
            place
            for place, names in (("dataset", self.datasets), ("model", self.models))
            if names or place in named
        )


class WithKinds(Section):
    """The part of a config that the rest of it is checked against."""

    kinds: Annotated[dict[KindName, KindSection], Field(description="kinds of run of your own")] = {}
