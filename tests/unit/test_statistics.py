"""Statistics, checked against textbook numbers, other implementations, and simulation."""

import math

import numpy as np
import pytest
import statsmodels.api as sm
from ablations.analysis import inference as statistics
from ablations.analysis.inference import Comparison, binomial_error, holm
from ablations.analysis.items import compare_items
from ablations.analysis.linear_model import LinearModel
from ablations.analysis.paired import compare_pairs
from ablations.analysis.sample_size import detectable, pairs_needed, power
from ablations.kinds import hits
from scipy import integrate, stats


def by_seed(differences) -> dict[int, float]:
    return dict(enumerate(map(float, differences)))


def test_a_t_interval_is_that_of_a_table():
    """t(0.975, 4) = 2.776: the mean of 1 to 5 is 3 ± 2.776 · 1.5811 / √5."""
    interval = statistics.t_interval([1, 2, 3, 4, 5])
    assert (interval.low, interval.high) == pytest.approx((3 - 1.963, 3 + 1.963), abs=1e-3)
    assert statistics.t_interval([1.0]) is None
    assert statistics.t_interval([2.0, 2.0]) is None


def test_intervals_have_their_nominal_coverage():
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
    found = compare_pairs([by_seed(second - first)])
    other = stats.ttest_rel(second, first)
    interval = other.confidence_interval()
    assert found.p == pytest.approx(other.pvalue)
    assert (found.interval.low, found.interval.high) == pytest.approx((interval.low, interval.high))
    # Hedges' correction for 5 degrees of freedom is 0.8408.
    d = np.mean(second - first) / np.std(second - first, ddof=1)
    assert found.effect == pytest.approx(0.8408 * d, rel=1e-4)


def test_the_rounding_of_a_record_does_not_count_as_variation():
    """One image of 360 is 0.277777 or 0.277778 points, depending on the two accuracies."""
    accuracies = [round(100 * right / 360, 6) for right in range(340, 352)]
    differences = [b - a for a, b in zip(accuracies[::2], accuracies[1::2], strict=True)]
    assert len(set(differences)) > 1
    assert compare_pairs([by_seed(differences)]).p is None


def test_differences_that_do_not_vary_are_not_tested():
    assert compare_pairs([by_seed([0.0] * 3)]) == Comparison(3, 3, "seeds", 0.0, None, None)
    assert compare_pairs([by_seed([0.1] * 3)]).p is None, "three times the same float"
    assert compare_pairs([by_seed([1.5])]).p is None
    settings = [by_seed([1.5, 1.5]), by_seed([9.0, 9.0])]
    assert compare_pairs(settings).p is None, "the settings differ, not the seeds"
    model = LinearModel(np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 1.0], [1.0, 1.0]]), np.array([1.0, 1, 2, 2]))
    assert model.compare(np.array([0.0, 1.0])) == Comparison(
        0, 4, "model", pytest.approx(1.0), None, None, by_seeds=False
    )


def test_settings_are_not_replicates_of_each_other():
    """If each setting has each seed, it is the t test of the seeds' means."""
    draw = np.random.default_rng(3)
    differences = draw.normal(1, 0.5, (4, 3)) + np.array([[0.0], [4.0], [-3.0], [9.0]])
    found = compare_pairs(list(map(by_seed, differences)))
    other = stats.ttest_1samp(differences.mean(axis=0), 0)
    interval = other.confidence_interval()
    assert (found.pairs, found.units, found.noise) == (12, 3, "seeds")
    assert found.difference == pytest.approx(differences.mean())
    assert found.p == pytest.approx(other.pvalue)
    assert (found.interval.low, found.interval.high) == pytest.approx((interval.low, interval.high))


def test_with_one_pair_in_each_the_noise_is_between_settings():
    differences = [1.0, 2.0, 4.0]
    found = compare_pairs([by_seed([each]) for each in differences])
    assert found.p == pytest.approx(stats.ttest_1samp(differences, 0).pvalue)
    assert (found.units, found.noise) == (3, "settings")


def test_settings_with_one_seed_are_left_out_if_another_has_several():
    """They do not show the noise of seeds, and their luck would count as an effect."""
    repeated = [{0: 1.0, 1: 1.5, 2: 0.5}, {0: 2.0, 1: 2.5, 2: 1.0}]
    found = compare_pairs([*repeated, {0: 9.0}, {1: 9.0}])
    assert found == compare_pairs(repeated)
    assert (found.pairs, found.units, found.noise) == (6, 3, "seeds")


