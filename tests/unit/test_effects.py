"""The effects table: pairs that differ in nothing else, and a verdict for each comparison."""

import io
import math
import runpy
import subprocess
import sys
import zlib
from collections.abc import Callable, Mapping
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from ablations.analysis.design import design
from ablations.analysis.effects import effects
from ablations.analysis.measurements import comparable, conditions
from ablations.config.studies.study import parse_study
from ablations.kinds import hits
from ablations.presentation.effects_table import effects_table
from ablations.runs.records import write_record
from ablations.runs.run import Run
from denoiser import denoiser, measure
from scipy import stats
from test_design import study_of, with_points
from test_records import make_record, make_run
from test_tables import record, study

PROJECT = Path(__file__).parents[2]

Records = Mapping[Run, Mapping[str, str]]


def records_of(study, accuracy: Callable[[Run], float | None]) -> Records:
    return {
        run: record(run, test_accuracy=str(value))
        for run in study.runs()
        if (value := accuracy(run)) is not None
    }


def row(table, factor: str, metric: str = "test_accuracy") -> Mapping[str, str]:
    [found] = [
        row
        for row in table.data.to_dict("records")
        if (row["metric"], row["hyperparameter"]) == (metric, factor)
    ]
    return found


def noise(run: Run, sd: float) -> float:
    return float(np.random.default_rng(zlib.crc32(run.directory.encode())).normal(0, sd))


SEEDS = (0, 1, 2, 3, 4)
# Optimizer, learning rate and epochs, of which no two points differ in one alone; one point is left over.
LATIN = [
    ("sgd", 0.1, 1), ("adam", 0.2, 1), ("sgd", 0.2, 2), ("adam", 0.1, 2), ("adamw", 0.1, 3),
    ("adamw", 0.2, 4), ("sgd", 0.3, 3), ("adam", 0.3, 4), ("adamw", 0.3, 1),
]  # fmt: skip


def test_an_effect_is_found_and_another_is_not():
    study = study_of({"batch_size": [16, 32], "lr": [0.1, 0.2]}, seeds=SEEDS)
    # All runs of a seed share most of its noise. Only the batch size has an effect.
    truth = lambda run: 90 + 2 * run.value("seed") - (run.value("batch_size") == 32) + noise_of[run]
    noise_of = dict(zip(study.runs(), np.random.default_rng(0).normal(0, 0.2, 20), strict=True))
    table = effects_table("it", study, records_of(study, truth))
    batch, rate = row(table, "batch_size"), row(table, "lr")
    assert (batch["pairs"], rate["pairs"]) == ("10", "10")
    assert float(batch["difference"]) == pytest.approx(-1, abs=0.2)
    assert float(batch["difference_ci_low"]) < -1 < float(batch["difference_ci_high"])
    assert float(batch["p_holm"]) < 1e-3
    assert batch["verdict"] == "16 is better (higher), for these test images"
    largest = max(abs(float(rate[f"difference_ci_{end}"])) for end in ("low", "high"))
    excluded, seeds = rate["verdict"].removeprefix("not significant; ").split("; to detect it takes ")
    assert excluded == f"differences above {largest:.2f} points are excluded"
    assert seeds.endswith(" or more seeds")
    assert int(seeds.split()[0]) > 5
    assert table.display["Judged by"].tolist() == ["5 seeds", "5 seeds"]
    assert (rate["judged_by"], rate["units"]) == ("seeds", "5")


def test_pairs_are_of_the_same_seed_and_of_runs_that_are_there():
    study = study_of({"batch_size": [16, 32]}, seeds=SEEDS)

    def accuracy(run: Run) -> float | None:
        gone = run.value("seed") == 3 and run.value("batch_size") == 16
        return None if gone else 90.0 + run.value("seed")

    [effect] = effects(study, records_of(study, accuracy), "test_accuracy")
    comparison = effect.comparison
    assert (comparison.units, comparison.pairs, comparison.difference) == (4, 4, 0)
    assert (
        "no difference; not tested: the differences do not vary"
        in effects_table("it", study, records_of(study, accuracy)).markdown()
    )


