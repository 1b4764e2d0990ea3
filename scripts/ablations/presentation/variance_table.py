"""The variance table of a study: the share of each source."""

import pandas as pd

from ablations.analysis.measurements import Records
from ablations.analysis.model_matrix import Continuous, varying_levels
from ablations.analysis.variance import Analysis, VarianceSource, analyse
from ablations.config.studies.study import Study
from ablations.kinds.hyperparameters import spell
from ablations.kinds.metrics import Metric
from ablations.presentation.document import Table
from ablations.presentation.wording import in_sentence, labels, marked, merged

DATA = ("metric", "source", "share_percent", "raw_percent", "df", "p")
DISPLAY = ("Metric", "Source", "Share of variance (%)", "df", "p")


def variance_table(name: str, study: Study, records: Records) -> Table:
    """The sources of variance of each metric that is not exact, with the levels left out in its notes."""
    rows, shown, notes = [], [], {}
    metrics = {name: study.kind.metrics[name] for name in study.analysed}
    varying = {name: metric for name, metric in metrics.items() if metric.noise != "exact"}
    for metric_name, metric in varying.items():
        found = analyse(study, records, metric_name)
        for source in found.sources if found else ():
            df, p = str(source.df), "" if source.p is None else f"{source.p:.4g}"
            share, raw = f"{source.share:.1f}", f"{source.raw:.1f}"
            rows.append((metric_name, _name(metric, source), share, raw, df, p))
            p = "< 0.001" if source.p is not None and source.p < 0.001 else p[:5]
            share = f"{min(max(source.share, 0.0), 100.0):.0f}"
            shown.append((marked(metric), _label(study, metric, source), share, df, p))
        notes[metric.label] = _notes(study, metric, found)
    data, display = pd.DataFrame(rows, columns=DATA), pd.DataFrame(shown, columns=DISPLAY)
    if not data["p"].any():
        display = display.drop(columns="p")
    of_one = ""
    if len(varying) == 1:
        display = display.drop(columns="Metric")
        of_one = f" of the {in_sentence(metric.label)}"
    all_notes = merged(notes) or ["Exact values have no noise, and no variance to divide."]
    return Table(f"{study.title}: sources of variance{of_one}", f"{name}_variance", data, display, all_notes)


def _name(metric: Metric, source: VarianceSource) -> str:
    """The name of a source for programs: `lr × batch_size`."""
    what = metric.noun if source.what == "items" else source.what
    return " × ".join(map("+".join, source.factors)) or what


def _label(study: Study, metric: Metric, source: VarianceSource) -> str:
    """The name of a source for readers: `Learning rate × Batch size`."""
    labels = {
        "rest": "interactions of three or more",
        "seeds": "seeds (noise)",
        "items": f"{metric.noun} (noise)",
        "effect": "",
    }
    names = [", ".join(map(study.label, aliased)) for aliased in source.factors]
    if len(names) > 1:
        names = [f"({name})" if len(f) > 1 else name for name, f in zip(names, source.factors, strict=True)]
    return " × ".join(names) or labels[source.what]


def _notes(study: Study, metric: Metric, found: Analysis | None) -> list[str]:
    if any(isinstance(levels, Continuous) for levels in varying_levels(study).values()):
        return [
            "Shares of variance need a balanced part. Drawn points hardly ever share a value of a range, so "
            "none are given."
        ]
    if found is None and metric.noise == "proportion" and not study.kind.is_random:
        return [
            f"The completed runs contain no balanced part that records which {metric.noun} each run got "
            "right. Shares of variance need one, to exclude the noise of their choice."
        ]
    if found is None:
        return [
            "The completed runs contain no balanced part with two factors, or with one factor and several "
            "seeds. Shares of variance need one."
        ]
    return [*_method_notes(study, metric, found), *_scope_notes(study, found)]


def _method_notes(study: Study, metric: Metric, found: Analysis) -> list[str]:
    """What the shares are, and what they can show."""
    where = " within datasets" if found.blocked else ""
    if not any(source.raw for source in found.sources):
        return [f"All values of the balanced part are equal{where}."]
    notes = [f"Shares of the variance{where} of a balanced layout."]
    if metric.noise == "time":
        notes.append("The shares are those of the logarithms of the values.")
    noise_of = found.sources[-1].what
    if noise_of in ("seeds", "items"):
        name = "seeds" if noise_of == "seeds" else metric.noun
        notes.append(
            "A share excludes what noise alone would contribute on average (epsilon squared); the remainder "
            f"is the share of the {name}. A negative share is shown as 0, so the shown shares may add up to "
            "more than 100 %."
        )
        notes.append(
            f"p is from an F test of each source against its variation between {name}, with the correction "
            "of Greenhouse and Geisser."
        )
    if noise_of == "items":
        notes.append(
            f"Only the choice of the {metric.noun} is taken as random; all runs share these {metric.noun}."
        )
    elif noise_of == "seeds":
        notes.append(f"Shares from {found.seeds} seeds are rough: other seeds may change one by many points.")
        if found.seeds < 5 and any(source.df > 1 for source in found.sources if source.what == "effect"):
            notes.append(
                f"With {found.seeds} seeds, sources with several degrees of freedom are rarely significant "
                "here."
            )
    elif study.kind.is_random or metric.noise == "time":
        alike = 100 / sum(source.df for source in found.sources)
        notes.append(
            "One run per point: shares cannot be separated from noise. Noise alone would give each degree of "
            f"freedom (df) {alike:.1f} % on average."
        )
    return notes


def _scope_notes(study: Study, found: Analysis) -> list[str]:
    """Which factors count as one, and which points are left out."""
    notes = [
        f"One factor is {labels(study, factor)}: these points do not separate them."
        for factor in found.factors
        if len(factor) > 1
    ]
    if found.points < found.all_points or found.left_out:
        lost = "; ".join(
            f"{labels(study, factor)} = {', '.join(' '.join(map(spell, level)) for level in levels)}"
            for factor, levels in found.left_out.items()
        )
        seeds = f" with {found.seeds} seeds each" * (("seed",) in found.left_out)
        notes.append(
            f"The balanced layout has {found.points} of {found.all_points} points{seeds}"
            + (f"; left out: {lost}." if lost else ".")
        )
    if found.apart:
        why = "the device, threads or runs per job differ from those of most runs"
        notes.append(f"Runs left out because {why}: {found.apart}.")
    return notes
