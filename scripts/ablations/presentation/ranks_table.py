"""The table of ranks of a study: the mean rank of each setting over the datasets."""

import pandas as pd

from ablations.analysis.measurements import Records
from ablations.analysis.ranks import Ranks, can_be_ranked, ranks
from ablations.config.studies.rankings import FEWEST_DATASETS, settings_by_dataset
from ablations.config.studies.study import Study
from ablations.kinds.hyperparameters import spell
from ablations.kinds.metrics import Metric
from ablations.presentation.document import Table
from ablations.presentation.wording import apart, in_sentence, listed, marked, merged, p_in_words

DATA = ("metric", "mean_rank", "wins", "best")
HEADINGS = ("Metric", "Mean rank", "Best on")


def ranks_table(name: str, study: Study, records: Records) -> Table:
    """The mean ranks in each analysed metric, the best first; bold is what does not differ from the best."""
    rows: list[dict[str, str]] = []
    shown: list[dict[str, str]] = []
    notes, bold = {}, set()
    metrics = {name: study.kind.metrics[name] for name in study.analysed}
    ranked = {name: metric for name, metric in metrics.items() if can_be_ranked(metric)}
    for metric_name, metric in ranked.items():
        found = ranks(study, records, metric_name)
        for i, setting in enumerate(found.settings if found else ()):
            assert found is not None
            levels = {apart(factor, DATA): spell(level) for factor, level in setting}
            numbers = {"mean_rank": f"{found.means[i]:.4f}", "wins": str(found.wins[i])}
            rows.append(
                {"metric": metric_name, **levels, **numbers, "best": "yes" if i in found.best else ""}
            )
            if i in found.best:
                bold.add(len(shown))
            shown.append(
                {"Metric": marked(metric)}
                | {apart(study.label(f), HEADINGS): study.level_label(f, level) for f, level in setting}
                | {
                    "Mean rank": f"{found.means[i]:.2f}",
                    "Best on": f"{found.wins[i]} of {len(found.datasets)}",
                }
            )
        notes[metric.label] = _notes(study, metric, found)
    factors = [factor for factor, _ in next(iter(settings_by_dataset(study)))]
    named = [apart(factor, DATA) for factor in factors]
    data = pd.DataFrame(rows, columns=[DATA[0], *named, *DATA[1:]])
    headed = [apart(study.label(factor), HEADINGS) for factor in factors]
    headings = [HEADINGS[0], *headed, *HEADINGS[1:]]
    display, of_one = pd.DataFrame(shown, columns=headings), ""
    if len(ranked) == 1:
        display, of_one = display.drop(columns="Metric"), f" by {in_sentence(metric.label)}"
    column = list(display).index("Mean rank")
    title = f"{study.title}: mean ranks{of_one} over datasets"
    all_notes = merged(notes) or ["No analysed metric has a better direction and noise; nothing is ranked."]
    return Table(
        title, f"{name}_ranks", data, display, all_notes, bold=frozenset((row, column) for row in bold)
    )


def _notes(study: Study, metric: Metric, found: Ranks | None) -> list[str]:
    if found is None:
        return [f"Fewer than {FEWEST_DATASETS} datasets have a value of each setting. Ranks need as many."]
    notes = [
        f"Ranks from 1, the best, by the mean{' over seeds' * (len(study.seeds) > 1)} on each of "
        f"{len(found.datasets)} datasets. Equal values share a rank.",
        f"Friedman's test that all are equal: p {p_in_words(found.p)}. The critical difference of Nemenyi is "
        f"{found.critical:.2f} ranks, at 5 % over all pairs.",
    ]
    if found.best:
        notes.append(
            "Bold: the best mean rank, and every mean rank closer to it than the critical difference."
        )
    else:
        notes.append("No setting can be told from the best.")
    if found.left_out:
        names = listed(study.level_label("dataset", each) for each in found.left_out)
        notes.append(f"Left out, because a setting has no completed run there: {names}.")
    if found.diverged:
        noun = "setting" if found.diverged == 1 else "settings"
        notes.append(f"Ranked last on a dataset, because a run diverged there: {found.diverged} {noun}.")
    if len(study.seeds) > 1:
        notes.append("The datasets are the sample, and not the seeds: more seeds do not make it larger.")
    return notes
