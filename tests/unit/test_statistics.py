"""Statistics, held against textbooks' numbers, other implementations, and simulation."""

import math

import numpy as np
import pytest
from ablations import hits, statistics
from ablations.statistics import Interval, binomial_error, compare_images, compare_pairs, holm, pairs_needed
from scipy import integrate, stats


def test_a_t_interval_is_that_of_a_table():
    """t(0.975, 4) = 2.776: the mean of 1 to 5 is 3 ± 2.776 · 1.5811 / √5."""
    interval = statistics.t_interval([1, 2, 3, 4, 5])
    assert (interval.low, interval.high) == pytest.approx((3 - 1.963, 3 + 1.963), abs=1e-3)
    assert statistics.t_interval([1.0]) is None
    assert statistics.t_interval([2.0, 2.0]) == Interval(2.0, 2.0)


def test_intervals_cover_as_often_as_they_say():
    draw = np.random.default_rng(0)
    covered = sum(
        (interval := statistics.t_interval(list(draw.normal(90, 0.3, 3)))).low <= 90 <= interval.high
        for _ in range(2000)
    )
    assert 0.94 < covered / 2000 < 0.96


@pytest.mark.parametrize(
    ("accuracy", "images", "expected"), [(90, 10_000, 0.3), (99, 10_000, 0.0995), (50, 100, 5)]
)
def test_the_noise_floor_of_a_test_set(accuracy, images, expected):
    assert binomial_error(accuracy, images) == pytest.approx(expected, abs=1e-4)


def test_a_paired_comparison_is_scipys():
    draw = np.random.default_rng(1)
    first, second = draw.normal(90, 1, 6), draw.normal(91, 1, 6)
    found = compare_pairs(list(second - first))
    other = stats.ttest_rel(second, first)
    interval = other.confidence_interval()
    assert found.p == pytest.approx(other.pvalue)
    assert (found.interval.low, found.interval.high) == pytest.approx((interval.low, interval.high))
    assert found.effect == pytest.approx(np.mean(second - first) / np.std(second - first, ddof=1))


def test_the_rounding_of_a_record_is_no_spread():
    """One image of 360 is 0.277777 or 0.277778 points, by what it is the difference of."""
    accuracies = [round(100 * right / 360, 6) for right in range(340, 352)]
    differences = [b - a for a, b in zip(accuracies[::2], accuracies[1::2], strict=True)]
    assert len(set(differences)) > 1
    assert compare_pairs(differences).p is None


def test_without_spread_there_is_no_test():
    assert compare_pairs([0.0, 0.0, 0.0]) == statistics.Comparison(3, 0.0, None, None)
    assert compare_pairs([0.1] * 3).p is None, "three times the same float"
    assert compare_pairs([1.5]).p is None


@pytest.mark.parametrize(("effect", "n"), [(0.5, 10), (-1.2, 5), (3.0, 3), (-0.1, 30), (9.0, 2)])
def test_the_interval_of_an_effect_is_that_of_the_noncentral_t(effect, n):
    """At either end, what was seen lies just at the 2.5 % tail."""
    unit = np.resize([1.0, -1.0], n) - np.resize([1.0, -1.0], n).mean()
    unit /= np.std(unit, ddof=1)
    found = compare_pairs(list(unit + effect))
    assert found.effect == pytest.approx(effect)
    t = effect * math.sqrt(n)
    low, high = (end * math.sqrt(n) for end in (found.effect_interval.low, found.effect_interval.high))
    assert stats.nct.sf(abs(t), n - 1, low if t > 0 else -high) == pytest.approx(0.025, rel=1e-4)
    assert stats.nct.cdf(abs(t), n - 1, high if t > 0 else -low) == pytest.approx(0.025, rel=1e-4)
    assert low < t < high


def test_mcnemar_is_the_binomial_test_of_what_differs():
    """Ten images that only the first gets right, and two that only the second does."""
    first, second = np.ones(100, bool), np.ones(100, bool)
    second[:10] = False
    first[10:12] = False
    found = compare_images(first, second)
    assert found.difference == pytest.approx(-8.0)
    assert found.p == pytest.approx(stats.binomtest(2, 12).pvalue)
    half = 1.96 * math.sqrt((12 / 100 - 0.08**2) / 100)
    assert (found.interval.low, found.interval.high) == pytest.approx(
        (-8 - 100 * half, -8 + 100 * half), abs=1e-3
    )
    assert compare_images(first, first).p == 1


def test_holm_is_the_textbooks():
    """Holm 1979: the smallest times 4, the next times 3, and never falling."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@pytest.mark.parametrize("effect", [0.2, 0.39, 0.5, 0.71, 1.0, 2.0, 3.27, 8.63, -0.8])
@pytest.mark.parametrize("tests", [1, 2, 10])
def test_the_pairs_needed_have_the_power_and_one_fewer_has_not(effect, tests):
    """By another way than the code's: integrated over the standard deviation that a sample may have."""

    def power(n: int) -> float:
        critical, shift = stats.t.ppf(1 - 0.05 / tests / 2, n - 1), abs(effect) * math.sqrt(n)
        spread = stats.chi(n - 1, scale=1 / math.sqrt(n - 1))
        return integrate.quad(
            lambda s: (
                spread.pdf(s) * (stats.norm.sf(critical * s - shift) + stats.norm.cdf(-critical * s - shift))
            ),
            *spread.ppf([1e-12, 1 - 1e-12]),
            limit=500,
        )[0]

    needed = pairs_needed(effect, tests)
    assert power(needed) >= 0.8
    assert needed == 2 or power(needed - 1) < 0.8


def test_cohens_table():
    """Cohen 1988, paired, power 0.80: d = 0.5 takes 34 pairs (33.4), d = 0.8 takes 15 (14.3)."""
    assert (pairs_needed(0.5), pairs_needed(0.8)) == (34, 15)
    assert pairs_needed(0) is None
    assert pairs_needed(0.001) is None
    assert 8192 < pairs_needed(0.0306) < 10_000


# --- which images were right ---------------------------------------------------------------------


@pytest.mark.parametrize("images", [1, 7, 8, 360, 10_000])
def test_a_mask_comes_back(images):
    mask = np.random.default_rng(images).random(images) < 0.9
    text = hits.pack(mask)
    assert np.array_equal(hits.unpack(text, images), mask)
    assert "\t" not in text


@pytest.mark.parametrize(
    "text", ["", "no base64!", hits.pack(np.ones(16, bool)), hits.pack(np.ones(10**6, bool)), "AAAA"]
)
def test_a_strange_mask_is_refused(text):
    with pytest.raises(ValueError, match="it "):
        hits.unpack(text, 360)
