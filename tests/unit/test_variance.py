"""Shares of variance, checked against statsmodels and against known effects."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from ablations.analysis.balance import balanced, worth
from ablations.analysis.design import design
from ablations.analysis.effects import effects
from ablations.analysis.variance import _sources, analyse, together
from ablations.kinds import hits
from ablations.presentation.variance_table import variance_table
from denoiser import denoiser, measure
from test_design import study_of
from test_effects import noise, records_of
from test_tables import record
from test_tables import study as published

SEEDS = (0, 1, 2)
GRID = {"model": ["resnet18", "resnet34", "resnet50"], "batch_size": [16, 32], "lr": [0.1, 0.2]}


def made_up(study, seed: int = 0) -> dict:
    """Accuracies with effects of a size that differs: of the model, of lr, and of both together."""
    draw = np.random.default_rng(seed)
    return {
        run: 80
        + 2.0 * GRID["model"].index(run.model)
        + 5 * run.value("lr")
        + (run.model == "resnet50") * 8 * run.value("lr")
        + draw.normal(0, 0.5)
        for run in study.runs()
    }


@pytest.mark.parametrize("seeds", [(0,), SEEDS])
def test_the_sums_of_squares_are_those_of_statsmodels(seeds):
    from statsmodels.formula.api import ols
    from statsmodels.stats.anova import anova_lm

    study = study_of(GRID, seeds=seeds)
    accuracy = made_up(study)
    frame = pd.DataFrame([{**run.values(), "y": y} for run, y in accuracy.items()])
    full = "C(model) * C(batch_size) * C(lr)" if len(seeds) > 1 else "(C(model) + C(batch_size) + C(lr)) ** 2"
    expected = anova_lm(ols(f"y ~ {full}", frame).fit(), typ=2)
    total = ((frame["y"] - frame["y"].mean()) ** 2).sum()
    found = analyse(study, records_of(study, accuracy.get), "test_accuracy")
    assert sum(source.share for source in found.sources) == pytest.approx(100)
    assert sum(source.df for source in found.sources) == len(frame) - 1
    for source in found.sources:
        if source.what == "effect":
            name = ":".join(f"C({factor})" for (factor,) in source.factors)
            assert source.raw == pytest.approx(100 * expected.loc[name, "sum_sq"] / total)
            assert source.df == expected.loc[name, "df"]
    last = found.sources[-1]
    residual = 100 * expected.loc["Residual", "sum_sq"] / total
    rest = next(source for source in found.sources if source.what == "rest")
    assert (last if len(seeds) > 1 else rest).raw == pytest.approx(residual)


def test_p_is_that_of_repeated_measures():
    """Seeds are the subjects. A source with one degree of freedom needs no correction."""
    from statsmodels.stats.anova import AnovaRM

    study = study_of(GRID, seeds=SEEDS)
    accuracy = made_up(study)
    frame = pd.DataFrame([{**run.values(), "y": y} for run, y in accuracy.items()])
    expected = AnovaRM(frame, "y", "seed", within=list(GRID)).fit().anova_table
    found = analyse(study, records_of(study, accuracy.get), "test_accuracy")
    tested = [source for source in found.sources if source.what == "effect"]
    assert len(tested) == 6
    for source in tested:
        name = ":".join(factor for (factor,) in source.factors)
        if source.df == 1:
            assert source.p == pytest.approx(expected.loc[name, "Pr > F"])
        else:
            assert source.p >= expected.loc[name, "Pr > F"]


@pytest.mark.parametrize("shared", [0.0, 0.5, 1.0])
def test_noise_that_the_points_of_a_seed_share_is_not_an_effect(shared):
    """No factor has an effect. For every part of shared noise, one test in twenty is significant, and the
    seeds have most of the variance."""
    draw, wrong, of_seeds = np.random.default_rng(0), [], []
    for _ in range(300):
        luck = shared * draw.normal(0, 1, (3, 1, 4)) + (1 - shared) * draw.normal(0, 1, (3, 4, 4))
        *found, seeds = _sources(90 + luck, [("model",), ("pin_memory",)])
        wrong += [source.p < 0.05 for source in found if source.p is not None]
        of_seeds.append(seeds.share)
        assert sum(source.share for source in found) + seeds.share == pytest.approx(100)
    assert np.mean(wrong) <= 0.07
    assert np.mean(of_seeds) == pytest.approx(100, abs=6)


def test_two_levels_have_the_p_of_the_effects_table():
    study = study_of(GRID, seeds=SEEDS)
    records = records_of(study, made_up(study, 1).get)
    shares = {source.factors: source.p for source in analyse(study, records, "test_accuracy").sources}
    ps = {effect.factor: effect.comparison.p for effect in effects(study, records, "test_accuracy")}
    for factor in ("batch_size", "lr"):
        assert shares[((factor,),)] == pytest.approx(ps[factor])


def test_the_difficulty_of_a_dataset_is_not_a_source():
    """The shares are those within datasets, without the 8 points between the two."""
    study = study_of({**GRID, "dataset": ["mnist", "fashion_mnist"]}, seeds=SEEDS)
    plain = made_up(study)
    harder = {run: y - 8 * (run.dataset == "fashion_mnist") for run, y in plain.items()}
    found = analyse(study, records_of(study, harder.get), "test_accuracy")
    assert found.blocked
    names = [source.factors for source in found.sources]
    assert (("dataset",),) not in names
    assert (("dataset",), ("model",)) in names or (("model",), ("dataset",)) in names
    assert found.sources[0].factors == (("model",),)
    assert sum(source.raw for source in found.sources) == pytest.approx(100)
    assert sum(source.df for source in found.sources) == len(harder) - 2
    for one, other in zip(
        found.sources, analyse(study, records_of(study, plain.get), "test_accuracy").sources, strict=True
    ):
        assert one.share == pytest.approx(other.share, abs=1e-4), "of nothing but what is within"
    table = variance_table("it", study, records_of(study, harder.get))
    assert "Shares of the variance within datasets of a balanced layout." in table.notes
    alone = study_of({"dataset": ["mnist", "fashion_mnist"]}, seeds=SEEDS)
    assert analyse(alone, records_of(alone, lambda run: 90 + noise(run, 1)), "test_accuracy") is None


def test_known_effects_have_the_largest_shares():
    study = study_of(GRID, seeds=range(8))
    table = variance_table("it", study, records_of(study, made_up(study).get))
    rows = table.data.set_index("source")
    assert table.data["source"].iloc[0] == "model"
    assert float(rows.loc["model", "p"]) < 1e-4
    assert float(rows.loc["model × lr", "p"]) < 0.01
    assert float(rows.loc["batch_size", "p"]) > 0.01
    assert table.data["source"].iloc[-1] == "seeds"
    assert 0 < float(rows.loc["seeds", "share_percent"]) < 15


def test_aliased_factors_count_as_one():
    part_a = published("part_a")
    assert together(design(part_a)) == [
        ("dataset",), ("model",), ("batch_size",), ("optimizer", "lr", "epochs", "pin_memory"),
    ]  # fmt: skip
    table = variance_table("a", part_a, records_of(part_a, lambda run: 90 + run.value("epochs") / 10))
    assert table.data["source"].iloc[0] == "optimizer+lr+epochs+pin_memory"
    assert float(table.data["share_percent"].iloc[0]) == 100
    assert not any(
        name in source.split(" × ")
        for source in table.data["source"]
        for name in ("lr", "epochs", "optimizer")
    )
    assert any(
        note.startswith("One factor is optimizer, learning rate, epochs and pinned memory: ")
        for note in table.notes
    )
    # 32 points, without the means of the datasets.
    assert any(
        "One run per point" in note and "would give each degree of freedom (df) 3.3 %" in note
        for note in table.notes
    )


def test_only_the_balanced_part_is_analysed():
    study = study_of(GRID, seeds=SEEDS)
    accuracy = made_up(study)
    gone = next(run for run in accuracy if run.model == "resnet34")
    del accuracy[gone]
    found = analyse(study, records_of(study, accuracy.get), "test_accuracy")
    assert found.left_out == {("model",): (("resnet34",),)}
    assert (found.points, found.all_points) == (8, 12)
    notes = variance_table("it", study, records_of(study, accuracy.get)).notes
    assert "The balanced layout has 8 of 12 points; left out: model = resnet34." in notes


def test_a_level_without_any_runs_is_listed_as_left_out():
    study = study_of(GRID, seeds=SEEDS)
    accuracy = {run: value for run, value in made_up(study).items() if run.value("lr") == 0.1}
    notes = variance_table("it", study, records_of(study, accuracy.get)).notes
    assert "The balanced layout has 6 of 12 points; left out: learning rate = 0.2." in notes


@pytest.mark.parametrize("value", [90.0, 90.1, 97.222222, 99.7])
def test_rounding_does_not_count_as_variance(value):
    study = study_of(GRID, seeds=SEEDS)
    equal = analyse(study, records_of(study, lambda run: value), "test_accuracy")
    assert {source.raw for source in equal.sources} == {0.0}
    assert {source.p for source in equal.sources} == {None}
    of_model = analyse(
        study, records_of(study, lambda run: value + 0.1 * GRID["model"].index(run.model)), "test_accuracy"
    )
    assert (of_model.sources[0].factors, of_model.sources[0].share) == ((("model",),), pytest.approx(100))
    assert {source.p for source in of_model.sources} == {None}, "equal seeds have no noise"


def test_the_greatest_balanced_part_of_small_layouts_is_found():
    """Checked against all products of levels and seeds, over random layouts."""
    draw = np.random.default_rng(0)
    levels = [[(i,) for i in range(count)] for count in (2, 3, 3)]
    subsets = [[s for n in range(1, len(of) + 1) for s in itertools.combinations(of, n)] for of in levels]
    for _ in range(50):
        cells = [key for key in itertools.product(*levels) if draw.random() < 0.6]
        complete = [
            part for part in itertools.product(*subsets) if set(itertools.product(*part)) <= set(cells)
        ]
        assert worth(balanced(cells, 3)) == max(map(worth, complete))


@pytest.mark.parametrize("gone", [0, 100, 269])
def test_one_missing_point_among_many_factors_costs_one_level(gone):
    keys = list(itertools.product(*[[(i,) for i in range(count)] for count in (5, 2, 3, 3, 3)]))
    del keys[gone]
    assert math.prod(map(len, balanced(keys, 5))) == 216


def test_one_missing_run_costs_a_seed_and_no_factor():
    """2 × 2 points with 5 seeds: 16 runs of 4 seeds are complete, and without a factor only 10."""
    study = study_of({"model": ["resnet18", "resnet34"], "lr": [0.1, 0.2]}, seeds=range(5))
    accuracy = {run: 90 + 2.0 * (run.model == "resnet34") + noise(run, 0.3) for run in study.runs()}
    del accuracy[study.runs()[7]]
    found = analyse(study, records_of(study, accuracy.get), "test_accuracy")
    assert (("model",),) in [source.factors for source in found.sources]
    assert (found.points, found.seeds, list(found.left_out)) == (4, 4, [("seed",)])
    notes = variance_table("it", study, records_of(study, accuracy.get)).notes
    assert any(n.startswith("The balanced layout has 4 of 4 points with 4 seeds each; left") for n in notes)


def test_more_seeds_at_one_point_leave_out_no_other_point():
    exclude = ({"model": ["resnet34", "resnet50"], "seed": [2, 3, 4, 5]},)
    study = study_of(GRID, seeds=range(6), exclude=exclude)
    found = analyse(study, records_of(study, lambda run: 90 + noise(run, 1)), "test_accuracy")
    assert (found.points, found.seeds) == (12, 2)


def test_a_point_that_lacks_a_seed_is_left_out():
    study = study_of(GRID, seeds=SEEDS, exclude=({"model": "resnet34", "batch_size": 32, "seed": 2},))
    found = analyse(study, records_of(study, made_up(study).get), "test_accuracy")
    assert found.left_out
    assert found.seeds == 3


@pytest.mark.parametrize("grid", [{}, {"recipe": [{"lr": 0.1}, {"lr": 0.2}]}])
def test_a_table_without_records_is_empty(grid, tmp_path):
    study = study_of(grid)
    table = variance_table("it", study, {})
    assert table.data.empty
    assert len(table.notes) == 1
    assert table.notes[0].startswith("The completed runs contain no balanced part")
    table.write(tmp_path / "it_variance")
    assert (tmp_path / "it_variance.tsv").read_text() == "metric\tsource\tshare_percent\traw_percent\tdf\tp\n"


def test_accuracies_that_do_not_vary_have_no_shares():
    study = study_of(GRID, seeds=SEEDS)
    found = analyse(study, records_of(study, lambda run: 90.0), "test_accuracy")
    assert {source.raw for source in found.sources} == {0.0}
    assert {source.p for source in found.sources} == {None}


def test_the_shares_of_support_vector_machines_exclude_the_noise_of_their_images():
    """Four equally good machines: on average, the choice of the images has the whole variance."""
    part_b = published("part_b")
    draw, of_images, largest = np.random.default_rng(0), [], []
    for _ in range(60):
        masks = draw.random((4, 360)) < 0.9
        found = {
            run: record(
                run, test_accuracy=f"{100 * m.mean():.6f}", test_correct=hits.pack(m), test_samples="360"
            )
            for run, m in zip(part_b.runs(), masks, strict=True)
        }
        *sources, images = analyse(part_b, found, "test_accuracy").sources
        assert images.what == "items"
        of_images.append(images.share)
        largest += [source.p < 0.05 for source in sources if source.p is not None]
    assert np.mean(of_images) == pytest.approx(100, abs=30)
    assert np.mean(largest) < 0.12
    table = variance_table("it", part_b, found)
    assert "test images (noise)" in table.display["Source"].tolist()
    assert ("test images" in table.data["source"].tolist(), "p" in table.display) == (True, True)
    plain = variance_table("it", part_b, records_of(part_b, lambda run: 90 + noise(run, 1)))
    assert plain.data[plain.data["metric"] == "test_accuracy"].empty
    assert any("which test images each run got right" in note for note in plain.notes)


def test_groups_of_images_show_the_same_noise_as_single_ones(monkeypatch):
    part_b = published("part_b")
    hard = np.random.default_rng(1).beta(0.1, 0.9, 10_000)
    found = {}
    for i, run in enumerate(part_b.runs()):
        mask = np.random.default_rng(i).random(10_000) > hard
        columns = {"test_accuracy": f"{100 * mask.mean():.6f}", "test_correct": hits.pack(mask)}
        found[run] = record(run, **columns)
    single = analyse(part_b, found, "test_accuracy").sources
    monkeypatch.setattr("ablations.analysis.variance.MOST_NUMBERS", 4 * 1000)
    for one, other in zip(single, analyse(part_b, found, "test_accuracy").sources, strict=True):
        assert other.raw == pytest.approx(one.raw, abs=0.1)
        assert other.share == pytest.approx(one.share, abs=8)


def test_factors_that_multiply_times_do_not_interact():
    """On the log scale they add up; the runs on another device are left out."""
    study = denoiser(["run_time_ms"], seeds=SEEDS)
    multiplied = lambda run: 100 * run.value("depth") * run.value("width") * math.exp(noise(run, 0.01))
    found = measure(study, lambda run: {"run_time_ms": multiplied(run)})
    sources = {source.factors: source for source in analyse(study, found, "run_time_ms").sources}
    assert sources[(("depth",), ("width",))].share < 0.5
    assert sources[(("depth",),)].share == pytest.approx(50, abs=1)
    first = study.runs()[0]
    elsewhere = {**found, first: {**found[first], "device_name": "Another"}}
    notes = variance_table("it", study, elsewhere).notes
    why = "the device, threads or runs per job differ from those of most runs"
    assert f"Runs left out because {why}: 1." in notes
    assert any("4 of 4 points with 2 seeds each; left out: seed = " in note for note in notes)


def test_each_metric_that_is_not_exact_has_its_sources():
    study = denoiser(["psnr", "weights", "norm"], seeds=SEEDS)
    values = lambda run: {"psnr": 30 + noise(run, 1), "norm": noise(run, 2), "weights": run.value("depth")}
    table = variance_table("it", study, measure(study, values))
    assert list(dict.fromkeys(table.data["metric"])) == ["psnr", "norm"]
    assert list(dict.fromkeys(table.display["Metric"])) == ["PSNR (dB) ↑", "Norm"]
    assert table.title == "Denoisers: sources of variance"
    alone = variance_table("it", denoiser(["psnr", "weights"]), {})
    assert (alone.title, "Metric" in alone.display) == ("Denoisers: sources of variance of the PSNR", False)
    exact = variance_table("it", denoiser(["weights"]), measure(study, values))
    assert exact.notes == ["Exact values have no noise, and no variance to divide."]
    assert exact.data.empty
