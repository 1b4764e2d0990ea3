"""Profiles of many seeds: interquartile means, shares of runs, and how often a setting beats another.

They follow Agarwal et al. (2021), "Deep reinforcement learning at the edge of the statistical precipice".
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from scipy import special

from ablations.analysis.choice import choices
from ablations.analysis.distributions import normal_sf, t_ppf
from ablations.analysis.inference import ALPHA, Interval
from ablations.analysis.measurements import Records, available, comparable
from ablations.config.studies.rankings import FEWEST_SEEDS, Setting, settings_by_dataset
from ablations.config.studies.study import Study
from ablations.kinds.metrics import Metric

RESAMPLES = 2000

# The value of each dataset and seed, in the table's unit; a diverged run has the worst.
Scores = Mapping[tuple[Any, Any], float]


@dataclass(frozen=True)
class Beats:
    """In which share of the seeds a setting is better than another, with its interval."""

    share: float
    interval: Interval
    seeds: int


@dataclass(frozen=True)
class ProfiledSetting:
    """A setting with all of its values.

    `mean` is the interquartile mean: that of the middle half of the values, of seeds that each dataset has.
    It is None for too few of them, or where too many runs diverged, and so is its `interval`. `beats`
    compares with the reference.
    """

    setting: Setting
    values: tuple[float, ...]
    mean: float | None
    interval: Interval | None
    beats: Beats | None
    is_reference: bool

    @property
    def diverged(self) -> int:
        """How many of its runs diverged."""
        return sum(map(math.isinf, self.values))


def profiles(study: Study, records: Records, name: str) -> list[ProfiledSetting]:
    """The profile of each setting of a study in a metric that has a better direction.

    The reference is the baseline of the study, or the setting with the best interquartile mean if it has
    none.
    """
    metric = study.kind.metrics[name]
    found = comparable(metric, available(metric, study.runs(), records))
    worst = -math.inf if metric.better == "higher" else math.inf
    every: dict[Setting, Scores] = {}
    for setting, by_dataset in settings_by_dataset(study).items():
        every[setting] = {
            (dataset, run.values().get("seed")): worst
            if records.get(run, {}).get("status") == "diverged"
            else float(found[run][metric.column]) * metric.scale
            for dataset, runs in by_dataset.items()
            for run in runs
            if run in found or records.get(run, {}).get("status") == "diverged"
        }
    means = {setting: interquartile_mean(scores) for setting, scores in every.items()}
    baseline = baseline_of(study, records)
    reference = baseline or _best({setting: mean for setting, (mean, _) in means.items()}, metric)
    return [
        ProfiledSetting(
            setting,
            tuple(sorted(scores.values())),
            *means[setting],
            None if reference in (None, setting) else beats(metric, scores, every[reference]),
            setting == reference,
        )
        for setting, scores in every.items()
    ]


def baseline_of(study: Study, records: Records) -> Setting | None:
    """The setting of the baseline of a study, with what validation has chosen for it.

    None if it has no baseline, or several: by the columns of its table, or by what is chosen on each dataset.
    """
    settings = settings_by_dataset(study) if study.base else {}
    found = {s for s in settings if all(study.base.get(name, level) == level for name, level in s)}
    if study.choose and found:
        points = [choice.chosen.values for choice in choices(study, records) if choice.chosen]
        found &= {s for s in found for values in points if all(values[name] == level for name, level in s)}
    return found.pop() if len(found) == 1 else None


def _best(means: Mapping[Setting, float | None], metric: Metric) -> Setting | None:
    there = {setting: mean for setting, mean in means.items() if mean is not None}
    choose = max if metric.better == "higher" else min
    return choose(there, key=there.__getitem__, default=None)


def middle(values: np.ndarray) -> np.ndarray:
    """The mean of the middle half of the values along the last axis, as scipy's `trim_mean` by a quarter."""
    cut = values.shape[-1] // 4
    return np.sort(values, axis=-1)[..., cut : values.shape[-1] - cut].mean(axis=-1)


def interquartile_mean(scores: Scores) -> tuple[float | None, Interval | None]:
    """The mean of the middle half of all scores, with its interval over other seeds.

    Seeds that each dataset has are drawn again, and with a seed its values on all datasets, which may share
    its luck. The percentiles are those with which means of so many seeds have intervals as wide as Student's
    (Hesterberg 2015).
    """
    datasets = dict.fromkeys(dataset for dataset, _ in scores)
    seeds = [
        seed
        for seed in dict.fromkeys(seed for _, seed in scores)
        if all((dataset, seed) in scores for dataset in datasets)
    ]
    if len(seeds) < FEWEST_SEEDS:
        return None, None
    values = np.array([[scores[dataset, seed] for dataset in datasets] for seed in seeds])
    mean = float(middle(values.ravel()))
    if not math.isfinite(mean):
        return None, None
    drawn = values[_drawn(len(seeds))].reshape(RESAMPLES, -1)
    tail = normal_sf(t_ppf(1 - ALPHA / 2, len(seeds) - 1) * math.sqrt(len(seeds) / (len(seeds) - 1)))
    ends = np.quantile(middle(drawn), [tail, 1 - tail], method="inverted_cdf")
    if not np.isfinite(ends).all() or ends[0] == ends[1]:
        return mean, None
    return mean, Interval(float(ends[0]), float(ends[1]))


@cache
def _drawn(seeds: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, seeds, (RESAMPLES, seeds))


def beats(metric: Metric, scores: Scores, others: Scores) -> Beats | None:
    """In which share of the seeds that both have the first scores are better; None for fewer than five seeds.

    Each seed counts once, with the mean over its datasets. The interval is that of Clopper and Pearson, with
    a number of seeds that need not be whole.
    """
    sign = 1 if metric.better == "higher" else -1
    by_seed: dict[Any, list[float]] = {}
    for place, value in scores.items():
        if place in others:
            is_better, is_equal = sign * value > sign * others[place], value == others[place]
            by_seed.setdefault(place[1], []).append(float(is_better) + float(is_equal) / 2)
    n = len(by_seed)
    if n < FEWEST_SEEDS:
        return None
    wins = float(sum(np.mean(each) for each in by_seed.values()))
    low = float(special.betaincinv(wins, n - wins + 1, ALPHA / 2)) if wins > 0 else 0.0
    high = float(special.betaincinv(wins + 1, n - wins, 1 - ALPHA / 2)) if wins < n else 1.0
    return Beats(wins / n, Interval(low, high), n)
