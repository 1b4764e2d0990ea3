"""Baselines: studies that `ablate` writes, what is refused, and the differences in the table."""

import itertools
import re
from typing import Any

import numpy as np
import pytest
from ablations.analysis.design import design
from ablations.config.sections import ConfigError
from ablations.config.studies.study import parse_study, study_model
from ablations.kinds import hits
from ablations.presentation.design_table import in_words
from ablations.presentation.question_notes import planned_reach
from ablations.presentation.study_table import study_table
from denoiser import DENOISER, measure
from scipy import stats
from statsmodels.stats.weightstats import ttost_paired
from test_config import STUDY, edited, load
from test_tables import record

ONE: dict[str, Any] = {
    "title": "What matters",
    "kind": "cnn",
    "grid": [
        {
            "dataset": "digits",
            "model": "resnet18",
            "batch_size": 16,
            "recipe": [{"optimizer": "sgd", "lr": 0.1}],
            "epochs": 1,
            "pin_memory": True,
        }
    ],
    "ablate": {
        "pin_memory": False,
        "lr": [0.01, 0.2],
        "recipe": [{"optimizer": "adam", "lr": "1e-3"}],
    },
    "seeds": [0, 1, 2],
    "table": {"values": "test_accuracy"},
}


def test_ablate_writes_the_point_and_each_change_alone():
    of = load(s=ONE).studies["s"]
    assert of.rows == ["pin_memory", "lr", "optimizer"]
    levels = [[values[name] for name in of.rows] for values, _ in of.points()]
    assert levels == [
        [True, 0.1, "sgd"],
        [False, 0.1, "sgd"],
        [True, 0.01, "sgd"],
        [True, 0.2, "sgd"],
        [True, 0.001, "adam"],
    ]
    assert parse_study(of.written).runs() == of.runs()
    assert all(of.holds(run) for run in of.runs())
    block = {**ONE["grid"][0], "recipe": [{"optimizer": "sgd", "lr": lr} for lr in (0.1, 0.01, 0.2)]}
    adam = {**ONE["grid"][0], "recipe": [{"optimizer": "adam", "lr": 0.001}]}
    written = {**ONE, "grid": [block, {**ONE["grid"][0], "pin_memory": False}, adam], "table": STUDY["table"]}
    by_hand = parse_study({key: value for key, value in written.items() if key != "ablate"})
    assert {run.record for run in by_hand.runs()} == {run.record for run in of.runs()}


def test_points_that_are_missing_are_changes_of_ablate():
    said = in_words("s", load(s=ONE).studies["s"])
    assert "; add to the `recipe` of `ablate`:\n      - {optimizer: adam}\n" in said
    recipe = [*ONE["ablate"]["recipe"], {"optimizer": "adam"}]
    of = load(s={**ONE, "ablate": {**ONE["ablate"], "recipe": recipe}}).studies["s"]
    assert not design(of).missing


def test_all_changes_together_are_one_more_point():
    of = load(s={**ONE, "ablate": {"pin_memory": False, "lr": 0.01, "all": True}}).studies["s"]
    assert [(v["pin_memory"], v["lr"]) for v, _ in of.points()] == [
        (True, 0.1),
        (False, 0.1),
        (True, 0.01),
        (False, 0.01),
    ]
    changes = study_table("s", of, {}).display["Change"].tolist()
    assert changes[0::3] == ["baseline", "all changes"]


BASE = {"batch_size": 16, "optimizer": "sgd"}


