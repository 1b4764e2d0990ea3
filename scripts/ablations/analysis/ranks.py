"""Ranks of settings over datasets: the test of Friedman, and the critical difference of Nemenyi."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ablations.analysis.cells import cell
from ablations.analysis.distributions import f_sf
from ablations.analysis.inference import ALPHA
from ablations.analysis.measurements import Records, available, comparable
from ablations.config.studies.rankings import FEWEST_DATASETS, FEWEST_SETTINGS, Setting, settings_by_dataset
from ablations.config.studies.study import Study
from ablations.kinds.metrics import Metric
from ablations.runs.run import Run


@dataclass(frozen=True)
class Ranks:
    """The mean rank of each setting over datasets, from 1 for the best; the best setting is the first.

    `wins` counts the datasets on which a setting is the best, with others or alone. Two settings differ if
    their mean ranks differ by `critical` at least, and `p`, that of all settings being equal, is below 5 %.
    `left_out` are the datasets on which a setting has no run with a value, and `diverged` counts the settings
    that are ranked last on a dataset, because a run diverged.
    """

    settings: tuple[Setting, ...]
    means: tuple[float, ...]
    wins: tuple[int, ...]
    datasets: tuple[Any, ...]
    left_out: tuple[Any, ...]
    diverged: int
    p: float
    critical: float

    @property
    def groups(self) -> list[tuple[int, int]]:
        """The first and the last place of each largest group of settings of which no two differ."""
        if self.p >= ALPHA:
            return [(0, len(self.means) - 1)]
        ends = [
            max(j for j in range(i, len(self.means)) if self.means[j] - self.means[i] < self.critical)
            for i in range(len(self.means))
        ]
        return [(i, end) for i, end in enumerate(ends) if end > i and (i == 0 or end > ends[i - 1])]

    @property
    def best(self) -> frozenset[int]:
        """The places of the settings that do not differ from the best; empty if none differs from it."""
        if self.p >= ALPHA:
            return frozenset()
        near = frozenset(i for i, mean in enumerate(self.means) if mean - self.means[0] < self.critical)
        return near if len(near) < len(self.means) else frozenset()


def can_be_ranked(metric: Metric) -> bool:
    """Whether settings can be ranked by a metric: it has noise, and a better direction."""
    return metric.better is not None and metric.noise != "exact"


def ranks(study: Study, records: Records, name: str) -> Ranks | None:
    """The ranks of the settings of a study in a metric; None without a better direction, or too few values.

    A setting is ranked by its mean over seeds. Only datasets on which each setting has a value count.
    """
    metric, every = study.kind.metrics[name], settings_by_dataset(study)
    if not can_be_ranked(metric):
        return None
    found = comparable(metric, available(metric, study.runs(), records))
    datasets = list(dict.fromkeys(dataset for by in every.values() for dataset in by))

    def value(runs: Sequence[Run]) -> float:
        """What is ranked: smaller is better, infinite for a diverged run, and NaN for none."""
        if any(records.get(run, {}).get("status") == "diverged" for run in runs):
            return math.inf
        mean = cell(metric, [found.get(run) for run in runs]).mean
        return math.nan if mean is None else round(-mean if metric.better == "higher" else mean, 9)

    values = np.array([[value(by.get(dataset, [])) for by in every.values()] for dataset in datasets])
    whole = ~np.isnan(values).any(axis=1)
    values = values[whole]
    if len(values) < FEWEST_DATASETS or values.shape[1] < FEWEST_SETTINGS:
        return None
    of_datasets = np.array([_ranked(row) for row in values])
    means = of_datasets.mean(axis=0)
    order = np.argsort(means, kind="stable")
    is_best = values == values.min(axis=1, keepdims=True)
    return Ranks(
        settings=tuple(list(every)[i] for i in order),
        means=tuple(float(means[i]) for i in order),
        wins=tuple(int(is_best[:, i].sum()) for i in order),
        datasets=tuple(d for d, is_whole in zip(datasets, whole, strict=True) if is_whole),
        left_out=tuple(d for d, is_whole in zip(datasets, whole, strict=True) if not is_whole),
        diverged=int(np.isinf(values).sum()),
        p=friedman(of_datasets),
        critical=critical_difference(*values.shape),
    )


def _ranked(values: np.ndarray) -> np.ndarray:
    """The ranks of some values from 1 for the smallest; equal values share the mean of theirs."""
    below, up_to = (np.searchsorted(np.sort(values), values, side) for side in ("left", "right"))
    return (below + up_to + 1) / 2


def friedman(ranks: np.ndarray) -> float:
    """The p-value that all settings are equal, from ranks of shape (datasets, settings).

    It is Friedman's test (1937) with the F distribution of Iman and Davenport (1980).
    """
    datasets, settings = ranks.shape
    middle = (settings + 1) / 2
    total = float(np.sum((ranks - middle) ** 2))
    between = datasets * float(np.sum((ranks.mean(axis=0) - middle) ** 2))
    if not total:
        return 1.0
    if total - between < 1e-9:
        return 0.0
    f = (datasets - 1) * between / (total - between)
    return f_sf(f, settings - 1, (settings - 1) * (datasets - 1))


def critical_difference(datasets: int, settings: int) -> float:
    """The difference of two mean ranks that is significant at 5 % over all pairs (Nemenyi 1963)."""
    # Slow to import, and needed for few studies.
    from scipy.stats import studentized_range

    quantile = float(studentized_range.ppf(1 - ALPHA, settings, math.inf)) / math.sqrt(2)
    return quantile * math.sqrt(settings * (settings + 1) / (6 * datasets))
