"""The examples of training scripts: each through the workflow to its table, and one that is killed."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml
from checkout import PATIENCE_S, PROJECT, Checkout

NETWORK = "results/runs/network/none/none/width=32+lr=0.1+epochs=100+seed=0"


def rows_of(checkout: Checkout, table: str) -> list[dict[str, str]]:
    """The rows of a final table, none of which may lack a run."""
    text = (checkout.root / f"results/tables/{table}.tsv").read_text()
    assert "missing" not in text
    assert "diverged" not in text
    return list(csv.DictReader(text.splitlines(), delimiter="\t"))


def made(checkout: Checkout, example: str, study: str) -> list[dict[str, str]]:
    """The rows of the table of an example, once its study has run."""
    table = f"results/tables/{study}.tsv"
    done = checkout.snakemake("--configfile", f"examples/{example}/study.yaml", "--", table)
    assert done.returncode == 0, done.stdout + done.stderr
    return rows_of(checkout, study)


def test_the_quickstart_has_the_scikit_learn_example(quickstart):
    rows = rows_of(quickstart, "forests")
    assert [(row["trees"], row["depth"]) for row in rows] == [
        ("10", "4"), ("10", "16"), ("100", "4"), ("100", "16"),
    ]  # fmt: skip
    assert {row["accuracy_n"] for row in rows} == {"2"}, "the seeds of a shortened quickstart"
    few_shallow, few_deep, many_shallow, many_deep = (float(row["accuracy"]) for row in rows)
    assert 70 < few_shallow < min(few_deep, many_shallow)
    assert max(few_deep, many_shallow) < many_deep < 99
    assert "Random forests on digits" in (quickstart.root / "printed.txt").read_text()


def test_the_study_of_the_readme_is_that_of_the_example_and_of_the_quickstart():
    example = (PROJECT / "examples/sklearn/study.yaml").read_text()
    assert f"```yaml\n{example}```" in (PROJECT / "README.md").read_text()
    expected = yaml.safe_load(example)
    shown = yaml.safe_load((PROJECT / "config/quickstart.yaml").read_text())
    assert shown["kinds"]["forest"] == expected["kinds"]["forest"]
    assert shown["studies"]["forests"] == expected["studies"]["forests"]


def test_the_lightning_example(checkout):
    pytest.importorskip("lightning", reason="make .venv/examples-installed")
    rows = made(checkout, "lightning", "lightning")
    assert [row["width"] for row in rows] == ["8", "32"]
    narrow, wide = (float(row["test_accuracy"]) for row in rows)
    assert 50 < narrow < wide < 99
    [history] = checkout.root.glob("results/runs/lightning/none/none/width=8+*/history.tsv")
    epochs = list(csv.DictReader(history.read_text().splitlines(), delimiter="\t"))
    assert [row["epoch"] for row in epochs] == ["0", "1", "2", "3", "4", "5"]
    assert all(row["train_loss"] and row["val_accuracy"] for row in epochs[:5])
    assert not history.with_name("checkpoints").exists()


def test_the_hydra_example(checkout):
    pytest.importorskip("hydra", reason="make .venv/examples-installed")
    rows = made(checkout, "hydra", "linear")
    assert [row["penalty"] for row in rows] == ["0.0001", "0.01"]
    assert all(80 < float(row[model]) < 97 for row in rows for model in ("logistic", "hinge"))
    [kept] = checkout.root.glob("results/runs/hydra/none/hinge/penalty=0.01+seed=0/files/.hydra/config.yaml")
    assert yaml.safe_load(kept.read_text())["penalty"] == 0.01


def test_the_awk_example(checkout):
    rows = made(checkout, "awk", "forecasts")
    # With alpha = 1 the forecast is the value before. Sunspots follow a cycle, and the Nile does not.
    assert [(row["alpha"], row["nile"], row["sunspots"]) for row in rows] == [
        ("0.1", "16.0", "77.5"), ("0.3", "15.7", "73.8"), ("1", "18.2", "48.0"),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def pytorch(made_once) -> Checkout:
    """A checkout where the PyTorch example was run undisturbed."""
    return made_once("pytorch_example", lambda checkout: made(checkout, "pytorch", "networks"))


def test_the_pytorch_example(pytorch):
    rows = rows_of(pytorch, "networks")
    assert [row["width"] for row in rows] == ["8", "32"]
    assert all(85 < float(row["accuracy"]) < 99 for row in rows)
    assert all(0.1 < float(row["loss"]) < 1.5 for row in rows)


def results_of(checkout: Checkout) -> tuple[dict[str, str], str]:
    """What the run that is killed has measured, and its history."""
    [record] = csv.DictReader((checkout.root / NETWORK / "record.tsv").open(), delimiter="\t")
    measured = {name: record[name] for name in ("accuracy", "loss", "items_correct", "attempts")}
    return measured, (checkout.root / NETWORK / "history.tsv").read_text()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL"])
def test_the_pytorch_example_resumes_and_ends_the_same(pytorch, tmp_path, name):
    checkout = Checkout(tmp_path / "project", like=pytorch)
    measured, history = results_of(checkout)
    assert measured["attempts"] == "1"
    folder = checkout.root / NETWORK
    for file in ("record.tsv", "history.tsv", "run.log"):
        (folder / file).unlink()

    arguments = ["--configfile", "examples/pytorch/study.yaml", "--", f"{NETWORK}/record.tsv"]
    command = [sys.executable, "-m", "snakemake", "--profile", "profiles/local", *arguments]
    snakemake = subprocess.Popen(command, cwd=checkout.root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    interrupt(snakemake, folder, name)
    printed, _ = snakemake.communicate(timeout=PATIENCE_S)
    assert snakemake.returncode != 0, printed.decode()
    assert not (folder / "record.tsv").exists()
    assert (folder / "checkpoints/last.pt").exists()

    done = checkout.snakemake(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "resuming after epoch" in (folder / "run.log").read_text()
    assert results_of(checkout) == ({**measured, "attempts": "2"}, history)


def interrupt(snakemake: subprocess.Popen, folder: Path, name: str) -> None:
    """Send a signal to what supervises the run, once there is a checkpoint; SIGKILL also to the script."""
    end = time.monotonic() + PATIENCE_S
    while not (folder / "checkpoints/last.pt").exists():
        assert snakemake.poll() is None, "it ended before its first checkpoint"
        assert time.monotonic() < end
        time.sleep(0.01)
    processes = psutil.Process(snakemake.pid).children(recursive=True)
    [supervisor] = [process for process in processes if "scripts/run_command.py" in process.cmdline()]
    victims = [supervisor] if name == "SIGTERM" else [supervisor, *supervisor.children(recursive=True)]
    for process in victims:
        os.kill(process.pid, getattr(signal, name))
