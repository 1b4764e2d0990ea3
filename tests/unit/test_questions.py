"""What a study declares: margins, primary hyperparameters and tests, each against another computation."""

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pytest
import yaml
from ablations.analysis.effects import corrected, effects
from ablations.analysis.equivalence import largest_spread, with_margin
from ablations.analysis.inference import holm
from ablations.analysis.paired import compare_pairs
from ablations.analysis.paired_tests import (
    TESTS,
    _means_of_subsets,
    _wider,
    retested,
    smallest_p,
    units_to_reach,
)
from ablations.config.reading import load_config
from ablations.config.sections import ConfigError
from ablations.config.studies.study import parse_study
from ablations.presentation.design_table import in_words
from ablations.presentation.effects_table import effects_table
from ablations.presentation.figures.effects import effects_figure
from ablations.presentation.question_notes import TEST_NAMES
from denoiser import denoiser, measure
from scipy import stats
from statsmodels.stats.weightstats import ttost_paired
from test_design import PROJECT, study_of
from test_effects import noise, records_of, row

GRID = {"batch_size": [16, 32], "lr": [0.1, 0.2], "epochs": [1, 2]}


def asking(questions: dict, seeds: int = 5, grid: dict = GRID):
    study = study_of(grid, seeds=tuple(range(seeds)))
    return parse_study({**study.written, **questions})


def with_noise(study, sd: float = 0.2):
    """A batch size of 32 is worse by a point, and nothing else matters."""
    return records_of(study, lambda run: 90 - (run.value("batch_size") == 32) + noise(run, sd))


def compared(values, test="t"):
    return retested(compare_pairs([dict(enumerate(map(float, values)))], sized=False), test)


DIFFERENCES = [np.random.default_rng(seed).normal(0.3, 1, n) for seed, n in enumerate((6, 8, 9, 12))]


@pytest.mark.parametrize("values", DIFFERENCES, ids=len)
@pytest.mark.parametrize("margin", [0.1, 1.0])
def test_equivalence_is_that_of_statsmodels(values, margin):
    expected, _, _ = ttost_paired(values, np.zeros(len(values)), -margin, margin)
    found = with_margin(compared(values), margin)
    assert found.p_equivalent == pytest.approx(expected)
    assert found.p_equivalent_over_items is None
    # With equal levels of the largest spread, the test is just at its level.
    equal = values - values.mean()
    spread = largest_spread(margin, len(values), tests=3)
    at_limit = with_margin(compared(equal / equal.std(ddof=1) * spread), margin)
    assert at_limit.p_equivalent == pytest.approx(0.05 / 3)


def test_equivalence_for_other_items_too_has_their_noise():
    found = with_margin(compared(DIFFERENCES[0]).with_items(variance=0.5), 1.0)
    whole = stats.sem(DIFFERENCES[0]) ** 2 + 0.5
    df = 5 * (whole / stats.sem(DIFFERENCES[0]) ** 2) ** 2
    nearer = (1 - abs(DIFFERENCES[0].mean())) / whole**0.5
    assert found.p_equivalent_over_items == pytest.approx(stats.t.sf(nearer, df))
    assert found.p_equivalent_over_items > found.p_equivalent


@pytest.mark.parametrize("values", DIFFERENCES, ids=len)
def test_p_values_are_those_of_scipy(values):
    flipped = stats.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=2**12)
    assert compared(values, "permutation").p == pytest.approx(flipped.pvalue)
    assert compared(values, "wilcoxon").p == pytest.approx(stats.wilcoxon(values, method="exact").pvalue)


def test_ranks_with_ties_and_zeros_have_the_distribution_over_all_signs():
    values = np.array([0.0, 0.5, 0.5, 0.5, 1.0, 1.0, -0.5, 2.0])
    ranks = stats.rankdata(np.abs(values[1:])) * np.sign(values[1:])
    signs = np.array(np.meshgrid(*[[-1, 1]] * 7)).reshape(7, -1)
    sums = np.abs(ranks) @ signs
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert compared(values, "wilcoxon").p == pytest.approx(np.mean(np.abs(sums) >= abs(ranks.sum())))