def test_aliased_hyperparameters_are_never_compared():
    study = study_of(
        {"recipe": [{"lr": 0.1, "epochs": 1}, {"lr": 0.2, "epochs": 2}], "batch_size": [16, 32]}, seeds=SEEDS
    )
    table = effects_table("it", study, records_of(study, lambda run: 90 + noise(run, 1)))
    assert table.data["hyperparameter"].tolist() == ["batch_size"]
    assert (
        "No two runs of this study differ in learning rate or epochs only, so these are not compared."
        in table.notes
    )


def test_one_pair_of_single_runs_is_compared_by_their_images():
    study = study_of({"batch_size": [16, 32]})
    one, other = study.runs()
    masks = np.ones(10_000, bool), np.ones(10_000, bool)
    masks[0][:100], masks[1][:300] = False, False
    found = {
        run: record(run, test_accuracy=str(100 * mask.mean()), test_correct=hits.pack(mask))
        for run, mask in zip((one, other), masks, strict=True)
    }
    table = effects_table("it", study, found)
    batch = row(table, "batch_size")
    assert (batch["pairs"], batch["difference"], batch["verdict"]) == (
        "1",
        "-2.0000",
        "16 is better (higher), in these two runs",
    )
    assert any("McNemar" in note and "may be larger for other seeds" in note for note in table.notes)
    same = effects_table("it", study, {one: found[one], other: record(other, **_accuracy_of(found[one]))})
    assert row(same, "batch_size")["verdict"] == "not significant on these test images"


def _accuracy_of(found: Mapping[str, str]) -> dict[str, str]:
    return {name: found[name] for name in ("test_accuracy", "test_correct")}


def right(*accuracies: float) -> list[dict[str, str]]:
    """Columns of runs that get so many percent of the same 10,000 images right, the easiest first."""
    masks = [np.arange(10_000) < 100 * accuracy for accuracy in accuracies]
    return [{"test_accuracy": f"{100 * mask.mean():.6f}", "test_correct": hits.pack(mask)} for mask in masks]


def test_the_settings_of_support_vector_machines_are_not_a_sample():
    """Each kernel is better by another amount on each dataset: certain, as nothing in it is random."""
    part_b = study("part_b")
    columns = right(95.94, 95.15, 85.31, 81.66)
    found = {run: record(run, **own) for run, own in zip(part_b.runs(), columns, strict=True)}
    table = effects_table("it", part_b, found)
    dataset, kernel = row(table, "dataset"), row(table, "kernel")
    assert (dataset["judged_by"], kernel["judged_by"]) == ("test images", "test images")
    assert (dataset["difference"], kernel["difference"]) == ("-12.0600", "-2.2200")
    assert dataset["verdict"] == "mnist is better (higher)"
    assert kernel["verdict"] == "rbf is better (higher)"


def test_the_same_image_of_two_datasets_is_two_images():
    study = study_of({"dataset": ["mnist", "fashion_mnist"]})
    columns = right(90.0, 90.3)
    found = {run: record(run, **own) for run, own in zip(study.runs(), columns, strict=True)}
    # As pairs, thirty images that only one run classifies correctly would be highly significant.
    assert float(row(effects_table("it", study, found), "dataset")["p_holm"]) == pytest.approx(
        0.476, abs=2e-3
    )


