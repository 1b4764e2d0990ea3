"""Choices: validation chooses, the test images choose nothing, and what could be better is said."""

from typing import Any

import pytest
from ablations.analysis.profiles import baseline_of
from ablations.config.reading import load_config
from ablations.config.sections import ConfigError
from ablations.config.studies.published import read_published
from ablations.config.studies.question_checks import margins
from ablations.presentation.figures import study_figure
from ablations.presentation.figures.numbers import NUMBERS
from ablations.presentation.marks import planned_marks
from ablations.presentation.question_notes import planned_reach
from ablations.presentation.tables import TABLES
from scipy import stats
from test_config import DATASETS, PROJECT, SVM, load
from test_tables import record

CHOOSING: dict[str, Any] = {
    "title": "At their best learning rates",
    "kind": "cnn",
    "grid": [
        {
            "dataset": "digits",
            "model": "resnet18",
            "batch_size": 16,
            "optimizer": ["sgd", "adam"],
            "lr": [0.1, 0.01, 0.001],
            "epochs": 1,
            "validation": 0.1,
        }
    ],
    "choose": {"over": "lr", "by": "val_accuracy"},
    "seeds": [0, 1],
    "table": {"rows": "optimizer", "values": "test_accuracy"},
}


def table_of(validated: dict[tuple[str, float], tuple[float, ...]], by: str = "val_accuracy", **changes):
    """The table of runs with these values of the validation metric, and test accuracies that mislead."""
    of = load(s={**CHOOSING, "choose": {"over": "lr", "by": by}, **changes}).studies["s"]
    records = {}
    for run in of.runs():
        values = validated[run.value("optimizer"), run.value("lr")]
        if run.value("seed") < len(values):
            value = values[run.value("seed")]
            # The test accuracy is the better, the worse the validation.
            tested = f"{150 - value if by == 'val_accuracy' else value:.2f}"
            found = {by: str(value), "val_samples": "500", "test_accuracy": tested}
            records[run] = record(
                run, **(found if value >= 0 else {"status": "diverged", "test_accuracy": None})
            )
    return TABLES[""]("s", of, records, None)


ONE_SGD = [{**CHOOSING["grid"][0], "optimizer": "sgd"}]
SGD = {("sgd", 0.1): (80.0, 70.0), ("sgd", 0.01): (76.0, 77.0), ("sgd", 0.001): (60.0, 60.0)}
ADAM = {("adam", 0.1): (60.0, 60.0), ("adam", 0.01): (70.0, 70.0), ("adam", 0.001): (90.0, 80.0)}


def test_the_best_mean_over_seeds_is_chosen_and_the_test_images_choose_nothing():
    table = table_of(SGD | ADAM)
    assert table.data["lr"].tolist() == ["0.01", "0.001"], "0.1 has the best seed, and not the best mean"
    assert table.data["val_accuracy"].tolist() == ["76.50", "85.00"]
    assert table.data["test_accuracy"].tolist() == ["73.50", "65.00"]
    assert table.data["tried"].tolist() == ["3", "3"]
    assert (
        "the highest mean validation accuracy over the seeds has chosen the learning rate" in table.notes[0]
    )


def test_the_figure_shows_the_chosen_points_as_the_table_does():
    study = load(s=CHOOSING).studies["s"]
    # The last candidate of the grid has the lowest validation accuracy, and the highest test accuracy.
    records = {
        run: record(run, val_accuracy=str(80 + run.value("lr")), val_samples="500",
                    test_accuracy=str(70 - run.value("lr")))
        for run in study.runs()
    }  # fmt: skip
    figure = study_figure(study, records)
    dots = [container.lines[0].get_xdata()[0] for container in figure.axes[0].containers]
    assert dots == [pytest.approx(69.9)] * 2
    assert "runs that validation has chosen" in figure.get_suptitle()
    numbers = NUMBERS[""](study, records).display
    assert numbers["Learning rate"].tolist() == ["0.1", "0.1"]
    study_figure(study, {})


