"""Figures: they show the values of the records, and which runs are missing."""

import html
import os
import random
import re
import subprocess
import sys
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pytest
from ablations.config.own_kinds import read_kinds
from ablations.config.studies.study import parse_study
from ablations.presentation.figures import FIGURES
from ablations.presentation.figures.curves import curves_figure
from ablations.presentation.figures.effects import effects_figure
from ablations.presentation.figures.grid import grid_figure
from ablations.presentation.figures.study import study_figure
from ablations.presentation.figures.style import write_figure
from ablations.presentation.figures.tradeoff import front_of, tradeoff_figure
from ablations.search_path import SCRIPTS
from denoiser import denoiser, measure
from test_design import study_of
from test_effects import noise, records_of
from test_tables import record

GRID = {"model": ["resnet18", "resnet50"], "batch_size": [16, 32], "lr": [0.1, 0.2]}
SEEDS = (0, 1, 2)


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def accuracy(run) -> float:
    return 90 + 2 * (run.model == "resnet50") + run.value("seed") / 10 - (run.value("batch_size") == 32)


@pytest.fixture
def study():
    return study_of(GRID, seeds=SEEDS)


@pytest.mark.parametrize("figure", FIGURES)
def test_a_title_is_drawn_as_it_is_written(figure, study, tmp_path):
    title = r"Effect of $\lr$, from $5 to $10_000, <b> & {x} % 'q' _y_ \n"
    renamed = parse_study({**study.written, "title": title})
    drawn = FIGURES[figure](renamed, records_of(renamed, accuracy), None, ())
    write_figure(drawn, tmp_path / "f")
    # It may have several lines.
    words = re.sub(r"<[^>]*>", " ", (tmp_path / "f.svg").read_text(encoding="utf-8")).split()
    assert html.escape(title, quote=False) in " ".join(words)


def test_settings_of_matplotlib_in_the_working_directory_are_not_obeyed(tmp_path):
    (tmp_path / "matplotlibrc").write_text("axes.facecolor: red\n")
    code = "from ablations.presentation.figures import style; print(style.plt.rcParams['axes.facecolor'])"
    scripts = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    command = [sys.executable, "-P", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=scripts, capture_output=True, text=True, check=True)
    assert done.stdout != "red\n"


def texts(figure) -> list[str]:
    drawn = [text.get_text() for axis in figure.axes for text in axis.texts]
    return drawn + [label.get_text() for axis in figure.axes for label in axis.get_yticklabels()]


def test_effects_are_drawn_with_their_intervals(study):
    figure = effects_figure(study, records_of(study, lambda run: accuracy(run) + noise(run, 0.03)))
    axis = figure.axes[0]
    assert {text.split(" (")[1] for text in texts(figure)} == {"3 seeds)"}
    assert [text.split(" (")[0] for text in texts(figure)] == [
        "Model: resnet18 → resnet50", "Batch size: 16 → 32", "Learning rate: 0.1 → 0.2",
    ]  # fmt: skip
    bars = [
        line.get_xdata() for line in axis.lines if len(line.get_xdata()) == 2 and line.get_linewidth() == 2
    ]
    assert len(bars) == 3
    assert bars[0][0] < 2 < bars[0][1]
    assert "points" in axis.get_xlabel()


def test_no_point_dominates_a_point_of_the_front():
    """Checked against the definition over random points, some of them equal."""
    draw = random.Random(0)
    for _ in range(200):
        points = [(draw.randint(1, 6), draw.randint(1, 6)) for _ in range(draw.randint(1, 10))]
        front = {points[i] for i in front_of(points)}
        undominated = {
            p for p in points if not any(c <= p[0] and a >= p[1] and (c, a) != p for c, a in points)
        }
        assert front == undominated


def test_the_trade_off_names_the_points_of_itsfront_of(study):
    records = {
        run: record(
            run,
            test_accuracy=str(accuracy(run)),
            train_time_ms="1000" if run.model == "resnet18" else "2000",
            macs="1000000" if run.model == "resnet18" else "2000000",
            params="1000",
        )
        for run in study.runs()
    }
    figure = tradeoff_figure(study, records)
    assert [axis.get_xlabel() for axis in figure.axes] == ["Training time (s) ↓", "MACs (G) ↓"], (
        "params are all one"
    )
    assert [text for text in texts(figure) if text in "ABCDEF"] == ["A", "B"]
    key = figure._supxlabel.get_text().splitlines()
    assert key[0].startswith("A: resnet18, Batch size 16")
    assert key[1].startswith("B: resnet50, Batch size 16")


