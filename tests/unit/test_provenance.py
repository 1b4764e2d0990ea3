"""The code that made a record is in it, and so is how many runs shared its job."""

import os
import subprocess
import time
from pathlib import Path

import pytest
from ablations.runs import attempts, provenance
from ablations.runs.provenance import code_version, describe
from test_records import make_run

UNKNOWN = {"code_commit": None, "code_modified": None}


def git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    done = subprocess.run(["git", *identity, *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A directory with one script, in a repository of its own."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code/train.py").write_text("one\n")
    (tmp_path / "config.yaml").write_text("one\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "One")
    return tmp_path / "code"


def test_the_commit_is_that_of_the_repository(code):
    head = git(code, "rev-parse", "HEAD")
    assert code_version(code) == {"code_commit": head[:12], "code_modified": False}
    assert code_version(code.parent) == code_version(code)


def test_a_changed_file_is_a_modification_staged_or_not(code):
    (code / "train.py").write_text("two\n")
    assert code_version(code)["code_modified"] is True
    git(code, "add", ".")
    assert code_version(code)["code_modified"] is True
    git(code, "commit", "-qm", "Two")
    assert code_version(code)["code_modified"] is False
    (code / "train.py").unlink()
    assert code_version(code)["code_modified"] is True


def test_a_file_that_was_only_touched_is_not_a_modification(code):
    os.utime(code / "train.py", (0, 0))
    index = (code.parent / ".git/index").read_bytes()
    assert code_version(code)["code_modified"] is False
    assert (code.parent / ".git/index").read_bytes() == index, "nothing is written into the repository"


def test_files_that_are_not_tracked_or_elsewhere_are_not_looked_at(code):
    (code / "results.tsv").write_text("new\n")
    (code.parent / "config.yaml").write_text("of a user\n")
    assert code_version(code)["code_modified"] is False
    assert code_version(code.parent)["code_modified"] is True


def test_code_outside_of_a_repository_is_unknown(tmp_path):
    assert code_version(tmp_path) == UNKNOWN
    assert code_version(tmp_path / "nowhere") == UNKNOWN


def test_a_repository_that_does_not_track_the_code_says_nothing_of_it(code):
    """A project that was unpacked within a repository of something else."""
    (code.parent / "unpacked").mkdir()
    (code.parent / "unpacked/train.py").write_text("one\n")
    assert code_version(code.parent / "unpacked") == UNKNOWN


def test_a_repository_without_a_commit_has_no_version(tmp_path):
    git(tmp_path, "init", "-q")
    assert code_version(tmp_path) == UNKNOWN


def test_without_git_the_code_is_unknown(code, monkeypatch):
    monkeypatch.setenv("PATH", str(code))
    assert code_version(code) == UNKNOWN


def test_a_git_that_does_not_answer_is_given_up(code, monkeypatch):
    (code / "git").write_text("#!/bin/sh\nexec sleep 60\n")
    (code / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{code}:{os.environ['PATH']}")
    monkeypatch.setattr(provenance, "GIT_PATIENCE_S", 0.2)
    assert code_version(code) == UNKNOWN


def test_a_repository_of_somebody_else_executes_nothing(code):
    (code / ".gitattributes").write_text("* filter=theirs\n")
    planted = f"touch {code}/planted"
    for name in ("core.fsmonitor", "filter.theirs.clean", "filter.theirs.process"):
        git(code, "config", name, f"{planted}; cat")
    git(code, "config", "filter.theirs.required", "true")
    os.utime(code / "train.py", (0, 0))
    assert code_version(code)["code_modified"] is False
    assert not (code / "planted").exists()


def test_the_repository_of_a_git_hook_is_not_asked(code, monkeypatch, tmp_path_factory):
    """git sets these variables for its hooks, from which tests and runs may be started."""
    other = tmp_path_factory.mktemp("other")
    git(other, "init", "-q")
    before = code_version(code)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    assert code_version(code) == before


@pytest.mark.parametrize(("value", "expected"), [(None, 1), ("4", 4), ("", 1), ("many", 1), ("0", 1)])
def test_a_record_says_how_many_runs_share_the_job(value, expected, monkeypatch):
    monkeypatch.delenv(provenance.RUNS_PER_JOB, raising=False)
    if value is not None:
        monkeypatch.setenv(provenance.RUNS_PER_JOB, value)
    assert describe([], 1, UNKNOWN)["runs_per_job"] == expected


def test_a_record_says_whether_runs_took_turns_in_its_process():
    assert provenance.shares_process() is None
    asked = provenance.ASKED.set(provenance.Asked(1, 0.0))
    try:
        assert provenance.shares_process() is True
    finally:
        provenance.ASKED.reset(asked)


def test_an_attempt_begins_where_a_run_was_given_back(tmp_path):
    whole = provenance.seconds_since_start()
    assert provenance.seconds_of_attempt() >= whole > 0.1, "nothing was handed over"
    given_back = provenance.GIVEN_BACK.set(provenance.since_boot())
    try:
        own = attempts.Attempt(tmp_path / "record.tsv", make_run())
        assert own.elapsed_s <= provenance.seconds_since_start() - whole
        assert provenance.shares_process() is True, "it may go on from what it did in the shared process"
        # The job of the process began when that did.
        end = attempts.job_deadline({"SLURM_JOB_ID": "1"}, 4000)
        since_start, now = provenance.seconds_since_start(), time.time()
        # Its clock ticks in 10 ms. Counted from where the run was given back, it would be `whole` later.
        assert end - (4000 - 90) <= now - since_start + 0.05 < now - since_start + whole
    finally:
        provenance.GIVEN_BACK.reset(given_back)


def test_the_library_and_the_executor_use_the_same_variable():
    from snakemake_executor_plugin_submitit.member import PLACES

    assert provenance.RUNS_PER_JOB == PLACES
