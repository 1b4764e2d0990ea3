"""Published files: every value is read as it was printed, or refused before any run."""

import copy
from pathlib import Path
from typing import Any

import pytest
from ablations.config.hints import hints
from ablations.config.reading import load_config
from ablations.config.sections import ConfigError
from ablations.config.studies.printed import Printed, read_printed
from ablations.config.studies.published import read_published
from ablations.kinds.metrics import TEST_ACCURACY, TRAIN_TIME, Metric

PROJECT = Path(__file__).parents[2]
COUNT = Metric("steps", "Steps", 0, "exact")
SHARE = Metric("share", "Share", 3, "proportion")
STUDY: dict[str, Any] = {
    "title": "Machines",
    "kind": "svm",
    "grid": [{"dataset": "digits", "kernel": ["rbf", "poly"], "train_samples": 500, "C": [1, 10]}],
    "table": {"rows": ["kernel"], "columns": "C"},
}


@pytest.mark.parametrize(
    ("text", "metric", "expected"),
    [
        ("83.33", TEST_ACCURACY, Printed("83.33")),
        ("83.30", TEST_ACCURACY, Printed("83.30")),
        ("83.33 %", TEST_ACCURACY, Printed("83.33")),
        ("83.33\u202f%", TEST_ACCURACY, Printed("83.33")),
        (r"83.33\%", TEST_ACCURACY, Printed("83.33")),
        ("83.33 ± 0.12", TEST_ACCURACY, Printed("83.33", "0.12")),
        ("83.33±0.12%", TEST_ACCURACY, Printed("83.33", "0.12")),
        ("83.33 % ± 0.12 %", TEST_ACCURACY, Printed("83.33", "0.12")),
        (r"$83.33 \pm 0.12$", TEST_ACCURACY, Printed("83.33", "0.12")),
        ("83.33 +/- .12", TEST_ACCURACY, Printed("83.33", ".12")),
        ("7\u2009150.62", TRAIN_TIME, Printed("7150.62")),
        ("1 234 567", COUNT, Printed("1234567")),
        ("1\u00a0234 ms", TRAIN_TIME, Printed("1234")),
        ("\u22125", COUNT, Printed("-5")),
        ("4.56e5", COUNT, Printed("4.56e5")),
        ("8e-2", SHARE, Printed("8e-2")),
        ("0.8333", SHARE, Printed("0.8333")),
        *((word, TEST_ACCURACY, None) for word in ("n/a", "N/A", "NA", "n.a.", "-", "–", "—", "--", "", " ")),
        *((word, TEST_ACCURACY, None) for word in ("nan", "NR", "not reported", "?", "None", "n. r.", "…")),
    ],
)
def test_a_printed_number_is_read_with_its_digits(text, metric, expected):
    assert read_printed(text, metric) == expected


@pytest.mark.parametrize(
    ("text", "metric", "expected"),
    [
        ("83,33", TEST_ACCURACY, "'83,33' is not a number; write a point before decimals"),
        ("1,234", COUNT, "'1,234' is not a number; write a point"),
        ("many", TEST_ACCURACY, "'many' is not a number; leave the cell empty"),
        ("83.33 (0.12)", TEST_ACCURACY, "write a spread as '83.33 ± 0.12'"),
        ("83 % ± 1 ± 2", TEST_ACCURACY, "is not a number"),
        ("83.3 %", SHARE, "Share is not in percent"),
        ("12 s", TRAIN_TIME, "is not a number"),
        ("1_000", COUNT, "is not a number"),
        ("inf", COUNT, "is not a number"),
        ("1e999", COUNT, "too large"),
        ("٣", COUNT, "is not a number"),
        ("1e2", TEST_ACCURACY, "'1e2' does not show which digits were printed: write 100"),
        ("12E1", COUNT, "write 120"),
        ("991.8", TEST_ACCURACY, "a proportion is from 0 to 100"),
        ("-5", TEST_ACCURACY, "a proportion is from 0 to 100"),
        ("83.33", SHARE, "a proportion is from 0 to 1"),
        ("0", TRAIN_TIME, "a time is above 0"),
    ],
)
def test_what_is_no_number_is_refused_with_advice(text, metric, expected):
    with pytest.raises(ValueError, match=".") as error:
        read_printed(text, metric)
    assert expected in str(error.value)


def load(folder: Path, text: str, **published: Any):
    """The config of STUDY with this published file beside it."""
    (folder / "p.tsv").write_text(text, encoding="utf-8")
    study = copy.deepcopy(STUDY) | {"published": {"file": str(folder / "p.tsv"), **published}}
    return load_config([PROJECT / "config/datasets.yaml"], {"studies": {"s": study}}, PROJECT)


def values_of(config) -> list[tuple[str, dict[str, str], int]]:
    study = config.studies["s"]
    return [(v.text, dict(v.where), len(v.runs)) for v in read_published(study, Path(study.published.file))]