def test_the_grid_shows_what_is_missing_and_what_diverged(study):
    runs = study.runs()
    records = records_of(study, accuracy)
    gone, diverged = runs[0:3], runs[3:6]
    records = {run: row for run, row in records.items() if run not in gone}
    records |= {run: record(run, status="diverged", test_accuracy=None) for run in diverged}
    failed = grid_figure(study, records, failed=gone[:1])
    assert sorted(text.get_text() for text in failed.legends[0].texts) == ["diverged", "failed"]
    figure = grid_figure(study, records)
    hatches = sorted(patch.get_hatch() for patch in figure.axes[0].patches)
    assert hatches == ["///", "xxx"]
    assert sorted(text.get_text() for text in figure.legends[0].texts) == ["diverged", "missing"]
    numbers = [text.get_text() for text in figure.axes[0].texts]
    assert len(numbers) == 6
    assert "92.10" in numbers, "the mean over three seeds of resnet50 at 16"


def test_a_map_of_many_cells_hides_none(tmp_path):
    grid = {"batch_size": list(range(1, 301)), "lr": [0.1, 0.2], "model": ["resnet18", "resnet34"]}
    table = {"rows": ["batch_size", "lr"], "columns": "model"}
    study = parse_study({**study_of(grid).written, "table": table})
    *rest, last, _ = study.runs()
    figure = grid_figure(study, records_of(study, dict.fromkeys(rest, 90.0).get), failed=[last])
    assert "the first" not in figure.get_suptitle()
    assert sorted(text.get_text() for text in figure.legends[0].texts) == ["failed (1)", "missing (1)"]
    map_of_accuracy, *painted = figure.axes[0].images
    assert map_of_accuracy.get_array().shape == (600, 2)
    assert sum(np.count_nonzero(np.asarray(image.get_array())[..., 3]) for image in painted) == 2
    assert len(figure.axes[0].get_yticklabels()) <= 60
    assert figure.axes[0].get_xlabel() == "Model"
    write_figure(figure, tmp_path / "map")


def test_the_front_has_those_of_single_seeds_behind_it(study):
    better = {0: "resnet18", 1: "resnet50", 2: "resnet50"}
    records = {
        run: record(
            run,
            test_accuracy=str(95 if run.model == better[run.value("seed")] else 90),
            train_time_ms="1000" if run.model == "resnet18" else "2000",
        )
        for run in study.runs()
    }
    figure = tradeoff_figure(study, records)
    labels = [line.get_label() for line in figure.axes[0].lines]
    assert labels.count("Pareto front") == 1
    assert labels.count("Pareto front of each seed") == 2, "for the other, the cheap model is the best"
    assert figure._suptitle.get_text().endswith("\nbars: one standard deviation over seeds")


def test_curves_have_a_line_per_point_and_a_band_over_seeds(study, tmp_path):
    histories = {}
    for number, run in enumerate(study.runs()):
        rows = "".join(f"{epoch}\t{50 + 10 * epoch + number}\n" for epoch in (1, 2, 3))
        histories[run] = tmp_path / f"{number}.tsv"
        histories[run].write_text(f"epoch\ttest_accuracy\n{rows}")
    figure = curves_figure(study, histories)
    panels = [axis for axis in figure.axes if axis.get_visible()]
    assert [axis.get_title() for axis in panels] == ["Model", "Batch size", "Learning rate"]
    for axis in panels:
        assert len(axis.lines) == 8
        assert len(axis.collections) == 8, "bands"
    assert figure._suptitle.get_text().endswith("\nbands: one standard deviation over seeds")
    first = panels[0].lines[0]
    assert first.get_xdata().tolist() == [1, 2, 3]
    assert first.get_ydata().tolist() == [61, 71, 81], "the mean of seeds 0, 1 and 2"


