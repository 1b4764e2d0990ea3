"""Attempts: one process at a time executes a run, with the real scripts."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ablations.errors import AblationsError
from ablations.runs import state
from ablations.runs.attempts import Attempt, attempt
from ablations.runs.records import read_record, write_record
from checkout import PROJECT
from test_records import make_record, make_run
from test_training import staged  # noqa: F401

RUN = make_run()
WHOLE = state.RunState(state.Process(1, "another-node", None, 0.0), {"run": RUN.directory}, (1.5,))
# Of files that are no state: empty, half-written, of another format, and nonsense.
DAMAGED = [
    b"", b"\x00" * 100, b'{"process": {"id": 1, "host": "no', b"[]", b"null", b"\xff\xfe",
    b'{"run": {"data": "of attempts.json"}, "seconds": [1.0]}',
    b'{"process": {"id": -1, "host": "n", "job": null, "started_at": 0}, "updated_at": 0}',
    b'{"process": {"id": 1, "host": "n", "job": null, "started_at": NaN}, "updated_at": 0}',
    b'{"process": {"id": 1, "host": "n", "job": null, "started_at": 0}, "attempts_s": "many"}',
]  # fmt: skip


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


def test_a_second_process_resumes_where_the_first_was_killed(frozen, staged, tmp_path):  # noqa: F811
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
    assert columns(tmp_path)["attempts"] == "2"
    own = float(columns(tmp_path)["attempt_seconds"].split(";")[1])
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
    assert columns(tmp_path)["attempts"] == "2"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["record.tsv", "run.lock"]


def columns(folder: Path) -> dict[str, str]:
    header, row = (folder / "record.tsv").read_text().splitlines()
    return dict(zip(header.split("\t"), row.split("\t"), strict=True))


def test_a_waiting_process_does_not_touch_the_state_of_the_other(frozen, staged, tmp_path):  # noqa: F811
    file = tmp_path / "state.json"
    before, written = file.read_bytes(), file.stat().st_mtime_ns
    assert state.read(file).process.id == frozen.pid
    second = start("train_cnn", staged, tmp_path)
    read_until(second, f"process {frozen.pid} on ")
    assert (file.read_bytes(), file.stat().st_mtime_ns) == (before, written)
    second.terminate()
    second.communicate(timeout=120)
    assert (file.read_bytes(), file.stat().st_mtime_ns) == (before, written)


def test_a_waiting_process_imports_no_torch(frozen, staged, tmp_path):  # noqa: F811
    """A context on the GPU would take memory of it for as long as the process waits."""
    second = start("train_cnn", staged, tmp_path)
    read_until(second, f"process {frozen.pid} on ")
    mapped = Path(f"/proc/{second.pid}/maps").read_text()
    second.kill()
    second.communicate()
    assert "safetensors" in mapped
    assert "libtorch" not in mapped


def test_a_network_that_was_killed_counts_its_attempts(frozen, staged, tmp_path):  # noqa: F811
    frozen.kill()
    frozen.wait()
    left = state.read(tmp_path / "state.json")
    assert (left.process.id, left.stopped) == (frozen.pid, None)
    assert left.progress.epochs == 2
    second = start("train_cnn", staged, tmp_path)
    errors = second.communicate(timeout=120)[1]
    assert second.returncode == 0, errors
    assert columns(tmp_path)["attempts"] == "2"
    assert float(columns(tmp_path)["attempt_seconds"].split(";")[0]) == left.attempts_s[-1]


# --- the context ---------------------------------------------------------------------------------


def identified(folder: Path, **identity: str) -> Attempt:
    """An attempt that is killed without a word, as far as its files tell."""
    made = Attempt(folder / "record.tsv", RUN)
    made.identify(identity)
    return made


def test_a_record_ends_the_attempts(tmp_path):
    identified(tmp_path, device="a")
    (tmp_path / "attempts.json").write_text('{"run": {}, "seconds": [1.0]}')
    (tmp_path / ".state.json.progress.tmp").write_text("{")
    with attempt(tmp_path / "record.tsv", RUN) as second:
        second.identify({"device": "a"})
        second.write_record(make_record(**second.columns()))
    assert read_record(tmp_path / "record.tsv")[1].attempts == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["record.tsv", "run.lock"]


def test_a_run_killed_before_it_is_identified_loses_no_attempt(tmp_path):
    identified(tmp_path, device="a")
    Attempt(tmp_path / "record.tsv", RUN)
    assert len(identified(tmp_path, device="a").seconds) == 2


def test_an_error_before_the_attempt_is_identified_keeps_the_earlier_ones(tmp_path):
    first = identified(tmp_path, device="a")
    with pytest.raises(AblationsError), attempt(tmp_path / "record.tsv", RUN):
        raise AblationsError("there is no model 'resnet81'")
    left = state.read(tmp_path / "state.json")
    assert left.stopped == state.Stop("error", "there is no model 'resnet81'")
    assert left.identity == first.identity
    assert len(left.attempts_s) == 1


def test_an_error_after_the_attempt_is_identified_counts_it(tmp_path):
    identified(tmp_path, device="a")
    with pytest.raises(ZeroDivisionError), attempt(tmp_path / "record.tsv", RUN) as second:
        second.identify({"device": "a"})
        second.report(3, 9, epochs=3)
        raise ZeroDivisionError("division by zero")
    left = state.read(tmp_path / "state.json")
    assert left.stopped == state.Stop("error", "ZeroDivisionError: division by zero")
    assert left.progress == state.Progress(epoch=2, epochs=3, step=3, steps=9)
    assert len(left.attempts_s) == 2


def test_attempts_on_another_device_are_not_counted(tmp_path):
    identified(tmp_path, device="a")
    assert len(identified(tmp_path, device="b").seconds) == 1
    assert len(identified(tmp_path, device="b").seconds) == 2


def test_the_lock_is_released_after_an_error(tmp_path):
    for _ in range(2):
        with pytest.raises(KeyError), attempt(tmp_path / "record.tsv", RUN, deadline=0) as own:
            assert own is not None
            raise KeyError


def test_an_error_after_the_record_leaves_no_state(tmp_path):
    with pytest.raises(KeyError), attempt(tmp_path / "record.tsv", RUN) as own:
        own.write_record(make_record())
        raise KeyError
    assert not (tmp_path / "state.json").exists()


def test_progress_has_an_eta_from_the_steps_of_this_attempt(tmp_path, monkeypatch):
    own = identified(tmp_path, device="a")
    clock = iter([100.0, 100.0, 105.0, 112.0, 112.0, 112.5, 113.5, 113.5])
    monkeypatch.setattr("ablations.runs.attempts.time.monotonic", lambda: next(clock))
    seen = []
    for done in (61, 70, 81, 90, 120):
        own.report(done, 180, epochs=6)
        progress = state.read(tmp_path / "state.json").progress
        seen.append((progress.epoch, progress.step, progress.eta_s))
    assert seen == [
        (3, 61, None),
        (3, 61, None),  # 5 s later: too soon
        (3, 81, 59.4),  # 20 steps in 12 s
        (3, 81, 59.4),  # the end of an epoch, but within a second
        (5, 120, 13.7),  # the end of an epoch: 59 steps in 13.5 s
    ]


def test_an_attempt_without_progress_notes_its_time_once_a_minute(tmp_path, monkeypatch):
    """So that it is known of one that is killed."""
    own = identified(tmp_path, device="a")
    start = time.monotonic()
    writes = []
    monkeypatch.setattr(own, "write", lambda **how: writes.append(how))
    for seconds, written in ((1, 0), (59, 0), (61, 1), (62, 1), (122, 2)):
        monkeypatch.setattr("ablations.runs.attempts.time.monotonic", lambda at=start + seconds: at)
        own.note()
        assert len(writes) == written
    assert writes[0] == {"to_disk": False}


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_state_is_no_state(content, tmp_path, caplog):
    (tmp_path / "state.json").write_bytes(content)
    assert state.read(tmp_path / "state.json") is None
    assert len(identified(tmp_path, device="a").seconds) == 1
    assert "is damaged: earlier attempts are not counted" in caplog.text


def test_a_truncated_state_is_no_state(tmp_path):
    state.write(tmp_path / "state.json", WHOLE)
    assert state.read(tmp_path / "state.json") == WHOLE
    text = (tmp_path / "state.json").read_text().rstrip()
    for end in range(len(text)):
        (tmp_path / "state.json").write_text(text[:end])
        assert state.read(tmp_path / "state.json") is None


def test_a_state_of_a_later_version_is_read_as_far_as_it_is_known(tmp_path):
    state.write(tmp_path / "state.json", WHOLE)
    text = (tmp_path / "state.json").read_text()
    (tmp_path / "state.json").write_text(text.replace("{", '{"later": 1,', 1))
    assert state.read(tmp_path / "state.json") == WHOLE


def test_a_directory_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "state.json").mkdir()
    with pytest.raises(AblationsError, match=r"state\.json cannot be written .* make the directory writable"):
        Attempt(tmp_path / "record.tsv", RUN)


def test_a_record_that_was_there_before_is_made_anew(tmp_path):
    write_record(tmp_path / "record.tsv", RUN, make_record())
    with attempt(tmp_path / "record.tsv", RUN) as own:
        assert own is not None


def test_a_directory_without_locks_is_reported_and_used(tmp_path, monkeypatch, caplog):
    import fcntl

    def refuse(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with attempt(tmp_path / "record.tsv", RUN) as own:
        assert own is not None
    assert "nothing keeps a second process from this run" in caplog.text
