"""Nothing reruns for newer code, and one command reruns what older code made."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import Checkout, jobs

STUDIES = """
studies:
  machines:
    title: Machines on digits
    kind: svm
    grid: [{dataset: digits, kernel: [poly, rbf], train_samples: 200}]
    table: {rows: [kernel], values: test_accuracy}
"""
TABLE = "results/tables/machines.md"
# As docs/commands.md has it, with another config, and for one table: each other file takes a second.
RERUN = (
    "set -eu; snakemake -n --profile profiles/local --configfile my.yaml "
    f"--forcerun $(python scripts/status.py --configfile my.yaml --outdated) -- {TABLE}"
)


def commit(checkout: Checkout) -> None:
    git = ("git", "-c", "user.name=A", "-c", "user.email=a@example.org")
    for words in (("init", "-q"), ("add", "scripts"), ("commit", "-qm", "One", "--allow-empty")):
        subprocess.run([*git, *words], cwd=checkout.root, check=True)


def call(checkout: Checkout, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "scripts/status.py", "--configfile", "my.yaml", *words],
        cwd=checkout.root,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.fixture
def finished(checkout: Checkout) -> Checkout:
    """A checkout with a finished study, committed."""
    (checkout.root / ".gitignore").write_text("__pycache__\n")
    commit(checkout)
    done = checkout.snakemake("--configfile", checkout.config(STUDIES), "--", TABLE)
    assert done.returncode == 0, done.stderr
    return checkout


def rerun(checkout: Checkout) -> dict[str, int]:
    """The jobs of the documented command, in an environment that was activated."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", RERUN], cwd=checkout.root, env=environment, capture_output=True, text=True, check=True
    )
    return jobs(done)


def test_one_command_reruns_what_other_code_made(finished):
    assert call(finished, "--outdated") == ""
    assert rerun(finished) == {}, "with nothing outdated it reruns nothing"
    one, two = sorted(finished.records())

    # Another commit: nothing reruns by itself.
    commit(finished)
    assert jobs(finished.snakemake("-n", "--configfile", "my.yaml", "--", TABLE)) == {}
    assert sorted(call(finished, "--outdated").split()) == [one, two]

    # A run that is repeated is of the present code, and the table says that the other is not.
    (finished.root / one).unlink()
    assert finished.snakemake("--configfile", "my.yaml", "--", one, TABLE).returncode == 0
    assert call(finished, "--outdated").split() == [two]
    assert rerun(finished)["fit_svm"] == 1
    note = "were made by different code: 1 by commit"
    assert f"The runs {note}" in (finished.root / TABLE).read_text()
    assert f"Runs of svm {note}" in call(finished)
    assert [each["runs"] for each in json.loads(call(finished, "--json"))["code"]] == [1, 1]