@pytest.mark.parametrize(
    ("study", "path", "value", "expected"),
    [
        (ONE, "ablate.lr", 0.1, "s.ablate.lr: lr 0.1 is what the grid has already"),
        (ONE, "ablate.lr", [0.2, 0.1], "s.ablate.lr: lr 0.1 is what the grid has already"),
        (ONE, "ablate.epochs", 1, "s.ablate.epochs: epochs 1 is what the grid has already"),
        (ONE, "ablate.momentum", 0, "s.ablate.momentum: momentum 0 is what the grid has already"),
        (ONE, "ablate.recipe", [{"lr": 0.1}], "s.ablate.recipe[0]: lr 0.1 is what the grid has already"),
        (ONE, "ablate.recipe", [{}], "s.ablate.recipe[0]: an empty entry"),
        (ONE, "ablate", {}, "s.ablate: it is empty"),
        (ONE, "ablate", {"all": True}, "s.ablate: it is empty"),
        (ONE, "ablate", "lr", "s.ablate: it holds 'lr'; it may hold a mapping"),
        (ONE, "ablate.all", True, "s.ablate.all: lr has 2 entries"),
        (ONE, "ablate.lrr", 0.2, "s.ablate.lrr: unknown key 'lrr'; did you mean 'lr'?"),
        (ONE, "ablate.seed", 1, "the seeds are the study's `seeds`"),
        (ONE, "ablate.lr", "fast", "s.ablate.lr: it holds 'fast'; it may hold a number"),
        (
            ONE,
            "ablate.dataset",
            "mnst",
            "s.ablate.dataset: there is no dataset 'mnst'; did you mean 'mnist'?",
        ),
        (ONE, "ablate.recipe", [{"optimizer": "adam", "momentum": 0.9}], "momentum"),
        (ONE, "grid.0.pin_memory", [True, False], "s.ablate.pin_memory: the grid has 2 levels of pin_memory"),
        (ONE, "grid", ONE["grid"] * 2, "s.ablate: the grid has 2 blocks"),
        (ONE, "baseline", {"lr": 0.1}, "s.ablate: the point of the grid is its baseline already"),
        (ONE, "exclude", [{"lr": 0.1}], "s.ablate: no point of the grid has pin_memory true and lr 0.1"),
        (STUDY, "table.rows", ..., "s.table.rows: it is missing"),
        (STUDY, "baseline", {"batch_size": 16}, "as optimizer varies (sgd, adam); name its level"),
        (STUDY, "baseline", {"lr": 0.5}, "s.baseline.lr: the grid has no lr 0.5"),
        (
            STUDY,
            "baseline",
            {"lr": 0.1, "optimizer": "adam"},
            "s.baseline: no point of the grid has lr 0.1 and",
        ),
        (STUDY, "baseline", {}, "s.baseline: it is empty"),
        (STUDY, "baseline", {"lr": [0.1]}, "s.baseline.lr: it holds [0.1]; it may hold a number"),
        (
            STUDY,
            "baseline",
            {"optimiser": "sgd"},
            "s.baseline.optimiser: unknown key 'optimiser'; did you mean",
        ),
        (
            {**STUDY, "exclude": [{"model": "resnet50", **BASE}]},
            "baseline",
            BASE,
            "s.baseline: no point of the grid has batch_size 16 and optimizer sgd in the column resnet50",
        ),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, str) else "",
)
def test_a_wrong_baseline_is_refused_with_a_sentence(study, path, value, expected):
    with pytest.raises(ConfigError) as error:
        load(s=edited(study, path, value))
    assert expected in str(error.value)


@pytest.mark.parametrize(
    "baseline", [BASE, {"lr": 0.1, "batch_size": 16}, {**BASE, "epochs": 1, "dataset": "digits"}]
)
def test_a_baseline_may_leave_out_what_follows_and_name_what_is_fixed(baseline):
    of = load(s={**STUDY, "baseline": baseline}).studies["s"]
    assert of.runs() == load(s=STUDY).studies["s"].runs()
    display = study_table("s", of, {}).display
    assert list(display) == [
        "Change",
        "Batch size",
        "Optimizer",
        "resnet18",
        "Δ resnet18",
        "resnet50",
        "Δ resnet50",
    ]
    # Four levels follow from the optimizer.
    assert display["Change"].tolist() == ["baseline", "4 changes", "batch size 16 → 32", "5 changes"]


