"""The design of a study as a table, and as text for a terminal."""

from collections.abc import Sequence

import pandas as pd

from ablations.analysis.design import SMALL_ALIAS, Design, design
from ablations.analysis.missing_points import MOST_CANDIDATES, Point, Searched, run_of
from ablations.analysis.model_matrix import Continuous
from ablations.config.studies.study import Study
from ablations.kinds.hyperparameters import spell
from ablations.presentation.document import Table
from ablations.presentation.marks import planned_marks
from ablations.presentation.parts import part_in_words
from ablations.presentation.question_notes import planned_reach

# With more hyperparameters than this that are separable only without interactions, the text only lists them.
MOST_LINES = 3

# Larger aliases are named in the text: a quarter of an interaction counts as the effect.
LARGE_ALIAS = 0.25
NOT_FOUND: dict[Searched, str] = {
    "all points": "no other points of these levels would separate them",
    "all neighbours": "no points that differ from these in one level would separate them",
    "some neighbours": (
        f"the first {MOST_CANDIDATES:,} points that differ from these in one level would not separate them"
    ),
}


def in_words(name: str, study: Study) -> str:
    """Which effects the grid of a study can separate, and what to add to it, for a terminal."""
    found = design(study)
    if not found.levels:
        return f"{name}: {study.title}\n  one point: nothing to compare\n"
    varied = ", ".join(f"{factor} ({_count(levels)})" for factor, levels in found.levels.items())
    noun = "seed" if found.seeds == 1 else "seeds"
    seeds = f" × {found.seeds} {noun}" if study.kind.is_random else ""
    lines = [f"{name}: {study.title}", f"  {found.points} points{seeds}, over {varied}"]
    lines += [f"  {each}" for each in part_in_words(study)]
    if found.pure:
        lines.append(f"  separable: {', '.join(found.pure)}")
    if found.pure_of_two:
        lines.append(
            f"  separable only without interactions of three or more: {', '.join(found.pure_of_two)}"
        )
    mixed = [factor for factor in found.separable if factor not in {*found.pure, *found.pure_of_two}]
    only = "  separable only without interactions:"
    if len(mixed) > MOST_LINES:
        lines.append(f"{only} {', '.join(mixed)}; each is determined by others")
    else:
        lines += [f"{only} {factor}, which {_why(found, factor)}" for factor in mixed]
    lines += [f"  NOT separable: {factor}, which {_why(found, factor)}" for factor in found.aliased_with]
    if found.missing and study.sample:
        lines.append(f"  {_how_many(found)}; raise `points` of `sample`, or add a block to `grid`")
    elif found.missing:
        place = "the `recipe` of `ablate`" if study.ablate else "`grid`"
        lines.append(f"  {_how_many(found)}; add to {place}:")
        lines += [f"      - {_block(study, point)}" for point in found.missing]
    return "\n".join([*lines, *(f"  {remark}" for remark in _remarks(study, found))]) + "\n"


def design_table(name: str, study: Study) -> Table:
    """For each hyperparameter that varies, whether its effect is separable from the others."""
    found = design(study)
    rows = []
    for factor, levels in found.levels.items():
        why = "" if factor in found.pure else _why(found, factor)
        rows.append((factor, _count(levels), _separable(found, factor), why, *_alias(found, factor)))
    names = ["hyperparameter", "levels", "separable", "why", "largest_alias", "alias_of"]
    data = pd.DataFrame(rows, columns=names)
    aliases = [f"{size} ({of})" if of else size for size, of in data[names[-2:]].itertuples(index=False)]
    display = data.assign(
        hyperparameter=[study.label(factor) for factor in found.levels], largest_alias=aliases
    ).drop(columns="alias_of")
    display.columns = pd.Index(["Hyperparameter", "Levels", "Effect separable", "Why", "Largest alias"])
    notes = [f"{found.points} points. This table depends on the grid only, not on results."]
    notes += map(_sentence, part_in_words(study))
    if found.missing and study.sample:
        notes.append(_sentence(_how_many(found)))
    elif found.missing:
        blocks = "; ".join(_block(study, point) for point in found.missing)
        notes.append(_sentence(f"{_how_many(found)}: {blocks}"))
    if any(found.alias.values()):
        notes.append(
            "The largest alias is the part of an interaction of two others that a model of the main "
            "effects mistakes for this effect. Comparisons of runs that differ in nothing else do not."
        )
    notes += map(_sentence, _remarks(study, found))
    return Table(f"{study.title}: separable effects of the grid", f"{name}_design", data, display, notes)


def _count(levels: Sequence[object]) -> str:
    if not isinstance(levels, Continuous):
        return str(len(levels))
    return _listed([f"{len(levels)} of a range", *map(spell, levels.apart)])


def _separable(found: Design, factor: str) -> str:
    if factor in found.aliased_with:
        return "no"
    if factor in found.pure_of_two:
        return "only without interactions of three or more"
    return "yes" if factor in found.pure else "only without interactions"


def _alias(found: Design, factor: str) -> tuple[str, str]:
    """The size of the largest alias of a factor, and with which interaction."""
    alias = found.alias.get(factor)
    if alias is None:
        return "", ""
    return f"{alias.size:.2f}", " × ".join(alias.of) if alias.size >= SMALL_ALIAS else ""


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _how_many(found: Design) -> str:
    count = len(found.missing)
    runs = f" ({count * found.seeds} runs)" if found.seeds > 1 else ""
    noun, verb = ("point", "is") if count == 1 else ("points", "are")
    return f"at least {count} more {noun}{runs} {verb} needed to separate all main effects"


def _remarks(study: Study, found: Design) -> list[str]:
    remarks = []
    if sentence := NOT_FOUND.get(found.searched):
        remarks.append(sentence)
    sizes = {factor: found.alias.get(factor) for factor in found.separable}
    large = [
        f"{factor} ({alias.size:.2f} of {' × '.join(alias.of)})"
        for factor, alias in sizes.items()
        if alias and alias.size > LARGE_ALIAS
    ]
    if large:
        remarks.append(f"a model of main effects takes part of an interaction for {', '.join(large)}")
    if found.levels and not found.spare:
        untested = ", and none to show noise: with one seed, no effect has a test; take more points"
        untested *= bool(study.fraction) and found.seeds == 1
        remarks.append(f"no point is left over to detect interactions{untested}")
    if found.seeds == 1 and study.kind.is_random:
        remarks.append("there is one seed, so the difference between two runs of the same point is unknown")
    return [*remarks, *planned_reach(study), *planned_marks(study)]


def _why(found: Design, factor: str) -> str:
    sets = [_listed(each.of) for each in found.follows if each.factor == factor]
    if sets:
        return f"is determined by {', or by '.join(sets)}"
    return f"is aliased with {_listed(found.aliased_with[factor]) or 'the others together'}"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def _block(study: Study, point: Point) -> str:
    """What a config gains by one point: a block of its grid, or what `ablate` changes together."""
    run = run_of(study, point)
    values = {place: run.value(place) for place in run.kind.places}
    values |= {key: value for key, value in run.hyperparameters.path_items() if key != "seed"}
    if study.ablate:
        values = {key: value for key, value in values.items() if value != study.base.get(key, value)}
    return "{" + ", ".join(f"{key}: {spell(value)}" for key, value in values.items()) + "}"