def test_effects_that_added_points_separate_are_estimated():
    """The points that the design asks for make aliased effects estimable, if not by pairs."""
    grid = {
        "recipe": [{"lr": 0.1, "epochs": 1}, {"lr": 0.2, "epochs": 2}],
        "batch_size": [16, 32],
    }
    once = study_of(grid, seeds=SEEDS)
    assert design(once).missing
    study = with_points(once, design(once).missing)
    truth = lambda run: 90 - 10 * run.value("lr") + 2 * run.value("epochs") + noise(run, 0.1)
    table = effects_table("it", study, records_of(study, truth))
    assert float(row(table, "lr")["difference"]) == pytest.approx(-1, abs=0.3)
    assert float(row(table, "epochs")["difference"]) == pytest.approx(2, abs=0.3)
    assert not any("only; see" in note for note in table.notes)


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
@pytest.mark.parametrize("more", [{}, {"batch_size": [16, 32]}])
def test_a_table_that_uses_a_linear_model_notes_it(more, seeds):
    recipes = [{"optimizer": o, "lr": lr, "epochs": e} for o, lr, e in LATIN]
    study = study_of({"recipe": recipes, **more}, seeds=seeds)
    table = effects_table("it", study, records_of(study, lambda run: 90 + noise(run, 1)))
    assert "linear model" in set(table.data["judged_by"])
    [note] = [note for note in table.notes if note.startswith("Judged by a linear model")]
    assert note.endswith("between seeds.") == (len(seeds) > 1)


@pytest.mark.parametrize(
    ("factor", "first", "second", "without_effect"),
    [
        ("pin_memory", True, False, {"pin_memory_effective": "true"}),
        ("precision", "fp32", "tf32", {"precision_effective": "fp32"}),
    ],
)
def test_a_linear_model_credits_nothing_to_what_had_no_effect(factor, first, second, without_effect):
    """Pinned memory changes times at most; and a device may have one precision."""
    levels = [(0.1, 1, first), (0.2, 1, second), (0.1, 2, second), (0.2, 2, second)]
    recipes = [{"lr": lr, "epochs": epochs, factor: level} for lr, epochs, level in levels]
    study = study_of({"recipe": recipes}, seeds=SEEDS)

    def table(**own):
        found = {run: record(run, test_accuracy=90 + noise(run, 1), **own) for run in study.runs()}
        return effects_table("it", study, found)

    without = table(**without_effect)
    assert set(without.data["hyperparameter"]) == {"lr", "epochs"}
    assert any(note.startswith("Without effect on this metric in these runs") for note in without.notes)
    if factor == "precision":
        assert factor in set(table().data["hyperparameter"]), "it is not known that it had none"


def test_pairs_that_diverged_are_counted():
    study = study_of({"lr": [0.1, 100.0]}, seeds=(0, 1, 2))
    found = dict(records_of(study, lambda run: 90.0 + run.value("seed")))
    for run in study.runs():
        if run.value("lr") == 100 and run.value("seed") > 0:
            found[run] = record(run, status="diverged", test_accuracy=None)
    table = effects_table("it", study, found)
    assert row(table, "lr")["pairs"] == "1"
    assert "Pairs left out because a run is missing or diverged: 2 of learning rate." in table.notes
    nothing = effects_table("it", study, {})
    assert "Pairs left out because a run is missing or diverged: 3 of learning rate." in nothing.notes
    assert not any("only; see" in note for note in nothing.notes)


def test_one_seed_is_named_in_the_verdict():
    """Its luck with a level counts as an effect of the level."""
    study = study_of({"batch_size": [16, 32], "lr": [0.1, 0.2, 0.3, 0.4]}, seeds=(0,))
    truth = lambda run: 90 - (run.value("batch_size") == 32) + noise(run, 0.01)
    table = effects_table("it", study, records_of(study, truth))
    verdict = "16 is better (higher), for this seed and these test images"
    assert row(table, "batch_size")["verdict"] == verdict
    assert table.display["Judged by"].iloc[0] == "4 settings"


