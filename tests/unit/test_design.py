"""Designs: which effects a grid separates, checked against brute force."""

import itertools
import random
from pathlib import Path

import numpy as np
import pytest
import yaml
from ablations.analysis.design import Follows, design
from ablations.config.reading import load_config
from ablations.config.studies.study import Study, parse_study
from ablations.presentation.design_table import in_words

PROJECT = Path(__file__).parents[2]
LEVELS = {
    "model": ["resnet18", "resnet34", "resnet50"],
    "batch_size": [16, 32],
    "lr": [0.1, 0.2],
    "epochs": [1, 2, 3],
}


def study_of(*blocks: dict, exclude: tuple[dict, ...] = (), seeds: tuple[int, ...] = (0,)) -> Study:
    fixed = {"dataset": "digits", "optimizer": "sgd", "pin_memory": False}
    fixed |= {"model": "resnet18", "batch_size": 16, "lr": 0.1, "epochs": 1}
    written = {
        "title": "a study",
        "kind": "cnn",
        "grid": [
            {
                k: v
                for k, v in fixed.items()
                if k not in block and not any(k in r for r in block.get("recipe", ()))
            }
            | block
            for block in blocks
        ],
        "exclude": list(exclude),
        "seeds": list(seeds),
        "table": {"rows": ["model"]},
    }
    return parse_study(written)


def with_points(study: Study, points: tuple) -> Study:
    written = dict(study.written)
    block = {k: v for k, v in written["grid"][0].items() if k != "recipe"}
    return parse_study({**written, "grid": [*written["grid"], *({**block, **point} for point in points)]})


def test_all_effects_of_a_full_product_are_separable():
    found = design(study_of(LEVELS))
    assert found.separable == found.pure == ("model", "batch_size", "lr", "epochs")
    assert (found.aliased_with, found.follows, found.missing) == ({}, (), ())
    assert (found.points, found.spare) == (36, 36 - 1 - 2 - 1 - 1 - 2)


def test_the_published_part_a():
    """In each row the optimizer and the learning rate determine the epochs and pin_memory."""
    config = load_config([PROJECT / "config/datasets.yaml", PROJECT / "config/config.yaml"], root=PROJECT)
    study = config.studies["part_a"]
    found = design(study)
    assert found.pure == ("dataset", "model", "batch_size")
    assert found.aliased_with == {"lr": ("epochs",), "epochs": ("lr",)}
    follows = set(found.follows)
    assert Follows("epochs", ("lr",), often=True) in follows
    assert Follows("pin_memory", ("optimizer", "lr"), often=True) in follows
    assert len(found.missing) == 1
    assert found.missing[0]["epochs"] == 5, "of two points that do, the one with fewer epochs"
    words = in_words("part_a", study)
    assert "NOT separable: epochs, which is determined by lr" in words
    assert "separable only without interactions: pin_memory, which is determined by optimizer and lr" in words
    # The printed point can be added as it is, and makes the effects separable.
    block = next(line for line in words.splitlines() if line.startswith("      - {")).partition("- ")[2]
    after = design(parse_study({**study.written, "grid": [*study.written["grid"], yaml.safe_load(block)]}))
    assert after.aliased_with == {}


@pytest.mark.parametrize("seed", range(25))
def test_the_missing_points_are_the_fewest_that_suffice(seed):
    """On random grids: the missing points suffice, and no smaller set of points does."""
    draw = random.Random(seed)
    product = [dict(zip(LEVELS, point, strict=True)) for point in itertools.product(*LEVELS.values())]
    points = draw.sample(product, draw.randint(3, 6))
    study = study_of(*points)
    found = design(study)
    assert found.searched == "enough"
    after = design(with_points(study, found.missing))
    assert after.aliased_with == {}
    assert set(after.separable) == set(found.levels)

    levels = {name: sorted({point[name] for point in points}) for name in LEVELS}
    levels = {name: values for name, values in levels.items() if len(values) > 1}
    assert set(levels) == set(found.levels)

    def coded(point: dict) -> list[float]:
        return [1.0] + [float(point[n] == v) for n, values in levels.items() for v in values[1:]]

    own = [coded(point) for point in points]
    others = [coded(dict(zip(levels, p, strict=True))) for p in itertools.product(*levels.values())]
    goal = len(own[0])
    fewer = max(len(found.missing) - 1, 0)
    sets = itertools.islice(itertools.combinations(others, fewer), 3000)
    if found.missing:
        assert all(np.linalg.matrix_rank(np.array([*own, *more])) < goal for more in sets)