def test_means_of_subsets_are_those_of_all_subsets():
    found = sorted(_means_of_subsets(np.array([1.0, 10.0, 100.0])))
    assert found == pytest.approx(sorted([1, 10, 100, 5.5, 50.5, 55, 37]))


@pytest.mark.parametrize("test", TESTS)
@pytest.mark.parametrize("values", DIFFERENCES, ids=len)
def test_an_interval_holds_what_its_test_does_not_refuse(test, values):
    interval = compared(values, test).interval
    for true, is_held in ((interval.low, False), (interval.high, True)):
        for step, expected in ((-0.03, is_held), (0.03, not is_held)):
            assert (compared(values - true - step, test).p >= 0.05) == expected


def test_the_bootstrap_is_that_of_scipy_with_wider_percentiles():
    values = DIFFERENCES[3]
    level = 1 - 2 * stats.norm.sf(stats.t.ppf(0.975, 11) * _wider(12))
    many = {"n_resamples": 200_000, "batch": 20_000, "method": "percentile", "rng": 1}
    expected = stats.bootstrap((values,), np.mean, confidence_level=level, **many).confidence_interval
    found = compared(values, "bootstrap").interval
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.05)


@pytest.mark.parametrize(
    ("test", "tests", "needed"),
    [("t", 1, 2), ("wilcoxon", 1, 6), ("wilcoxon", 10, 9), ("permutation", 1, 6), ("bootstrap", 1, 6)],
)
def test_too_few_units_are_never_significant(test, tests, needed):
    assert units_to_reach(test, tests) == needed
    for units in range(2, needed + 1) if test != "t" else ():
        all_alike = compared(np.linspace(1, 1.1, units), test)
        assert all_alike.p == pytest.approx(smallest_p(test, units), rel=0.01)
        assert (all_alike.p * tests < 0.05) == (units == needed)
        assert (all_alike.interval is None) == (smallest_p(test, units) > 0.05)


@pytest.mark.parametrize("test", ["wilcoxon", "permutation"])
def test_what_a_test_cannot_show_is_said_before_and_after(test):
    study = asking({"test": test})
    said = "which cannot be significant after Holm's correction over 3 tests; at least 7 are needed"
    assert f"with 5 seeds, the smallest p of {TEST_NAMES[test]} is 0.062, {said}" in in_words("it", study)
    [note] = [n for n in effects_table("it", study, with_noise(study)).notes if "cannot be significant" in n]
    assert note.startswith("With 5 seeds, ")
    assert note.endswith("; at least 7 are needed.")
    enough = asking({"test": test}, seeds=7)
    assert "after Holm's correction" not in in_words("it", enough)
    assert "values in bold: with 7 seeds" in in_words("it", enough), "more pairs are compared for these"
    assert row(effects_table("it", enough, with_noise(enough)), "batch_size")["verdict"].startswith("16 is")


def test_a_margin_tells_equivalent_from_undecided():
    study = asking({"margin": 0.5})
    table = effects_table("it", study, with_noise(study))
    assert row(table, "batch_size")["verdict"] == "16 is better (higher), for these test images"
    assert row(table, "lr")["verdict"] == "equivalent within 0.5 points, for these test images"
    assert float(row(table, "lr")["p_equivalent_holm"]) < 0.05
    wide = effects_table("it", asking({"margin": 5}), with_noise(study))
    small = "16 is better (higher), by less than 5 points, for these test images"
    assert row(wide, "batch_size")["verdict"] == small
    narrow = effects_table("it", asking({"margin": 0.01}), with_noise(study))
    assert row(narrow, "lr")["verdict"].startswith("undecided; differences above ")
    assert "p_equivalent_holm" not in effects_table("it", asking({}), with_noise(study)).data


