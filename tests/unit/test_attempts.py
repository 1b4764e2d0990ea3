"""Attempts: one process at a time executes a run, and its file tells how far it is."""

import errno
import time
from pathlib import Path

import pytest
from ablations.errors import AblationsError
from ablations.runs import state
from ablations.runs.attempts import Attempt, attempt
from ablations.runs.records import read_record, write_record
from ablations.training.checkpoints import Checkpoint
from test_records import make_record, make_run

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


def test_a_state_that_cannot_be_removed_costs_no_finished_run(tmp_path, monkeypatch, caplog):
    removed = Path.unlink

    def unlink(path, missing_ok=False):
        if path.name in ("state.json", "checkpoint.pt"):
            raise OSError(errno.EDQUOT, "Disk quota exceeded")
        removed(path, missing_ok)

    with attempt(tmp_path / "record.tsv", RUN) as first:
        first.identify({})
        with monkeypatch.context() as patched:
            patched.setattr(Path, "unlink", unlink)
            first.write_record(make_record(**first.columns()))
            Checkpoint(tmp_path / "checkpoint.pt", first).remove()
    assert read_record(tmp_path / "record.tsv")[1].attempts == 1
    assert caplog.text.count("is no longer needed, and cannot be removed (Disk quota exceeded)") == 2


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
