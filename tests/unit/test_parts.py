"""Parts of grids: points that are drawn, and fractions, the same on each machine and in each version."""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ablations.analysis.design import design
from ablations.analysis.effects import effects
from ablations.config.reading import load_config
from ablations.config.sections import ConfigError
from ablations.config.studies.drawn import BITS, _shares
from ablations.config.studies.fractions import effect_columns, efficiency
from ablations.config.studies.study import Study, parse_study
from ablations.presentation.design_table import design_table, in_words
from ablations.presentation.effects_table import effects_table
from ablations.presentation.figures import FIGURES
from ablations.presentation.tables import TABLES
from scipy import stats
from statsmodels.api import OLS
from test_tables import record

PROJECT = Path(__file__).parents[2]
BLOCK = {
    "dataset": "digits",
    "model": "resnet18",
    "batch_size": [16, 32, 64],
    "optimizer": ["sgd", "adam"],
    "lr": {"log_uniform": ["1e-5", "1e-1"]},
    "epochs": 1,
}
DRAWN = {
    "title": "Drawn",
    "kind": "cnn",
    "grid": [BLOCK],
    "sample": {"points": 6},
    "table": {"rows": ["lr", "optimizer", "batch_size"]},
}


def load(**changes: Any) -> Study:
    written = {key: value for key, value in {**DRAWN, **changes}.items() if value is not ...}
    return load_config([PROJECT / "config/datasets.yaml"], {"studies": {"s": written}}, PROJECT).studies["s"]


def of_sizes(*sizes: int, **changes: Any) -> Study:
    """A study of a kind with hyperparameters a, b, … of so many levels."""
    names = "abcdefghijklmnop"[: len(sizes)]
    hyperparameters = {name: {"type": "int", "default": 0} for name in names}
    kind = {"command": "true {hyperparameters}", "hyperparameters": hyperparameters, "metrics": {"m": {}}}
    grid = [{name: list(range(size)) for name, size in zip(names, sizes, strict=True)}]
    study = {"title": "A fraction", "kind": "k", "grid": grid, "table": {"rows": list(names)}} | changes
    return load_config([], {"kinds": {"k": kind}, "studies": {"s": study}}, PROJECT).studies["s"]


def test_drawn_points_are_these_for_good():
    """Another version of this code, of SciPy or of NumPy must not draw others: they would be other runs."""
    drawn = [(p.levels["batch_size"], p.levels["optimizer"], p.levels["lr"]) for p in load().part]
    assert drawn == [
        (16, "sgd", 2.46e-05), (32, "adam", 0.0167), (64, "sgd", 0.000621),
        (16, "adam", 0.00371), (32, "sgd", 0.0706), (64, "adam", 3.27e-05),
    ]  # fmt: skip
    others = {"lr": 0.1, "momentum": {"uniform": [0, 0.9]}, "optimizer": "sgd", "batch_size": 16}
    whole = {"epochs": {"int_uniform": [1, 20], "step": 5}, "weight_decay": {"uniform": [0, 1], "step": 0.25}}
    study = load(grid=[BLOCK | others | whole], sample={"points": 4, "seed": 7}, table={"rows": "momentum"})
    drawn = [tuple(point.levels[name] for name in ("momentum", *whole)) for point in study.part]
    assert drawn == [(0.835, 16, 0.5), (0.285, 1, 0.5), (0.586, 6, 1.0), (0.092, 11, 0.0)]


def test_more_points_begin_with_the_same_ones():
    forty, sixty = (load(sample={"points": points, "seed": 3}).part for points in (40, 60))
    assert forty == sixty[:40]
    assert len(sixty) == 60


def test_the_order_of_keys_changes_no_point():
    turned = load(grid=[dict(reversed(BLOCK.items()))])
    assert [dict(sorted(p.levels.items())) for p in turned.part] == [
        dict(sorted(p.levels.items())) for p in load().part
    ]


def test_another_seed_draws_others_and_seeds_are_crossed():
    assert load(sample={"points": 6, "seed": 1}).part != load().part
    assert len(load(seeds=[0, 1, 2]).runs()) == 18


def test_the_points_before_scrambling_are_those_of_sobol_and_fill_each_interval():
    names = [f"key {i}" for i in range(5)]
    found = np.array(next(_shares(names, "0"))) / 2**BITS
    # One point in each of 64 intervals of each key, and in each of 8 × 8 squares of the first two.
    for column in found.T:
        assert sorted((column * 64).astype(int)) == list(range(64))
    squares = {(int(a * 8), int(b * 8)) for a, b in found[:, :2]}
    assert len(squares) == 64
    many = (
        np.array(list(itertools.islice(itertools.chain.from_iterable(_shares(names, "1")), 1024))) / 2**BITS
    )
    assert stats.qmc.discrepancy(many) < 0.05 * stats.qmc.discrepancy(
        np.random.default_rng(0).random((1024, 5))
    )