def test_a_choice_at_the_edge_of_its_grid_is_marked_and_said():
    table = table_of(SGD | ADAM)
    assert table.display["Learning rate (chosen)"].tolist() == ["0.01", "0.001‡"]
    assert any("a wider grid may have a better one" in note for note in table.notes)
    inside = table_of(SGD | {**ADAM, ("adam", 0.01): (95.0, 95.0)})
    assert inside.display["Learning rate (chosen)"].tolist() == ["0.01", "0.01"]
    assert not any("wider grid" in note for note in inside.notes)


def test_rows_with_different_numbers_of_candidates_are_said_to_be():
    said = "Rows differ in how many candidates were tried."
    more = table_of(SGD | ADAM, exclude=[{"optimizer": "sgd", "lr": 0.1}])
    assert any(note.startswith(said) for note in more.notes)
    assert not any(note.startswith(said) for note in table_of(SGD | ADAM).notes)


def test_where_lower_is_better_the_lowest_is_chosen():
    table = table_of(SGD | ADAM, by="val_loss")
    assert table.data["lr"].tolist() == ["0.001", "0.1"]


def test_of_equal_candidates_the_first_of_the_grid_is_chosen():
    table = table_of(dict.fromkeys(SGD | ADAM, (70.0, 70.0)))
    assert table.data["lr"].tolist() == ["0.1", "0.1"]


@pytest.mark.parametrize("values", [(99.0, -1.0), (99.0,)], ids=["diverged", "missing"])
def test_a_candidate_that_is_not_whole_is_not_chosen_before_one_that_is(values):
    table = table_of(SGD | {**ADAM, ("adam", 0.1): values})
    assert table.data["lr"].tolist() == ["0.01", "0.001"]
    assert any(note.startswith("1 candidate with a run that diverged or is missing") for note in table.notes)
    alone = table_of(SGD | dict.fromkeys(ADAM, values))
    assert alone.data["lr"].tolist() == ["0.01", "0.1"]


@pytest.mark.parametrize(("values", "shown"), [((), "missing"), ((-1.0, -1.0), "diverged")])
def test_where_no_run_has_a_value_nothing_is_chosen(values, shown):
    table = table_of(SGD | dict.fromkeys(ADAM, values))
    assert table.display["Learning rate (chosen)"].tolist() == ["0.01", shown]
    assert table.display["Validation accuracy (%) ↑"].tolist()[1] == shown
    assert table.display["Test accuracy (%) ↑"].tolist()[1] == shown
    assert table.data["lr"].tolist() == ["0.01", ""]


def test_several_hyperparameters_are_chosen_together():
    of = load(
        s={**CHOOSING, "choose": {"over": ["lr", "optimizer"], "by": "val_loss"}, "table": {"rows": "model"}}
    )
    study = of.studies["s"]
    records = {run: record(run, val_loss=str(run.value("lr")), val_samples="9") for run in study.runs()}
    table = TABLES[""]("s", study, records, None)
    assert (table.data["lr"].tolist(), table.data["optimizer"].tolist()) == (["0.001"], ["sgd"])
    assert table.data["tried"].tolist() == ["6"]


COMPARED = [
    {"baseline": {"optimizer": "sgd"}},
    {"grid": ONE_SGD, "ablate": {"optimizer": "adam"}, "table": {"values": "test_accuracy"}},
]


@pytest.mark.parametrize("changes", COMPARED, ids=["baseline", "ablate"])
def test_the_difference_to_a_baseline_is_between_chosen_points_over_the_same_seeds(changes):
    table = table_of(SGD | ADAM, **changes)
    assert table.display["Change"].tolist() == ["baseline", "optimizer sgd → adam"]
    assert table.data["lr"].tolist() == ["0.01", "0.001"], "each has its own choice"
    # Of the chosen runs alone: 74 and 73 of sgd, 60 and 70 of adam.
    first, second = table.display["Δ Test accuracy (points)"]
    assert first == ""
    assert second.startswith("−8.50 (−")
    interval = stats.ttest_rel([60, 70], [74, 73]).confidence_interval()
    low = float(table.data["test_accuracy_difference_ci_low"][1])
    assert low == pytest.approx(interval.low, abs=1e-3)
    assert "Δ Validation accuracy (points)" not in table.display
    assert any("between two chosen points" in note for note in table.notes)


