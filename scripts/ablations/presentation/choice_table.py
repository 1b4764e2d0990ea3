"""The table of a study in which validation chooses: a row for each setting of what is not chosen."""

import pandas as pd

from ablations.analysis.cells import cell, interval_over_items
from ablations.analysis.choice import Choice, choices
from ablations.analysis.measurements import Records
from ablations.analysis.points import contrasts
from ablations.config.studies.study import Study
from ablations.kinds.hyperparameters import spell
from ablations.presentation.baseline_columns import (
    baseline_notes,
    contrast_fields,
    contrast_text,
    heading,
    stacked,
)
from ablations.presentation.changes import changes
from ablations.presentation.document import Table
from ablations.presentation.marks import marks
from ablations.presentation.study_table import (
    cell_fields,
    cell_text,
    own_heading,
    own_name,
    separator_of,
    study_notes,
)
from ablations.presentation.wording import in_sentence, labels, listed, marked

# What marks a chosen level at the edge of its grid; a difference to a baseline has stars of its own.
EDGE = "‡"


def choice_table(name: str, study: Study, records: Records) -> Table:
    """The table of a study with `choose`: what was chosen in each row, and the metrics of these runs."""
    assert study.choose is not None
    found, seeds = choices(study, records), len(study.seeds) > 1
    points = [choice.point for choice in found]
    compared = {m: contrasts(study, records, m, points) for m in study.values} if study.base else {}
    changed = changes(study, [values for values, _ in points]) if study.base else []
    best, mark_notes = marks(study, records, points)
    data, display, counts, separator = [], [], set[int](), separator_of(study)
    for i, choice in enumerate(found):
        able = [choice.chosen] if choice.chosen else choice.candidates
        point = able[0]
        without = "diverged" if any(each.validated.diverged for each in able) else "missing"
        chosen = {name: spell(point.values[name]) if choice.chosen else "" for name in study.choose.over}
        fields = {factor: spell(point.values[factor]) for factor in study.rows}
        # With `ablate`, the change says what the levels are.
        named = {} if study.ablate else fields
        texts = {study.label(f): study.level_label(f, level) for f, level in named.items()}
        if study.base:
            fields[own_name(study, "change")] = changed[i]
            texts = {own_heading(study, "Change"): changed[i], **texts}
        fields |= chosen | {own_name(study, "tried"): str(len(choice.candidates))}
        for factor, level in chosen.items():
            shown = study.level_label(factor, level) if level else without
            texts[f"{study.label(factor)} (chosen)"] = shown + EDGE * (factor in choice.edges)
        texts[own_heading(study, "Tried")] = str(len(choice.candidates))
        # Where none can be chosen, no run has a value.
        runs = [records.get(run) for each in able for run in each.runs]
        for value in dict.fromkeys([study.choose.by, *study.values]):
            metric = study.kind.metrics[value]
            content = cell(metric, runs)
            fields |= cell_fields(content, metric.column, seeds, interval_over_items(metric, runs), separator)
            texts[marked(metric)] = cell_text(content, len(study.seeds), study.table.spread)
            if content.sd is not None and not content.counted:
                counts.add(len(content.values))
            if value in compared:
                contrast = compared[value][i]
                fields |= contrast_fields(study, value, contrast, metric.column, separator)
                texts[heading(metric)] = contrast_text(study, metric, contrast)
        data.append(fields)
        display.append(texts)
    every = [records.get(run) for run in study.runs()]
    notes = [
        *_notes(study, found), *baseline_notes(study, compared, points), *mark_notes,
        *study_notes(study, every, counts),
    ]  # fmt: skip
    shown = pd.DataFrame(display).fillna("")
    columns = {value: shown.columns.get_loc(marked(study.kind.metrics[value])) for value in study.values}
    bold = frozenset((row, columns[value]) for row, value in best)
    printed = stacked(shown) if study.base else None
    return Table(study.title, name, pd.DataFrame(data).fillna(""), shown, notes, bold, printed=printed)


def _notes(study: Study, found: list[Choice]) -> list[str]:
    """How the choice was made, and where it may not be the best."""
    assert study.choose is not None
    by = study.kind.metrics[study.choose.by]
    names = labels(study, study.choose.over)
    over_seeds = " over the seeds" if len(study.seeds) > 1 else ""
    best = "highest" if by.better == "higher" else "lowest"
    # Which data the metrics of a user's kind are measured on is not known.
    chose_nothing = "The test images have" if study.kind.chosen_by else "What the other columns show has"
    notes = [
        f"In each row, the {best} mean {in_sentence(by.label)}{over_seeds} has chosen the {names}. "
        f"{chose_nothing} chosen nothing; the other columns are of the chosen runs alone."
    ]
    if edges := dict.fromkeys(in_sentence(study.label(name)) for choice in found for name in choice.edges):
        notes.append(
            f"{EDGE} The chosen {listed(edges)} is the lowest or the highest that was tried: "
            "a wider grid may have a better one."
        )
    if len({len(choice.candidates) for choice in found}) > 1:
        notes.append(
            "Rows differ in how many candidates were tried. The best of more candidates gains more from the "
            "luck of these seeds, where validation and the other columns share it."
        )
    failed = sum(
        choice.chosen is not None and not each.is_whole for choice in found for each in choice.candidates
    )
    if failed:
        notes.append(
            f"{failed} candidate{'s' * (failed > 1)} with a run that diverged or is missing could be chosen "
            "only where every candidate of the row has one."
        )
    return notes