@pytest.mark.parametrize(
    ("given", "cdf"),
    [
        ({"log_uniform": [1e-5, 1e-1]}, stats.loguniform(1e-5, 1e-1).cdf),
        ({"uniform": [1, 5]}, stats.uniform(1, 4).cdf),
    ],
)
def test_a_range_has_its_distribution(given, cdf):
    values = load(grid=[BLOCK | {"lr": given}], sample={"points": 200}).levels("lr")
    assert stats.kstest([cdf(value) for value in values], "uniform").pvalue > 0.5
    assert all(float(f"{value:.3g}") == value for value in values), "paths stay readable"


def test_whole_numbers_have_both_ends_and_steps():
    study = load(grid=[BLOCK | {"epochs": {"int_uniform": [2, 8], "step": 2}}], sample={"points": 40})
    assert study.levels("epochs") == [2, 4, 6, 8]
    assert all(type(level) is int for level in study.levels("epochs"))


def test_a_grid_of_lists_draws_among_its_points():
    lists = BLOCK | {"lr": [0.1, 0.01]}
    twelve = load(grid=[lists], sample={"points": 12})
    assert set(twelve.runs()) == set(load(grid=[lists], sample=...).runs())
    assert twelve.levels("lr") == [0.1, 0.01], "levels have the order of the list"
    with pytest.raises(ConfigError, match=r"sample.points: 13 points .* the grid has 12"):
        load(grid=[lists], sample={"points": 13})


def test_blocks_take_turns_and_excluded_points_are_drawn_anew():
    momentum = BLOCK | {"optimizer": "sgd", "momentum": {"uniform": [0, 0.9]}}
    study = load(grid=[momentum, BLOCK | {"optimizer": "adam"}])
    assert [point.levels["optimizer"] for point in study.part] == ["sgd", "adam"] * 3
    left = load(exclude=[{"batch_size": 16}])
    assert len(left.part) == 6
    assert left.levels("batch_size") == [32, 64]
    assert len(load(seeds=[0, 1], exclude=[{"seed": 1, "batch_size": 16}]).runs()) == 10


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"sample": ...}, r"grid\[0\].lr: it is a range, whose values are drawn; add `sample"),
        ({"sample": {"points": 0}}, "sample.points: it holds 0; it may hold a number of at least 1"),
        ({"sample": {"points": 500_001}}, "sample.points: it holds 500001; .* at most 500000"),
        ({"sample": {"points": 500_000}, "seeds": [0, 1]}, "1,000,000 points with its seeds"),
        ({"ablate": {"momentum": 0.9}}, "sample: the study has `ablate`"),
        ({"fraction": "main_effects"}, "fraction: the study has `sample` as well"),
        ({"fraction": "all_effects", "sample": ...}, "fraction: it holds 'all_effects'"),
        ({"exclude": [{}]}, r"exclude\[0\]: it is empty"),
        ({"exclude": [{"batch_size": [16, 32, 64]}]}, "sample.points: .* the grid has 0"),
        ({"grid": [BLOCK | {"batch_size": 1, "optimizer": "sgd", "lr": 1}]}, "the grid has only one point"),
        ({"grid": [BLOCK | {"recipe": [{"lr": 0.1}]}]}, r"grid\[0\].recipe\[0\].lr: the block already holds"),
        ({"grid": [{k: v for k, v in BLOCK.items() if k != "epochs"}]}, r"grid\[0\]: epochs is missing"),
    ],
)
def test_what_cannot_be_drawn_is_refused(changes, sentence):
    with pytest.raises(ConfigError, match=sentence):
        load(**changes)