def test_a_change_may_bring_candidates_of_its_own():
    recipes = [{"optimizer": "adam", "lr": 0.001}, {"optimizer": "adam", "lr": 0.01}]
    grid = [{**ONE_SGD[0], "lr": [0.1, 0.01]}]
    table = table_of(SGD | ADAM, grid=grid, ablate={"recipe": recipes}, table={"values": "test_accuracy"})
    assert table.data["tried"].tolist() == ["2", "2"]
    assert table.data["lr"].tolist() == ["0.01", "0.001"]
    assert table.display["Change"].tolist() == ["baseline", "optimizer sgd → adam"]


@pytest.mark.parametrize("missing", ["sgd", "adam"])
def test_where_nothing_is_chosen_there_is_no_difference(missing):
    found = SGD | ADAM
    gone = {key: () for key in found if key[0] == missing}
    table = table_of(found | gone, baseline={"optimizer": "sgd"})
    assert table.display["Δ Test accuracy (points)"].tolist() == ["", "–"]


def test_planning_counts_one_difference_for_each_setting():
    changed = {"baseline": {"optimizer": "sgd"}, "test": "wilcoxon", "seeds": list(range(6))}
    study = load(s={**CHOOSING, **changed}).studies["s"]
    assert not [text for text in planned_reach(study) if text.startswith("differences to the baseline")]
    assert not list(planned_marks(study)), "one pair of rows can be told apart by 6 seeds"
    few = load(s={**CHOOSING, **changed, "seeds": [0, 1, 2]}).studies["s"]
    assert [text.partition(":")[0] for text in (*planned_reach(few), *planned_marks(few))][-2:] == [
        "differences to the baseline",
        "values in bold",
    ]


def test_profiles_compare_with_the_chosen_point_of_the_baseline():
    study = load(s={**CHOOSING, "baseline": {"optimizer": "sgd"}, "seeds": [0, 1, 2, 3, 4]}).studies["s"]
    best = {("sgd", 0.01), ("adam", 0.1)}
    records = {
        run: record(run, val_accuracy=str(80 + ((run.value("optimizer"), run.value("lr")) in best)),
                    val_samples="500", test_accuracy="70")
        for run in study.runs()
    }  # fmt: skip
    assert dict(baseline_of(study, records)) == {"optimizer": "sgd", "lr": 0.01}
    assert baseline_of(study, {}) is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"choose": {"over": "lrr", "by": "val_accuracy"}},
            r"over\[0\]: 'lrr' is not a hyperparameter.*'lr'",
        ),
        ({"choose": {"over": "epochs", "by": "val_accuracy"}}, "the grid has one level of epochs"),
        ({"choose": {"over": "optimizer", "by": "val_loss"}}, "optimizer is in the table's `rows`"),
        ({"choose": {"over": "lr", "by": "test_accuracy"}}, "test_accuracy is reported, or of the test set"),
        ({"choose": {"over": "lr", "by": "test_nll"}}, "may be val_accuracy or val_loss"),
        ({"choose": {"over": "lr", "by": "val_acc"}}, "'val_acc' is not a metric.*'val_accuracy'"),
        ({"choose": {"over": [], "by": "val_loss"}}, "choose.over"),
        ({"baseline": {"optimizer": "sgd", "lr": 0.1}}, "baseline.lr: validation chooses lr in each row"),
        ({"grid": ONE_SGD, "ablate": {"lr": 1.0}}, "ablate.lr: validation chooses lr in each row; change an"),
        ({"grid": ONE_SGD, "ablate": {"optimizer": "sgd"}}, "optimizer sgd is what the grid has already"),
        ({"baseline": {"batch_size": 16}}, "as optimizer varies .sgd, adam.; name its level"),
        ({"table": {"rows": "dataset", "columns": "optimizer"}}, "the table has `columns`"),
        ({"grid": [{**CHOOSING["grid"][0], "validation": 0}]}, "set validation in the grid"),
    ],
)
def test_a_wrong_choice_is_refused_with_a_sentence(changes, expected):
    with pytest.raises(ConfigError, match=expected):
        load(s={**CHOOSING, **changes})


