"""Checks of the config's own kinds: contradictions within a section, and names that are taken."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ablations.config.kinds import TYPES, HyperparameterSection, KindSection, MetricSection, type_of
from ablations.config.sections import show
from ablations.errors import nearest
from ablations.kinds import KINDS
from ablations.kinds.command import PLACEHOLDERS, CommandRecord, split_template
from ablations.kinds.hyperparameters import Hyperparameters

# Columns of a record, and what a grid holds besides hyperparameters.
RESERVED = {"kind", "dataset", "model", "seed", "recipe", *CommandRecord.model_fields, *PLACEHOLDERS}
# Attributes of the models that hold them.
RESERVED |= {name for name in (*dir(Hyperparameters), *dir(CommandRecord)) if not name.startswith("_")}


def check_kind(name: str, section: KindSection) -> Iterator[str]:
    """What contradicts itself in a section, one sentence for each problem."""
    where = f"kinds.{name}"
    if name in KINDS:
        yield f"{where}: this name is taken by a kind that is shipped; choose another"
    for key, hyperparameter in section.hyperparameters.items():
        yield from _check_hyperparameter(f"{where}.hyperparameters.{key}", key, hyperparameter)
    for key, metric in section.metrics.items():
        yield from _check_metric(f"{where}.metrics.{key}", key, metric, section)
    for pattern in section.keep:
        # What pathlib raises for a pattern that it cannot use.
        try:
            list(Path("/nonexistent").glob(pattern))
        except (ValueError, IndexError, NotImplementedError):
            yield f"{where}.keep: '{pattern}' is not a pattern of file names"
    yield from _check_names(where, section)
    yield from _check_labels(where, section)
    if section.command is None:
        for key in ("setup", "environment", "history", "keep", "inputs"):
            if getattr(section, key):
                yield f"{where}.{key}: it belongs to a command, and this kind has none"
    else:
        is_core = any(each.default is None for each in section.hyperparameters.values())
        if not (is_core or section.random):
            yield f"{where}.hyperparameters: at least one has no default, or a run's path would be empty"
        yield from _check_command(f"{where}.command", section)


def _check_hyperparameter(where: str, key: str, section: HyperparameterSection) -> Iterator[str]:
    if key in RESERVED:
        yield f"{where}: this name is reserved; choose another"
        return
    if section.type_name not in TYPES:
        yield f"{where}: its type is missing; it is int, float, bool or str"
        return
    bounds = [bound for bound in ("above", "below", "min", "max") if getattr(section, bound) is not None]
    for bound in bounds:
        value = getattr(section, bound)
        if not math.isfinite(value) or (section.type_name == "int" and value != int(value)):
            yield f"{where}.{bound}: it holds {value:g}, which is not a bound of a {section.type_name}"
            return
    if bounds and section.type_name not in ("int", "float"):
        yield f"{where}.{bounds[0]}: a {section.type_name} has no bounds"
        return
    low = max((bound for bound in (section.above, section.min) if bound is not None), default=-math.inf)
    high = min((bound for bound in (section.below, section.max) if bound is not None), default=math.inf)
    if low > high:
        yield f"{where}: no value is within its bounds"
        return
    plain = TypeAdapter(type_of(section, choices=False))
    for choice in section.choices or []:
        if not _fits(plain, choice):
            yield f"{where}.choices: {show(choice)} is not a valid {section.type_name} within its bounds"
            return
    if section.default is not None and not _fits(TypeAdapter(type_of(section)), section.default):
        allowed = f"one of {', '.join(map(str, section.choices))}" if section.choices else "within its bounds"
        yield f"{where}.default: {show(section.default)} is not a valid {section.type_name} {allowed}"


def _fits(adapter: TypeAdapter[Any], value: Any) -> bool:
    try:
        adapter.validate_python(value, strict=True)
    except ValidationError:
        return False
    return True


def _check_metric(where: str, key: str, metric: MetricSection, section: KindSection) -> Iterator[str]:
    if key in RESERVED:
        yield f"{where}: this name is reserved; choose another"
    elif key in section.hyperparameters:
        yield f"{where}: a hyperparameter has the same name; choose another"
    for ending in ("_sd", "_ci_low", "_ci_high", "_n"):
        if key.removesuffix(ending) in section.metrics and key.endswith(ending):
            yield f"{where}: a table has a column of this name for {key.removesuffix(ending)}; choose another"
    if (metric.noise == "proportion") != (metric.count is not None):
        yield f"{where}.count: a proportion needs it, and no other metric has it"


def _check_labels(where: str, section: KindSection) -> Iterator[str]:
    """Labels by which readers of a table could not tell two columns apart."""
    own = {key: each.label or key for key, each in section.hyperparameters.items()}
    factors = {"dataset": "Dataset", "model": "Model", **own}
    metrics = {key: each.metric(key, False).heading for key, each in section.metrics.items()}
    for what, labels in (("hyperparameters", factors), ("metrics", metrics)):
        for key, label in labels.items():
            first = next(other for other in labels if labels[other] == label)
            if first != key:
                yield f"{where}.{what}.{key}.label: {first} has the label '{label}' too; choose another"


def _check_names(where: str, section: KindSection) -> Iterator[str]:
    """Names of hyperparameters and metrics outside their own sections."""
    if section.repeats is not None:
        repeated = section.hyperparameters.get(section.repeats)
        if repeated is None or repeated.type_name != "int":
            yield (
                f"{where}.repeats: '{section.repeats}' is not a hyperparameter of type int"
                f"{nearest(section.repeats, section.hyperparameters)}"
            )
    if section.items is not None and section.items not in section.metrics:
        yield (
            f"{where}.items: '{section.items}' is not a metric of this kind"
            f"{nearest(section.items, section.metrics)} (there are {', '.join(section.metrics)})"
        )


def _check_command(where: str, section: KindSection) -> Iterator[str]:
    try:
        used = {name for _, name in split_template(section.command or "")} - {""}
    except ValueError as error:
        yield f"{where}: {error}"
        return
    known = {"dataset", "model", *section.hyperparameters, *PLACEHOLDERS}
    for name in sorted(used - known):
        listed = ", ".join(sorted(known))
        yield f"{where}: {{{name}}} is unknown{nearest(name, known)} (there are {listed})"
    if not used & {"hyperparameters", "overrides"}:
        for name in section.hyperparameters:
            if name not in used:
                yield f"{where}: the hyperparameter {name} is not used; add {{{name}}} or {{hyperparameters}}"
    for place, names in (("dataset", section.datasets), ("model", section.models)):
        if names and place not in used:
            yield f"{where}: it does not use {{{place}}}, and {place}s are declared"
    if "seed" in used and not section.random:
        yield f"{where}: it uses {{seed}}, and with `random: false` there is none"
    if "items" in used and section.items is None:
        yield f"{where}: it uses {{items}}; name the metric that they belong to as `items`"
    if section.history is not None and "history" in used:
        yield f"{where}: it uses {{history}}, and `history` names another file; leave one of them out"