@pytest.mark.parametrize(("agree", "limit"), [(True, ""), (False, ", for these test images")])
def test_test_images_are_named_where_others_could_decide_otherwise(agree, limit):
    """Each model gets other images right; only if they are more than chance explains, any images will do."""
    study = study_of({"batch_size": [16, 32]}, seeds=range(4))
    draw, masks = np.random.default_rng(0), {}
    masks[16] = np.arange(1000) < 900
    masks[32] = np.arange(1000) < 850 if agree else (np.arange(1000) + 100) % 1000 < 890
    found = {}
    for run in study.runs():
        mask = masks[run.value("batch_size")] ^ (draw.random(1000) < 0.002)
        columns = {"test_accuracy": f"{100 * mask.mean():.6f}", "test_correct": hits.pack(mask)}
        found[run] = record(run, **columns, test_samples="1000")
    table = effects_table("it", study, found)
    batch = row(table, "batch_size")
    assert batch["verdict"] == f"16 is better (higher){limit}"
    assert float(batch["p_holm"]) < 0.05
    assert (float(batch["p_items_holm"]) < 0.05) == agree


def test_an_effect_that_changes_sign_depends_on_the_other_factor():
    study = study_of({"batch_size": [16, 32], "lr": [0.1, 0.2]}, seeds=range(8))

    def crossed(run: Run) -> float:
        return 90 + 2 * ((run.value("batch_size") == 16) == (run.value("lr") == 0.1)) + noise(run, 0.3)

    table = effects_table("it", study, records_of(study, crossed))
    verdict = "not significant on average; depends on batch size"
    assert row(table, "lr")["verdict"] == verdict
    assert any(note.startswith("'Depends on' names hyperparameters") for note in table.notes)


def test_few_seeds_are_noted_with_what_they_detect():
    study = study_of({"batch_size": [16, 32]}, seeds=(0, 1, 2))
    notes = effects_table("it", study, records_of(study, lambda run: 90 + noise(run, 1))).notes
    assert any(note.startswith("With 3 seeds and this correction") for note in notes)
    assert any(note.startswith("Assumed: ") for note in notes)


def test_pairs_without_a_second_seed_are_counted():
    study = study_of(
        {"batch_size": [16, 32], "lr": [0.1, 0.2, 0.3]},
        seeds=(0, 1, 2),
        exclude=({"lr": [0.2, 0.3], "seed": [1, 2]},),
    )
    table = effects_table("it", study, records_of(study, lambda run: 90 + noise(run, 1)))
    batch = row(table, "batch_size")
    assert (batch["pairs"], batch["units"], batch["judged_by"]) == ("3", "3", "seeds")
    [note] = [note for note in table.notes if "no second seed" in note]
    assert note.endswith(": 2 of batch size.")
    assert not any("missing or diverged" in note for note in table.notes)


def test_one_pair_without_images_has_no_test():
    study = study_of({"batch_size": [16, 32]})
    table = effects_table("it", study, records_of(study, lambda run: 90.0 + run.value("batch_size")))
    assert row(table, "batch_size")["verdict"] == "not tested: a single pair; add seeds"
    assert row(table, "batch_size")["p_holm"] == ""


def test_noise_alone_is_rarely_significant():
    """In 20 studies without any effect, about one may report one, over its three tests."""
    study = study_of({"batch_size": [16, 32], "lr": [0.1, 0.2], "epochs": [1, 2]}, seeds=(0, 1, 2))
    wrong = 0
    draw = np.random.default_rng(0)
    for _ in range(20):
        luck = dict(zip(study.runs(), draw.normal(90, 1, 24), strict=True))
        verdicts = effects_table("it", study, records_of(study, luck.get)).data["verdict"]
        assert len(verdicts) == 3
        wrong += any("is better (higher)" in verdict for verdict in verdicts)
    assert wrong <= 3