def test_a_baseline_in_one_column_is_that_of_all_columns():
    of = load(s={**STUDY, "seeds": [0, 1], "baseline": {**BASE, "model": "resnet18"}}).studies["s"]
    luck = {"resnet18": 90.0, "resnet50": 92.0}
    found = {run: record(run, test_accuracy=str(luck[run.model])) for run in of.runs()}
    table = study_table("s", of, found)
    assert table.display["Δ resnet18"].tolist() == ["", "+0.00", "+0.00", "+0.00"]
    assert table.display["Δ resnet50"].tolist() == ["+2.00"] * 4


def ablation(**changes: Any):
    written = {
        "title": "Denoisers",
        "kind": "denoiser",
        "grid": [{"depth": 4, "width": 8}],
        "ablate": {"depth": [8, 16], "width": 16},
        "seeds": [0, 1, 2, 3],
        "table": {"values": ["psnr", "run_time_ms", "weights"]},
    }
    return study_model(DENOISER).model_validate({**written, **changes}, strict=True)


def noisy(of):
    draw = np.random.default_rng(0)
    return measure(
        of,
        lambda run: {
            "psnr": 30 + run.value("depth") / 10 + 0.1 * draw.normal(),
            "run_time_ms": 100 * run.value("depth") * float(np.exp(0.1 * draw.normal())),
            "weights": 1000 * run.value("depth"),
        },
    )


def test_differences_are_those_of_the_paired_test():
    of = ablation()
    found = noisy(of)
    table = study_table("it", of, found)
    points = [[float(found[run]["psnr"]) for run in runs] for _, runs in of.points()]
    tests = [stats.ttest_rel(point, points[0]) for point in points[1:]]
    smallest = sorted(test.pvalue for test in tests)
    for row, test in zip(table.data.to_dict("records")[1:], tests, strict=True):
        interval = test.confidence_interval()
        ends = (row["psnr_difference_ci_low"], row["psnr_difference_ci_high"])
        assert tuple(map(float, ends)) == pytest.approx((interval.low, interval.high), abs=1e-4)
        if test.pvalue == smallest[0]:
            assert float(row["psnr_p_holm"]) == pytest.approx(3 * test.pvalue, rel=1e-3)
    assert table.display["Change"].tolist() == ["baseline", "depth 4 → 8", "depth 4 → 16", "width 8 → 16"]
    assert "Depth" not in table.display
    assert {"depth", "width", "change"} <= {*table.data}
    starred = [text.endswith("*") for text in table.display["Δ PSNR (dB)"][1:]]
    assert starred == [float(p) < 0.05 for p in table.data["psnr_p_holm"][1:]]
    assert table.display["Δ Weights (k)"].tolist() == ["", "+4.0", "+12.0", "+0.0"]
    ratios = [np.log(float(found[run]["run_time_ms"])) for _, runs in of.points() for run in runs]
    ratio = np.exp(np.mean(ratios[4:8]) - np.mean(ratios[:4]))
    assert float(table.data["run_time_ms_ratio"][1]) == pytest.approx(ratio, abs=1e-4)


@pytest.mark.parametrize("test", ["wilcoxon", "permutation"])
def test_differences_are_those_of_the_declared_test(test):
    of = ablation(test=test, seeds=list(range(10)))
    found = noisy(of)
    table = study_table("it", of, found)
    values = [np.array([float(found[run]["psnr"]) for run in runs]) for _, runs in of.points()]
    for row, of_point in zip(table.data.to_dict("records")[1:], values[1:], strict=True):
        differences = of_point - values[0]
        if test == "wilcoxon":
            p = stats.wilcoxon(differences).pvalue
        else:
            sums = np.array([np.dot(signs, differences) for signs in itertools.product((-1, 1), repeat=10)])
            p = np.mean(np.abs(sums) >= abs(differences.sum()) - 1e-9)
        assert p - 1e-9 <= float(row["psnr_p_holm"]) * 1.001
        assert float(row["psnr_p_holm"]) <= 3.001 * p or float(row["psnr_p_holm"]) == 1
    assert any(
        ("signed ranks" if test == "wilcoxon" else "flips their signs") in note for note in table.notes
    )
    few = study_table("it", ablation(test=test), noisy(ablation(test=test)))
    reach = list(planned_reach(ablation(test=test)))
    assert any(text.startswith("differences to the baseline: with 4 seeds") for text in reach)
    assert any("which cannot be significant after Holm's correction over 3 tests" in n for n in few.notes)