def test_every_figure_is_drawn_by_the_same_call(study, tmp_path, monkeypatch):
    """The curves are those of the histories in the directories of the runs."""
    monkeypatch.chdir(tmp_path)
    for run in study.runs():
        history = tmp_path / run.directory / "history.tsv"
        history.parent.mkdir(parents=True)
        history.write_text("epoch\ttest_accuracy\n1\t50\n2\t60\n")
    figures = {ending: draw(study, {}, None, []) for ending, draw in FIGURES.items()}
    assert len(figures["curves"].axes[0].lines) == 8
    assert set(figures) == {"", "effects", "tradeoff", "grid", "ranks", "profiles", "curves"}


def test_a_history_that_cannot_be_read_is_left_out(study, tmp_path):
    (tmp_path / "bad.tsv").write_text("epoch\ttest_accuracy\n1\tninety\n")
    figure = curves_figure(study, dict.fromkeys(study.runs(), tmp_path / "bad.tsv"))
    assert "no completed runs" in texts(figure)


@pytest.mark.parametrize("draw", [study_figure, effects_figure, tradeoff_figure, grid_figure])
def test_a_figure_is_drawn_without_any_records(draw, study, tmp_path):
    write_figure(draw(study, {}), tmp_path / "empty")
    assert (tmp_path / "empty.png").stat().st_size > 1000


@pytest.mark.parametrize("draw", [study_figure, effects_figure, tradeoff_figure, grid_figure])
def test_the_same_records_give_the_same_bytes(draw, study, tmp_path):
    for name in ("one", "two"):
        write_figure(draw(study, records_of(study, accuracy)), tmp_path / name)
    for suffix in ("svg", "png"):
        assert (tmp_path / f"one.{suffix}").read_bytes() == (tmp_path / f"two.{suffix}").read_bytes()


@pytest.mark.parametrize("draw", [study_figure, effects_figure, tradeoff_figure, grid_figure])
def test_a_study_of_many_points_is_drawn_on_a_page(draw, tmp_path):
    grid = {"batch_size": list(range(1, 301)), "lr": [0.1, 0.2], "model": ["resnet18", "resnet34"]}
    table = {"rows": ["batch_size", "lr"], "columns": "model"}
    study = parse_study({**study_of(grid).written, "table": table})
    figure = draw(study, records_of(study, lambda run: 90.0 + noise(run, 1)))
    assert np.prod(figure.get_size_inches()) < 200
    if draw in (study_figure, effects_figure):
        assert "the first 60 of " in figure.get_suptitle()
    write_figure(figure, tmp_path / "many")


def test_a_pdf_has_the_lines_below_the_title_alone_and_the_same_bytes_each_time(study, tmp_path):
    for name in ("a", "b"):
        figure = study_figure(study, records_of(study, accuracy))
        write_figure(figure, tmp_path / name)
        assert figure.get_suptitle() == "bars: one standard deviation over seeds"
    assert (tmp_path / "a.pdf").read_bytes() == (tmp_path / "b.pdf").read_bytes()
    assert b"/Type3" not in (tmp_path / "a.pdf").read_bytes(), "publishers refuse such fonts"


@pytest.mark.parametrize("label", ["ResNet {}", "A residual network of the depth {}"])
def test_the_columns_of_a_map_do_not_overprint_each_other(label, study):
    names = {model: label.format(model[6:]) for model in ("resnet18", "resnet50")}
    changes = {"level_labels": {"model": names}, "table": {"rows": ["batch_size"], "columns": ["model"]}}
    renamed = parse_study({**study.written, **changes})
    figure = grid_figure(renamed, records_of(renamed, accuracy))
    figure.canvas.draw()
    texts = figure.axes[0].get_xticklabels()
    assert [text.get_text() for text in texts] == list(names.values())
    assert {bool(text.get_rotation()) for text in texts} == {len(label) > 11}
    # Turned lines are parallel. The distance between them is more than the height of one.
    places = [text.get_transform().transform(text.get_position()) for text in texts]
    apart = abs(places[1][0] - places[0][0])
    width = texts[0].get_window_extent().width
    height = figure.dpi * texts[0].get_fontsize() / 72
    assert apart > width or apart * np.sin(np.radians(texts[0].get_rotation())) > height


