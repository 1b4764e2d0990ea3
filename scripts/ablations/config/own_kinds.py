"""Kinds as the rest of the project knows them, from the config's sections."""

from typing import Annotated, Any

from pydantic import Field, TypeAdapter, create_model

from ablations.config.kind_checks import check_kind
from ablations.config.kinds import KindSection, WithKinds, type_of
from ablations.config.sections import ConfigError
from ablations.kinds import KINDS, Kind
from ablations.kinds.command import RUN_TIME, CommandKind, MetricSource, command_record, split_template
from ablations.kinds.hyperparameters import Hyperparameters
from ablations.kinds.kind import Duration


def read_kinds(written: Any) -> dict[str, Kind]:
    """The shipped kinds and those of a config's section `kinds`, given as it was written.

    Raises ConfigError with one line for each problem, or pydantic's ValidationError.
    """
    sections = WithKinds.model_validate({"kinds": written}, strict=True).kinds
    if problems := [line for name, section in sections.items() for line in check_kind(name, section)]:
        raise ConfigError("\n".join(problems))
    return {**KINDS, **{name: _kind(name, section) for name, section in sections.items()}}


def _kind(name: str, section: KindSection) -> CommandKind:
    metrics = {key: metric.metric(key, key == section.items) for key, metric in section.metrics.items()}
    metrics |= {RUN_TIME.column: RUN_TIME}
    exact = [key for key, metric in metrics.items() if metric.noise == "exact" and metric.better == "lower"]
    places = section.places()
    choices = {"dataset": section.datasets, "model": section.models}
    used = {placeholder for _, placeholder in split_template(section.command or "")}
    labels = {key: h.label for key, h in section.hyperparameters.items() if h.label}
    return CommandKind(
        name=name,
        noun=f"runs of {name}",
        rule=f"run_{name}" if section.command else "",
        threads=section.threads,
        hyperparameters=_hyperparameters(name, section),
        record=command_record(metrics),
        metrics=metrics,
        is_random=section.random,
        has_history=bool(section.history) or "history" in used,
        models_are_counted=False,
        duration=Duration(
            settings=tuple(key for key in section.hyperparameters if key != section.repeats),
            usual_seconds=lambda images, macs: 60 * section.usual_minutes,
            repeats=section.repeats,
            basis="usual_minutes of the config",
        ),
        costs=(RUN_TIME.column, *exact),
        times=(RUN_TIME.column,),
        places=places,
        fixed={place: "none" for place in choices if place not in places},
        datasets=tuple(section.datasets),
        models=tuple(section.models),
        labels={"dataset": "Dataset", "model": "Model", **labels},
        clear_factors=(
            "dataset",
            "model",
            *(k for k, h in section.hyperparameters.items() if h.type_name == "str"),
        ),
        command=section.command or "",
        setup=section.setup or "",
        paths={place: names for place, names in choices.items() if isinstance(names, dict)},
        inputs=tuple(section.inputs),
        is_shipped=False,
        code=tuple(section.code),
        sources={
            key: MetricSource(metric.key or key, metric.file) for key, metric in section.metrics.items()
        },
        history=section.history or "",
        items=section.items or "",
        keep=tuple(section.keep),
        environment=section.environment or "",
        written=section.written,
    )


def _hyperparameters(name: str, section: KindSection) -> type[Hyperparameters]:
    fields: dict[str, Any] = {}
    for key, each in section.hyperparameters.items():
        annotated = type_of(each)
        default = ... if each.default is None else TypeAdapter(annotated).validate_python(each.default)
        fields[key] = (Annotated[annotated, Field(description=each.description or key)], default)
    if section.random:
        fields["seed"] = (Annotated[int, Field(ge=0, lt=2**31, description="seed")], ...)
    return create_model(f"{name.title()}Hyperparameters", __base__=Hyperparameters, **fields)