@pytest.mark.parametrize("header", ["1\t10", "1.0\t10.00", "1e0\t1e1"])
def test_a_column_may_be_a_level_in_any_spelling(header, tmp_path):
    config = load(tmp_path, f"kernel\t{header}\nrbf\t90.1\tn/a\npoly\t80\t81.5 ± 0.1\n")
    assert values_of(config) == [
        ("90.1", {"kernel": "rbf", "C": "1"}, 1),
        ("80", {"kernel": "poly", "C": "1"}, 1),
        ("81.5", {"kernel": "poly", "C": "10"}, 1),
    ]


@pytest.mark.parametrize("level", ["1e1", "10", 10, 10.0])
def test_where_may_be_written_in_any_spelling(level, tmp_path):
    config = load(tmp_path, "kernel\ttest_accuracy\nrbf\t90\n", where={"C": level})
    assert values_of(config) == [("90", {"C": "10", "kernel": "rbf"}, 1)]


def test_where_fills_in_what_a_row_leaves_out(tmp_path):
    config = load(tmp_path, "kernel\tC\ttest_accuracy\nrbf\t10\t90\npoly\t\t80\n", where={"C": 10})
    assert [runs for _, _, runs in values_of(config)] == [1, 1]


@pytest.mark.parametrize(
    ("text", "where", "expected"),
    [
        ("kernel\t1\nrbf\t83,33\npoly\tmany\n", {}, ["line 2, 1: '83,33'", "line 3, 1: 'many'"]),
        ("kernel\tC\ttest_accuracy\nrbf\tx\t1\npoly\t0\t1\n", {}, ["line 2, C is 'x'", "line 3, C is '0'"]),
        (
            "kernel\ttest_accuracy\nrbf\t1\n",
            {},
            ["line 2, test_accuracy: kernel=rbf matches 2 different"],
        ),
        ("kernel\t1\t1.0\nrbf\t1\t2\n", {}, ["the column '1' twice", "the column '1.0' twice"]),
        ("kernel\tC\t1\nrbf\t1\t2\n", {}, ["a column 'C' and columns of its levels"]),
        ("kernel\t1\t100\nrbf\t1\t2\n", {}, ["a column '100', which is neither"]),
        ("kernel\t1\nrbf\t90\n", {"C": 10}, ["s.published.where.C: the file has a column for each C"]),
        ("kernel\tC\ttest_accuracy\nrbf\t1\t90\n", {"C": 10}, ["line 2, C: it is '1', and `where`"]),
        ("kernel\t1\nrbf\t90\n", {"gamma": "fast"}, ["s.published.where.gamma: gamma is 'fast'"]),
        (
            "kernel\t1\nrbf\t90\n",
            {"gama": 1},
            ["where: 'gama' is not a hyper", "did you mean 'gamma'?"],
        ),
        ("kernel\t1\nrbf\t90\n", {"kernel": "linear"}, ["where.kernel: no run of the study has linear"]),
        ("kernel\t1\nrbf\t90\n", {"kernel": None}, ["s.published.where.kernel: it holds nothing"]),
        ("kernel\t1\nrbf\t90\n", {"kernel": ["rbf"]}, ["s.published.where.kernel: it holds ['rbf']"]),
        ("kernel,1\nrbf,90\n", {}, ["its columns are to be separated by tabs"]),
        ("kernel\t1\nrbf\tn/a\n", {}, ["the file contains no published value"]),
        ("", {}, ["the file is empty"]),
        ("kernel\t1\nrbf\t1\t2\npoly\t1\t2\n", {}, ["line 2: 3 fields", "line 3: 3 fields"]),
    ],
)
def test_every_row_is_checked_before_any_run_and_all_problems_are_said(text, where, expected, tmp_path):
    with pytest.raises(ConfigError) as error:
        load(tmp_path, text, where=where)
    for fragment in expected:
        assert fragment in str(error.value)
    assert all(line.startswith("studies.s.published") for line in str(error.value).splitlines())


def test_a_hyperparameter_with_the_name_of_a_column_of_the_comparison_is_refused(tmp_path):
    (tmp_path / "p.tsv").write_text("reason\tpsnr\n1\t2\n")
    kind = {"command": "x {reason} {seed}", "hyperparameters": {"reason": "int"}, "metrics": {"psnr": {}}}
    study = {"title": "T", "kind": "k", "grid": [{"reason": [1, 2]}], "table": {"rows": "reason"}}
    study["published"] = str(tmp_path / "p.tsv")
    with pytest.raises(ConfigError, match="a column 'reason', which is also a hyperparameter"):
        load_config([], {"kinds": {"k": kind}, "studies": {"s": study}}, PROJECT)


def test_a_share_of_a_metric_in_percent_gets_a_hint(tmp_path):
    [hint] = hints(load(tmp_path, "kernel\t1\nrbf\t0.8333\n"))
    assert "0.8333 is read as 0.8333 %" in hint
    assert "write 83.33" in hint
    assert not list(hints(load(tmp_path, "kernel\t1\nrbf\t83.33\n")))
