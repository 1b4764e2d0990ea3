"""The commands of the documents, as they are written there."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import PROJECT, Checkout

# Make a virtual environment that is complete, as the one of these tests is.
MAKE = ("make", "--assume-old=.venv/installed", "--assume-old=.venv/exports-installed",
        "--assume-old=.venv/examples-installed")  # fmt: skip
DOCUMENTS = (
    "README.md",
    "config/README.md",
    *(f"docs/{n}.md" for n in ("commands", "cluster", "own-script")),
)
TARGETS = sorted(
    set(re.search(r"^\.PHONY:((?:.*\\\n)*.*)", (PROJECT / "Makefile").read_text(), re.M)[1].split()) - {"\\"}
)
DAILY = ["run", "part-b", "preview", "report", "design", "plan", "status", "watch", "tensorboard", "mlflow"]
TAKES_ARGS = [
    *DAILY,
    "pages",
    "page",
    "reproduce",
    "reproduction",
    "test",
    "test-all",
    "test-fast",
    "test-workflow",
    "test-slurm",
]


def written(document: str, program: str) -> list[str]:
    """The commands of a document that call a program: indented lines, and words in backticks."""
    text = (PROJECT / document).read_text()
    found = re.findall(rf"^    (?:\$ )?({program} [^#\n]+)", text, re.M)
    found += re.findall(rf"`({program} [^`\n]+)`", text)
    return sorted({command.partition("&&")[0].strip() for command in found})


SNAKEMAKE = sorted({c for name in DOCUMENTS for c in written(name, "snakemake")})
MADE = sorted({c for name in DOCUMENTS for c in written(name, "make")})


@pytest.mark.parametrize("command", SNAKEMAKE)
def test_snakemake_knows_the_options_of_a_documented_command(command, monkeypatch, capsys):
    from snakemake.cli import parse_args

    monkeypatch.chdir(PROJECT)
    _, options = parse_args(shlex.split(re.sub(r"\$\([^)]*\)", "FILE", command))[1:])
    assert "error" not in capsys.readouterr().err
    assert options.rerun_triggers


@pytest.mark.parametrize("command", MADE)
def test_make_knows_a_documented_target(command):
    words = [*MAKE, "-n", *shlex.split(command)[1:]]
    done = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("target", TAKES_ARGS)
def test_a_target_passes_args_on(target):
    words = [*MAKE, "-n", target, "ARGS=--of-mine"]
    done = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, check=True)
    assert "--of-mine" in done.stdout


def test_help_lists_every_target():
    done = subprocess.run(["make", "help"], cwd=PROJECT, capture_output=True, text=True, check=True)
    listed = {name for line in done.stdout.splitlines() for name in line[:20].split()}
    assert {*TARGETS} - {"package-lists"} <= listed


@pytest.mark.parametrize("command", written("README.md", "snakemake"))
def test_the_commands_of_the_introduction_plan_their_jobs(command, checkout: Checkout):
    words = [sys.executable, "-m", *shlex.split(command), "-n"]
    done = subprocess.run(words, cwd=checkout.root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Job stats:" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("target", "expected"), [("status", "forests"), ("run", "run_forest"), ("preview", "plot_study")]
)
def test_make_with_a_config_of_ones_own(target, expected, checkout: Checkout):
    (checkout.root / ".venv").symlink_to(Path(sys.executable).parent.parent)
    flags = "--configfile examples/sklearn/study.yaml" + (" -n" if target != "status" else "")
    words = [*MAKE, target, f"ARGS={flags}"]
    done = subprocess.run(
        words,
        cwd=checkout.root,
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert expected in done.stdout + done.stderr
    assert "part_a" not in done.stdout + done.stderr