def test_what_is_measured_on_the_test_set_may_not_choose_even_if_it_is_not_reported():
    """The runs of support vector machines hold nothing out."""
    choosing = {"choose": {"over": "kernel", "by": "test_accuracy"}, "table": {"values": "train_time_ms"}}
    with pytest.raises(ConfigError, match="of the test set, and may not choose .svm runs have no metric"):
        load(s={**SVM, **choosing})


REPORTING = {name: value for name, value in CHOOSING.items() if name != "choose"} | {
    "report": "best_by_validation",
    "table": {"rows": ["optimizer", "lr"]},
}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ["test_accuracy_at_best"]),
        ({"report": "last"}, ["test_accuracy"]),
        ({"analyse": ["train_time_ms", "test_accuracy"]}, ["train_time_ms", "test_accuracy_at_best"]),
    ],
)
def test_the_best_epoch_is_reported_where_a_study_asks_for_it(changes, expected):
    study = load(s={**REPORTING, **changes}).studies["s"]
    assert study.analysed == expected
    assert study.values == expected[-1:]


@pytest.mark.parametrize(
    ("study", "expected"),
    [
        (
            {**REPORTING, "grid": [{**CHOOSING["grid"][0], "validation": 0}]},
            "runs with validation: 0 have no best",
        ),
        ({**SVM, "report": "best_by_validation"}, "runs of kind svm do not record a best epoch"),
    ],
)
def test_a_best_epoch_that_runs_do_not_have_is_refused(study, expected):
    with pytest.raises(ConfigError, match=expected):
        load(s=study)


def test_margins_and_published_values_are_of_the_epoch_that_is_reported(tmp_path):
    file = tmp_path / "published.tsv"
    file.write_text("optimizer\tlr\ttest_accuracy\nsgd\t0.1\t91.5\n")
    study = load(s={**REPORTING, "margin": {"test_accuracy": 0.2}, "published": str(file)}).studies["s"]
    assert margins(study) == {"test_accuracy_at_best": 0.2}
    assert [value.metric for value in read_published(study, file)] == ["test_accuracy_at_best"]


def test_columns_of_a_choice_are_apart_from_hyperparameters_and_metrics_of_the_same_name():
    kind = {
        "command": "python x {hyperparameters} --seed {seed}",
        "hyperparameters": {"change": "int", "tried": {"type": "int", "label": "Tried"}},
        "metrics": {"loss": {"better": "lower"}, "score": {}, "score_family": {"label": "Change"}},
    }
    study = {
        "title": "Names", "kind": "mine", "grid": [{"change": [1, 2], "tried": [3, 4]}], "seeds": [0, 1],
        "choose": {"over": "tried", "by": "loss"}, "baseline": {"change": 1}, "primary": "change",
        "table": {"rows": "change", "values": ["score", "score_family"]},
    }  # fmt: skip
    of = load_config([DATASETS], {"kinds": {"mine": kind}, "studies": {"s": study}}, PROJECT).studies["s"]
    records = {run: record(run, loss="1", score="2", score_family="3") for run in of.runs()}
    table = TABLES[""]("s", of, records, None)
    assert table.data["change"].tolist() == ["1", "2"]
    assert table.data["change:"].tolist()[0] == "baseline"
    assert (table.data["tried"].tolist(), table.data["tried:"].tolist()) == (["3", "3"], ["2", "2"])
    assert table.data["score_family"].tolist()[0].startswith("3")
    assert "score:family" in table.data
    assert table.display["Change:"].tolist()[0] == "baseline"
    assert table.display["Tried:"].tolist() == ["2", "2"]
    assert len(table.display.columns) == len(set(table.display.columns))
