"""Marks of a study's table: the best value of each column in bold, and all that cannot be told from it."""

from collections.abc import Iterable, Sequence

from ablations.analysis.best import Best, best_points
from ablations.analysis.measurements import Records
from ablations.config.studies import Study
from ablations.kinds.metrics import Metric
from ablations.presentation.wording import in_sentence, listed


def marks(study: Study, records: Records) -> tuple[set[tuple[int, str]], list[str]]:
    """The cells of a study's table that are bold, by point and metric, and notes on the tests."""
    points, marked = study.points(), set()
    told: list[tuple[Metric, Best]] = []
    untold: list[str] = []
    for name in study.values:
        metric = study.kind.metrics[name]
        for label, places in _columns(study, metric).items():
            best = best_points(study, records, name, [points[i][1] for i in places])
            if best is None or best.among < 2:
                continue
            if best.is_told:
                told.append((metric, best))
                marked |= {(places[i], name) for i in best.places}
            else:
                untold.append(label)
    return marked, [*_method(study, told), *_nothing(study, untold)]


def _columns(study: Study, metric: Metric) -> dict[str, list[int]]:
    """The columns of a metric, apart by dataset: their labels, and the places of their points."""
    columns: dict[str, list[int]] = {}
    factors = study.table.columns
    is_apart = _has_datasets(study) and "dataset" not in factors
    for i, (values, runs) in enumerate(study.points()):
        label = "/".join(study.level_label(name, values[name]) for name in factors)
        label = f"'{label}'" if factors else in_sentence(metric.label)
        of_dataset = f" of {runs[0].dataset}" if is_apart else ""
        columns.setdefault(label + of_dataset, []).append(i)
    return columns


def _has_datasets(study: Study) -> bool:
    """Whether there are several datasets, whose values are not compared."""
    return len({run.dataset for run in study.runs()}) > 1


def _method(study: Study, told: Sequence[tuple[Metric, Best]]) -> Iterable[str]:
    """By what the values in bold are told from the others."""
    judged = ((metric, best, noise) for metric, best in told for noise in sorted(best.noises))
    texts = dict.fromkeys(_test_text(study, *each) for each in judged if each[2] != "exact")
    parts = []
    if texts:
        corrected = "at 5 % with Bonferroni's correction over all pairs, because the data choose the best"
        parts.append(f"{' or '.join(texts)}, {corrected}")
    if any("exact" in best.noises for _, best in told):
        parts.append("exact values need no test")
    on_each = " on each dataset" if _has_datasets(study) else ""
    if parts:
        yield (
            f"Bold is the best value of a column{on_each}, with all that cannot be told from it: "
            f"{'; '.join(parts)}."
        )


def _test_text(study: Study, metric: Metric, best: Best, noise: str) -> str:
    if noise == "items":
        of_seeds = " (other seeds may differ)" if study.kind.is_random else ""
        return f"single runs by the {metric.noun} alone{of_seeds}"
    if metric.noise == "proportion":
        items = f"also for other {metric.noun}" if best.over_items else f"for these {metric.noun}"
        return f"paired tests over seeds, {items}"
    return "paired tests over seeds"


def _nothing(study: Study, untold: Sequence[str]) -> Iterable[str]:
    """Which columns have nothing in bold."""
    if untold:
        one_seed = len(study.seeds) == 1 and study.kind.is_random
        why = "; single runs do not show the noise of seeds" * one_seed
        yield f"Nothing is bold in {listed(untold)}: no value can be told from the best{why}."
