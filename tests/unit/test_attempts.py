"""Attempts: one process at a time is at a run, with the real scripts."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ablations.runs.attempts import sole_writer
from ablations.runs.records import write_record
from checkout import PROJECT
from test_records import make_record, make_run
from test_training import staged  # noqa: F401

RUN = make_run()


def start(script: str, staged: Path, folder: Path, **environment: str) -> subprocess.Popen[str]:  # noqa: F811
    """A run of digits, as its rule calls it."""
    flags = {
        "train_cnn": "--model shufflenet_v2_x0_5 --batch-size 32 --optimizer adam --lr 0.001 --epochs 2 "
        "--pin-memory false --train-samples 160 --seed 0 --device cpu --time-limit-min 60 "
        f"--history {folder}/history.tsv",
        "fit_svm": "--kernel rbf --train-samples 200",
    }[script]
    command = [sys.executable, f"scripts/{script}.py", "--dataset", str(staged), *flags.split()]
    return subprocess.Popen(
        [*command, "--record", str(folder / "record.tsv")],
        cwd=PROJECT,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def read_until(process: subprocess.Popen[str], words: str) -> None:
    for line in process.stderr:
        if words in line:
            return
    raise AssertionError(f"the run ended without saying '{words}'")


@pytest.fixture
def frozen(staged, tmp_path):  # noqa: F811
    """A run that stands still in the middle, as on a node that hangs."""
    process = start("train_cnn", staged, tmp_path)
    read_until(process, "epoch 1/2")
    process.send_signal(signal.SIGSTOP)
    yield process
    process.kill()
    process.wait()


def test_a_second_process_waits_and_takes_the_record_of_the_first(frozen, staged, tmp_path):  # noqa: F811
    second = start("train_cnn", staged, tmp_path)
    read_until(second, f"process {frozen.pid} on ")
    frozen.send_signal(signal.SIGCONT)
    errors = second.communicate(timeout=120)[1]
    assert second.returncode == 0, errors
    assert frozen.wait(timeout=120) == 0
    assert "record.tsv has been written meanwhile" in errors
    assert "epoch 1/2" not in errors, "it trained nothing"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["history.tsv", "record.tsv", "run.lock"]
    assert "\t1\t" in (tmp_path / "record.tsv").read_text()


def test_a_second_process_goes_on_where_the_first_was_killed(frozen, staged, tmp_path):  # noqa: F811
    launched = time.monotonic()
    second = start("train_cnn", staged, tmp_path)
    read_until(second, f"process {frozen.pid} on ")
    started = time.monotonic() - launched
    begun = time.monotonic()
    time.sleep(5)  # a wait that can be told from the run's own time
    frozen.kill()
    waited = time.monotonic() - begun
    errors = second.communicate(timeout=120)[1]
    lived = time.monotonic() - begun
    assert second.returncode == 0, errors
    assert "epoch 2/2" in errors
    header, row = ((tmp_path / "record.tsv").read_text()).splitlines()
    columns = dict(zip(header.split("\t"), row.split("\t"), strict=True))
    assert columns["attempts"] == "2"
    own = float(columns["attempt_seconds"].split(";")[1])
    # It had started before it said that it waits; that time is its own.
    assert own < started + lived - waited + 1


def test_a_second_process_whose_job_ends_says_who_holds_the_run(frozen, staged, tmp_path):  # noqa: F811
    environment = {"SLURM_JOB_ID": "7", "SLURM_JOB_END_TIME": "1"}
    second = start("train_cnn", staged, tmp_path, **environment)
    errors = second.communicate(timeout=120)[1]
    assert second.returncode == 1
    assert f"error: process {frozen.pid} on " in errors
    assert "is still at this run" in errors
    assert "Traceback" not in errors
    assert not (tmp_path / "record.tsv").exists()


def test_a_support_vector_machine_that_was_killed_counts_its_attempts(staged, tmp_path):  # noqa: F811
    """SIGKILL in the middle of fitting: the real script, whose fitting kills its process."""
    code = (
        "import os, runpy, sys; sys.path.insert(0, 'scripts'); from ablations.training import svm\n"
        "svm.fit = lambda *_: os.kill(os.getpid(), 9)\n"
        "runpy.run_path('scripts/fit_svm.py', run_name='__main__')"
    )
    flags = ["--dataset", str(staged), "--kernel", "rbf", "--train-samples", "200"]
    flags += ["--record", str(tmp_path / "record.tsv")]
    killed = subprocess.run([sys.executable, "-c", code, *flags], cwd=PROJECT, check=False)
    assert killed.returncode == -signal.SIGKILL
    second = start("fit_svm", staged, tmp_path)
    errors = second.communicate(timeout=120)[1]
    assert second.returncode == 0, errors
    header, row = (tmp_path / "record.tsv").read_text().splitlines()
    assert dict(zip(header.split("\t"), row.split("\t"), strict=True))["attempts"] == "2"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["record.tsv", "run.lock"]


def test_a_record_that_was_there_before_is_made_anew(tmp_path):
    write_record(tmp_path / "record.tsv", RUN, make_record())
    assert sole_writer(tmp_path / "record.tsv", RUN) is not None


def test_a_directory_without_locks_is_reported_and_used(tmp_path, monkeypatch, caplog):
    import fcntl

    def refuse(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert sole_writer(tmp_path / "record.tsv", RUN) is not None
    assert "nothing keeps a second process from this run" in caplog.text