@pytest.mark.parametrize("margin", [None, 0.5])
def test_the_figure_of_effects_shows_the_margin(margin):
    study = asking({"margin": margin} if margin else {})
    figure = effects_figure(study, with_noise(study))
    spans = [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in figure.axes[0].patches]
    assert spans == ([(-margin, margin)] if margin else [])
    assert ("within the margin" in figure._supxlabel.get_text()) == bool(margin)
    plt.close("all")


def test_a_margin_of_times_is_a_ratio():
    study = denoiser(["run_time_ms"], depth=[4, 8], width=[8])
    study = parse_study({**study.written, "margin": 1.5}, {"denoiser": study.kind})
    found = measure(study, lambda run: {"run_time_ms": 100 * (1 + run.value("seed") / 100)})
    jitter = iter(np.random.default_rng(0).normal(1, 0.02, len(found)))
    found = {
        r: {**of, "run_time_ms": str(float(of["run_time_ms"]) * next(jitter))} for r, of in found.items()
    }
    table = effects_table("it", study, found)
    assert row(table, "depth", "run_time_ms")["verdict"] == "equivalent within ×1.5"
    [effect] = effects(study, found, "run_time_ms")
    logs = np.array(effect.comparison.values)
    expected, _, _ = ttost_paired(logs, np.zeros(5), -np.log(1.5), np.log(1.5))
    assert effect.comparison.p_equivalent == pytest.approx(expected)


def test_primary_hyperparameters_are_corrected_alone():
    study = asking({"primary": "lr"})
    found = list(effects(study, with_noise(study), "test_accuracy"))
    ps = {effect.factor: effect.comparison.p for effect in found}
    expected = dict(zip(("batch_size", "epochs"), holm([ps["batch_size"], ps["epochs"]]), strict=True))
    assert dict(zip(ps, corrected(study, found), strict=True)) == {**expected, "lr": ps["lr"]}
    table = effects_table("it", study, with_noise(study))
    assert row(table, "batch_size")["verdict"].startswith("exploratory: 16 is better")
    assert row(table, "lr")["verdict"].startswith("not significant")
    assert table.data["family"].tolist() == ["exploratory", "primary", "exploratory"]
    assert any("over 1 test of learning rate" in note for note in table.notes)
    assert any("The other 2 tests are exploratory" in note for note in table.notes)


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ({"margin": 0}, "margin: it holds 0; it may hold a number above 0"),
        ({"margin": True}, "margin: it holds true; it may hold a number"),
        ({"margin": float("nan")}, "margin: it holds nan; it may hold a finite number"),
        ({"margin": {"test_accuracy": "x"}}, "margin.test_accuracy: it holds 'x'; it may hold a number"),
        ({"margin": {"test_acc": 1}}, "margin.test_acc: the study does not analyse 'test_acc'; did you mean"),
        ({"margin": 1, "analyse": "gmacs"}, "margin: gmacs is exact, and its differences need no test"),
        (
            {"margin": 1, "analyse": ["test_accuracy", "train_time_ms"]},
            "margin: the study analyses 2 metrics; write a margin for each",
        ),
        (
            {"margin": {"train_time_ms": 0.5}, "analyse": ["test_accuracy", "train_time_ms"]},
            "margin.train_time_ms: train_time_ms is compared as a ratio; write a margin above 1",
        ),
        ({"primary": "optimiser"}, r"primary\[0\]: 'optimiser' is not a hyperparameter .* did you mean"),
        ({"primary": ["lr", "optimizer"]}, r"primary\[1\]: the grid has one level of optimizer"),
        ({"test": "wilcox"}, "test: it holds 'wilcox'; it may hold .* did you mean 'wilcoxon'"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_any_run(written, problem, tmp_path):
    study = study_of(GRID)
    layout = {"table": {"rows": list(GRID)}}
    (tmp_path / "config.yaml").write_text(
        yaml.safe_dump({"studies": {"s": {**study.written, **layout, **written}}})
    )
    files = [PROJECT / "config/datasets.yaml", tmp_path / "config.yaml"]
    with pytest.raises(ConfigError, match=f"^studies.s.{problem}") as caught:
        load_config(files, {}, PROJECT)
    assert len(str(caught.value).splitlines()) == 1
