"""Marks of a study's table: the best value of each column in bold, and all that cannot be told from it."""

import math
from collections.abc import Iterable, Mapping, Sequence

from ablations.analysis.best import Best, best_points
from ablations.analysis.inference import ALPHA
from ablations.analysis.measurements import Records
from ablations.analysis.paired_tests import smallest_p
from ablations.analysis.points import Point
from ablations.config.studies.study import Study
from ablations.kinds.metrics import Metric
from ablations.presentation.question_notes import PAIRED_TESTS, unreachable
from ablations.presentation.wording import in_sentence, listed


def marks(study: Study, records: Records, points: Sequence[Point]) -> tuple[set[tuple[int, str]], list[str]]:
    """The cells of a study's table of these points that are bold, by point and metric, and notes."""
    marked = set()
    told: list[tuple[Metric, Best]] = []
    untold: dict[str, Best] = {}
    for name in study.values:
        metric = study.kind.metrics[name]
        for label, places in _columns(study, metric, points).items():
            best = best_points(study, records, name, [points[i][1] for i in places])
            if best is None or best.among < 2:
                continue
            if best.is_told:
                told.append((metric, best))
                marked |= {(places[i], name) for i in best.places}
            else:
                untold[label] = best
    return marked, [*_method(study, told), *_nothing(study, untold)]


def _columns(study: Study, metric: Metric, points: Sequence[Point]) -> dict[str, list[int]]:
    """The columns of a metric, apart by dataset: their labels, and the places of their points."""
    columns: dict[str, list[int]] = {}
    factors = study.table.columns
    is_apart = _has_datasets(study) and "dataset" not in factors
    for i, (values, _) in enumerate(points):
        label = "/".join(study.level_label(name, values[name]) for name in factors)
        label = f"'{label}'" if factors else in_sentence(metric.label)
        of_dataset = f" of {values['dataset']}" if is_apart else ""
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
    test = f"{PAIRED_TESTS[study.test]} over the seeds"
    if metric.noise == "proportion":
        return f"{test}, {'also for other' if best.over_items else 'for these'} {metric.noun}"
    return test


def _nothing(study: Study, untold: Mapping[str, Best]) -> Iterable[str]:
    """Which columns have nothing in bold."""
    if not untold:
        return
    one_seed = len(study.seeds) == 1 and study.kind.is_random
    why = "; single runs do not show the noise of seeds" * one_seed
    yield f"Nothing is bold in {listed(untold)}: no value can be told from the best{why}."
    hopeless = [each for each in untold.values() if not can_tell(study, each.units, each.tests)]
    if hopeless:
        fewest = min(hopeless, key=lambda each: each.tests)
        why = unreachable(study.test, fewest.units, fewest.tests, "seeds", "Bonferroni")
        yield f"{why[0].upper()}{why[1:]}."


def can_tell(study: Study, units: int, tests: int) -> bool:
    """Whether one of so many tests can find a difference between points of so many seeds."""
    return not units or smallest_p(study.test, units) * tests < ALPHA


def planned_marks(study: Study) -> Iterable[str]:
    """That the declared test cannot tell any value from the best, known before any run."""
    points, seeds = study.points(), len(study.seeds)
    if study.choose:
        points = list({study.setting(point[0]): point for point in points}.values())
    metrics = [study.kind.metrics[name] for name in study.values]
    noisy = [metric for metric in metrics if metric.noise != "exact" and metric.better]
    if study.test == "t" or seeds < 2 or not noisy:
        return
    most = min(len(places) for places in _columns(study, noisy[0], points).values())
    if most > 1 and not can_tell(study, seeds, tests := math.comb(most, 2)):
        yield f"values in bold: {unreachable(study.test, seeds, tests, 'seeds', 'Bonferroni')}"
