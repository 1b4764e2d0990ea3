"""`train_cnn.py` in processes of its own: stopped, killed, waiting for another one, and on a terminal."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ablations.runs import state
from checkout import PATIENCE_S
from trainings import PROJECT, call, without_times, words

EPOCHS = 8
# A small network, with a checkpoint after every step.
FLAGS = (
    "--model", "shufflenet_v2_x0_5", "--pin-memory", "false", "--train-samples", "160", "--device", "cpu",
    "--time-limit-min", "60", "--checkpoint-interval-s", "0", "--epochs", str(EPOCHS),
)  # fmt: skip


def start(arguments: list[str], *program: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *(program or ["scripts/train_cnn.py"]), *arguments],
        cwd=PROJECT,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def network(staged: Path, folder: Path, **environment: str) -> subprocess.Popen[str]:
    return start(words(staged, folder, *FLAGS), **environment)


def finish(process: subprocess.Popen[str]) -> str:
    """What the process has left to say, until it ends well."""
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, errors
    return errors


def read_until(process: subprocess.Popen[str], words: str) -> None:
    for line in process.stderr:
        if words in line:
            return
    raise AssertionError(f"the run ended without saying '{words}'")


def columns(folder: Path) -> dict[str, str]:
    header, row = (folder / "record.tsv").read_text().splitlines()
    return dict(zip(header.split("\t"), row.split("\t"), strict=True))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def compared(folder: Path) -> tuple[dict, dict]:
    record = without_times(folder / "record.tsv")
    record.pop("attempts")
    return record, without_times(folder / "history.tsv")


# --- stopped -------------------------------------------------------------------------------------


def test_a_run_that_was_stopped_at_each_attempt_ends_as_one_that_was_not(staged, tmp_path):
    """By the end of its job, by each signal that it catches, and by SIGKILL."""
    undisturbed, folder = tmp_path / "undisturbed", tmp_path / "stopped"
    finish(network(staged, undisturbed))
    left = [stopped_before_the_end_of_its_job(staged, folder)]
    for how in ("SIGTERM", "SIGKILL", "SIGUSR2", "SIGINT"):
        left.append(stopped_by(how, staged, folder))
        assert (left[-1].progress.epochs, left[-1].progress.steps) == (EPOCHS, 5 * EPOCHS)
        assert left[-1].progress.step >= 5, "it is written with each checkpoint"
        assert not (folder / "record.tsv").exists()
    assert "resuming from epoch" in finish(network(staged, folder))
    assert compared(folder) == compared(undisturbed)
    found = columns(folder)
    assert found["attempts"] == str(len(left) + 1)
    seconds = [float(text) for text in found["attempt_seconds"].split(";")]
    assert seconds[:-1] == [each.attempts_s[-1] for each in left]
    assert all(second > 0 for second in seconds)
    assert names(folder) == ["history.tsv", "record.tsv", "run.lock"]


def stopped_before_the_end_of_its_job(staged: Path, folder: Path) -> state.RunState:
    """A job that ends in 80 seconds: a run keeps a margin of 90, and stops at its first step."""
    soon = str(int(time.time()) + 80)
    process = network(staged, folder, SLURM_JOB_ID="1", SLURM_JOB_END_TIME=soon)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert "its job is about to reach its time limit; the checkpoint" in errors
    left = state.read(folder / "state.json")
    assert left.stopped.why == "time-out"
    assert f"error: {left.stopped.error}" in errors
    return left


def stopped_by(how: str, staged: Path, folder: Path) -> state.RunState:
    """Send a signal after the first epoch of this attempt."""
    process = network(staged, folder)
    read_until(process, f"/{EPOCHS}: loss")
    process.send_signal(getattr(signal, how))
    _, errors = process.communicate(timeout=PATIENCE_S)
    killed = how == "SIGKILL"
    assert process.returncode == (-signal.SIGKILL if killed else 1)
    if not killed:
        assert f"error: it was told to stop ({how}); the checkpoint of epoch" in errors
        assert "Traceback" not in errors
    left = state.read(folder / "state.json")
    assert left.process.id == process.pid
    assert (left.stopped and left.stopped.why) == (None if killed else "stopped")
    return left


def test_a_support_vector_machine_that_was_killed_counts_its_attempts(staged, tmp_path):
    """SIGKILL in the middle of fitting: the real script, whose fitting kills its process."""
    code = (
        "import os, runpy, sys; sys.path.insert(0, 'scripts'); from ablations.training import svm\n"
        "svm.fit = lambda *_: os.kill(os.getpid(), 9)\n"
        "runpy.run_path('scripts/fit_svm.py', run_name='__main__')"
    )
    flags = ["--dataset", str(staged), "--kernel", "rbf", "--train-samples", "200"]
    flags += ["--record", str(tmp_path / "record.tsv")]
    killed = start(flags, "-c", code)
    killed.communicate(timeout=PATIENCE_S)
    assert killed.returncode == -signal.SIGKILL
    finish(start(flags, "scripts/fit_svm.py"))
    assert columns(tmp_path)["attempts"] == "2"
    assert names(tmp_path) == ["record.tsv", "run.lock"]


# --- two processes at one run --------------------------------------------------------------------


@pytest.fixture
def frozen(staged, tmp_path) -> Iterator[subprocess.Popen[str]]:
    """A run that stands still in the middle, as on a node that hangs."""
    process = network(staged, tmp_path)
    read_until(process, f"epoch 1/{EPOCHS}")
    process.send_signal(signal.SIGSTOP)
    yield process
    process.kill()
    process.wait()


def test_a_second_process_waits_and_takes_the_record_of_the_first(frozen, staged, tmp_path):
    file = tmp_path / "state.json"
    before, written = file.read_bytes(), file.stat().st_mtime_ns
    assert state.read(file).process.id == frozen.pid

    # One whose job ends while it waits says who holds the run.
    second = network(staged, tmp_path, SLURM_JOB_ID="7", SLURM_JOB_END_TIME="1")
    _, errors = second.communicate(timeout=PATIENCE_S)
    assert second.returncode == 1
    assert f"error: process {frozen.pid} on " in errors
    assert "is still at this run" in errors
    assert "Traceback" not in errors

    # A context on the GPU would take memory of it for as long as a process waits.
    second = network(staged, tmp_path)
    read_until(second, f"process {frozen.pid} on ")
    mapped = Path(f"/proc/{second.pid}/maps").read_text()
    assert "safetensors" in mapped
    assert "libtorch" not in mapped
    second.terminate()
    second.communicate(timeout=PATIENCE_S)
    assert not (tmp_path / "record.tsv").exists()
    assert (file.read_bytes(), file.stat().st_mtime_ns) == (before, written), "the state is the other's"

    second = network(staged, tmp_path)
    read_until(second, f"process {frozen.pid} on ")
    frozen.send_signal(signal.SIGCONT)
    errors = finish(second)
    assert frozen.wait(timeout=PATIENCE_S) == 0
    assert "record.tsv has been written meanwhile" in errors
    assert f"epoch 1/{EPOCHS}" not in errors, "it trained nothing"
    assert columns(tmp_path)["attempts"] == "1"
    assert names(tmp_path) == ["history.tsv", "record.tsv", "run.lock"]


def test_a_second_process_resumes_where_the_first_was_killed(frozen, staged, tmp_path):
    launched = time.monotonic()
    second = network(staged, tmp_path)
    read_until(second, f"process {frozen.pid} on ")
    started = time.monotonic() - launched
    begun = time.monotonic()
    time.sleep(1)  # at the least: a wait that can be told from the run's own time, however long that is
    waited = time.monotonic() - begun
    frozen.kill()
    errors = finish(second)
    lived = time.monotonic() - begun
    assert f"epoch {EPOCHS}/{EPOCHS}" in errors
    assert columns(tmp_path)["attempts"] == "2"
    own = float(columns(tmp_path)["attempt_seconds"].split(";")[1])
    # It had started before it said that it waits; that time is its own. Clocks of processes tick in 10 ms.
    assert own < started + lived - waited + 0.1


# --- in a new process ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plain(staged, tmp_path_factory) -> Path:
    """A short training that nothing happened to."""
    folder = tmp_path_factory.mktemp("plain")
    finish(start(words(staged, folder)))
    return folder


def test_two_processes_write_the_same_record_times_aside(plain, staged, tmp_path):
    """One of them is new, and the other has trained before."""
    for again in ("first", "second"):
        done = call(staged, tmp_path / again)
        assert done.returncode == 0, done.stderr
        for file in ("record.tsv", "history.tsv"):
            assert without_times(plain / file) == without_times(tmp_path / again / file)


def test_a_step_that_cannot_be_recorded_starts_the_run_again_without_a_graph(plain, staged, tmp_path):
    """In a new process, with its answer as if there had been no graph. Here a CPU stands for the GPU."""
    spoiled = f"""
import runpy, sys
sys.path.insert(0, {str(PROJECT / "scripts")!r})
from ablations.training import trainer
from ablations.training.cuda_graphs import CannotRecord
plain = trainer.Trainer.steps
def steps(self):
    if "--no-graph" not in sys.argv:
        raise CannotRecord("a step cannot be recorded as a CUDA graph (a test)")
    return plain(self)
trainer.Trainer.steps = steps
runpy.run_path({str(PROJECT / "scripts/train_cnn.py")!r}, run_name="__main__")
"""
    errors = finish(start(words(staged, tmp_path), "-c", spoiled))
    assert "(a test); the run starts again without one" in errors
    expected, again = (without_times(folder / "record.tsv") for folder in (plain, tmp_path))
    assert again["attempts"] == ["2"]
    assert {**again, "attempts": expected["attempts"]} == expected


def test_a_terminal_gets_a_progress_bar(staged, tmp_path):
    """`script` gives the run a terminal, as a user's shell does."""
    command = " ".join([sys.executable, "scripts/train_cnn.py", *words(staged, tmp_path)])
    done = subprocess.run(
        ["script", "-qec", command, "/dev/null"], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert "━" in done.stdout
    assert "2/2" in done.stdout
