"""Ranks over datasets, against scipy's test and the published critical values, and their table and figure."""

import math

import matplotlib.pyplot as plt
import numpy as np
import pytest
from ablations.analysis.ranks import Ranks, critical_difference, friedman, ranks
from ablations.config.studies.rankings import is_ranked
from ablations.presentation.figures.ranks import ranks_figure
from ablations.presentation.ranks_table import ranks_table
from denoiser import denoiser
from scipy import stats
from test_design import study_of
from test_effects import noise, records_of
from test_tables import record

DATASETS = ["digits", "mnist", "kmnist", "fashion_mnist", "cifar10", "letters"]
BETTER = {"sgd": 3.0, "adam": 2.0, "adamw": 0.0}


def study(datasets=DATASETS, **grid):
    return study_of({"dataset": datasets, "optimizer": list(BETTER), **grid}, seeds=(0, 1))


def accuracy(run) -> float:
    return 60 + 5 * DATASETS.index(run.dataset) + BETTER[run.value("optimizer")] + noise(run, 0.2)


# Of Demšar (2006), table 5a: of so many settings, at 5 %.
@pytest.mark.parametrize(("settings", "quantile"), [(3, 2.343), (4, 2.569), (5, 2.728), (10, 3.164)])
def test_the_critical_difference_is_that_of_published_tables(settings, quantile):
    expected = quantile * math.sqrt(settings * (settings + 1) / (6 * 14))
    assert critical_difference(14, settings) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("ties", [False, True])
def test_the_test_of_all_settings_is_scipys_with_the_f_distribution(ties):
    values = np.random.default_rng(0).normal(size=(9, 4)) + np.arange(4) / 3
    values = np.round(values) if ties else values
    chi = stats.friedmanchisquare(*values.T).statistic
    of_ranks = np.array([stats.rankdata(row) for row in values])
    assert friedman(of_ranks) == pytest.approx(stats.f.sf(8 * chi / (9 * 3 - chi), 3, 24))


def test_equal_ranks_show_nothing_and_the_same_order_everywhere_is_clear():
    assert friedman(np.full((6, 3), 2.0)) == 1
    assert friedman(np.tile([1.0, 2.0, 3.0], (6, 1))) == 0


def test_settings_are_ranked_on_each_dataset_by_their_means():
    found = ranks(study(), records_of(study(), accuracy), "test_accuracy")
    assert [dict(setting)["optimizer"] for setting in found.settings] == ["sgd", "adam", "adamw"]
    assert (found.means, found.wins) == ((1, 2, 3), (6, 0, 0))
    assert (found.p, found.left_out) == (0, ())
    # The critical difference of three settings on six datasets is 1.35.
    assert (found.best, found.groups) == ({0, 1}, [(0, 1), (1, 2)])


def test_the_better_direction_of_the_metric_is_rank_1():
    records = {
        run: record(run, test_accuracy="90", train_loss=str(100 - accuracy(run))) for run in study().runs()
    }
    found = ranks(study(), records, "train_loss")
    assert [dict(setting)["optimizer"] for setting in found.settings] == ["sgd", "adam", "adamw"]
    equal = ranks(study(), records, "test_accuracy")
    assert (equal.means, equal.wins, equal.p) == ((2, 2, 2), (6, 6, 6), 1)
    assert (equal.best, equal.groups) == (frozenset(), [(0, 2)])


def made(means, critical: float, p: float = 0.0) -> Ranks:
    settings = tuple((("lr", mean),) for mean in means)
    return Ranks(settings, tuple(means), (0,) * len(means), (), (), 0, p, critical)


@pytest.mark.parametrize(
    ("means", "groups", "best"),
    [
        ((1, 2, 3.5, 5), [(0, 1), (1, 2), (2, 3)], {0, 1}),
        ((1, 3, 3.5, 5), [(1, 2), (2, 3)], {0}),
        ((1, 1, 1.5), [(0, 2)], set()),
        ((1, 3, 5), [], {0}),
    ],
)
def test_groups_are_the_largest_in_which_no_two_differ(means, groups, best):
    found = made(means, critical=1.6)
    assert (found.groups, found.best) == (groups, best)
    brute = {
        (i, j)
        for i in range(len(means))
        for j in range(i + 1, len(means))
        if means[j] - means[i] < 1.6
        and not (i and means[j] - means[i - 1] < 1.6)
        and not (j + 1 < len(means) and means[j + 1] - means[i] < 1.6)
    }
    assert set(found.groups) == brute
    assert made(means, critical=1.6, p=0.2).groups == [(0, len(means) - 1)]


def test_a_dataset_without_all_settings_is_left_out_and_a_diverged_run_is_last():
    every = records_of(study(), accuracy)
    lacking = {r: v for r, v in every.items() if (r.dataset, r.value("optimizer")) != ("mnist", "adam")}
    diverged = {
        run: record(run, status="diverged")
        if (run.dataset, run.value("optimizer"), run.value("seed")) == ("digits", "sgd", 1)
        else row
        for run, row in lacking.items()
    }
    found = ranks(study(), diverged, "test_accuracy")
    assert (found.left_out, found.diverged, len(found.datasets)) == (("mnist",), 1, 5)
    assert dict(zip((dict(s)["optimizer"] for s in found.settings), found.means, strict=True)) == {
        "sgd": (4 + 3) / 5, "adam": (8 + 1) / 5, "adamw": (12 + 2) / 5,
    }  # fmt: skip
    notes = ranks_table("it", study(), diverged).notes
    assert "Left out, because a setting has no completed run there: mnist." in notes
    assert "Ranked last on a dataset, because a run diverged there: 1 setting." in notes


def test_few_datasets_or_settings_are_not_ranked():
    assert is_ranked(study())
    assert not is_ranked(study(DATASETS[:4]))
    assert not is_ranked(study_of({"dataset": DATASETS, "optimizer": ["sgd", "adam"]}))
    assert not is_ranked(denoiser(["psnr"], depth=list(range(1, 9)), width=[8]))
    of_four = {run: row for run, row in records_of(study(), accuracy).items() if run.dataset in DATASETS[:4]}
    assert ranks(study(), of_four, "test_accuracy") is None
    table = ranks_table("it", study(), of_four)
    assert table.data.empty
    assert table.notes == ["Fewer than 5 datasets have a value of each setting. Ranks need as many."]


def test_the_table_has_the_best_in_bold_and_the_figure_joins_what_cannot_be_told_apart():
    records = records_of(study(), accuracy)
    table = ranks_table("it", study(), records)
    assert table.data["mean_rank"].tolist() == ["1.0000", "2.0000", "3.0000"]
    assert table.data["best"].tolist() == ["yes", "yes", ""]
    assert "**1.00**" in table.markdown()
    assert "**3.00**" not in table.markdown()
    [axis] = ranks_figure(study(), records).axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["sgd", "adam", "adamw"]
    joined = [tuple(np.round(line.get_ydata())) for line in axis.lines if line.get_linewidth() == 4]
    assert joined == [(0, 1), (1, 2)]
    plt.close("all")
