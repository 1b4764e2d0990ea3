"""The design of a study as a table, and in words for a terminal."""

from collections.abc import Sequence

import pandas as pd

from ablations.analysis.design import MOST_CANDIDATES, Design, Point, design, run_of
from ablations.config.studies import Study
from ablations.kinds.hyperparameters import spell
from ablations.presentation.document import LABELS, Table

# Factors that are explained one by one.
MOST_LINES = 3


def in_words(name: str, study: Study) -> str:
    """What the grid of a study can show and cannot, and what to add to it, for a terminal."""
    found = design(study)
    if not found.levels:
        return f"{name}: {study.title}\n  one point, and nothing to compare\n"
    varied = ", ".join(f"{factor} ({len(levels)})" for factor, levels in found.levels.items())
    noun = "seed" if found.seeds == 1 else "seeds"
    seeds = f" × {found.seeds} {noun}" if study.kind.is_random else ""
    lines = [f"{name}: {study.title}", f"  {found.points} points{seeds}, over {varied}"]
    if found.pure:
        lines.append(f"  told apart: {', '.join(found.pure)}")
    mixed = [factor for factor in found.separable if factor not in found.pure]
    if len(mixed) > MOST_LINES:
        names = ", ".join(mixed)
        lines.append(f"  told apart only where nothing interacts: {names}; each follows from others")
    else:
        lines += [f"  told apart only where nothing interacts: {f}, which {_why(found, f)}" for f in mixed]
    lines += [f"  NOT told apart: {factor}, which {_why(found, factor)}" for factor in found.aliased_with]
    if found.missing:
        lines.append(f"  {_how_many(found)}; under `grid`:")
        lines += [f"      - {_block(study, point)}" for point in found.missing]
    return "\n".join([*lines, *(f"  {remark}" for remark in _remarks(study, found))]) + "\n"


def design_table(name: str, study: Study) -> Table:
    """The same as a table: of each hyperparameter that varies, whether its effect can be told apart."""
    found = design(study)
    rows = []
    for factor, levels in found.levels.items():
        told = "no" if factor in found.aliased_with else "yes"
        told = told if factor in (*found.pure, *found.aliased_with) else "only where nothing interacts"
        why = "" if factor in found.pure else _why(found, factor)
        rows.append((factor, str(len(levels)), told, why))
    data = pd.DataFrame(rows, columns=["hyperparameter", "levels", "told_apart", "why"])
    display = data.assign(hyperparameter=[LABELS.get(factor, factor) for factor in found.levels])
    display.columns = ["Hyperparameter", "Levels", "Effect told apart", "Why"]
    notes = [f"{found.points} points, from the grid alone: none of it depends on results."]
    if found.missing:
        blocks = "; ".join(_block(study, point) for point in found.missing)
        notes.append(f"{_how_many(found)}: {blocks}.")
    notes += [remark[0].upper() + remark[1:] + "." for remark in _remarks(study, found)]
    return Table(f"{study.title}: what the grid can tell apart", f"{name}_design", data, display, notes)


def _how_many(found: Design) -> str:
    count = len(found.missing)
    runs = f" ({count * found.seeds} runs)" if found.seeds > 1 else ""
    noun = "point" if count == 1 else "points"
    return f"{count} more {noun}{runs} would tell their main effects apart, and no fewer"


def _remarks(study: Study, found: Design) -> list[str]:
    remarks = []
    if found.impossible:
        remarks.append("no points that differ in one level from these would tell them apart")
    elif found.aliased_with and not found.missing:
        remarks.append(
            f"of the first {MOST_CANDIDATES:,} points that differ in one level from these, none would do"
        )
    if found.levels and not found.spare:
        remarks.append("as many points as effects: that two of them interact could not be seen")
    if found.seeds == 1 and study.kind.is_random:
        remarks.append("one seed: how much two runs of the same point differ cannot be known from this study")
    return remarks


def _why(found: Design, factor: str) -> str:
    sets = [_listed(each.of) for each in found.follows if each.factor == factor]
    if sets:
        return f"follows from {', or from '.join(sets)}"
    return f"is mixed with {_listed(found.aliased_with[factor]) or 'the others together'}"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def _block(study: Study, point: Point) -> str:
    """A grid block of one point, as it stands in a config."""
    run = run_of(study, point)
    values = {place: run.value(place) for place in run.kind.places}
    values |= {key: value for key, value in run.hyperparameters.path_items() if key != "seed"}
    return "{" + ", ".join(f"{key}: {spell(value)}" for key, value in values.items()) + "}"