@pytest.mark.parametrize(
    ("key", "given", "sentence"),
    [
        ("lr", {"log_uniform": [0.1, 0.01]}, "its low end 0.1 is not below its high end 0.01"),
        ("lr", {"log_uniform": [0, 1]}, "its low end is 0, which has no logarithm"),
        ("lr", {"normal": [0, 1]}, "unknown key 'normal'.*the keys here are uniform"),
        ("lr", {"uniform": [0, 1]}, r"0 is in it \(Input should be greater than 0\)"),
        ("lr", {"uniform": [0.1]}, "uniform: it holds .*; it may hold a list of at least 2"),
        ("lr", {}, "a range has one of uniform, log_uniform, int_uniform"),
        ("lr", {"uniform": [1, 2], "log_uniform": [1, 2]}, "a range has one of"),
        ("lr", {"uniform": [1, 2], "step": 3}, "`step` is 3, more than the 1 between its ends"),
        ("lr", {"log_uniform": [1, 2], "step": 0.1}, "`step` goes with `uniform`"),
        ("lr", {"uniform": [1, 2], "step": 0.5, "digits": 2}, "`digits` goes with"),
        ("lr", {"uniform": [1, float("nan")]}, "it may hold a finite number"),
        ("epochs", {"uniform": [1, 5]}, "its values are whole numbers; write int_uniform"),
        ("epochs", {"int_uniform": [1, 9], "step": 0.5}, "steps of whole numbers are whole"),
        ("optimizer", {"uniform": [1, 5]}, "optimizer: it holds a mapping; it may hold 'sgd'"),
    ],
)
def test_a_range_that_is_none_is_refused_in_a_sentence(key, given, sentence):
    with pytest.raises(ConfigError, match=sentence):
        load(grid=[BLOCK | {key: given}])


def test_a_job_reads_a_drawn_study_without_drawing():
    files, studies = [PROJECT / "config/datasets.yaml"], {"studies": {"s": DRAWN}}
    study = load_config(files, studies, PROJECT, expand=False).studies["s"]
    assert study.varies("lr")
    assert not study.varies("pin_memory")
    assert study.count_points() == 6
    assert study._part is None


def test_the_effect_of_a_range_is_that_of_a_line_over_its_logarithm():
    study = load(sample={"points": 40}, seeds=[0])
    noise = np.random.default_rng(0).normal(0, 0.1, 40)
    runs = study.runs()
    lrs = np.log10([run.value("lr") for run in runs])
    adam = np.array([run.value("optimizer") == "adam" for run in runs])
    sizes = [np.array([run.value("batch_size") == size for run in runs]) for size in (32, 64)]
    values = 90 + 0.5 * lrs + 2 * adam + noise
    records = {run: record(run, test_accuracy=str(v)) for run, v in zip(runs, values, strict=True)}
    found = {
        effect.factor: effect for effect in effects(study, records, "test_accuracy") if effect.comparison
    }
    columns = np.column_stack([np.ones(40), lrs, adam, *sizes])
    slope, of_adam = np.linalg.lstsq(columns, values, rcond=None)[0][1:3]
    lr = found["lr"]
    assert (lr.first, lr.second) == (min(study.levels("lr")), max(study.levels("lr")))
    assert lr.comparison.difference == pytest.approx(slope * (max(lrs) - min(lrs)))
    assert found["optimizer"].comparison.difference == pytest.approx(of_adam)
    assert lr.comparison.interval.low < 0.5 * (max(lrs) - min(lrs)) < lr.comparison.interval.high
    assert any(
        "Drawn from a range: learning rate" in note for note in effects_table("s", study, records).notes
    )


def test_the_interval_of_a_slope_has_its_coverage_and_noise_is_rarely_significant():
    study = load(sample={"points": 20}, seeds=[0])
    runs, rng = study.runs(), np.random.default_rng(1)
    lrs = np.log10([run.value("lr") for run in runs])
    covered, significant = [], []
    for _ in range(150):
        values = 90 + 0.3 * lrs + rng.normal(0, 0.5, len(runs))
        records = {run: record(run, test_accuracy=str(v)) for run, v in zip(runs, values, strict=True)}
        found = {effect.factor: effect.comparison for effect in effects(study, records, "test_accuracy")}
        interval = found["lr"].interval
        covered.append(interval.low <= 0.3 * (max(lrs) - min(lrs)) <= interval.high)
        significant.append(found["optimizer"].p < 0.05)
    assert np.mean(covered) >= 0.9
    assert np.mean(significant) <= 0.08


def test_all_tables_and_figures_of_a_drawn_study_are_made():
    import matplotlib.pyplot as plt

    study = load(sample={"points": 10}, seeds=[0, 1])
    records = {run: record(run, test_accuracy=str(90 + i / 7)) for i, run in enumerate(study.runs()[:-1])}
    for make in [make for name, make in TABLES.items() if name != "vs_published"]:
        assert make("s", study, records, None).markdown()
    for draw in FIGURES.values():
        plt.close(draw(study, records if draw is not FIGURES["curves"] else {}, None, ()))
    assert list(design_table("s", study).data["levels"]) == ["3", "2", "10 of a range"]
    assert "drawn from a Sobol sequence with seed 0" in in_words("s", study)