def test_a_history_of_one_epoch_is_drawn_as_points_at_that_epoch(tmp_path):
    study = study_of({"batch_size": [16, 32]})
    for i, _run in enumerate(study.runs()):
        (tmp_path / f"{i}.tsv").write_text(f"epoch\ttest_accuracy\n1\t{90 + i}\n")
    paths = {run: tmp_path / f"{i}.tsv" for i, run in enumerate(study.runs())}
    axis = curves_figure(study, paths).axes[0]
    assert [line.get_marker() for line in axis.lines] == ["o", "s"]
    assert list(axis.get_xticks()) == [1]


def test_many_levels_are_distinct(tmp_path):
    study = study_of({"batch_size": list(range(1, 41))})
    histories = {run: tmp_path / f"{i}.tsv" for i, run in enumerate(study.runs())}
    for i, path in enumerate(histories.values()):
        path.write_text(f"epoch\ttest_accuracy\n1\t{i}\n2\t{2 * i}\n")
    [axis] = [axis for axis in curves_figure(study, histories).axes if axis.get_visible()]
    assert len({line.get_color() for line in axis.lines}) == 40
    assert 7 <= len(axis.get_legend().texts) <= 14
    write_figure(axis.figure, tmp_path / "many")


# --- several metrics -----------------------------------------------------------------------------

FOUR = ["psnr", "artefacts", "run_time_ms", "weights"]


def of_denoisers(analyse: list[str]):
    study = denoiser(analyse, seeds=SEEDS)
    values = {
        run: {
            "psnr": 30 + run.value("depth") / 8 + noise(run, 0.1),
            "artefacts": 0.5 - run.value("depth") / 40,
            "seen": 100,
            "run_time_ms": 100 * run.value("depth") * run.value("width"),
            "weights": 1000 * run.value("width"),
            "norm": noise(run, 1),
            "restored": 0.5,
        }
        for run in study.runs()
    }
    return study, measure(study, values.__getitem__)


@pytest.mark.parametrize("analyse", [FOUR[:1], FOUR[:2], FOUR, [*FOUR, "norm", "restored"]])
@pytest.mark.parametrize("draw", [study_figure, effects_figure, grid_figure, tradeoff_figure])
def test_a_figure_shows_the_first_four_metrics_of_a_study(draw, analyse):
    study, records = of_denoisers(analyse)
    figure = draw(study, records)
    labels = {metric.label for name, metric in study.kind.metrics.items() if name in analyse[:4]}
    if draw is tradeoff_figure:
        labels -= {"Run time", "Weights"}
    shown = " ".join(text for a in figure.axes for text in (a.get_xlabel(), a.get_ylabel(), a.get_title()))
    assert all(label in shown for label in labels), shown
    assert np.prod(figure.get_size_inches()) < 200
    cut = "the first 4 of 6 metrics" in figure.get_suptitle()
    assert cut == (len(analyse) > 4 and draw is not tradeoff_figure)
    figure.draw_without_rendering()


def test_the_axis_of_a_ratio_is_logarithmic():
    study, records = of_denoisers(["psnr", "run_time_ms"])
    difference, ratio = effects_figure(study, records).axes
    assert (difference.get_xscale(), ratio.get_xscale()) == ("linear", "log")
    assert (difference.get_xlabel(), ratio.get_xlabel()) == ("Difference (dB)", "Ratio (×)")
    assert [line.get_xdata()[0] for line in ratio.lines if line.get_marker() == "o"] == pytest.approx([2, 2])


def test_the_brightest_cell_is_the_best():
    study, records = of_denoisers(["psnr", "artefacts"])
    best = []
    for axis in grid_figure(study, records).axes[:2]:
        [image] = axis.images
        colours = image.to_rgba(image.get_array())[..., :3].sum(axis=-1)
        best.append(np.asarray(image.get_array()).ravel()[colours.argmax()])
    psnr, artefacts = best
    assert psnr == pytest.approx(31, abs=0.3), "the highest"
    assert artefacts == pytest.approx(30), "the lowest"


def test_the_front_of_a_metric_that_should_be_low_goes_down():
    study, records = of_denoisers(["artefacts"])
    [axis] = [a for a in tradeoff_figure(study, records).axes if a.get_xlabel().startswith("Run time")]
    [front] = [line for line in axis.lines if line.get_label() == "Pareto front"]
    assert front.get_xdata().tolist() == pytest.approx([3.2, 6.4])
    assert front.get_ydata().tolist() == pytest.approx([40, 30])


