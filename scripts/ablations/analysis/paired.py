"""Paired comparisons: the test of differences by the seeds, or by the settings, that they come from."""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ablations.analysis.distributions import t_sf
from ablations.analysis.effect_size import LARGEST_T, effect_interval, hedges
from ablations.analysis.inference import ROUNDING, Comparison, Noise, student_interval

# With fewer degrees of freedom, as of two seeds, an effect size says nothing: its estimate has no mean.
FEWEST_DF = 1.99


class MeanEstimate(NamedTuple):
    """A mean, its standard error, and their degrees of freedom; arrays where many samples were given."""

    mean: np.ndarray
    error: np.ndarray
    df: float


def compare_pairs(
    differences: Sequence[Mapping[Hashable, float]],
    alike: Sequence[Hashable] | None = None,
    sized: bool = True,
) -> Comparison:
    """The paired test of differences, at least one, given by setting and seed.

    The units are the seeds, because all pairs of a seed share part of its noise, and because an effect that
    varies between settings is not noise. Only settings with several seeds show that noise: the others are
    left out. If no setting has several seeds, the units are the settings. Settings with the same label in
    `alike` are duplicates and count as one unit. The effect size takes most of the time; `sized` asks for it.
    """
    repeated = [of_setting for of_setting in differences if len(of_setting) > 1]
    noise: Noise = "seeds" if repeated else "settings"
    if repeated:
        seeds = {seed: i for i, seed in enumerate(dict.fromkeys(s for each in repeated for s in each))}
        table = np.full((len(repeated), len(seeds)), np.nan)
        for row, of_setting in zip(table, repeated, strict=True):
            row[[seeds[seed] for seed in of_setting]] = list(of_setting.values())
        pairs, units, found = sum(map(len, repeated)), len(seeds), judge_by_seeds(table)
        of_units = np.nansum(table, axis=0) * units / pairs
    else:
        values = [value for of_setting in differences for value in of_setting.values()]
        labels = range(len(values)) if alike is None else alike
        places = {label: i for i, label in enumerate(dict.fromkeys(labels))}
        units_of = [places[label] for label in labels]
        counts = np.bincount(units_of)
        means = np.bincount(units_of, values) / counts
        pairs, units, found = len(values), len(places), judge_by_units(means, counts)
        of_units = means * counts * units / pairs
    mean, error, df = float(found.mean), float(found.error), found.df
    sd = error * math.sqrt(units)
    if sd <= ROUNDING:
        return Comparison(pairs, units, noise, mean, None, None)
    t = mean / error
    tested = Comparison(
        pairs, units, noise, mean, student_interval(mean, error, df),
        p=2 * t_sf(abs(t), df), error=error, df=df, values=tuple(of_units.tolist()),
    )  # fmt: skip
    if df < FEWEST_DF or not sized:
        return tested
    of_effect = effect_interval(t, units, df) if abs(t) <= LARGEST_T else None
    return replace(tested, effect=hedges(df) * mean / sd, effect_interval=of_effect)


def judge_by_seeds(differences: np.ndarray) -> MeanEstimate:
    """The mean of differences, an array of shape (..., settings, seeds), with a cluster-robust error.

    All samples lack the same values, which are NaN, and each setting has at least two. The error is CR2,
    with one cluster per seed and one mean per setting, and the degrees of freedom are those of Bell and
    McCaffrey (2002). Of their two values, for seeds whose pairs share no noise and for seeds whose pairs
    share all of it, it is the smaller one. If each setting has each seed, all of this is the t test of the
    seeds' means.
    """
    there = ~np.isnan(differences.reshape(-1, *differences.shape[-2:])[0])
    counts, total = there.sum(axis=1), there.sum()
    of_settings = np.nanmean(differences, axis=-1, keepdims=True)
    leverage = 1 / np.sqrt(1 - 1 / counts)
    shares = np.nansum((differences - of_settings) * leverage[:, None], axis=-2) / total
    # The covariances of the shares, times total²: without noise in common, and with all noise in common.
    present = there.astype(float)
    apart = np.diag(present.sum(axis=0)) - _off_diagonal((present.T / (counts - 1)) @ present)
    roots = np.diag(present.T @ leverage) - (present.T * (leverage / counts)) @ present
    df = min(_satterthwaite(apart), _satterthwaite(roots @ roots.T))
    mean = np.nansum(differences, axis=(-2, -1)) / total
    return MeanEstimate(mean, np.sqrt(np.sum(shares**2, axis=-1)), df)


def _off_diagonal(matrix: np.ndarray) -> np.ndarray:
    return matrix - np.diag(np.diag(matrix))


def _satterthwaite(covariances: np.ndarray) -> float:
    """The degrees of freedom of a sum of squares whose terms have these covariances (Satterthwaite 1946)."""
    return float(np.trace(covariances) ** 2 / np.sum(covariances**2))


def judge_by_units(values: np.ndarray, counts: np.ndarray) -> MeanEstimate:
    """The mean of independent units, an array of shape (..., units), weighted by how often each occurs.

    The error and degrees of freedom are those of `judge_by_seeds`, for one mean of all. If the counts are
    equal, it is the t test of the units.
    """
    weights = counts / counts.sum()
    mean = values @ weights
    if len(counts) < 2:
        return MeanEstimate(mean, np.zeros_like(mean), 1.0)
    spread = 1 - 2 * weights + np.sum(weights**2)
    shares = weights * (values - mean[..., None]) / np.sqrt(spread)
    roots = (weights / np.sqrt(spread))[:, None] * (np.eye(len(counts)) - weights)
    return MeanEstimate(mean, np.sqrt(np.sum(shares**2, axis=-1)), _satterthwaite(roots @ roots.T))