RECIPES = [
    {"optimizer": "sgd", "lr": 0.1, "epochs": 1},
    {"optimizer": "adam", "lr": 0.001, "epochs": 1},
    {"optimizer": "sgd", "lr": 0.001, "epochs": 2},
    {"optimizer": "adam", "lr": 0.1, "epochs": 2},
]


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
@pytest.mark.parametrize(
    "grid", [{"recipe": RECIPES, "batch_size": [16, 32]}, {"lr": [0.1, 0.2], "batch_size": [16, 32, 64]}]
)
def test_duplicate_runs_do_not_count_as_a_sample(grid, seeds):
    """`pin_memory` on a CPU produces them. With noise alone, one test in twenty is significant."""
    study = study_of({**grid, "pin_memory": [False, True]}, seeds=seeds)
    draw, wrong, noises = np.random.default_rng(0), [], set()
    for _ in range(120):
        luck: dict[tuple, float] = {}
        found = {}
        for run in study.runs():
            key = tuple(value for name, value in run.values().items() if name != "pin_memory")
            [columns] = right(luck.setdefault(key, draw.normal(90, 1)))
            found[run] = record(run, **columns)
        for effect in effects(study, found, "test_accuracy"):
            if effect.factor == "pin_memory":
                assert effect.comparison.difference == 0
            elif effect.comparison.p is not None:
                noises.add(effect.comparison.noise)
                wrong.append(effect.comparison.p < 0.05)
    assert noises == {"seeds" if len(seeds) > 1 else "settings"} | ({"model"} if "recipe" in grid else set())
    assert len(wrong) >= 120
    assert np.mean(wrong) <= 0.08


def test_many_levels_are_compared_with_the_first():
    study = study_of({"batch_size": list(range(1, 21))}, seeds=(0, 1))
    found = list(effects(study, records_of(study, lambda run: 90 + noise(run, 1)), "test_accuracy"))
    assert [effect.first for effect in found] == [1] * 19
    notes = effects_table("it", study, {}).notes
    [note] = [note for note in notes if "more than 8 levels (batch size)" in note]
    assert note.endswith("each level is compared with the first only.")


def test_a_study_of_one_point_has_an_empty_table(tmp_path):
    study = study_of({})
    table = effects_table("it", study, records_of(study, lambda run: 90.0))
    table.write(tmp_path / "it_effects")
    assert "No hyperparameter varies in this study." in (tmp_path / "it_effects.md").read_text()
    assert (
        (tmp_path / "it_effects.tsv").read_text().startswith("metric\thyperparameter\tfirst\tsecond\tpairs")
    )
    assert r"\begin{table}" in (tmp_path / "it_effects.tex").read_text()


# --- other metrics -------------------------------------------------------------------------------


def test_every_verdict_has_the_direction_that_is_better():
    study = denoiser(["psnr", "artefacts", "run_time_ms", "norm"])
    deep = lambda run: run.value("depth") == 8
    found = measure(
        study,
        lambda run: {
            "psnr": 30 + 2 * deep(run) + noise(run, 0.1),
            "artefacts": 0.2 + 0.1 * deep(run) + noise(run, 0.01),
            "seen": 100,
            "run_time_ms": 1000 * 2 ** deep(run) * math.exp(noise(run, 0.02)),
            "norm": 5 + deep(run) + noise(run, 0.1),
        },
    )
    table = effects_table("it", study, found)
    assert [row(table, "depth", name)["verdict"] for name in study.analysed] == [
        "8 is better (higher)", "4 is better (lower), for these items", "4 is better (lower)", "8 is higher",
    ]  # fmt: skip
    assert table.display["Metric"].tolist()[::2] == [
        "PSNR (dB) ↑",
        "Artefacts (%) ↓",
        "Run time (ms) ↓",
        "Norm",
    ]
    shown = table.display[table.display["Hyperparameter"] == "Depth"]["Difference"].tolist()
    assert [text.split()[-1] for text in shown[:2]] == ["dB", "points"]
    assert float(shown[1].split()[0]) == pytest.approx(10, abs=2), "the record has 0.1, and the table 10 %"
    assert shown[2].startswith(("×1.9", "×2.0"))
    assert any(
        note.startswith("Run time: A ratio (×) is the second level over the first.") for note in table.notes
    )
    assert any("Holm's correction over 2 tests of this metric." in note for note in table.notes)
    assert "Metric" not in effects_table("it", denoiser(["psnr"]), found).display