# Levels, named interactions, and the number of points: of the grid, of the effects, and of the fraction.
FRACTIONS = [
    ((2, 2, 2), [], 4, 4), ((2, 2, 2, 2), [], 5, 8), ((2,) * 7, [], 8, 8), ((2,) * 11, [], 12, 12),
    ((3, 3, 3, 3), [], 9, 9), ((2, 3), [], 4, 4), ((2, 2, 3, 3), [], 7, 7), ((4, 2, 2), [], 6, 6),
    ((5, 5, 5), [], 13, 25), ((2, 2, 2, 2), [("a", "b")], 6, 8), ((2,) * 5, [("a", "b"), ("c", "d")], 8, 16),
    ((2,) * 7, [("a", "b"), ("c", "d"), ("e", "f"), ("a", "c")], 12, 16), ((2, 3, 4), [("a", "b")], 9, 9),
    ((2,) * 6, list(itertools.combinations("abcdef", 2)), 22, 32),
]  # fmt: skip


@pytest.mark.parametrize(("sizes", "pairs", "needed", "chosen"), FRACTIONS, ids=str)
def test_a_fraction_is_small_and_nothing_in_it_is_aliased(sizes, pairs, needed, chosen):
    study = of_sizes(
        *sizes, fraction={"interactions": [list(pair) for pair in pairs]} if pairs else "main_effects"
    )
    found = design(study)
    assert (found.points, dict(found.aliased_with), found.missing) == (chosen, {}, ())
    assert set(found.separable) == set(found.levels)
    levels = {name: range(size) for name, size in zip("abcdefghijk", sizes, strict=False)}
    rows = effect_columns([point.levels for point in study.part], levels, pairs)
    assert np.linalg.matrix_rank(rows) == rows.shape[1] == needed
    worth = efficiency([point.levels for point in study.part], levels, pairs)
    if chosen > needed:
        # A larger one is orthogonal: no column of an effect has a part of another.
        assert np.allclose(rows.T @ rows, chosen * np.eye(needed))
    assert ("apart: an orthogonal array" in in_words("s", study)) == (worth > 1 - 1e-6)


@pytest.mark.parametrize("sizes", [(2, 3), (2, 2, 3), (4, 2)])
def test_no_other_part_of_that_size_is_better(sizes):
    study = of_sizes(*sizes, fraction="main_effects")
    levels = {name: range(size) for name, size in zip("abc", sizes, strict=False)}
    own = efficiency([point.levels for point in study.part], levels, [])
    grid = [dict(zip(levels, point, strict=True)) for point in itertools.product(*levels.values())]
    best = max(efficiency(list(part), levels, []) for part in itertools.combinations(grid, len(study.part)))
    assert own == pytest.approx(best)
    assert 0 < best < 1


def test_a_fraction_of_what_is_left_is_these_points_for_good():
    study = of_sizes(2, 2, 2, 2, exclude=[{"a": 1, "b": 1}], fraction="main_effects")
    assert ["".join(str(p.levels[name]) for name in "abcd") for p in study.part] == [
        "0000",
        "0011",
        "0101",
        "0110",
        "1000",
    ]
    half = of_sizes(2, 2, 2, 2, fraction="main_effects")
    words = ["".join(str(p.levels[name]) for name in "abcd") for p in half.part]
    assert words == [f"{a}{b}{c}{(a + b + c) % 2}" for a, b, c in itertools.product((0, 1), repeat=3)]


def test_a_fraction_may_have_a_given_number_of_points():
    study = of_sizes(2, 2, 2, 2, fraction={"points": 12})
    assert len(study.part) == 12
    assert math.prod(map(len, design(study).levels.values())) == 16


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"fraction": {"interactions": [["a", "x"]]}}, r"interactions\[0\]: 'x' does not vary in the grid"),
        ({"fraction": {"interactions": [["a", "a"]]}}, r"interactions\[0\]: it names a and a"),
        ({"fraction": {"interactions": [["a"]]}}, r"interactions\[0\]: it holds .* a list of at least 2"),
        ({"fraction": {"points": 3}}, "fraction.points: 3 points .* effects need 4, and the grid has 8"),
        ({"fraction": {"points": 9}}, "fraction.points: 9 points cannot be chosen"),
        ({"fraction": "main_effects", "exclude": [{"a": 0, "b": 1}, {"a": 1, "b": 0}]}, "grid does not"),
        ({"fraction": "main_effects", "grid": [{"a": 1}]}, "the grid has only one point"),
        ({"fraction": "main_effects", "grid": [{n: list(range(30)) for n in "abc"}]}, "has 27,000 points"),
        ({"fraction": "main_effects", "grid": [{"a": list(range(9000))}]}, "need 9,000 of 9,000 points"),
        ({"fraction": "main_effects", "grid": [{"a": {"int_uniform": [0, 3]}}]}, "it is a range"),
    ],
)  # fmt: skip
def test_a_fraction_that_cannot_be_taken_is_refused(changes, sentence):
    with pytest.raises(ConfigError, match=sentence):
        of_sizes(2, 2, 2, **changes)


