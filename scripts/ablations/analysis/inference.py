"""What is an effect and what is noise: intervals, paired comparisons, and how many runs one would take.

Accuracies are in percent, their differences in points. All intervals and tests are at 95 %.
"""

import math
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from scipy import optimize, stats

CONFIDENCE = 0.95
ALPHA = 1 - CONFIDENCE
POWER = 0.8
# A record holds six decimals: what differs by less is the same.
ROUNDING = 2e-6
# What is less than this in a model matrix is nothing.
RANK = 1e-6
# Of larger ones, the interval of the effect says nothing that the effect does not.
LARGEST_T = 1000.0
# More pairs than these nobody will train.
MOST_PAIRS = 10_000


@dataclass(frozen=True)
class Interval:
    """A confidence interval."""

    low: float
    high: float


def t_interval(values: Sequence[float]) -> Interval | None:
    """Student's interval of the mean of independent values; None for fewer than two."""
    if len(values) < 2:
        return None
    half = stats.t.ppf(1 - ALPHA / 2, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values))
    mean = float(np.mean(values))
    return Interval(mean - float(half), mean + float(half))


def binomial_error(accuracy: float, images: int) -> float:
    """The standard error, in points, that an accuracy in percent has by the choice of its test images."""
    return math.sqrt(accuracy * (100 - accuracy) / images)


# What a comparison is judged by: what its differences vary by. Seeds, where settings have several; settings
# of all else, where they have one; test images, for single runs; and where no pairs differ in one thing
# alone, the residuals of a model of all main effects.
Noise = Literal["seeds", "settings", "images", "model"]


@dataclass(frozen=True)
class Comparison:
    """Two levels compared over pairs that differ in nothing else: `difference` is second less first.

    `units` is how many of what it is judged by there are. `p` is two-sided. `effect` is the mean
    difference in standard deviations of the units' (Cohen's d of paired samples). They are None
    where the differences have no spread to judge by.
    """

    pairs: int
    units: int
    noise: Noise
    difference: float
    interval: Interval | None
    p: float | None
    effect: float | None = None
    effect_interval: Interval | None = None


def compare_pairs(
    differences: Sequence[Mapping[Hashable, float]], alike: Sequence[Hashable] | None = None
) -> Comparison:
    """Student's paired test of differences, at least one, given by setting and seed.

    The units are the seeds: all pairs of a seed share its luck, however many settings there are, and what
    an effect differs by from one setting to the other is no noise. (Cluster-robust; where each seed is in
    each setting it is the test of the seeds' means.) Where less than half of the settings have several
    seeds, the units are the settings; those of one label in `alike` are one unit.
    """
    count = sum(map(len, differences))
    mean = sum(sum(of_setting.values()) for of_setting in differences) / count
    repeated = [of_setting for of_setting in differences if len(of_setting) > 1]
    noise: Noise = "seeds" if 2 * len(repeated) >= len(differences) else "settings"
    # Unit -> what it adds to the mean, less what all add on average.
    shares: dict[Hashable, float] = defaultdict(float)
    if noise == "seeds":
        within = sum(map(len, repeated))
        for of_setting in repeated:
            of_it = sum(of_setting.values()) / len(of_setting)
            for seed, difference in of_setting.items():
                shares[seed] += (difference - of_it) / within
    else:
        means = [sum(of_setting.values()) / len(of_setting) for of_setting in differences]
        mean = sum(means) / len(means)
        for of_it, label in zip(means, range(len(means)) if alike is None else alike, strict=True):
            shares[label] += (of_it - mean) / len(means)
    units = len(shares)
    sd = units * math.sqrt(sum(share**2 for share in shares.values()) / (units - 1)) if units > 1 else 0.0
    found = partial(Comparison, count, units, noise, mean)
    if sd <= ROUNDING:
        return found(None, None)
    t = mean / (sd / math.sqrt(units))
    half = float(stats.t.ppf(1 - ALPHA / 2, units - 1)) * sd / math.sqrt(units)
    p = float(2 * stats.t.sf(abs(t), units - 1))
    effect_interval = _effect_interval(t, units) if abs(t) <= LARGEST_T else None
    return found(Interval(mean - half, mean + half), p, mean / sd, effect_interval)


def _effect_interval(t: float, n: int) -> Interval:
    """Of Cohen's d of paired samples, from the noncentral t distribution (Cumming & Finch 2001)."""

    def noncentrality(probability: float) -> float:
        """Where a noncentral t falls short of |t| with that probability."""
        above = abs(t) + 1
        while _falls_short(abs(t), n - 1, above) > probability:
            above *= 2
        return optimize.brentq(lambda nc: _falls_short(abs(t), n - 1, nc) - probability, -10.0, above)

    low, high = (noncentrality(p) / math.sqrt(n) for p in (1 - ALPHA / 2, ALPHA / 2))
    return Interval(low, high) if t > 0 else Interval(-high, -low)


def _falls_short(t: float, df: int, noncentrality: float) -> float:
    """The probability that a noncentral t is below `t`, at least 0."""
    found = float(stats.nct.cdf(t, df, noncentrality))
    # In its far tails the distribution is not computed, and its value is known.
    return found if math.isfinite(found) else float(noncentrality < t)


Hits = tuple[Hashable, np.ndarray]


