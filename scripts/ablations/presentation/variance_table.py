"""The variance table of a study: the share of each source."""

import pandas as pd

from ablations.analysis.cells import Records
from ablations.analysis.variance import Analysis, Source, analyse
from ablations.config.studies import Study
from ablations.kinds.hyperparameters import spell
from ablations.presentation.document import LABELS, Table


def variance_table(name: str, study: Study, records: Records) -> Table:
    """The sources of variance of a study, with what was left out in the notes."""
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
    title = f"{study.title}: what the variance of the test accuracy comes from"
    return Table(title, f"{name}_variance", data, display, _notes(study, found))


def _name(source: Source, plain: bool = False) -> str:
    if source.what == "rest":
        return "rest" if plain else "interactions of three and more"
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
            "Of the runs that are there no balanced part was found that has two factors, or one and several "
            "seeds: of less there are no shares."
        ]
    where = " within datasets" if found.blocked else ""
    notes = [f"Shares of the variance{where} of a balanced layout: they add up to 100 %."]
    if not any(source.raw for source in found.sources):
        notes = [f"All accuracies of the balanced part are equal{where}."]
    elif found.seeds > 1:
        notes.append(
            "A share is what is left without what noise alone would give it (epsilon squared), and the seeds "
            "have the rest; raw_percent in the TSV is of the sum of squares as it is. p is of the F test of "
            "each source by itself, against what it differs by from one seed to the other (with Greenhouse "
            "and Geisser's correction)."
        )
        if found.seeds < 5 and any(source.df > 1 for source in found.sources if source.what == "effect"):
            notes.append(
                f"With {found.seeds} seeds, what has several degrees of freedom is hardly ever shown here: "
                "the table of effects compares two levels at a time."
            )
    elif study.kind.is_random:
        alike = 100 / sum(source.df for source in found.sources)
        notes.append(
            "One run per point: no share can be told from noise. Of noise alone each degree of freedom (df) "
            f"would have {alike:.1f} % on average."
        )
    else:
        notes.append("Nothing is left to chance but the test images, which are the same for all.")
    for factor in found.factors:
        if len(factor) > 1:
            names = ", ".join(factor)
            notes.append(
                f"{names} stand together: these points do not tell them apart; see the table of its design."
            )
    if found.points < found.all_points:
        lost = "; ".join(
            f"{', '.join(factor)} = {', '.join(' '.join(map(spell, level)) for level in levels)}"
            for factor, levels in found.left_out.items()
        )
        notes.append(
            f"Of {found.points} of {found.all_points} points, which are balanced"
            + (f"; left out: {lost}." if lost else ".")
        )
    return notes