UNBALANCED = [{0: 1.0, 1: 2.0}, {1: 3.0, 2: 5.0}, {0: 2.0, 1: 1.0, 2: 4.0}]


def test_unbalanced_seeds_have_the_cluster_robust_error_of_a_direct_computation():
    """CR2 as Pustejovsky and Tipton (2018) write it, with the inverse roots of whole matrices."""
    seeds = [seed for each in UNBALANCED for seed in each]
    setting = np.repeat(range(3), list(map(len, UNBALANCED)))
    values = np.array([v for each in UNBALANCED for v in each.values()])
    rows = np.eye(3)[setting]
    inverse = np.linalg.inv(rows.T @ rows)
    contrast = np.bincount(setting) / len(values)
    rest = np.eye(len(values)) - rows @ inverse @ rows.T
    of_clusters, variance = [], 0.0
    for seed in range(3):
        own = [i for i, s in enumerate(seeds) if s == seed]
        sizes, directions = np.linalg.eigh(rest[np.ix_(own, own)])
        root = directions @ np.diag(sizes**-0.5) @ directions.T
        of_clusters.append(rest[own].T @ root @ rows[own] @ inverse @ contrast)
        variance += float(of_clusters[-1] @ values) ** 2
    together = np.equal.outer(seeds, seeds)
    dfs = []
    for working in (np.eye(len(values)), together):
        gram = np.array([[a @ working @ b for b in of_clusters] for a in of_clusters])
        dfs.append(np.trace(gram) ** 2 / np.sum(gram**2))
    found = compare_pairs(UNBALANCED)
    half = stats.t.ppf(0.975, min(dfs)) * math.sqrt(variance)
    assert found.difference == pytest.approx(values.mean())
    assert found.interval.high - found.difference == pytest.approx(half)
    assert found.p == pytest.approx(2 * stats.t.sf(values.mean() / math.sqrt(variance), min(dfs)))


def test_a_linear_model_is_statsmodels():
    draw = np.random.default_rng(2)
    rows = np.column_stack([np.ones(12), draw.integers(0, 2, (12, 3))])
    values = rows @ [90, 1, -1, 0.5] + draw.normal(0, 0.3, 12)
    found = LinearModel(rows, values).compare(np.array([0.0, 1, -1, 0]))
    other = sm.OLS(values, rows).fit().t_test([0.0, 1, -1, 0])
    assert found.difference == pytest.approx(other.effect[0])
    assert found.p == pytest.approx(float(other.pvalue))
    assert (found.interval.low, found.interval.high) == pytest.approx(tuple(other.conf_int()[0]))
    twice = LinearModel(np.column_stack([rows, rows[:, 1]]), values)
    assert twice.compare(np.array([0.0, 1, 0, 0, 0])) is None, "the two columns are aliased"
    assert twice.compare(np.array([0.0, 1, -1, 0, 1])).p == pytest.approx(found.p)
    assert LinearModel(rows[:4], values[:4]).compare(np.array([0.0, 1, 0, 0])) is None, (
        "no residual degrees of freedom are left"
    )


def test_a_linear_model_of_several_seeds_is_the_test_of_each_seeds_model():
    draw = np.random.default_rng(4)
    points = np.column_stack([np.ones(6), draw.integers(0, 2, (6, 2))])
    values = draw.normal(90, 1, (3, 6)) + draw.normal(0, 5, (3, 1))
    found = LinearModel(np.tile(points, (3, 1)), values.ravel(), seeds=[0] * 6 + [1] * 6 + [2] * 6)
    each = [float(np.linalg.lstsq(points, of_seed, rcond=None)[0][1]) for of_seed in values]
    comparison = found.compare(np.array([0.0, 1, 0]))
    assert comparison.difference == pytest.approx(np.mean(each))
    assert comparison.p == pytest.approx(stats.ttest_1samp(each, 0).pvalue)
    assert comparison.units == 3