def test_times_are_ratios_between_runs_of_the_same_device_and_packing():
    study = denoiser(["run_time_ms"], seeds=(0, 1, 2, 3))

    def values(run: Run) -> Mapping[str, object]:
        slow = run.value("seed") == 3
        shared = run.value("depth") == 8 and run.value("seed") == 2 and run.value("width") == 8
        time = 1000 * (1 + (run.value("depth") == 8)) * (1 + 9 * slow) * (1 + 4 * shared)
        return {
            "run_time_ms": time * math.exp(noise(run, 1e-3)),
            "device_name": "Slow" if slow else "Fast",
            "runs_per_job": 1 + shared,
        }

    table = effects_table("it", study, measure(study, values))
    depth = row(table, "depth", "run_time_ms")
    assert depth["pairs"] == "7", "of eight, one shared its job with another run"
    assert float(depth["ratio"]) == pytest.approx(2, abs=0.01)
    assert float(depth["ratio_ci_low"]) < float(depth["ratio"]) < float(depth["ratio_ci_high"])
    assert pd.isna(depth["difference"])
    left_out = "Pairs left out because the device, threads or runs per job differ: 1 of depth, 1 of width."
    assert left_out in table.notes
    assert not any("missing or diverged" in note for note in table.notes)


def test_times_of_runs_that_shared_a_process_are_compared_only_with_each_other():
    study = study_of({"optimizer": ["adam", "sgd"], "batch_size": [16, 32]})
    study = parse_study({**study.written, "analyse": "train_time_ms"})
    one, *others = study.runs()
    alone = record(one, train_time_ms="1000")
    shared = {run: record(run, train_time_ms="8000", shares_process="true") for run in others}
    metric = study.kind.metrics["train_time_ms"]
    assert comparable(metric, {one: alone, **shared}) == shared
    assert conditions(metric, alone) != conditions(metric, shared[others[0]])


def test_a_linear_model_of_times_takes_the_runs_of_one_device():
    recipes = [{"optimizer": o, "lr": lr, "epochs": e} for o, lr, e in LATIN]
    study = study_of({"recipe": recipes, "batch_size": [16, 32]})
    study = parse_study({**study.written, "analyse": "train_time_ms"})
    last = study.runs()[-1]
    times = {run: 1000 * run.value("epochs") * math.exp(noise(run, 1e-3)) for run in study.runs()}
    found = {
        run: record(run, train_time_ms=str(time * (1 + 9 * (run == last))), threads=str(1 + (run == last)))
        for run, time in times.items()
    }
    table = effects_table("it", study, found)
    [epochs] = [r for r in table.data.to_dict("records") if (r["first"], r["second"]) == ("1", "4")]
    assert float(epochs["ratio"]) == pytest.approx(4, abs=0.05)
    why = "Runs left out of the linear model because the device, threads or runs per job differ: 1."
    assert why in table.notes


def test_exact_values_are_compared_without_a_test():
    study = denoiser(["weights", "psnr"])
    found = measure(study, lambda run: {"weights": 1000 * run.value("depth"), "psnr": 30 + noise(run, 1)})
    table = effects_table("it", study, found)
    depth = row(table, "depth", "weights")
    assert (depth["difference"], depth["p_holm"], depth["judged_by"]) == ("4.0000", "", "exact values")
    assert depth["verdict"] == "4 is better (lower)"
    assert "Weights: Without any difference, and not listed: levels of width." in table.notes
    assert not any(word in " ".join(table.data["verdict"][:1]) for word in ("significant", "tested"))


