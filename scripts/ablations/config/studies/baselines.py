"""Baselines: the point that the others of a study are compared with, checked before any run."""

from collections.abc import Iterator, Mapping
from typing import Any

from ablations.config.studies.study import Study
from ablations.errors import nearest
from ablations.kinds.hyperparameters import spell
from ablations.runs.run import Run

Point = tuple[dict[str, Any], list[Run]]


def base_points(study: Study) -> dict[tuple[Any, ...], list[Point]]:
    """The points with the levels of the baseline, by the levels of the table's columns.

    A baseline that names the level of the columns is that of all of them.
    """
    columns, base = study.table.columns, study.base
    found = [point for point in study.points() if all(point[0][name] == base[name] for name in base)]
    of_column: dict[tuple[Any, ...], list[Point]] = {}
    open_ones = [i for i, name in enumerate(columns) if name not in base]
    for point in found:
        of_column.setdefault(tuple(study.column(point[0])[i] for i in open_ones), []).append(point)
    levels = dict.fromkeys(study.column(values) for values, _ in study.points())
    return {column: of_column.get(tuple(column[i] for i in open_ones), []) for column in levels}


def compared_points(study: Study) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Each point that has a difference to the baseline, and its baseline; of candidates, the first."""
    bases = {column: points[0][0] for column, points in base_points(study).items()}
    settings = {study.setting(values): values for values, _ in reversed(study.points())}
    pairs = ((values, bases[study.column(values)]) for values in reversed(settings.values()))
    return [(values, base) for values, base in pairs if changed_levels(study, values, base)]


def changed_levels(study: Study, values: Mapping[str, Any], base: Mapping[str, Any]) -> list[str]:
    """In which hyperparameters a point differs from its baseline, besides those that validation chooses."""
    return [name for name in study.factors if values[name] != base[name] and name not in study.chosen]


def is_primary(study: Study, values: Mapping[str, Any], base: Mapping[str, Any]) -> bool:
    """Whether a difference is of the primary hyperparameters, if the study declares any."""
    return not study.primary or not set(study.primary).isdisjoint(changed_levels(study, values, base))


def check_ablation(study: Study, where: str) -> Iterator[str]:
    """Whether `ablate` changes one point, each time to another, and `baseline` names one."""
    if study.baseline is not None and not study.base:
        yield f"{where}.baseline: it is empty; it names the levels of one point of the grid"
    if study.ablate is None:
        return
    where = f"{where}.ablate"
    if study.baseline is not None:
        yield f"{where}: the point of the grid is its baseline already; leave `baseline` out"
    elif len(study.grid) > 1:
        yield f"{where}: the grid has {len(study.grid)} blocks, and may have one: the point that is changed"
    elif not study.ablate.axes():
        yield f"{where}: it is empty, and changes nothing; name a hyperparameter and its other level"
    else:
        for key, settings in study.ablate.axes():
            for i, setting in enumerate(settings):
                yield from _check_change(study, f"{where}.{key}" + f"[{i}]" * (key == "recipe"), setting)
            if study.ablate.all and len(settings) > 1:
                yield (
                    f"{where}.all: {key} has {len(settings)} entries, and a point with all changes has one; "
                    "leave `all` out, or keep one of them"
                )


def _check_change(study: Study, where: str, change: Mapping[str, Any]) -> Iterator[str]:
    if change and not change.keys() - set(study.chosen):
        yield f"{where}: validation chooses {', '.join(change)} in each row; change another hyperparameter"
        return
    own = {name: study.levels(name, study.grid) for name in change if name not in study.chosen}
    if several := [name for name, levels in own.items() if len(levels) > 1]:
        levels = own[several[0]]
        yield (
            f"{where}: the grid has {len(levels)} levels of {several[0]} ({', '.join(map(spell, levels))}); "
            "the point that is changed has one"
        )
    elif all(change[name] == levels[0] for name, levels in own.items()):
        same = _shown(change) or "an empty entry"
        yield f"{where}: {same} is what the grid has already, and no change; give another level"


def check_base(study: Study, where: str) -> Iterator[str]:
    """Whether the baseline is one point of the grid in each column of the table."""
    where = f"{where}.{'ablate' if study.ablate else 'baseline'}"
    base, columns = study.base, study.table.columns
    for name, level in base.items():
        if name in study.chosen:
            yield f"{where}.{name}: validation chooses {name} in each row, the baseline too; leave it out"
            return
        if level not in (levels := study.levels(name)):
            known = list(map(spell, levels))
            yield (
                f"{where}.{name}: the grid has no {name} {spell(level)}{nearest(spell(level), known)} "
                f"(it has {', '.join(known)})"
            )
            return
    for column, points in base_points(study).items():
        levels = [spell(level) for name, level in zip(columns, column, strict=True) if name not in base]
        of_column = f" in the column {', '.join(levels)}" if levels else ""
        if not points:
            of_what, such = "the grid", ""
            if study.fraction:
                of_what = "the fraction of the grid"
                such = f", such as {_shown({name: study.points()[0][0][name] for name in base})}"
            yield f"{where}: no point of {of_what} has {_shown(base)}{of_column}; name one that it has{such}"
            return
        names = [name for name in study.factors if name not in study.chosen]
        varying = [name for name in names if len({spell(values[name]) for values, _ in points}) > 1]
        if varying:
            found = dict.fromkeys(spell(values[varying[0]]) for values, _ in points)
            advice = "give the grid one level of it" if study.ablate else "name its level"
            yield (
                f"{where}: {len(points)} points have {_shown(base)}{of_column}, as {varying[0]} varies "
                f"({', '.join(found)}); {advice}"
            )
            return


def _shown(levels: Mapping[str, Any]) -> str:
    return " and ".join(f"{name} {spell(level)}" for name, level in levels.items())
