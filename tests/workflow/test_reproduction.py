"""The reproduction of the published studies: its tables are those of the records that are kept."""

import csv
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
from ablations.config.studies.published import read_published
from scipy import stats
from statsmodels.stats.multitest import multipletests

PROJECT = Path(__file__).parents[2]
PLACE = PROJECT / "docs/reproduction"
spec = importlib.util.spec_from_file_location("reproduce", PLACE / "reproduce.py")
reproduce = importlib.util.module_from_spec(spec)
spec.loader.exec_module(reproduce)


WORDS = ["none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_the_kept_tables_are_what_the_kept_records_give(tmp_path):
    command = [sys.executable, str(PLACE / "reproduce.py"), "tables", "--to", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    made = {path.relative_to(tmp_path): path for path in tmp_path.glob("tables/*")}
    kept = {path.relative_to(PLACE): path for path in PLACE.glob("tables/*")}
    assert made.keys() == kept.keys()
    for name, path in made.items():
        assert path.read_text() == kept[name].read_text(), f"{name}: call `make reproduction`"


def test_the_page_has_the_numbers_of_the_tables():
    page, config = (PROJECT / "docs/reproduction.md").read_text(), reproduce.read_config()
    for study, among in (("question_2", "10 runs"), ("part_a", "16 runs on MNIST"), ("seed_noise", None)):
        compared = rows(PLACE / f"tables/{study}_vs_published.tsv")
        measured = [
            row for row in compared if row["metric"] == "test_accuracy" and row["measured"] != "missing"
        ]
        for row in measured:
            cells = (row["published"], row["measured"], row["difference"], row["allowed"], row["verdict"])
            assert re.search(" *\\| *".join(map(re.escape, cells)), page), row
        assert among is None or f"{len(measured)} of {among}" in page
    finished = {run for run in config.runs() if (PLACE / run.record.removeprefix("results/")).exists()}
    assert len(finished) == len(list(PLACE.glob("runs/**/record.tsv")))
    assert f"[{len(finished)} of {len(config.runs())} runs]" in page
    for study in ("seed_noise", "pretraining", "normalisation", "momentum"):
        runs = set(config.studies[study].runs())
        assert re.search(rf"^\| `{study}` \|.*\| {len(finished & runs)} of {len(runs)} runs \|$", page, re.M)


def test_the_page_judges_single_runs_by_the_noise_of_seeds():
    page = (PROJECT / "docs/reproduction.md").read_text()
    config, spreads = reproduce.read_config(), {}
    kept = {run: PLACE / run.record.removeprefix("results/") for run in config.runs()}
    accuracy = {run: float(rows(file)[0]["test_accuracy"]) for run, file in kept.items() if file.exists()}
    for dataset in ("fashion_mnist", "mnist"):
        cells = [runs for _, runs in config.studies["seed_noise"].points() if runs[0].dataset == dataset]
        values = np.array([[accuracy[run] for run in runs] for runs in cells])
        spreads[dataset] = np.sqrt(values.var(axis=1, ddof=1).mean()), values.size - len(values)
        sd, df = spreads[dataset]
        assert f"{sd:.2f}" in page
        # Of two single runs.
        assert f"{stats.t.ppf(0.975, df) * np.sqrt(2) * sd:.2f}" in page
    for study, dataset in (("question_2", "fashion_mnist"), ("part_a", "mnist")):
        sd, df = spreads[dataset]
        compared = [
            row
            for row in rows(PLACE / f"tables/{study}_vs_published.tsv")
            if row["metric"] == "test_accuracy" and row["difference"]
        ]
        z = [abs(float(row["difference"])) / (np.sqrt(2) * sd) for row in compared]
        differ = multipletests(2 * stats.t.sf(z, df), method="holm")[0].sum()
        assert re.search(f"{WORDS[differ]} of the {WORDS[len(compared)]} single runs differ", page), study


def test_a_cell_of_several_studies_has_one_published_value():
    config, published = reproduce.read_config(), {}
    for study in reproduce.STUDIES:
        if file := config.studies[study].published:
            for value in read_published(config.studies[study], config.file(file.file)):
                for run in value.runs:
                    published.setdefault((run, value.metric), {})[study] = value.text
    several = [texts for texts in published.values() if len(texts) > 1]
    assert {study for texts in several for study in texts} == {"part_a", "question_2", "seed_noise"}
    assert [texts for texts in several if len(set(texts.values())) > 1] == []


def test_part_a_is_trained_last_and_what_it_can_do_without_at_its_end(monkeypatch, tmp_path):
    config = reproduce.read_config()
    plan = {run.record: {"seconds": "1"} for run in config.runs()}
    monkeypatch.setattr(reproduce, "PROJECT", tmp_path)
    monkeypatch.setattr(reproduce, "read_plan", lambda path: plan)
    runs = reproduce.in_order(config)
    assert set(runs) == set(config.runs())
    studies = [min(map(reproduce.ORDER.index, config.runs()[run])) for run in runs]
    assert studies == sorted(studies)
    alone = sum(of == ["part_a"] for of in config.runs().values())
    of_part_a = runs[-alone:]
    assert all(config.runs()[run] == ["part_a"] for run in of_part_a)
    # Its published rows are those of MNIST, and ResNet-50 takes more than half of the time.
    is_last = [(run.dataset, run.model) != ("mnist", "resnet18") for run in of_part_a]
    assert is_last == sorted(is_last)
    assert 0 < sum(is_last) < alone
