"""Checks of a study's table: its rows, columns and metrics, and the labels that readers see."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from ablations.config.studies.study import Study
from ablations.errors import nearest
from ablations.kinds.hyperparameters import spell
from ablations.runs.run import Run


def check_table(study: Study, runs: Sequence[Run], where: str) -> Iterator[str]:
    """Whether a table shows each of these runs in a cell of its own; sentences that begin with `where`."""
    table = study.table
    factors = study.factors
    if not study.rows:
        yield f"{where}.rows: it is missing; it names the hyperparameters that distinguish the rows"
        return
    names = [("rows", key) for key in study.rows] + [("columns", key) for key in table.columns]
    keys = [key for _, key in names]
    for place, key in names:
        if key not in factors:
            yield (
                f"{where}.{place}: '{key}' is not a hyperparameter of {study.kind.name} runs"
                f"{nearest(key, factors)} (there are {', '.join(factors)})"
            )
            return
        if keys.count(key) > 1:
            yield f"{where}.{place}: '{key}' is named twice"
            return
    metrics = study.kind.metrics
    for value in study.values:
        if value not in metrics:
            yield (
                f"{where}.values: '{value}' is not a metric of {study.kind.name} runs"
                f"{nearest(value, metrics)} (there are {', '.join(metrics)})"
            )
            return
    for name in study.analyse:
        if name not in metrics:
            yield (
                f"{where.removesuffix('table')}analyse: '{name}' is not a metric of {study.kind.name} runs"
                f"{nearest(name, metrics)} (there are {', '.join(metrics)})"
            )
            return
    if table.columns and len(study.values) > 1:
        yield f"{where}.values: with `columns`, a table holds one metric, and not {len(study.values)}"
        return
    levels = {key: {run.value(key) for run in runs} for key in factors}
    for key in factors:
        if len(levels[key]) > 1 and key not in [*keys, *study.chosen] and not _determined(key, keys, runs):
            yield (
                f"{where}: {key} varies in the grid, but is neither in rows nor in columns; "
                "different runs would share a cell"
            )


def check_labels(study: Study, where: str) -> Iterator[str]:
    """Labels of what the grid does not have, and labels that are the same."""
    for key, factors in (("labels", study.labels), ("level_labels", study.level_labels)):
        for factor in factors:
            if factor not in study.factors:
                yield (
                    f"{where}.{key}: '{factor}' is not a hyperparameter of {study.kind.name} runs"
                    f"{nearest(factor, study.factors)}"
                )
    for factor, names in study.level_labels.items():
        levels = [spell(level) for level in study.levels(factor)] if factor in study.factors else names
        for level in names:
            if level not in levels:
                yield (
                    f"{where}.level_labels.{factor}: the grid has no '{level}'{nearest(level, levels)} "
                    f"(it has {', '.join(levels)})"
                )
    # Readers could not tell them apart, and a table would have one column for both.
    named = {"labels": [study.label(factor) for factor in study.factors]}
    named |= {
        f"level_labels.{factor}": [study.level_label(factor, level) for level in study.levels(factor)]
        for factor in study.level_labels
        if factor in study.factors
    }
    for key, texts in named.items():
        if twice := next((text for text, count in Counter(texts).items() if count > 1), None):
            yield f"{where}.{key}: two of them are '{twice}'; give each a label of its own"


def _determined(key: str, keys: Sequence[str], runs: Sequence[Run]) -> bool:
    """Whether the level of `key` follows from those of `keys` in every run."""
    seen: dict[tuple[Any, ...], Any] = {}
    for run in runs:
        value = run.value(key)
        if seen.setdefault(tuple(map(run.value, keys)), value) != value:
            return False
    return True