def compare_images(pairs: Sequence[tuple[Hits, Hits]]) -> Comparison:
    """Single runs, by the test images that each got right; says nothing of other seeds.

    Each run is its test set's name and a boolean array of shape (images,). One pair on the same images is
    McNemar's exact test; otherwise an image's answers to all pairs are one observation, and p is of their
    mean, by its normal approximation. The interval is Wald's of two images more, that one run alone gets
    right each: so runs of equal answers have one too (after Agresti & Min 2005).
    """
    # Test set -> what each of its images adds to the difference.
    scores: dict[Hashable, np.ndarray] = {}
    for sides in pairs:
        for sign, (test_set, hits) in zip((-1, 1), sides, strict=True):
            scores[test_set] = scores.get(test_set, 0.0) + sign / len(pairs) * hits
    share = sum(float(np.mean(of_set)) for of_set in scores.values())
    error = math.sqrt(
        sum((float(np.sum((s - np.mean(s)) ** 2)) + 1) / (len(s) + 2) ** 2 for s in scores.values())
    )
    half = float(stats.norm.ppf(1 - ALPHA / 2)) * error
    if len(pairs) == len(scores) == 1:
        from statsmodels.stats.contingency_tables import mcnemar

        (of_set,) = scores.values()
        only_first, only_second = int(np.sum(of_set < 0)), int(np.sum(of_set > 0))
        p = float(mcnemar([[0, only_first], [only_second, 0]], exact=True).pvalue)
    else:
        p = float(2 * stats.norm.sf(abs(share) / error))
    interval = Interval(100 * (share - half), 100 * (share + half))
    images = sum(map(len, scores.values()))
    return Comparison(len(pairs), images, "images", 100 * share, interval, p)


class LinearModel:
    """A linear model of `values`, by ordinary least squares.

    `rows` is the model matrix, of shape (values, coefficients); it need not have full rank. `seeds` are
    those of the values. Where there are several, and each at every point, it is they that judge, as in
    `compare_pairs`; else it is the residuals, of which values of one label in `alike` have one: what does
    nothing makes twins.
    """

    def __init__(
        self,
        rows: np.ndarray,
        values: np.ndarray,
        seeds: Sequence[Hashable] | None = None,
        alike: Sequence[Hashable] | None = None,
    ) -> None:
        self._inverse = np.linalg.pinv(rows)
        self.coefficients = self._inverse @ values
        self._known = self._inverse @ rows  # onto what the rows determine
        self._residuals = values - rows @ self.coefficients
        self.seeds = len(set(seeds or ())) if _each_everywhere(rows, seeds or ()) else 1
        labels = seeds if self.seeds > 1 else alike
        labels = range(len(rows)) if labels is None else labels
        places = {label: i for i, label in enumerate(dict.fromkeys(labels))}
        self._labels = np.array([places[label] for label in labels])
        self.units, self.df, self.sd = len(places), 0.0, 0.0
        if self.seeds > 1:
            self.df = self.seeds - 1.0
            return
        # What is left over: the traces of Z'(1 - H)Z and of its square, for labels Z (values, units).
        # Without twins that is values less rank; degrees of freedom with them are Satterthwaite's (1946).
        count = self._by_label(np.ones(len(rows)))
        of_rows = np.array([self._by_label(column) for column in rows.T])
        of_inverse = np.array([self._by_label(row) for row in self._inverse])
        hat = of_inverse @ of_rows.T
        free = len(rows) - float(np.trace(hat))
        spread = float(np.sum(count**2) - 2 * np.sum(count * of_rows * of_inverse) + np.sum(hat * hat.T))
        if free > RANK:
            self.df = free**2 / spread
            self.sd = math.sqrt(float(np.sum(self._residuals**2)) / free)

    def _by_label(self, values: np.ndarray) -> np.ndarray:
        return np.bincount(self._labels, values, self.units)

    def compare(self, contrast: np.ndarray) -> Comparison | None:
        """The difference that is this combination of coefficients.

        None where the values do not determine it, or leave nothing over to judge it by.
        """
        if not self.df or not np.allclose(contrast @ self._known, contrast, atol=RANK):
            return None
        difference = float(contrast @ self.coefficients)
        weights = contrast @ self._inverse
        if self.seeds > 1:
            shares = self._by_label(weights * self._residuals)
            error = math.sqrt(self.seeds / (self.seeds - 1) * float(np.sum(shares**2)))
        else:
            error = self.sd * math.sqrt(float(np.sum(self._by_label(weights) ** 2)))
        found = partial(Comparison, 0, self.units, "model", difference)
        if error <= ROUNDING:
            return found(None, None)
        half = float(stats.t.ppf(1 - ALPHA / 2, self.df)) * error
        p = float(2 * stats.t.sf(abs(difference) / error, self.df))
        return found(Interval(difference - half, difference + half), p)


def _each_everywhere(rows: np.ndarray, seeds: Sequence[Hashable]) -> bool:
    """Whether each seed has the same rows, each as often."""
    of_seeds: dict[Hashable, list[tuple[float, ...]]] = defaultdict(list)
    for row, seed in zip(rows.tolist(), seeds, strict=False):
        of_seeds[seed].append(tuple(row))
    found = [sorted(of_seed) for of_seed in of_seeds.values()]
    return all(each == found[0] for each in found)


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given: all tests of a family hold together at 95 %."""
    if not ps:
        return []
    from statsmodels.stats.multitest import multipletests

    return [float(p) for p in multipletests(ps, alpha=ALPHA, method="holm")[1]]


def pairs_needed(effect: float, tests: int = 1) -> int | None:
    """Pairs with which a paired test shows an effect of that size with a power of 80 %.

    As the strictest of so many tests by Holm. None where it would take more than 10,000.
    """

    def power(pairs: int) -> float:
        # That the test finds the opposite is left out: it is far less likely than a power of interest.
        critical = float(stats.t.ppf(1 - ALPHA / tests / 2, pairs - 1))
        return 1 - _falls_short(critical, pairs - 1, abs(effect) * math.sqrt(pairs))

    low, high = 1, 2
    while power(high) < POWER:
        if high == MOST_PAIRS:
            return None
        low, high = high, min(2 * high, MOST_PAIRS)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(middle) >= POWER else (middle, high)
    return high