def test_the_correction_is_over_the_primary_changes_alone():
    alone = study_table("it", ablation(ablate={"depth": [8, 16]}), noisy(ablation()))
    of = ablation(primary="depth", margin={"psnr": 0.5})
    table = study_table("it", of, noisy(of))
    assert table.data["psnr_family"].tolist() == ["", "primary", "primary", "exploratory"]
    assert table.data["psnr_p_holm"].tolist()[:3] == alone.data["psnr_p_holm"].tolist()
    plain = study_table("it", ablation(), noisy(of))
    assert "psnr_family" not in plain.data
    ps = {name: float(each.data["psnr_p_holm"][1]) for name, each in (("primary", table), ("all", plain))}
    assert ps["primary"] < ps["all"]
    values = [[float(noisy(of)[run]["psnr"]) for run in runs] for _, runs in of.points()]
    exploratory = stats.ttest_rel(values[3], values[0]).pvalue
    assert float(table.data["psnr_p_holm"][3]) == pytest.approx(exploratory, rel=1e-3)
    notes = " ".join(table.notes)
    assert "with Holm's correction over 2 tests" in notes
    assert "The study declares depth as primary. Differences of other hyperparameters alone (1) are" in notes
    assert "over 2 differences and over 1 difference" in notes


def test_an_exploratory_difference_has_a_mark_of_its_own():
    of = ablation(primary="width")
    table = study_table("it", of, noisy(of))
    stars = [text[-1:] for text in table.display["Δ PSNR (dB)"]]
    assert stars == ["", "†", "†", ")"]
    assert any(note.startswith("† marks an exploratory difference that is") for note in table.notes)
    planned = ablation(primary="width", test="wilcoxon", seeds=list(range(6)))
    assert not [text for text in planned_reach(planned) if text.startswith("differences")], "one test is made"


def test_a_difference_within_the_margin_is_marked():
    of = ablation(margin={"psnr": 0.5, "run_time_ms": 1.2})
    found = noisy(of)
    table = study_table("it", of, found)
    values = [np.array([float(found[run]["psnr"]) for run in runs]) for _, runs in of.points()]
    ps = [ttost_paired(each, values[0], -0.5, 0.5)[0] for each in values[1:]]
    shown = [float(p) for p in table.data["psnr_p_equivalent_holm"][1:]]
    assert min(shown) == pytest.approx(3 * min(ps), rel=1e-3)
    marked = [text.endswith("≈") for text in table.display["Δ PSNR (dB)"][1:]]
    assert marked == [p < 0.05 for p in shown] == [True, False, True]
    assert table.data["run_time_ms_p_equivalent_holm"][1]
    assert "weights_p_equivalent_holm" not in table.data
    note = "≈ marks a difference in PSNR within 0.5 dB: two one-sided tests, with Holm's correction over 3"
    assert any(each.startswith(note) for each in table.notes)
    assert not any("≈" in text for text in study_table("it", ablation(), found).display.to_numpy().ravel())


def test_one_seed_has_a_difference_without_an_interval():
    of = ablation(seeds=[0])
    table = study_table("it", of, noisy(of))
    assert all("(" not in text and "*" not in text for text in table.display["Δ PSNR (dB)"])
    assert any("Single runs do not show the noise of the PSNR" in note for note in table.notes)


def test_one_seed_with_answers_has_the_interval_of_its_items():
    of = load(s={**ONE, "seeds": [0]}).studies["s"]
    masks = np.random.default_rng(0).random((5, 500)) < 0.9
    found = {
        run: record(
            run, test_accuracy=f"{100 * mask.mean()}", test_samples="500", test_correct=hits.pack(mask)
        )
        for run, mask in zip(of.runs(), masks, strict=True)
    }
    table = study_table("s", of, found)
    assert all(" to " in text for text in table.display["Δ Test accuracy (points)"][1:])
    assert any("for the choice of the test images; other seeds may differ more" in n for n in table.notes)