def test_exactly_the_separable_effects_can_be_estimated():
    """From made-up accuracies without noise: least squares recovers the separable effects."""
    draw = random.Random(1)
    for _ in range(20):
        product = list(itertools.product(*LEVELS.values()))
        points = draw.sample(product, 5)
        found = design(study_of(*(dict(zip(LEVELS, point, strict=True)) for point in points)))
        names = list(found.levels)
        truth = {(n, v): draw.random() for n in names for v in found.levels[n]}
        rows = [
            [1.0]
            + [float(dict(zip(LEVELS, p, strict=True))[n] == v) for n in names for v in found.levels[n][1:]]
            for p in points
        ]
        outcome = [sum(truth[n, dict(zip(LEVELS, p, strict=True))[n]] for n in names) for p in points]
        # Of all solutions the shortest; what a solution may add lies in the null space.
        null = np.linalg.svd(np.array(rows))[2][np.linalg.matrix_rank(np.array(rows)) :]
        at, fitted = 1, np.linalg.lstsq(np.array(rows), np.array(outcome), rcond=None)[0]
        for name in names:
            values = found.levels[name]
            columns = range(at, at + len(values) - 1)
            at += len(values) - 1
            unique = bool(np.all(np.abs(null[:, list(columns)]) < 1e-9))
            assert unique == (name in found.separable)
            if unique:
                effects = [truth[name, v] - truth[name, values[0]] for v in values[1:]]
                assert fitted[list(columns)] == pytest.approx(effects)


def test_excluded_and_impossible_points_are_never_proposed():
    recipe = [{"lr": 0.1, "epochs": 1}, {"lr": 0.2, "epochs": 2}]
    found = design(study_of({"recipe": recipe, "batch_size": [16, 32]}))
    assert len(found.missing) == 1
    named = found.missing[0]
    study = study_of(
        {"recipe": [*recipe, {"lr": 0.1, "epochs": 2}], "batch_size": [16, 32]},
        exclude=({"lr": 0.1, "epochs": 2},),
    )
    assert design(study).missing[0] != named or named["epochs"] == 1
    momentum = [{"optimizer": "sgd", "momentum": 0.9}, {"optimizer": "adam", "momentum": 0.0}]
    found = design(study_of({"recipe": momentum}))
    assert found.missing == ({"optimizer": "sgd", "momentum": 0.0},), "adam has no momentum"


def test_effects_of_a_latin_square_are_separable_only_without_interactions():
    """Nine points of three levels each: an effect of the third factor may be an interaction of the others."""
    square = [
        {"model": LEVELS["model"][i], "epochs": j + 1, "batch_size": 16 * ((i + j) % 3 + 1)}
        for i in range(3)
        for j in range(3)
    ]
    found = design(study_of(*square))
    assert set(found.separable) == {"model", "epochs", "batch_size"}
    assert found.pure == ()
    assert (
        "separable only without interactions: batch_size, which is determined by model and epochs"
        in in_words("it", study_of(*square))
    )


def test_a_seed_that_is_excluded_excludes_no_point():
    recipe = [{"lr": 0.1, "epochs": 1}, {"lr": 0.2, "epochs": 2}]
    found = design(study_of({"recipe": recipe}, exclude=({"seed": 0},), seeds=(0, 1, 2)))
    assert len(found.missing) == 1
    assert found.searched == "enough"


def test_a_grid_whose_missing_points_are_all_excluded_says_so():
    recipe = [
        {"lr": 0.1, "epochs": 1},
        {"lr": 0.2, "epochs": 2},
        {"lr": 0.1, "epochs": 2},
        {"lr": 0.2, "epochs": 1},
    ]
    study = study_of({"recipe": recipe}, exclude=({"lr": 0.1, "epochs": 2}, {"lr": 0.2, "epochs": 1}))
    found = design(study)
    assert found.searched == "all points"
    assert "no other points of these levels would separate them" in in_words("it", study)


