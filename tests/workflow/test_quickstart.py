"""`make run` from a clean checkout: every study in small, to its final tables."""

import pandas as pd
from checkout import PROJECT, Checkout


def test_make_run_builds_and_prints_every_table(quickstart: Checkout):
    checkout = quickstart
    printed = (checkout.root / "printed.txt").read_text()
    tables = checkout.root / "results/tables"
    assert sorted(path.name for path in tables.iterdir()) == sorted(
        f"{study}{table}.{suffix}"
        for study in ("forests", "part_a", "part_b", "question_2")
        for table in ("", "_design", "_effects", "_variance", "_compute")
        for suffix in ("tsv", "md", "tex", "html")
    )
    for study in ("forests", "part_a", "part_b", "question_2"):
        text = (tables / f"{study}.md").read_text()
        assert text in printed
        assert "missing" not in text
    assert len(checkout.records()) == 19, "20 points, one of them in two studies"
    merged = (checkout.root / "results/records.tsv").read_text().splitlines()
    assert len(merged) == 20
    rows = pd.read_parquet(checkout.root / "results/records.parquet")
    assert list(rows.columns) == merged[0].split("\t")
    images = rows["kind"].isin(["cnn", "svm"])
    assert [f"{accuracy:.6f}".rstrip("0").rstrip(".") for accuracy in rows["test_accuracy"][images]] == [
        found for line in merged[1:] if (found := line.split("\t")[rows.columns.get_loc("test_accuracy")])
    ]

    # What a run learnt is better than a guess, and the published counts of the models do not depend on it.
    question_2 = [line.split("\t") for line in (tables / "question_2.tsv").read_text().splitlines()]
    accuracy, params = question_2[0].index("test_accuracy"), question_2[0].index("params_m")
    assert float(question_2[2][accuracy]) > 60
    assert [row[params] for row in question_2[1:]] == ["11.18", "11.18", "21.28"]

    latex = (tables / "question_2.tex").read_text()
    assert r"$\pm$" in latex


def test_a_checkout_has_what_the_commands_name():
    for name in ("LICENSE", "README.md", ".ci/run", "benchmarks/svm.py"):
        assert (PROJECT / name).is_file(), name
