"""The variance table of a study: the share of each source."""

import pandas as pd

from ablations.analysis.cells import Records
from ablations.analysis.variance import Analysis, Source, analyse
from ablations.config.studies import Study
from ablations.kinds.hyperparameters import spell
from ablations.presentation.document import LABELS, Table


def variance_table(name: str, study: Study, records: Records) -> Table:
    """The sources of variance of a study, with the levels left out in its notes."""
    found = analyse(study, records)
    rows, shown = [], []
    for source in found.sources if found else ():
        share, raw, df = f"{source.share:.1f}", f"{source.raw:.1f}", str(source.df)
        p = "" if source.p is None else f"{source.p:.4g}"
        rows.append((_name(source, plain=True), share, raw, df, p))
        shown.append(
            (_name(source), share, df, "< 0.001" if source.p is not None and source.p < 0.001 else p[:5])
        )
    data = pd.DataFrame(rows, columns=["source", "share_percent", "raw_percent", "df", "p"])
    display = pd.DataFrame(shown, columns=["Source", "Share of variance (%)", "df", "p"])
    if found is None or found.seeds == 1:
        display = display.drop(columns="p")
    title = f"{study.title}: sources of variance of the test accuracy"
    return Table(title, f"{name}_variance", data, display, _notes(study, found))


def _name(source: Source, plain: bool = False) -> str:
    if source.what == "rest":
        return "rest" if plain else "interactions of three or more"
    if source.what == "seeds":
        return "seeds" if plain else "seeds (noise)"
    names = [
        "+".join(factor) if plain else ", ".join(LABELS.get(name, name) for name in factor)
        for factor in source.factors
    ]
    return " × ".join(names)


def _notes(study: Study, found: Analysis | None) -> list[str]:
    if found is None:
        return [
            "The completed runs contain no balanced part with two factors, or with one factor and several "
            "seeds. Shares of variance need one."
        ]
    return [*_method_notes(study, found), *_scope_notes(found)]


def _method_notes(study: Study, found: Analysis) -> list[str]:
    """What the shares are, and what they can show."""
    where = " within datasets" if found.blocked else ""
    if not any(source.raw for source in found.sources):
        return [f"All accuracies of the balanced part are equal{where}."]
    notes = [f"Shares of the variance{where} of a balanced layout; they add up to 100 %."]
    if found.seeds > 1:
        notes.append(
            "A share excludes what noise alone would contribute on average (epsilon squared); the remainder "
            "is the share of the seeds. raw_percent in the TSV is the uncorrected share of the sum of "
            "squares. p is from an F test of each source against its variation between seeds, with the "
            "correction of Greenhouse and Geisser."
        )
        if found.seeds < 5 and any(source.df > 1 for source in found.sources if source.what == "effect"):
            notes.append(
                f"With {found.seeds} seeds, sources with several degrees of freedom are rarely significant "
                "here. The effects table compares two levels at a time."
            )
    elif study.kind.is_random:
        alike = 100 / sum(source.df for source in found.sources)
        notes.append(
            "One run per point: shares cannot be separated from noise. Noise alone would give each degree of "
            f"freedom (df) {alike:.1f} % on average."
        )
    else:
        notes.append("Only the choice of the test images is random, and all runs share these images.")
    return notes


def _scope_notes(found: Analysis) -> list[str]:
    """Which factors count as one, and which points are left out."""
    notes = [
        f"{', '.join(factor)} count as one factor: these points do not separate them; see the design table."
        for factor in found.factors
        if len(factor) > 1
    ]
    if found.points < found.all_points:
        lost = "; ".join(
            f"{', '.join(factor)} = {', '.join(' '.join(map(spell, level)) for level in levels)}"
            for factor, levels in found.left_out.items()
        )
        notes.append(
            f"The balanced layout has {found.points} of {found.all_points} points"
            + (f"; left out: {lost}." if lost else ".")
        )
    return notes