def test_differences_rest_on_the_seeds_that_both_have():
    of = ablation(table={"values": "psnr"})
    found = noisy(of)
    (base, first, second, third) = (runs for _, runs in of.points())
    found[base[0]] |= {"status": "diverged"}
    for run in (*first[2:], *second[1:], *third):
        del found[run]
    table = study_table("it", of, found)
    texts = table.display["Δ PSNR (dB)"].tolist()
    assert (texts[0], texts[2], texts[3]) == ("", "–", "–"), "the baseline diverged with the second's seed"
    assert texts[1].endswith("(n = 1)")
    assert " to " not in texts[1], "one pair does not show the noise of seeds"
    notes = " ".join(table.notes)
    assert "A difference with n is that of so many seeds" in notes
    assert "– instead of a difference" in notes
    for run in base:
        found.pop(run)
    assert study_table("it", of, found).display["Δ PSNR (dB)"].tolist() == ["", "–", "–", "–"]


def test_a_difference_of_which_one_seed_collapsed_is_said_not_to_be_normal():
    study = load(s={**ONE, "seeds": list(range(6))}).studies["s"]

    def collapsing(run) -> dict[str, str]:
        collapsed = 30 * (run.value("lr") == 0.2 and run.value("seed") == 3)
        noise = np.random.default_rng(sum(run.record.encode())).normal(0, 0.1)
        return record(run, test_accuracy=f"{90 - collapsed + noise:.4f}")

    notes = study_table("s", study, {run: collapsing(run) for run in study.runs()}).notes
    [doubt] = [note for note in notes if "Shapiro" in note]
    assert "4 tests" in doubt
    assert "not normal: learning rate 0.1 → 0.2 (p " in doubt


def test_a_baseline_that_a_fraction_leaves_out_is_refused_with_one_that_it_has():
    grid = [{**ONE["grid"][0], "batch_size": [16, 32], "model": ["resnet18", "resnet34"], "epochs": [1, 2]}]
    written = {**ONE, "grid": grid, "fraction": "main_effects", "seeds": [0]}
    written |= {"table": {"rows": ["model", "batch_size", "epochs"]}}
    del written["ablate"]
    points = [values for values, _ in load(s=written).studies["s"].points()]
    names = ("batch_size", "model", "epochs")
    there = [tuple(values[name] for name in names) for values in points]
    left_out = next(
        levels
        for levels in itertools.product((16, 32), ("resnet18", "resnet34"), (1, 2))
        if levels not in there
    )
    with pytest.raises(ConfigError) as refused:
        load(s={**written, "baseline": dict(zip(names, left_out, strict=True))})
    such = " and ".join(f"{name} {level}" for name, level in zip(names, there[0], strict=True))
    assert f"no point of the fraction of the grid has batch_size {left_out[0]}" in str(refused.value)
    assert f"name one that it has, such as {such}" in str(refused.value)


def test_a_wide_table_on_paper_has_each_interval_below_its_difference():
    study = load(s={**ONE, "table": {"values": ["test_accuracy", "train_time_ms"]}}).studies["s"]
    draw = np.random.default_rng(0)

    def made(run) -> dict[str, str]:
        accuracy, time = 90 - 9 * (run.value("lr") == 0.2) + draw.normal(0, 0.1), 1000 + draw.normal()
        return record(run, test_accuracy=f"{accuracy:.4f}", train_time_ms=f"{time:.3f}")

    wide = study_table("s", study, {run: made(run) for run in study.runs()})
    difference = wide.display["Δ Test accuracy (points)"].tolist()[3]
    text, low, high = re.fullmatch(r"(\S+) \((\S+) to (\S+)\) \*", difference).groups()
    assert wide.printed["Δ Test accuracy (points)"].tolist()[3] == f"{text} *\n({low} to {high})"
    assert study_table("s", load(s=ONE).studies["s"], {}).printed is None
