"""Grids: blocks whose product is the runs of a study, and excludes that remove some."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, ClassVar, NamedTuple, Protocol

from pydantic import Field, create_model

from ablations.config.sections import ConfigError, OneOrMore, Section, show
from ablations.config.studies.ranges import axis_of
from ablations.kinds import Kind
from ablations.kinds.hyperparameters import Name
from ablations.runs.run import Run


class HasAxes(Protocol):
    """What has points: the product of its axes."""

    def axes(self) -> list[tuple[str, list[dict[str, Any]]]]:
        """The axes in the order written, each with its settings: `{"lr": 0.1}`, or a recipe's."""


class Block(Section):
    """One product of a grid: each key holds a value or a list of them."""

    elsewhere: ClassVar = dict.fromkeys(("seed", "seeds"), "the seeds are the study's `seeds`, beside `grid`")

    def axes(self) -> list[tuple[str, list[dict[str, Any]]]]:
        """The axes in the order written, each with its settings: `{"lr": 0.1}`, or a recipe's."""
        return [(key, _settings(self, key)) for key in self.written]


class Ablation(Block):
    """Changes of a base point: each value, or entry of a recipe, is one."""

    all: Annotated[bool, Field(description="also a point with all changes together")] = False

    def axes(self) -> list[tuple[str, list[dict[str, Any]]]]:
        return [(key, _settings(self, key)) for key in self.written if key != "all"]


def _settings(block: Block, key: str) -> list[dict[str, Any]]:
    values = getattr(block, key)
    if key == "recipe":
        return [{name: getattr(entry, name) for name in entry.written} for entry in values]
    return [{key: value} for value in (values if isinstance(values, list) else [values])]


@dataclass(frozen=True)
class Changed:
    """A block in which all points have one setting in place of their own."""

    block: Block
    setting: Mapping[str, Any]

    def axes(self) -> list[tuple[str, list[dict[str, Any]]]]:
        """The axes of the block without what the setting replaces, and one of the setting."""
        kept = [
            (key, [{name: v for name, v in each.items() if name not in self.setting} for each in settings])
            for key, settings in self.block.axes()
        ]
        return [*((key, settings) for key, settings in kept if any(settings)), ("", [dict(self.setting)])]


class GridModels(NamedTuple):
    """The models of the parts of a study that hold levels of one kind of run."""

    block: type[Block]
    exclude: type[Block]
    ablation: type[Ablation]
    baseline: type[Section]


def grid_models(kind: Kind) -> GridModels:
    """The models of the parts of a study that hold levels of one kind of run."""
    types: dict[str, Any] = {
        name: Annotated[field.annotation, *field.metadata, Field(description=field.description)]
        for name, field in kind.hyperparameters.model_fields.items()
    }
    # No field may hold null, and all may be absent: Pydantic does not check a default.
    scalars: dict[str, Any] = {name: (tp, None) for name, tp in types.items() if name != "seed"}
    places = dict.fromkeys(kind.places, Name)
    # Types that are made at run time are unknown to a type checker.
    lists: dict[str, Any] = {
        name: (Annotated[list[tp], OneOrMore()], None)  # type: ignore[valid-type]
        for name, tp in {**places, **types}.items()
    }
    title = kind.name.title()
    entry = create_model(f"{title}Recipe", __base__=Section, **scalars)
    exclude = create_model(f"{title}Exclude", __base__=Block, **lists)
    lists.pop("seed", None)
    recipe: Any = (Annotated[list[entry], Field(min_length=1)], None)  # type: ignore[valid-type]
    axes: dict[str, Any] = {
        name: (axis_of(tp), None) for name, tp in {**places, **types}.items() if name in lists
    }
    block = create_model(f"{title}Block", __base__=Block, **axes, recipe=recipe)
    # A hyperparameter of that name cannot be ablated: the key has another meaning there.
    lists.pop("all", None)
    ablation = create_model(f"{title}Ablation", __base__=Ablation, **lists, recipe=recipe)
    levels: dict[str, Any] = {name: (tp, None) for name, tp in places.items()} | scalars
    baseline = create_model(f"{title}Baseline", __base__=Section, **levels)
    return GridModels(block, exclude, ablation, baseline)


def matches(run: Run, entry: Block) -> bool:
    """Whether a run has one of the values of each key of an exclude entry."""
    return all(run.value(key) in getattr(entry, key) for key in entry.written)