def test_a_part_of_which_every_run_is_excluded_is_refused():
    with pytest.raises(ConfigError, match=r"studies\.s\.exclude: it removes every run of the study"):
        load(exclude=[{"seed": 0}])


FRACTION = {"sample": ..., "fraction": "main_effects", "grid": [BLOCK | {"lr": [1, 2]}]}


@pytest.mark.parametrize("part", [{}, FRACTION])
def test_a_part_holds_its_own_runs_alone(part):
    study = load(**part, seeds=[0, 1], exclude=[{"seed": 1, "optimizer": "adam"}])
    other = load(grid=[BLOCK | {"epochs": 2}], seeds=[0, 1]).runs()
    assert all(map(study.holds, study.runs()))
    assert not any(map(study.holds, other))
    every = load(**part, seeds=[0, 1]).runs()
    assert [run for run in every if study.holds(run)] == study.runs()


@pytest.mark.parametrize(
    ("name", "given", "others"),
    [
        ("gamma", {"log_uniform": [1e-4, 1e-1]}, ["scale", "auto"]),
        ("gamma", {"uniform": [0.01, 0.1]}, ["scale"]),
    ],
)
def test_a_level_without_a_place_on_a_range_has_an_effect_of_its_own(name, given, others):
    block = {"dataset": "digits", "kernel": "rbf", "train_samples": 100, "C": [1, 10]}
    study = parse_study(
        {
            "title": "T",
            "kind": "svm",
            "grid": [{**block, name: given}, {**block, name: others}],
            "sample": {"points": 8 + 2 * len(others), "seed": 0},
            "table": {"rows": ["C", name], "values": "test_accuracy"},
        }
    )
    draw = np.random.default_rng(0)
    records = {run: record(run, test_accuracy=f"{80 + draw.normal():.6f}") for run in study.runs()}
    runs = study.runs()
    drawn = sorted(run.value(name) for run in runs if run.value(name) not in others)
    scale = np.log if "log_uniform" in given else np.asarray
    place = {value: float(scale(value)) for value in drawn}
    columns = [np.array([run.value("C") for run in runs], float)]
    columns.append(np.array([place.get(run.value(name), 0.0) for run in runs]))
    columns += [np.array([run.value(name) == other for run in runs], float) for other in others]
    values = np.array([float(records[run]["test_accuracy"]) for run in runs])
    # The levels apart have no slope: without a range's value, only their own constants are left.
    is_drawn = 1 - sum(columns[2:])
    fitted = OLS(values, np.column_stack([columns[0], columns[1], is_drawn, *columns[2:]])).fit()
    _, slope, constant, *of_others = fitted.params
    found = [each for each in effects(study, records, "test_accuracy") if each.factor == name]
    first, *rest = found
    assert (first.first, first.second) == (drawn[0], drawn[-1])
    expected = slope * (place[drawn[-1]] - place[drawn[0]])
    assert first.comparison.difference == pytest.approx(expected, abs=1e-6)
    for effect in rest[: len(others)]:
        line = constant + slope * place[effect.first]
        own = of_others[others.index(effect.second)]
        assert effect.comparison.difference == pytest.approx(own - line, abs=1e-6)
        middle = (place[drawn[0]] + place[drawn[-1]]) / 2
        assert effect.first == min(drawn, key=lambda value: abs(place[value] - middle))
    assert len(rest) == len(others) + (len(others) == 2)
    table = design_table("s", study)
    shown = " and ".join([f"{len(drawn)} of a range", *others[:1]]) if len(others) == 1 else "of a range, "
    assert shown in list(table.data["levels"])[1]
    notes = " ".join(TABLES["effects"]("s", study, records, None).notes)
    assert f"No place on the scale of a range: {' and '.join(sorted(others))}." in notes