def test_a_curve_has_the_steps_at_which_a_run_was_evaluated(tmp_path):
    """Not every row has every metric, and a seed may stop early."""
    study = denoiser(["psnr"], seeds=(0, 1), depth=[4])
    rows = ["step\tloss\tpsnr", "1\t5\t", "2\t4\t30", "3\t4\t", "4\t3\t32"]
    paths = {run: tmp_path / f"{i}.tsv" for i, run in enumerate(study.runs())}
    for path, length in zip(paths.values(), (5, 3), strict=True):
        path.write_text("".join(f"{row}\n" for row in rows[:length]))
    (line,) = curves_figure(study, paths).axes[0].lines
    assert line.get_xdata().tolist() == [2, 4]
    assert line.get_ydata().tolist() == [30, 32]


def test_curves_are_of_the_metrics_in_the_histories_by_step(tmp_path):
    study, _ = of_denoisers(["psnr", "weights", "artefacts"])
    histories = {run: tmp_path / f"{i}.tsv" for i, run in enumerate(study.runs())}
    for path in histories.values():
        path.write_text("step\tpsnr\tartefacts\n100\t20\t0.5\n200\t25\t0.25\n")
    axes = curves_figure(study, histories).axes
    assert [axis.get_ylabel() for axis in axes if axis.get_ylabel()] == ["PSNR (dB) ↑", "Artefacts (%) ↓"]
    assert axes[-1].get_xlabel() == "Step"
    assert axes[-1].lines[0].get_xdata().tolist() == [100, 200]
    assert axes[-1].lines[0].get_ydata().tolist() == [50, 25]
    none = curves_figure(denoiser(["weights"], seeds=SEEDS), histories)
    assert "the histories have none of these metrics" in texts(none)


def test_the_numbers_below_a_panel_stand_apart_beside_long_names_of_rows():
    grid = GRID | {"epochs": [5, 15], "pin_memory": [True, False], "weight_decay": [0, 0.0001]}
    layout = {"rows": [name for name in grid if name != "model"], "columns": "model"}
    long_names = parse_study({**study_of(grid, seeds=SEEDS).written, "table": layout})
    records = records_of(long_names, lambda run: 99.3 if run.model == "resnet50" else 87.7)
    figure = study_figure(long_names, records, None)
    figure.canvas.draw()
    for axis in figure.axes:
        boxes = [text.get_window_extent() for text in axis.get_xticklabels() if text.get_text()]
        inside = [box for box in boxes if axis.bbox.x0 <= (box.x0 + box.x1) / 2 <= axis.bbox.x1]
        assert len(inside) > 1
        assert all(a.x1 < b.x0 for a, b in pairwise(sorted(inside, key=lambda box: box.x0)))


def test_a_metric_that_is_a_cost_is_not_drawn_against_itself():
    own = {
        "command": "x {hyperparameters}",
        "hyperparameters": {"alpha": "float"},
        "metrics": {"rmse": {"better": "lower", "noise": "exact"}},
        "random": False,
    }
    written = {"title": "T", "kind": "own", "grid": [{"alpha": [0.1, 0.2]}], "table": {"rows": "alpha"}}
    study = parse_study(written, read_kinds({"own": own}))
    values = {
        "status": "ok",
        "device": "cpu",
        "device_name": "A processor",
        "threads": "1",
        "run_time_ms": "5",
    }
    records = {run: {**values, "rmse": str(run.value("alpha"))} for run in study.runs()}
    assert [axis.get_xlabel() for axis in tradeoff_figure(study, records).axes] == ["Run time (s) ↓"]


def test_a_title_that_is_wider_than_its_figure_has_several_lines(tmp_path):
    figure = plt.figure(figsize=(4, 3), layout="constrained")
    words = "A title of a study that has many words: test accuracy against cost"
    figure.suptitle(f"{words}\nbars: one standard deviation over seeds")
    write_figure(figure, tmp_path / "a")
    svg = (tmp_path / "a.svg").read_text()
    assert words not in svg
    assert all(word in svg for word in words.split())
