"""Profiles of many seeds, against scipy and direct computation, and their table and figure."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pytest
from ablations.analysis.profiles import beats, interquartile_mean, middle, profiles
from ablations.config.own_kinds import read_kinds
from ablations.config.studies.rankings import is_profiled
from ablations.config.studies.study import parse_study
from ablations.kinds.cnn import CNN
from ablations.presentation.figures.profiles import profiles_figure
from ablations.presentation.profiles_table import profiles_table
from ablations.presentation.tables import TABLES
from scipy import stats
from test_design import study_of
from test_effects import noise, records_of
from test_tables import record

SEEDS = tuple(range(6))
HIGHER, LOWER = CNN.metrics["test_accuracy"], CNN.metrics["train_loss"]
STUDY = study_of({"batch_size": [16, 32], "optimizer": ["sgd", "adam"]}, seeds=SEEDS)


def accuracy(run) -> float:
    return 90 + 2 * (run.value("optimizer") == "sgd") + noise(run, 0.3)


def scores(values: np.ndarray) -> dict:
    """Scores of an array of shape (datasets, seeds)."""
    return {place: float(value) for place, value in np.ndenumerate(values)}


@pytest.mark.parametrize("shape", [(1, 5), (1, 8), (3, 7)])
def test_the_middle_half_is_that_of_scipy(shape):
    values = np.random.default_rng(0).normal(size=shape)
    expected = stats.trim_mean(values.ravel(), 0.25)
    assert middle(values.ravel()) == pytest.approx(expected)
    mean, interval = interquartile_mean(scores(values))
    assert mean == pytest.approx(expected)
    assert interval.low < mean < interval.high


def test_the_interval_is_that_of_all_ways_to_draw_the_seeds():
    values = np.random.default_rng(1).normal(size=(2, 5))
    drawn = np.array(list(itertools.product(range(5), repeat=5)))
    every = stats.trim_mean(np.concatenate(values[:, drawn], axis=1), 0.25, axis=1)
    tail = stats.norm.sf(stats.t.ppf(0.975, 4) * (5 / 4) ** 0.5)
    interval = interquartile_mean(scores(values))[1]
    assert (interval.low, interval.high) == pytest.approx(np.quantile(every, [tail, 1 - tail]), abs=0.06)


def test_few_seeds_and_equal_values_have_no_interval():
    assert interquartile_mean(scores(np.ones((2, 4)))) == (None, None)
    assert interquartile_mean(scores(np.ones((2, 5)))) == (1, None)
    lacking = {place: value for place, value in scores(np.ones((2, 5))).items() if place != (1, 3)}
    assert interquartile_mean(lacking) == (None, None)


@pytest.mark.parametrize("wins", range(7))
def test_a_share_of_seeds_has_the_interval_of_clopper_and_pearson(wins):
    one, other = np.array([[1.0] * wins + [-1.0] * (6 - wins)]), np.zeros((1, 6))
    found = beats(HIGHER, scores(one), scores(other))
    expected = stats.binomtest(wins, 6).proportion_ci(method="exact")
    assert (found.share, found.seeds) == (wins / 6, 6)
    assert (found.interval.low, found.interval.high) == pytest.approx((expected.low, expected.high))
    assert beats(LOWER, scores(one), scores(other)).share == pytest.approx(1 - wins / 6)


def test_equal_values_count_half_and_a_seed_counts_once():
    one, other = (
        np.array([[1.0, 1, 0, 0, 0], [1, 0, 0, 0, 0]]),
        np.array([[0.0, 0, 1, 1, 1], [0, 1, 1, 1, 0]]),
    )
    assert beats(HIGHER, scores(one), scores(other)).share == pytest.approx((1 + 0.5 + 0 + 0 + 0.25) / 5)
    assert beats(HIGHER, scores(one[:, :4]), scores(other)) is None, "of four seeds"


@pytest.mark.parametrize(("baseline", "reference"), [({}, "sgd"), ({"optimizer": "adam"}, "adam")])
def test_the_reference_is_the_baseline_or_the_best(baseline, reference):
    study = study_of({"optimizer": ["sgd", "adam"]}, seeds=SEEDS)
    study = parse_study({**study.written, **({"baseline": baseline} if baseline else {})})
    found = profiles(study, records_of(study, accuracy), "test_accuracy")
    [is_it, other] = sorted(found, key=lambda each: not each.is_reference)
    assert dict(is_it.setting)["optimizer"] == reference
    assert is_it.beats is None
    assert other.beats.share == (reference == "adam")


def test_a_table_with_a_baseline_in_each_column_has_the_best_as_reference():
    layout = {"table": {"rows": ["batch_size"], "columns": "optimizer"}, "baseline": {"batch_size": 16}}
    study = parse_study({**STUDY.written, **layout})
    [reference] = [e for e in profiles(study, records_of(study, accuracy), "test_accuracy") if e.is_reference]
    assert dict(reference.setting)["optimizer"] == "sgd"
    notes = profiles_table("it", study, records_of(study, accuracy)).notes
    assert any("better than the best interquartile mean" in note for note in notes)


def test_a_diverged_run_is_the_worst_and_a_missing_one_is_not_counted():
    found = records_of(
        STUDY, lambda run: None if (run.value("seed"), run.value("batch_size")) == (0, 32) else accuracy(run)
    )
    found = {
        run: record(run, status="diverged")
        if (run.value("seed"), run.value("optimizer")) == (1, "sgd")
        else row
        for run, row in found.items()
    }
    of = {tuple(dict(each.setting).values()): each for each in profiles(STUDY, found, "test_accuracy")}
    assert [len(each.values) for each in of.values()] == [6, 6, 5, 5]
    assert of[16, "sgd"].diverged == 1
    assert of[16, "sgd"].mean == pytest.approx(np.sort(of[16, "sgd"].values)[1:-1].mean())
    table = profiles_table("it", STUDY, found)
    assert "Diverged runs, which count as the worst: 2." in table.notes
    all_of_one = {
        r: record(r, status="diverged") if r.value("optimizer") == "sgd" else v for r, v in found.items()
    }
    notes = profiles_table("it", STUDY, all_of_one).notes
    assert any("too many of the runs diverged" in note for note in notes)


def test_few_seeds_are_not_profiled():
    assert is_profiled(STUDY)
    assert not is_profiled(study_of({"batch_size": [16, 32]}, seeds=SEEDS[:4]))
    assert not is_profiled(study_of({}, seeds=SEEDS))


@pytest.mark.parametrize("metric", ["test_accuracy", "train_loss"])
def test_the_figure_has_the_share_of_runs_that_are_at_least_as_good(metric):
    study = parse_study({**STUDY.written, "analyse": metric})
    found = {run: record(run, **{metric: str(accuracy(run))}) for run in study.runs()}
    [axis] = profiles_figure(study, found).axes
    of_settings = profiles(study, found, metric)
    assert len(axis.lines) == len(of_settings) == 4
    for line, each in zip(axis.lines, of_settings, strict=True):
        places, shares = line.get_data()
        for i in range(0, len(places), 2):
            between = (places[i] + places[i + 1]) / 2
            is_better = [v > between if metric == "test_accuracy" else v < between for v in each.values]
            assert shares[i] == pytest.approx(np.mean(is_better))
    plt.close("all")


def test_the_figure_of_many_settings_has_the_best():
    many = study_of({"lr": [0.1 * i for i in range(1, 11)]}, seeds=SEEDS)
    figure = profiles_figure(many, records_of(many, lambda run: 50 + 10 * run.value("lr") + noise(run, 0.1)))
    [legend] = figure.legends
    assert legend.get_texts()[0].get_text() == "Learning rate 0.4"
    assert "(the best 7 of 10 settings)" in figure.get_suptitle()
    plt.close("all")


@pytest.mark.parametrize("table", ["ranks", "profiles"])
def test_a_hyperparameter_may_have_the_name_of_a_column(table):
    own = {
        "command": "x {dataset} {hyperparameters} --seed {seed}",
        "datasets": list("abcde"),
        "hyperparameters": {"metric": {"choices": ["l1", "l2"]}, "n": "int"},
        "metrics": {"score": {"better": "higher", "label": "Score"}},
    }
    study = parse_study(
        {
            "title": "Neighbours",
            "kind": "own",
            "grid": [{"dataset": list("abcde"), "metric": ["l1", "l2"], "n": [3, 5]}],
            "seeds": [0, 1, 2, 3, 4],
            "table": {"rows": ["dataset", "metric", "n"]},
        },
        {"own": read_kinds({"own": own})["own"]},
    )

    def score(run) -> int:
        return run.value("seed") + run.value("n") * (run.value("metric") == "l1")

    records = {run: {"status": "ok", "score": str(score(run))} for run in study.runs()}
    data = TABLES[table]("s", study, records, None).data
    assert data["metric"].unique().tolist() == ["score"]
    levels = data["n:" if table == "profiles" else "n"]
    assert set(zip(data["metric:"], levels, strict=True)) == set(itertools.product(("l1", "l2"), "35"))