def test_a_linear_model_uses_seeds_only_if_each_has_every_point():
    """As in an unfinished study. With noise alone, one test in twenty is significant."""
    square = [(i, j, (i + j) % 3) for i in range(3) for j in range(3)]
    rows = np.array([[1, *(float(x == level) for x in point for level in (1, 2))] for point in square])
    draw, wrong = np.random.default_rng(0), []
    seeds = [0] * 9 + [1, 1, 1, 2, 2, 2]
    every = np.vstack([rows, rows[:3], rows[:3]])
    for _ in range(300):
        model = LinearModel(every, draw.normal(90, 1, 15), seeds, list(range(15)))
        wrong.append(model.compare(np.array([0.0, 1, 0, 0, 0, 0, 0])).p < 0.05)
    assert np.mean(wrong) <= 0.08
    assert LinearModel(rows[:3], np.array([1.0, 2, 3]), [1, 2, 1]).compare(rows[0] - rows[1]) is None


def test_duplicate_settings_count_once():
    differences = [by_seed([d]) for d in (1.0, 2.0, 4.0)]
    once = compare_pairs(differences)
    twice = compare_pairs(differences * 2, [0, 1, 2] * 2)
    assert (twice.pairs, twice.units) == (6, 3)
    assert (twice.difference, twice.p) == pytest.approx((once.difference, once.p))
    # If only some are duplicates, the difference is still the mean of all.
    some = compare_pairs([by_seed([d]) for d in (0.0, 0.0, 0.0, 10.9, 11.8, 14.8)], [0, 0, 0, 1, 2, 3])
    assert (some.units, some.difference) == (4, pytest.approx(6.25))


def test_duplicates_count_once_in_a_linear_model():
    draw = np.random.default_rng(5)
    rows = np.column_stack([np.ones(12), draw.integers(0, 2, (12, 3))])
    values = draw.normal(90, 1, 12)
    once = LinearModel(rows, values)
    twice = LinearModel(np.tile(rows, (2, 1)), np.tile(values, 2), alike=list(range(12)) * 2)
    one, other = (model.compare(np.array([0.0, 1, -1, 0])) for model in (once, twice))
    assert (twice.units, twice.df) == (12, pytest.approx(once.df))
    assert other.difference == pytest.approx(one.difference)
    assert other.p == pytest.approx(one.p)


@pytest.mark.parametrize(("effect", "n"), [(0.5, 10), (-1.2, 5), (3.0, 3), (-0.1, 30)])
def test_the_interval_of_an_effect_is_that_of_the_noncentral_t(effect, n):
    """At either end, the observed t is at the 2.5 % tail."""
    unit = np.resize([1.0, -1.0], n) - np.resize([1.0, -1.0], n).mean()
    unit /= np.std(unit, ddof=1)
    found = compare_pairs([by_seed(unit + effect)])
    t = effect * math.sqrt(n)
    low, high = (end * math.sqrt(n) for end in (found.effect_interval.low, found.effect_interval.high))
    assert stats.nct.sf(abs(t), n - 1, low if t > 0 else -high) == pytest.approx(0.025, rel=1e-4)
    assert stats.nct.cdf(abs(t), n - 1, high if t > 0 else -low) == pytest.approx(0.025, rel=1e-4)
    assert low < t < high


def test_mcnemar_is_the_binomial_test_of_the_differing_images():
    """Ten images are correct in the first run only, and two in the second only."""
    first, second = np.ones(100, bool), np.ones(100, bool)
    second[:10] = False
    first[10:12] = False
    found = compare_items([(("it", first), ("it", second))])
    assert found.difference == pytest.approx(-8.0)
    assert found.p == pytest.approx(stats.binomtest(2, 12).pvalue)
    # Agresti & Min 2005: half an image more in each of the four cells, of which two differ.
    half = 1.96 * math.sqrt((13 / 102 - (8 / 102) ** 2) / 102)
    assert (found.interval.low, found.interval.high) == pytest.approx(
        (-8 - 100 * half, -8 + 100 * half), abs=2e-2
    )
    same = compare_items([(("it", first), ("it", first))])
    assert same.p == 1
    assert -3 < same.interval.low < 0 < same.interval.high < 3


