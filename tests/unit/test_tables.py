"""Tables: cells over seeds, the published layout, and the verdicts on published values."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest
from ablations.analysis.agreement import Compared, Spread, Verdict, compare, pooled_spread
from ablations.analysis.cells import Cell, cell
from ablations.analysis.inference import holm
from ablations.config.own_kinds import read_kinds
from ablations.config.reading import load_config
from ablations.config.studies.published import read_published
from ablations.config.studies.study import parse_study
from ablations.errors import AblationsError
from ablations.kinds import KINDS, hits
from ablations.kinds.cnn import CNN
from ablations.kinds.hyperparameters import spell
from ablations.kinds.metrics import Metric
from ablations.presentation.design_table import design_table
from ablations.presentation.document import Table
from ablations.presentation.effects_table import effects_table
from ablations.presentation.published_table import REASONS, published_table, verdict_fields
from ablations.presentation.study_table import cell_text, study_table
from ablations.presentation.tables import TABLES
from ablations.presentation.variance_table import variance_table
from denoiser import DENOISER, denoiser, measure
from latex import compiled, needs_latex
from pandas import DataFrame
from scipy import stats

PROJECT = Path(__file__).parents[2]
ACCURACY, MACS, TIME = (CNN.metrics[name] for name in ("test_accuracy", "gmacs", "train_time_ms"))


def study(name: str, **changes):
    files = [PROJECT / "config/datasets.yaml", PROJECT / "config/config.yaml"]
    written = load_config(files, root=PROJECT).studies[name].written
    return parse_study({**written, **changes})


def record(run, **changes) -> dict[str, str]:
    plain = {
        "status": "ok",
        "test_accuracy": "99.18",
        "train_time_ms": "1000.4",
        "test_samples": "10000",
        "device": "cpu",
        "device_name": "A processor",
        "threads": "1",
        "pin_memory_effective": "false",
        "macs": "33184000",
        "flops": "66021888",
        "params": "11175370",
    }
    identity = {name: spell(value) for name, value in run.values().items()}
    return {name: value for name, value in {**identity, **plain, **changes}.items() if value is not None}


def all_records(of, **changes):
    return {run: record(run, **changes) for run in of.runs()}


def test_part_a_has_the_published_layout():
    part_a = study("part_a")
    table = study_table("part_a", part_a, all_records(part_a))
    published = (PROJECT / "config/published/part_a.tsv").read_text().splitlines()[0].split("\t")
    assert list(table.data) == ["dataset", *published]
    assert len(table.data) == 16
    assert table.data.iloc[0].tolist() == ["mnist", "16", "sgd", "0.001", "5", "false", "99.18", "99.18"]
    assert table.data["dataset"].tolist() == ["mnist"] * 8 + ["fashion_mnist"] * 8


def test_labels_of_a_study_are_for_readers_alone():
    named = {"optimizer": {"sgd": "SGD"}, "model": {"resnet18": "ResNet-18"}}
    part_a = study("part_a", labels={"lr": "Step size"}, level_labels=named)
    records = all_records(part_a)
    table = study_table("part_a", part_a, records)
    assert [*table.display][2:4] == ["Optimizer", "Step size"]
    assert {"ResNet-18", "resnet50"} <= {*table.display}
    assert {*table.display["Optimizer"]} == {"SGD", "adam"}
    assert table.data.equals(study_table("part_a", study("part_a"), records).data)
    effects = effects_table("part_a", part_a, records)
    assert "SGD" in {*effects.display["From"], *effects.display["To"]}
    assert "sgd" in {*effects.data["first"], *effects.data["second"]}
    path = PROJECT / "config/published/part_a.tsv"
    assert "SGD" in {*published_table("part_a", part_a, records, path).display["Optimizer"]}


def test_several_seeds_are_mean_and_standard_deviation_with_n():
    part_a = study("part_a", seeds=[0, 1, 2])
    records = {
        run: record(run, test_accuracy=str(99 + run.hyperparameters.seed / 10)) for run in part_a.runs()
    }
    table = study_table("part_a", part_a, records)
    row = table.data.iloc[0]
    assert (row["resnet18"], row["resnet18_sd"], row["resnet18_n"]) == ("99.10", "0.10", "3")
    assert (row["resnet18_ci_low"], row["resnet18_ci_high"]) == ("98.85", "99.35"), "4.303 · 0.1 / √3 = 0.248"
    assert table.display.iloc[0]["resnet18"] == "99.10 ± 0.10"
    assert "± is the standard deviation over 3 seeds." in table.notes


@pytest.mark.parametrize(
    ("spread", "shown", "note"),
    [
        ("sd", "99.20 ± 0.20", "± is the standard deviation over 3 seeds."),
        ("se", "99.20 ± 0.12", "± is the standard error of the mean over 3 seeds."),
        (
            "ci95",
            "99.20 [98.70, 99.70]",
            "In brackets is Student's 95 % interval of the mean over 3 seeds, for",
        ),
    ],
)
def test_a_cell_shows_the_spread_that_the_table_asks_for(spread, shown, note):
    """4.303 · 0.2 / √3 = 0.497."""
    layout = {**study("part_a").written["table"], "spread": spread}
    part_a = study("part_a", seeds=[0, 1, 2], table=layout)
    found = {run: record(run, test_accuracy=str(99 + run.hyperparameters.seed / 5)) for run in part_a.runs()}
    table = study_table("part_a", part_a, found)
    assert set(table.display["resnet18"]) == {shown}
    assert any(each.startswith(note) for each in table.notes)
    assert not any("A cell with n has fewer" in each for each in table.notes)
    del found[part_a.runs()[0]]
    table = study_table("part_a", part_a, found)
    assert table.display["resnet18"][0].endswith(" (n = 2, 1 missing)")
    assert any("A cell with n has fewer" in each for each in table.notes)


def test_a_percentage_of_unknown_range_has_the_one_that_its_values_show():
    score = Metric("score", "Score", 2, "unknown", "%")
    assert Cell(score, (99.9, 99.8, 100.0)).interval.high == 100
    assert Cell(score, (0.1, 0.0)).interval.low == 0
    assert Cell(score, (99.0, 140.0)).interval.high > 140


def test_no_note_of_a_table_names_a_file():
    of = study(
        "question_2", seeds=[0, 1, 2], table={**study("question_2").written["table"], "spread": "ci95"}
    )
    draw = np.random.default_rng(0)
    found = {run: record(run, test_accuracy=f"{90 + draw.normal():.6f}") for run in of.runs()}
    for make in (study_table, effects_table, variance_table):
        assert not any(re.search(r"TSV|\.tsv|\.md|column", note) for note in make("q", of, found).notes), make


def test_numbers_are_aligned_at_the_right_and_have_a_true_minus():
    frame = DataFrame({"Model": ["a", "b"], "Loss": ["−0.5 ± 0.1", "missing"], "Words": ["x" * 50, ""]})
    table = Table("T", "t", frame, frame)
    assert "|:--------|-----------:|:--" in table.markdown()
    assert r"\begin{tabular}{lS[table-format=+1.1,table-space-text-post={ $\pm$ 0.1}]l}" in table.latex()
    assert rf"\parbox[t]{{0.4\linewidth}}{{\raggedright\strut {'x' * 50}\strut}} \\" in table.latex()
    assert "th:nth-child(2){text-align:right}" in table.html()
    assert "td:nth-child(3){min-width:20em;white-space:normal}" in table.html()
    effects = effects_table("part_b", study("part_b"), all_records(study("part_b")))
    assert not any(re.search(r"(?<![\w.])-\d", text) for text in effects.display.to_numpy().ravel())


def test_wide_and_long_latex_tables_break_headings_and_pages():
    wide = DataFrame({f"A long heading {i} ↑": ["12345.67"] for i in range(9)})
    text = Table("T", "t", wide, wide).latex()
    assert r"\begin{table*}" in text
    assert r"{\shortstack[r]{A long\\heading\\0 $\uparrow$}" in text
    long = DataFrame({"a {b} ~": [str(i) for i in range(41)]})
    text = Table("T", "t", long, long, notes=["A note."]).latex()
    assert text.startswith("% needs \\usepackage{booktabs,longtable}\n")
    assert r"a \{b\} \textasciitilde{} \\" in text
    assert r"\caption{T}\label{tab:t}\\" in text
    assert "resizebox" not in text


def test_intervals_stay_within_the_range_of_their_metric():
    """t(0.975, 1) · 0.35 / √2 = 3.2 points on either side of 99.5."""
    interval = Cell(ACCURACY, (99.25, 99.75)).interval
    assert interval.high == 100
    assert 96 < interval.low < 97
    assert Cell(ACCURACY, (99.5, 99.5)).interval is None
    assert Cell(TIME, (10.0, 20.0)).interval.low == 0
    assert Cell(CNN.metrics["test_macro_f1"], (99.0, 99.9)).interval.high == 100
    assert Cell(CNN.metrics["train_loss"], (0.01, 0.2)).interval.low == 0


def test_a_second_interval_covers_other_test_images():
    of = study("part_a", seeds=[0, 1, 2])
    masks = np.random.default_rng(0).random((3, 10_000)) < np.linspace(0.8, 1, 10_000)
    found = {
        run: record(run, test_accuracy=f"{100 * mask.mean():.6f}", test_correct=hits.pack(mask))
        for run in of.runs()
        if (mask := masks[run.hyperparameters.seed]) is not None
    }
    row = study_table("part_a", of, found).data.iloc[0]
    low, high = (float(row[f"resnet18_ci_items_{end}"]) for end in ("low", "high"))
    assert low < float(row["resnet18_ci_low"]) < float(row["resnet18_ci_high"]) < high
    plain = study_table("part_a", of, all_records(of)).data.iloc[0]
    assert (plain["resnet18_ci_low"], plain["resnet18_ci_items_low"]) == ("", "")


def test_the_notes_give_the_noise_of_the_test_set():
    """√(p (1 − p) / n): 0.09 points at 99.18 % of 10,000 images, and 0.50 at 50 %."""
    part_a = study("part_a")
    runs = part_a.runs()
    same = study_table("part_a", part_a, {run: record(run) for run in runs})
    assert (
        "The choice of the 10,000 test images gives the test accuracy a standard error of 0.09 points."
        in same.notes
    )
    differ = {run: record(run, test_accuracy="50") if run is runs[0] else record(run) for run in runs}
    assert any("of 0.09 to 0.50 points" in n for n in study_table("a", part_a, differ).notes)


def test_the_cost_of_a_model_has_no_standard_deviation():
    question_2 = study("question_2", seeds=[0, 1])
    table = study_table("q", question_2, all_records(question_2))
    assert table.display.iloc[0]["MACs (G) ↓"] == "0.0332"
    assert "gmacs_sd" not in table.data
    assert any("MACs are multiply-accumulate operations" in note for note in table.notes)


def test_missing_and_diverged_runs_are_marked():
    part_a = study("part_a", seeds=[0, 1])
    runs = part_a.runs()
    records = all_records(part_a)
    del records[runs[0]], records[runs[1]], records[runs[2]]
    records[runs[4]] |= {"status": "diverged"}
    del records[runs[4]]["test_accuracy"]
    table = study_table("part_a", part_a, records)
    assert table.display["resnet18"][0] == "missing"
    assert table.display["resnet50"][0] == "99.18 (1 missing)"
    assert table.display["resnet18"][1] == "99.18 (1 diverged)"
    assert "Preliminary: 3 of 64 runs are missing." in table.notes


def test_a_point_that_the_grid_leaves_out_is_an_empty_cell():
    part_a = study("part_a", exclude=[{"model": "resnet50", "batch_size": 32}])
    table = study_table("part_a", part_a, all_records(part_a))
    assert table.data["resnet50"].tolist()[:8] == ["99.18"] * 4 + [""] * 4
    assert table.display["resnet50"].tolist()[:8] == ["99.18"] * 4 + ["–"] * 4
    assert table.notes[-1] == "– instead of a value: the study does not have this point."


def test_counters_that_disagree_are_noted():
    question_2 = study("question_2")
    agree = study_table("q", question_2, all_records(question_2))
    assert not any("disagree" in note for note in agree.notes)
    apart = study_table("q", question_2, all_records(question_2, flops="80000000"))
    sentence = "resnet18: torch's FLOPs differ from twice thop's MACs by +21 %"
    assert any(f"The counters disagree for {sentence}" in note for note in apart.notes)


def judge(published: str, content: Cell, kind, items: int) -> Verdict:
    """The verdict on one value, of a study that has no other point."""
    [verdict], _, _ = compare([Compared(published, content, items, pooled_spread([content]))], kind)
    return verdict


@pytest.mark.parametrize(
    ("metric", "kind", "published", "values", "verdict"),
    [
        (MACS, "cnn", "0.0332", (0.033184,), "reproduced"),
        (MACS, "cnn", "0.0332", (0.0333,), "differs"),
        (MACS, "cnn", "3.32e-2", (0.033184,), "reproduced"),
        (MACS, "cnn", "3.32e-2", (0.0333,), "differs"),
        (MACS, "cnn", "12e1", (124.9,), "reproduced"),
        (MACS, "cnn", "12e1", (125.2,), "differs"),
        (ACCURACY, "svm", "95.94", (95.94,), "reproduced"),
        (ACCURACY, "svm", "95.94", (95.95,), "differs"),
        (ACCURACY, "cnn", "99.32", (99.20,), "within noise"),
        (ACCURACY, "cnn", "99.32", (98.61,), "more than the items explain"),
        (ACCURACY, "cnn", "92.07", (90.46,), "more than the items explain"),
        (ACCURACY, "cnn", "99.32", (98.4, 99.6), "within noise"),
        (ACCURACY, "cnn", "99.32", (98.60, 98.61), "differs"),
        (TIME, "cnn", "407906", (1000.0,), "not comparable"),
        (ACCURACY, "cnn", "99.32", (), "not comparable"),
    ],
)
def test_a_verdict(metric, kind, published, values, verdict):
    assert judge(published, Cell(metric, values), KINDS[kind], 10_000).outcome == verdict


@pytest.mark.parametrize(
    ("values", "outcome", "reason", "allowed"),
    [
        # t(0.975, 2) · 0.1 · √(4/3) = 0.497
        ((30.0, 30.1, 30.2), "within noise", "seeds", "±0.50"),
        ((29.0, 29.1, 29.2), "differs", "seeds", "±0.50"),
        ((29.96, 29.961), "within noise", "seeds", "±0.05"),
        ((29.9, 29.9), "not comparable", "no_measure", ""),
        ((29.9,), "not comparable", "no_measure", ""),
    ],
)
def test_a_metric_of_unknown_noise_is_judged_by_its_seeds(values, outcome, reason, allowed):
    psnr = DENOISER.metrics["psnr"]
    verdict = judge("30.0", Cell(psnr, values), DENOISER, 0)
    assert (verdict.outcome, verdict.reason) == (outcome, reason)
    assert verdict_fields(verdict, "30.0", psnr)["allowed"] == allowed


def test_the_notes_of_a_kind_of_ones_own_name_its_items():
    study = denoiser(["restored", "run_time_ms"])
    values = {"restored": 0.5, "run_time_ms": 10.0, "runs_per_job": 4}
    table = study_table("it", study, measure(study, lambda run: values))
    assert list(table.display)[2:] == ["Restored ↑", "Run time (ms) ↓"]
    assert "The choice of the 200 patches gives the restored a standard error of 0.035." in table.notes
    assert "Run time was measured on A processor (1 thread, 4 runs per job)." in table.notes


def test_an_arrow_shows_in_every_format_which_direction_is_better():
    of = study("part_b")
    table = study_table("part_b", of, all_records(of))
    assert r"{\shortstack[r]{Test\\accuracy\\(\%) $\uparrow$}} & " in table.latex()
    assert r" & \shortstack[r]{Training\\time\\(ms) $\downarrow$} \\" in table.latex()
    assert "|   Test accuracy (%) ↑ |   Training time (ms) ↓ |" in table.markdown()
    assert '<th scope="col">Test accuracy (%) ↑</th>' in table.html()


EVERY_LETTER = "[a] & 100 % of {them}_ ± × λ ≥ ≈ Ω − -- ''x'' $5_000 `q` ~ ^ # é ß \\lr ∞ → ¼ € “x”"
NAMES = {
    name
    for kind in KINDS.values()
    for name in [
        *kind.metrics,
        *(m.column for m in kind.metrics.values()),
        *kind.hyperparameters.model_fields,
    ]
} - {"seed"}
READERS = [p for d in ("analysis", "presentation") for p in (PROJECT / "scripts/ablations" / d).rglob("*.py")]


@pytest.mark.parametrize("path", READERS, ids=lambda path: path.relative_to(PROJECT / "scripts").as_posix())
def test_no_table_or_figure_knows_a_metric_or_hyperparameter_by_name(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        assert not (isinstance(node, ast.Constant) and node.value in NAMES), f"line {node.lineno}"


def test_a_time_is_a_ratio():
    verdict = judge("2000", Cell(TIME, (500.0,)), CNN, 10_000)
    assert verdict.ratio == 0.25
    assert verdict_fields(verdict, "2000", TIME)["difference"] == "×0.25"


def test_the_smaller_the_test_set_the_wider_the_noise():
    cell = Cell(ACCURACY, (98.61,))
    assert [judge("99.32", cell, CNN, n).outcome for n in (10_000, 500)] == [
        "more than the items explain",
        "within noise",
    ]


@pytest.mark.parametrize(("name", "values"), [("part_a", 16), ("question_2", 40)])
def test_every_published_value_is_compared_with_its_run(name, values):
    of = study(name)
    path = PROJECT / of.published.file
    table = published_table(name, of, all_records(of), path)
    assert len(table.data) == values
    unexplained = "more than the test images explain; the noise of seeds is unknown"
    assert "differs" not in set(table.data[table.data["metric"] == "test_accuracy"]["verdict"])
    assert unexplained in set(table.data["verdict"])
    assert "not in the grid" not in set(table.data["measured"])
    if name == "part_a":
        assert set(table.data["dataset"]) == {"mnist"}
        assert table.data.iloc[0]["verdict"] == "within noise"
        assert table.data.iloc[3][["model", "published"]].tolist() == ["resnet50", "98.85"]


@pytest.mark.parametrize(
    ("metric", "kind", "published", "cell", "reason", "allowed"),
    [
        (MACS, "cnn", "1.7", {"values": (1.7,)}, "exact", "±0.05"),
        (ACCURACY, "svm", "95.94", {"values": (95.94,)}, "exact", "±0.005"),
        # 1.96 × √(2 × 99 × 1 / 10,000)
        (ACCURACY, "cnn", "99.00", {"values": (99.0,)}, "items", "±0.28"),
        # t(0.975, 2) × 0.2 × √(4/3)
        (ACCURACY, "cnn", "99.00", {"values": (98.8, 99.0, 99.2)}, "seeds", "±0.99"),
        (TIME, "cnn", "2000", {"values": (500.0,)}, "machine", ""),
        (ACCURACY, "cnn", "99.00", {"values": (), "diverged": 1}, "diverged", ""),
    ],
)
def test_a_verdict_has_a_reason(metric, kind, published, cell, reason, allowed):
    verdict = judge(published, Cell(metric, **cell), KINDS[kind], 10_000)
    assert (verdict.reason, verdict_fields(verdict, published, metric)["allowed"]) == (reason, allowed)


def test_the_spread_of_seeds_is_pooled_over_points():
    """Two deviations of 0.1 with 1 and 0.2 with 2 degrees of freedom: √((0.01 + 2 × 0.04) / 3)."""
    cells = [
        Cell(ACCURACY, values) for values in ((99.0, 99.0 + 0.1 * 2**0.5), (98.8, 99.0, 99.2), (97.0,), ())
    ]
    found = pooled_spread(cells)
    assert (found.sd, found.df) == (pytest.approx(0.03**0.5), 3)
    assert pooled_spread([Cell(ACCURACY, (99.0,)), Cell(ACCURACY, (98.0, 98.0))]) is None


def test_more_seeds_never_make_a_comparison_weaker():
    allowed = [
        compare([Compared("99.3", Cell(ACCURACY, (99.0,) * n), 10_000, Spread(0.08, 16))], CNN)[0][0].allowed
        for n in (1, 2, 3, 5, 10)
    ]
    assert allowed == sorted(allowed, reverse=True)


def test_one_run_takes_the_spread_of_other_points_of_its_dataset(tmp_path):
    of = study("part_a", seeds=[0, 1])
    records = {
        run: record(run, test_accuracy=str((99.0 if run.dataset == "mnist" else 90.0) + luck))
        for run in of.runs()
        if (luck := 0.1 * run.hyperparameters.seed * (1 + 9 * (run.dataset != "mnist"))) is not None
    }
    first = next(runs for _, runs in of.points())
    del records[first[1]]
    table = published_table("part_a", of, records, PROJECT / of.published.file)
    row = table.data.iloc[0]
    assert row["measured"] == "99.00 (1 missing)"
    assert "points of mnist that have several seeds (15 degrees of freedom)" in row["reason"]
    assert "one run on the same test images" in row["reason"]
    assert any("Holm's correction over the 16 values" in note for note in table.notes)


def test_verdicts_and_allowed_differences_agree_under_holms_correction():
    """The published value of 99.3 is compared with twenty cells at growing distances."""
    values = [
        Compared("99.3", Cell(ACCURACY, (99.3 + 0.02 * i,)), 10_000, Spread(0.1, 20)) for i in range(20)
    ]
    verdicts, level, tests = compare(values, CNN)
    ps = [2 * stats.t.sf(0.02 * i / (0.1 * 2**0.5), 20) for i in range(20)]
    assert [v.outcome == "differs" for v in verdicts] == [p < 0.05 for p in holm(ps)]
    assert [v.outcome == "differs" for v in verdicts] == [abs(v.difference) > v.allowed for v in verdicts]
    assert (tests, 0.05 / 20 < level < 0.05) == (20, True)


def test_means_exclude_the_times_of_a_diverged_run():
    of = study("part_a")
    whole, short = (record(of.runs()[0], train_time_ms=time) for time in ("10000", "50"))
    short |= {"status": "diverged"}
    assert cell_text(cell(TIME, [whole, whole, short])) == "10000 ± 0 (n = 2, 1 diverged)"
    assert cell_text(cell(MACS, [short])) == "0.0332"


def test_each_verdict_points_to_its_own_footnote():
    of = study("part_b")
    table = published_table("part_b", of, all_records(of), PROJECT / of.published.file)
    for row, shown in zip(table.data.itertuples(), table.display["Verdict"], strict=True):
        assert shown == f"{row.verdict} [{table.notes.index(row.reason) + 1}]"
    assert table.notes == [REASONS["exact"], REASONS["machine"]]
    assert f"[2] {REASONS['machine']}" in table.latex()


def test_a_published_row_outside_the_grid_is_not_comparable(tmp_path):
    part_b = study("part_b")
    (tmp_path / "p.tsv").write_text("dataset\tkernel\ttest_accuracy\nmnist\tlinear\t90\nmnist\trbf\t99.18\n")
    table = published_table("part_b", part_b, all_records(part_b), tmp_path / "p.tsv")
    assert table.data["measured"].tolist() == ["not in the grid", "99.18"]
    assert table.data["verdict"].tolist() == ["not comparable", "reproduced"]


def test_blanks_in_a_published_file_are_ignored(tmp_path):
    part_b = study("part_b")
    (tmp_path / "p.tsv").write_text("dataset\tkernel \ttest_accuracy\n\n\nmnist \trbf\t 99.18 \n\tpoly\t\n")
    table = published_table("part_b", part_b, all_records(part_b), tmp_path / "p.tsv")
    assert table.data[["published", "verdict"]].values.tolist() == [["99.18", "reproduced"]]
    (tmp_path / "p.tsv").write_text("dataset\tkernel\ttest_accuracy\n\n\nmnist\trbf\tx\n")
    with pytest.raises(AblationsError, match="line 4"):
        list(read_published(part_b, tmp_path / "p.tsv"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dataset\ttest_accuracy\nmnist\t90\n", "matches 2 different runs"),
        ("dataset\tkernel\ttest_accuracy\nmnist\trbf\tninety\n", "'ninety' is not a number"),
        ("dataset\tkernel\ttrain_time_ms\nmnist\trbf\t0\n", "'0' is not possible; a time is above 0"),
        ("dataset\tkernel\ttrain_samples\ttest_accuracy\nmnist\trbf\tmany\t9\n", "train_samples is 'many'"),
        ("dataset\tkernel\ttest_accuracy\nmnist\trbf\t9\t9\n", "4 fields, but the first line has 3"),
        (
            "dataset\tkernel\ttest_accuracy\nMNIST\trbf\t90\n",
            "dataset is 'MNIST'; in the study it is 'mnist'",
        ),
    ],
)
def test_a_wrong_published_file_is_an_error_with_its_line(text, expected, tmp_path):
    part_b = study("part_b")
    (tmp_path / "p.tsv").write_text(text)
    with pytest.raises(AblationsError) as error:
        published_table("part_b", part_b, all_records(part_b), tmp_path / "p.tsv")
    assert expected in str(error.value)
    assert "line 2" in str(error.value)


@pytest.mark.parametrize("ending", TABLES)
def test_every_table_is_made_by_the_same_call(ending):
    of = study("part_b")
    table = TABLES[ending]("part_b", of, all_records(of), PROJECT / of.published.file)
    assert table.label == f"part_b_{ending}".removesuffix("_")
    assert len(table.data) == len(table.display)
    # Two datasets are not ranked.
    assert table.data.empty == (ending == "ranks")


def test_the_three_files_hold_the_same_content(tmp_path):
    part_b = study("part_b", title="Machines & 100 % of {them}_")
    table = study_table("part_b", part_b, all_records(part_b))
    table.write(tmp_path / "part_b")
    tsv, markdown, latex = ((tmp_path / f"part_b.{s}").read_text() for s in ("tsv", "md", "tex"))
    assert len(tsv.splitlines()) == 5
    rows = [
        [c.strip() for c in line.strip("|").split("|")] for line in markdown.splitlines() if "| rbf" in line
    ]
    assert rows[0] == tsv.splitlines()[1].split("\t")
    assert r"Machines \& 100 \% of \{them\}\_" in latex
    assert all(rule in latex for rule in (r"\toprule", r"\midrule", r"\bottomrule"))
    assert latex.count(r" \\") == 5
    assert r"fashion\_mnist & rbf & 10000" in latex


@pytest.mark.parametrize(
    "levels", [("d", "d_n"), ("d", "d_ci_low", "d_ci"), ("kernel", "d"), ("Kernel", "d")]
)
def test_no_level_overwrites_another_column(levels):
    """In a table with a column for each of these levels."""
    written = {
        "title": "T",
        "kind": "k",
        "grid": [{"depth": [4, 8], "kernel": "k", "level": list(levels)}],
        "seeds": [0, 1],
        "table": {"rows": ["kernel", "depth"], "columns": "level", "values": "psnr"},
    }
    kinds = read_kinds(
        {
            "k": {
                "command": "x {hyperparameters} {seed}",
                "hyperparameters": {
                    "depth": "int",
                    "kernel": {"type": "str", "label": "Kernel"},
                    "level": "str",
                },
                "metrics": {"psnr": {}},
            }
        }
    )
    of = parse_study(written, kinds)
    values = {level: i for i, level in enumerate(levels)}
    found = {run: {"status": "ok", "psnr": f"{values[run.value('level')]}"} for run in of.runs()}
    table = study_table("t", of, found)
    assert len(table.data.columns) == 2 + 5 * len(levels)
    assert len(table.display.columns) == 2 + len(levels)
    for level, number in values.items():
        column = f"level={level}" if level.lower() == "kernel" else level
        assert set(table.data[column]) == {f"{number}.00"}
    assert set(table.data["kernel"]) == {"k"}


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        ("From $5 to $10_000", r"From \$5 to \$10_000"),
        (r"Effect of $\lr$", r"Effect of \$\\lr\$"),
        ("a *b* _c_ `d`", r"a \*b\* \_c\_ \`d\`"),
        ("<b> & &amp; < 3", r"\<b> & \&amp; < 3"),
        ("[x](y) [1] C#", r"[x\](y) [1] C#"),
    ],
)
def test_a_title_is_text_in_markdown(title, shown):
    part_b = study("part_b", title=title)
    table = design_table("part_b", part_b)
    assert table.markdown().splitlines()[0].startswith(f"### {shown}:")


def test_a_script_that_pdflatex_does_not_know_is_said():
    tables = [design_table("part_b", study("part_b", title=title)) for title in ("学習率 (λ)", "λ ≥ é")]
    assert ["% needs XeLaTeX or LuaLaTeX, and a font that has 学習率\n" in t.latex() for t in tables] == [
        True,
        False,
    ]


@needs_latex
def test_the_latex_compiles(tmp_path):
    wide = study("question_2", title=EVERY_LETTER, seeds=[0, 1])
    # Two seeds that differ, so that all notes about seeds are there.
    records = {
        run: record(run, test_accuracy=f"{90 + run.hyperparameters.seed + run.value('lr')}")
        for run in wide.runs()
    }
    path = PROJECT / wide.published.file
    tables = [
        study_table("question_2", wide, records),
        published_table("question_2", wide, records, path),
        effects_table("question_2", wide, records),
        variance_table("question_2", wide, records),
        design_table("question_2", wide),
        Table("Long", "long", long := DataFrame({"a {b} ~": [str(i) for i in range(60)]}), long),
    ]
    output = compiled(tmp_path, "".join(each.latex() for each in tables))
    assert "Overfull" not in output, "the table runs off the page"
