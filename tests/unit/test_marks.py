"""Marks: the best value of a column in bold, with all that cannot be told from it."""

import numpy as np
import pytest
from ablations.kinds import hits
from ablations.presentation.document import Table
from ablations.presentation.study_table import study_table
from denoiser import denoiser, measure
from pandas import DataFrame
from test_tables import record, study

VALUES = {"psnr": 30.0, "restored": 0.9, "artefacts": 0.1, "run_time_ms": 10.0, "weights": 1000, "norm": 1.0}


def bold(table: Table, column: str) -> list[int]:
    """The rows of a column that are in bold."""
    return sorted(row for row, place in table.bold if table.display.columns[place] == column)


def by_point(values, noise: float, seeds=(0, 1, 2, 3, 4), metric: str = "psnr", test: str = "t", **more):
    """A table of four points with these means, and seeds that differ by the noise."""
    of = denoiser([metric], seeds).model_copy(update={"test": test})
    draw = np.random.default_rng(0)
    means = {
        tuple(v[f] for f in ("depth", "width")): m for (v, _), m in zip(of.points(), values, strict=True)
    }
    found = measure(
        of,
        lambda run: {
            **VALUES,
            metric: means[run.value("depth"), run.value("width")] + noise * draw.normal(),
            **more,
        },
    )
    return study_table("it", of, found)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((30, 31, 32, 33), [3]),
        ((30, 33, 33, 30), [1, 2]),
        ((33, 33, 33, 30), [0, 1, 2]),
        ((33, 33, 33, 33), []),
    ],
)
def test_the_best_and_all_that_cannot_be_told_from_it_are_bold(values, expected):
    table = by_point(values, 0.05)
    assert bold(table, "PSNR (dB) ↑") == expected
    notes = " ".join(table.notes)
    assert ("Bonferroni's correction over all pairs, because" in notes) == bool(expected)
    assert ("Nothing is bold in PSNR: no value can be told from the best." in notes) != bool(expected)


@pytest.mark.parametrize(
    ("test", "words"),
    [
        ("t", "Student's paired test over the seeds"),
        ("wilcoxon", "Wilcoxon's signed-rank test over the seeds"),
        ("permutation", "a paired permutation test over the seeds"),
        ("bootstrap", "a paired bootstrap over the seeds"),
    ],
)
def test_values_in_bold_are_judged_by_the_test_of_the_study(test, words):
    table = by_point((30, 31, 32, 33), 0.05, seeds=range(10), test=test)
    assert bold(table, "PSNR (dB) ↑") == [3]
    assert any(f"told from it: {words}, at 5 % with Bonferroni's" in note for note in table.notes)


def test_a_test_that_cannot_tell_anything_with_so_few_seeds_is_named():
    table = by_point((30, 31, 32, 33), 0.05, test="wilcoxon")
    assert not table.bold
    assert any(
        note.startswith("With 5 seeds, the smallest p of Wilcoxon's test is 0.062")
        and "Bonferroni's correction over 6 tests; at least 8 are needed" in note
        for note in table.notes
    )


def test_where_lower_is_better_the_lowest_is_bold():
    table = by_point((10, 20, 40, 10), 0.1, metric="run_time_ms")
    assert bold(table, "Run time (ms) ↓") == [0, 3]


def test_without_a_better_direction_nothing_is_bold():
    table = by_point((10, 20, 40, 10), 0.1, metric="norm")
    assert not table.bold
    assert not any("old" in note for note in table.notes)


def test_exact_values_are_bold_without_a_test():
    table = by_point((4000, 2000, 2000, 8000), 0, metric="weights", seeds=(0,))
    assert bold(table, "Weights (k) ↓") == [1, 2]
    assert any(note.endswith("told from it: exact values need no test.") for note in table.notes)


def test_one_seed_marks_nothing_without_the_noise_of_its_items():
    table = by_point((30, 31, 32, 33), 0.0, seeds=(0,))
    assert not table.bold
    assert (
        "Nothing is bold in PSNR: no value can be told from the best; single runs do not show the"
        in " ".join(table.notes)
    )


def of_runs(right: list[int], items: int, with_answers: bool):
    """The table of part A's first column, with single runs that get so many images right."""
    of = study("part_a", grid=[{**GRID, "lr": [0.1, 0.01, 0.001]}], published=None)
    found = {}
    for run, number in zip(of.runs(), right, strict=True):
        answers = np.arange(items) < number
        found[run] = record(run, test_accuracy=f"{100 * number / items:.6f}", test_samples=str(items))
        found[run] |= {"test_correct": hits.pack(answers)} if with_answers else {}
    return study_table("it", of, found)


GRID = {"dataset": "mnist", "model": "resnet18", "batch_size": 16, "optimizer": "sgd", "epochs": 1}


@pytest.mark.parametrize("with_answers", [True, False])
def test_single_runs_are_told_apart_by_their_items(with_answers):
    table = of_runs([9900, 9897, 9500], 10_000, with_answers)
    assert bold(table, "resnet18") == [0, 1]
    assert any(
        "single runs by the test images alone (other seeds may differ)" in note for note in table.notes
    )
    few = of_runs([99, 98, 95], 100, with_answers)
    assert not few.bold, "so few images tell nothing apart"


def test_each_column_has_its_own_best():
    """In each dataset too: the values of two datasets are not compared."""
    part_a = study("part_a", seeds=[0, 1, 2])
    better = {"resnet18": 16, "resnet50": 32}
    found = {
        run: record(
            run,
            test_accuracy=str(
                (90 if run.dataset == "mnist" else 70)
                + run.hyperparameters.seed / 100
                + 5 * (run.value("batch_size") == better[run.model])
            ),
        )
        for run in part_a.runs()
    }
    draw = np.random.default_rng(0)
    for each in found.values():
        each["test_accuracy"] = f"{float(each['test_accuracy']) + 0.01 * draw.normal():.6f}"
    table = study_table("part_a", part_a, found)
    sizes = table.data["batch_size"]
    assert {sizes[row] for row in bold(table, "resnet18")} == {"16"}
    assert {sizes[row] for row in bold(table, "resnet50")} == {"32"}
    assert {table.data["dataset"][row] for row in bold(table, "resnet50")} == {"mnist", "fashion_mnist"}
    assert any("Bold is the best value of a column on each dataset, with all" in note for note in table.notes)


def test_a_point_with_a_diverged_run_is_not_marked():
    of = denoiser(["psnr"])
    draw = np.random.default_rng(0)
    found = measure(of, lambda run: {**VALUES, "psnr": 30 + run.value("depth") + 0.01 * draw.normal()})
    best = of.points()[3][1]
    found[best[0]] |= {"status": "diverged"}
    assert bold(study_table("it", of, found), "PSNR (dB) ↑") == [2]


def test_bold_is_in_every_format_and_text_stays_text():
    frame = DataFrame({"a & b": ["x_1", "<2>"], "c": ["3 | 4", "5"]})
    table = Table("T", "t", frame, frame, bold=frozenset({(1, 0), (0, 1)}))
    assert "**\\<2>**" in table.markdown() or "**<2>**" in table.markdown()
    assert r"**3 \| 4**" in table.markdown()
    assert r"\textbf{$<$2$>$}" in table.latex()
    assert "<strong>&lt;2&gt;</strong>" in table.html()
    assert '<th scope="col">a &amp; b</th>' in table.html()