def test_single_runs_of_a_kind_with_answers_are_compared_by_their_items():
    study = denoiser(["restored"], seeds=(0,), depth=[4, 8])
    masks = {4: np.arange(200) < 100, 8: np.arange(200) < 150}
    answers = lambda run: (float(masks[run.value("depth")].mean()), hits.pack(masks[run.value("depth")]))
    found = measure(study, lambda run: dict(zip(("restored", "which"), answers(run), strict=True)))
    table = effects_table("it", study, found)
    depth = row(table, "depth", "restored")
    assert (depth["difference"], depth["judged_by"], depth["units"]) == ("0.2500", "patches", "200")
    assert 0 < float(depth["difference_ci_low"]) < 0.25 < float(depth["difference_ci_high"]) < 0.4
    assert depth["verdict"] == "8 is better (higher), in these two runs"
    assert any(note.startswith("Judged by patches: ") for note in table.notes)


def test_pin_memory_on_training_time_is_a_row_of_the_published_study():
    part_a = study("part_a")
    slower = lambda run: 1.1 if run.value("pin_memory") else 1.0
    found = {
        run: record(
            run,
            pin_memory_effective="true",
            train_time_ms=str(1000 * run.value("epochs") * slower(run) * math.exp(noise(run, 1e-2))),
        )
        for run in part_a.runs()
    }
    pinned = row(effects_table("part_a", part_a, found), "pin_memory", "train_time_ms")
    assert float(pinned["ratio"]) == pytest.approx(1.1, abs=0.02)
    assert pinned["verdict"] == "false is better (lower), if there are no interactions"


def test_the_times_of_duplicate_runs_are_measured_each():
    """On a CPU `pin_memory` does nothing, so all accuracies of a pair are equal; the times are not."""
    study = study_of({"pin_memory": [False, True], "batch_size": [16, 32, 64]}, seeds=(0,))
    [columns] = right(90)
    found = {
        run: record(run, **columns, train_time_ms=str(1000 * math.exp(noise(run, 0.1))))
        for run in study.runs()
    }
    [of_time] = [e for e in effects(study, found, "train_time_ms") if e.factor == "pin_memory"]
    [of_accuracy] = [e for e in effects(study, found, "test_accuracy") if e.factor == "pin_memory"]
    assert (of_time.comparison.units, of_accuracy.comparison.noise) == (3, "items")


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
@pytest.mark.parametrize("metric", ["run_time_ms", "artefacts"])
def test_noise_alone_is_rarely_significant_in_other_metrics(metric, seeds):
    """Log-normal times, and a proportion near its bound: of 100 items, about three, with luck of the run."""
    study = denoiser([metric], seeds=seeds, depth=[2, 4], width=[8, 16, 32, 64])
    draw, wrong = np.random.default_rng(0), []
    for _ in range(150):

        def values(run: Run) -> Mapping[str, object]:
            if metric == "run_time_ms":
                return {metric: 1000 * math.exp(draw.normal(0, 0.5))}
            return {metric: draw.binomial(100, draw.beta(3, 97)) / 100, "seen": 100}

        for effect in effects(study, measure(study, values), metric):
            if effect.comparison.p is not None:
                wrong.append(effect.comparison.p < 0.05)
    assert len(wrong) >= 900
    assert 0 < np.mean(wrong) <= 0.07


# --- two runs ------------------------------------------------------------------------------------


def compare(folder: Path, *records: object) -> subprocess.CompletedProcess[str]:
    """Run the script in this process, which has imported what it needs."""
    script = str(PROJECT / "scripts/compare_runs.py")
    command = [script, *map(str, records)]
    out, err = io.StringIO(), io.StringIO()
    status: object = 0
    with chdir(folder), redirect_stdout(out), redirect_stderr(err), mock.patch.object(sys, "argv", command):
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as end:
            status = end.code
    return subprocess.CompletedProcess(command, status, out.getvalue(), err.getvalue())