def count_points(grid: Sequence[HasAxes], seeds: Sequence[int]) -> int:
    """The number of points in a grid with their seeds, those that are excluded or there twice included."""
    points = sum(math.prod(len(settings) for _, settings in block.axes()) for block in grid)
    return points * max(1, len(seeds))


def expand(kind: Kind, grid: Sequence[HasAxes], exclude: Sequence[Block], seeds: Sequence[int]) -> list[Run]:
    """The runs of a grid in the order of the config, each once.

    Raises ConfigError, with the key within the study, for points that are not runs, and for excludes
    that remove nothing or everything.
    """
    runs: dict[Run, None] = {}
    for i, block in enumerate(grid):
        with in_block(i):
            runs.update(dict.fromkeys(runs_of(kind, block, seeds)))
    for i, entry in enumerate(exclude):
        if not entry.written:
            raise ConfigError(f"exclude[{i}]: it is empty, and would remove every run")
        kept = {run: None for run in runs if not matches(run, entry)}
        if len(kept) == len(runs):
            named = " and ".join(f"{key}={'|'.join(map(show, getattr(entry, key)))}" for key in entry.written)
            raise ConfigError(f"exclude[{i}]: it removes nothing; no run left in the grid has {named}")
        if not kept:
            raise ConfigError(f"exclude[{i}]: it removes every run that was left")
        runs = kept
    for run in runs:
        if conflict := run.hyperparameters.conflict(run.model):
            raise ConfigError(
                f"grid: {run.hyperparameters.canonical()}: {conflict}; "
                "exclude it, set both together in a `recipe`, or write two blocks"
            )
    return list(runs)


def holds(
    kind: Kind, grid: Sequence[HasAxes], exclude: Sequence[Block], seeds: Sequence[int], run: Run
) -> bool:
    """Whether `run` is one of those that `expand` returns, without making the others."""
    if run.kind is not kind or any(matches(run, entry) for entry in exclude):
        return False
    defaults, _ = _defaults(kind)
    if kind.is_random and run.value("seed") not in seeds:
        return False
    for block in grid:
        fitting = [
            [setting for setting in settings if all(run.value(k) == v for k, v in setting.items())]
            for _, settings in block.axes()
        ]
        for point in itertools.product(*fitting):
            named = {name for setting in point for name in setting}
            if all(run.value(name) == value for name, value in defaults.items() if name not in named):
                return True
    return False


@contextmanager
def in_block(i: int) -> Iterator[None]:
    """Let a ConfigError have the number of the block that it is about."""
    try:
        yield
    except ConfigError as error:
        text = str(error)
        raise ConfigError(f"grid[{i}]{'' if text[0] == '.' else ': '}{text}") from None


def runs_of(kind: Kind, block: HasAxes, seeds: Sequence[int]) -> Iterator[Run]:
    """The runs of a block. Raises ConfigError, with the key within it, for points that are not runs."""
    cls = kind.hyperparameters
    defaults, required = _defaults(kind)
    axes = block.axes()
    check_recipes(axes)
    by_seed = [{"seed": seed} for seed in seeds] if kind.is_random else [{}]
    for point in itertools.product(*(settings for _, settings in axes), by_seed):
        values = {name: value for setting in point for name, value in setting.items()}
        if missing := [name for name in required if name not in values]:
            needed = ", ".join(required)
            raise ConfigError(f"{missing[0]} is missing; every {kind.name} run needs {needed}")
        dataset, model = (values.pop(place, None) or kind.fixed[place] for place in ("dataset", "model"))
        # The values were checked axis by axis: checking every point again would make parsing
        # a large grid slow, and each job parses it.
        ordered = {name: values[name] if name in values else defaults[name] for name in cls.model_fields}
        yield Run(kind, dataset, model, cls.model_construct(**ordered))


@cache
def _defaults(kind: Kind) -> tuple[dict[str, Any], list[str]]:
    """The defaults of the hyperparameters of a kind, and what every point sets."""
    fields = kind.hyperparameters.model_fields
    return {name: field.default for name, field in fields.items() if not field.is_required()}, kind.required


def check_recipes(axes: Sequence[tuple[str, Sequence[dict[str, Any]]]]) -> None:
    """Raise ConfigError for a recipe that sets nothing, or what its block holds."""
    own = {key for key, _ in axes}
    for i, setting in enumerate(setting for key, settings in axes if key == "recipe" for setting in settings):
        if not setting:
            raise ConfigError(f".recipe[{i}]: it is empty, and sets nothing")
        if both := own & setting.keys():
            name = sorted(both)[0]
            raise ConfigError(f".recipe[{i}].{name}: the block already holds `{name}`")