@pytest.mark.parametrize("items", [7, 20, 100, 360])
def test_the_interval_of_two_runs_contains_zero_where_p_is_not_significant(items):
    draw = np.random.default_rng(items)
    for _ in range(100):
        first, second = draw.random((2, items)) < draw.random((2, 1))
        found = compare_items([(("it", first), ("it", second))])
        assert (found.interval.low <= 0 <= found.interval.high) == (found.p >= 0.05)
        assert -100 <= found.interval.low <= found.interval.high <= 100


def test_images_of_two_test_sets_are_two_samples():
    draw = np.random.default_rng(0)
    first, second = draw.random(10_000) < 0.95, draw.random(10_000) < 0.94
    found = compare_items([(("one", first), ("other", second))])
    p, q = first.mean(), second.mean()
    error = math.sqrt((p * (1 - p) + q * (1 - q)) / 10_000)
    assert found.difference == pytest.approx(100 * (q - p))
    assert found.p == pytest.approx(2 * stats.norm.sf(abs(q - p) / error), rel=0.01)


def test_an_image_is_one_observation_over_many_runs():
    """The same pair twice adds no information; a pair on other images does."""
    draw = np.random.default_rng(1)
    first, second = draw.random(10_000) < 0.95, draw.random(10_000) < 0.945
    pair, elsewhere = (("it", first), ("it", second)), (("other", first), ("other", second))
    once, twice, wider = (
        compare_items([pair]),
        compare_items([pair, pair]),
        compare_items([pair, elsewhere]),
    )
    width = lambda found: found.interval.high - found.interval.low
    assert width(twice) == pytest.approx(width(once), rel=0.02)
    assert twice.p == pytest.approx(once.p, rel=0.2)
    assert width(wider) == pytest.approx(width(once) / math.sqrt(2), rel=0.02)


def test_holm_gives_textbook_values():
    """Holm 1979: the smallest times 4, the next times 3, and so on, without decreasing."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@pytest.mark.parametrize("count", [1, 2, 7, 30])
def test_holm_is_statsmodels(count):
    from statsmodels.stats.multitest import multipletests

    ps = np.random.default_rng(count).random(count) ** 3
    assert holm(list(ps)) == pytest.approx(multipletests(ps, method="holm")[1])


@pytest.mark.parametrize("effect", [0.2, 0.39, 0.5, 0.71, 1.0, 2.0, 3.27, 8.63, -0.8])
@pytest.mark.parametrize("tests", [1, 2, 10])
def test_the_pairs_needed_are_the_fewest_with_the_power(effect, tests):
    """An independent method: integration over the distribution of the sample standard deviation."""

    def integrated(n: int) -> float:
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
    assert integrated(needed) >= 0.8
    assert needed == 2 or integrated(needed - 1) < 0.8


@pytest.mark.parametrize(("units", "tests"), [(2, 3), (3, 1), (3, 3), (10, 3)])
def test_what_is_detectable_takes_that_many_units(units, tests):
    effect = detectable(units, tests)
    assert power(effect, units, tests) == pytest.approx(0.8)
    assert pairs_needed(effect * 1.001, tests) == units


def test_two_seeds_have_no_effect_size():
    found = compare_pairs([{0: 1.0, 1: 1.2}])
    assert found.p is not None
    assert (found.effect, found.effect_interval) == (None, None)


def test_cohens_table():
    """Cohen 1988, paired, power 0.80: d = 0.5 takes 34 pairs (33.4), d = 0.8 takes 15 (14.3)."""
    assert (pairs_needed(0.5), pairs_needed(0.8)) == (34, 15)
    assert pairs_needed(0) is None
    assert pairs_needed(0.001) is None
    assert 8192 < pairs_needed(0.0306) < 10_000


# --- which images are correct ---------------------------------------------------------------------


@pytest.mark.parametrize("images", [1, 7, 8, 360, 10_000])
def test_a_mask_survives_packing(images):
    mask = np.random.default_rng(images).random(images) < 0.9
    text = hits.pack(mask)
    assert np.array_equal(hits.unpack(text, images), mask)
    assert "\t" not in text


@pytest.mark.parametrize(
    "text", ["", "no base64!", hits.pack(np.ones(16, bool)), hits.pack(np.ones(10**6, bool)), "AAAA"]
)
def test_an_invalid_mask_is_an_error(text):
    with pytest.raises(ValueError, match="it "):
        hits.unpack(text, 360)