def test_points_two_levels_away_are_found():
    """Of 2 × 2 × 2 × 2 points, two opposite ones are there, and all that differ in one level are excluded."""

    def point(levels: tuple[int, ...]) -> dict:
        a, b, c, d = levels
        return {"lr": 0.1 * (1 + a), "batch_size": 16 * (1 + b), "epochs": 1 + c, "model": LEVELS["model"][d]}

    product = list(itertools.product((0, 1), repeat=4))
    near = [point(levels) for levels in product if sum(levels) in (1, 3)]
    ends = [point(levels) for levels in product if sum(levels) in (0, 4)]
    study = study_of(*ends, *near, exclude=tuple(near))
    found = design(study)
    assert (found.searched, len(found.missing)) == ("enough", 3)
    assert design(with_points(study, found.missing)).aliased_with == {}


HALF = [
    {"lr": 0.1 * (1 + a), "batch_size": 16 * (1 + b), "epochs": 1 + c, "model": LEVELS["model"][a ^ b ^ c]}
    for a, b, c in itertools.product((0, 1), repeat=3)
]


def test_a_half_fraction_is_mistaken_for_interactions_of_three_only():
    """Resolution IV: no main effect has an alias with an interaction of two."""
    found = design(study_of(*HALF))
    assert max(alias.size for alias in found.alias.values()) == pytest.approx(0.0, abs=1e-9)
    assert set(found.pure_of_two) == {"lr", "batch_size", "epochs", "model"}
    assert "only without interactions of three or more: " in in_words("it", study_of(*HALF))


def test_a_fraction_of_three_factors_is_wholly_mistaken_for_interactions_of_two():
    """Resolution III: the third factor is the product of the other two."""
    quarter = [
        {"lr": 0.1 * (1 + a), "batch_size": 16 * (1 + b), "epochs": 1 + (a ^ b)}
        for a, b in itertools.product((0, 1), repeat=2)
    ]
    found = design(study_of(*quarter))
    assert found.alias["epochs"].size == pytest.approx(1)
    assert found.alias["epochs"].of == ("batch_size", "lr")
    assert "epochs (1.00 of batch_size × lr)" in in_words("it", study_of(*quarter))


def test_an_alias_is_the_shift_of_the_least_squares_estimate():
    points = [point for i, point in enumerate(itertools.product((0, 1), repeat=3)) if i not in (1, 6)]
    study = study_of(
        *({"lr": 0.1 * (1 + a), "batch_size": 16 * (1 + b), "epochs": 1 + c} for a, b, c in points)
    )
    signs = 2.0 * np.array(points) - 1
    rows = np.column_stack([np.ones(len(points)), signs])
    for name, place in (("lr", 1), ("batch_size", 2), ("epochs", 3)):
        shifts = [
            abs(np.linalg.lstsq(rows, signs[:, i] * signs[:, j], rcond=None)[0][place])
            for i, j in itertools.combinations([other for other in range(3) if other != place - 1], 2)
        ]
        assert design(study).alias[name].size == pytest.approx(max(shifts))


def test_one_point_and_seeds():
    assert "one point: nothing to compare" in in_words("it", study_of({}))
    words = in_words(
        "it", study_of({"recipe": [{"lr": 0.1, "epochs": 1}, {"lr": 0.2, "epochs": 2}]}, seeds=(0, 1, 2))
    )
    assert "2 points × 3 seeds" in words
    assert "at least 1 more point (3 runs) is needed to separate all main effects; add to `grid`:" in words
    assert "there is one seed" not in words


def test_the_design_of_ten_thousand_points_takes_seconds():
    """A search over subsets of points would take hours."""
    study = study_of(
        {
            "recipe": [{"lr": (i + 1) / 1000, "epochs": i + 1} for i in range(100)],
            "batch_size": list(range(1, 101)),
        }
    )
    found = design(study)
    assert set(found.aliased_with) == {"lr", "epochs"}
    assert len(found.missing) == 99