def test_any_two_runs_can_be_compared_by_their_images(tmp_path):
    masks = np.ones((2, 400), bool)
    masks[0, :30], masks[1, 20:33] = False, False  # 20 only the second gets right, and 3 only the first
    for samples, mask in zip((100, 200), masks, strict=True):
        columns = {"test_accuracy": 100 * mask.mean(), "test_correct": hits.pack(mask)}
        run = make_run(train_samples=samples)
        write_record(tmp_path / run.record, run, make_record(**columns, train_time_ms=10.0 * samples))
    paths = [make_run(train_samples=samples).record for samples in (100, 200)]
    done = compare(tmp_path, *paths)
    assert done.returncode == 0, done.stderr
    p = stats.binomtest(3, 23).pvalue
    assert (
        "of 400 test images of digits, 3 are correct in the first only and 20 in the second only"
        in done.stdout
    )
    assert f"second minus first: +4.25 points (95 % interval +1.90 to +6.60), p = {p:.4g}" in done.stdout
    assert "the difference is significant on these test images\n" in done.stdout
    noise = "single runs of this metric do not show whether that is noise"
    assert f"Training time (ms) ↓: 1000 and 2000\n  second over first: ×2.000; {noise}\n" in done.stdout
    assert "Support vectors ↓: 40 and 40\n  second minus first: +0, which is exact\n" in done.stdout


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"test_correct": None}, "one record does not list the test images that the run got right"),
        (
            {"test_samples": 200},
            "one run has 400 test images of digits, and the other 200 test images of digits",
        ),
        ({"threads": 4}, "the runs differ in threads"),
    ],
)
def test_what_cannot_be_compared_is_named(columns, sentence, tmp_path):
    for samples, changes in ((100, {"test_samples": 400}), (200, {"test_samples": 400, **columns})):
        mask = np.ones(changes["test_samples"], bool)
        mask[: len(mask) // 10] = False
        changes = {"test_accuracy": 90.0, "test_correct": hits.pack(mask), **changes}
        run = make_run(train_samples=samples)
        write_record(tmp_path / run.record, run, make_record(**changes))
    done = compare(tmp_path, *(make_run(train_samples=samples).record for samples in (100, 200)))
    assert done.returncode == 0, done.stderr
    assert f"not compared: {sentence}\n" in done.stdout


def test_a_diverged_run_is_an_error_without_a_traceback(tmp_path):
    for samples, changes in ((100, {}), (200, {"status": "diverged", "test_accuracy": None})):
        run = make_run(train_samples=samples)
        write_record(tmp_path / run.record, run, make_record(**changes))
    done = compare(tmp_path, *(make_run(train_samples=samples).record for samples in (100, 200)))
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "the run diverged" in done.stderr


def test_a_page_has_fewer_columns_and_notes_that_may_break_over_pages():
    study = study_of({"batch_size": [16, 32], "lr": [0.1, 0.2]}, seeds=SEEDS)
    table = effects_table("it", study, records_of(study, lambda run: 90 + noise(run, 0.2)))
    assert list(table.printed) == [
        "Comparison",
        "Difference, 95 % interval",
        "p (Holm), by",
        "Effect size d, 95 % interval",
        "Verdict",
    ]
    assert table.printed["Comparison"].tolist() == ["Batch size\n16 → 32", "Learning rate\n0.1 → 0.2"]
    assert table.printed["p (Holm), by"].tolist()[0].endswith("\n5 seeds\n10 pairs")
    tex = table.latex()
    assert r"\begin{tabular}[t]{@{}l@{}}Batch size \\ 16 $\to$ 32\end{tabular}" in tex
    table.notes = ["A note. " * 300]
    assert table.latex().index(r"\end{table") < table.latex().index(r"Notes on Table~\ref{tab:it_effects}")
    assert len(table.display.columns) > 9, "other formats have all"
    assert table.html().count('<th scope="col">') == len(table.display.columns)
