"""The locks of controllers that live and of those that died, and the marks that they leave."""

import base64
import fcntl
import os
import platform
from pathlib import Path

import pytest
from ablations.tracking.controller import remove_marks_of_finished_runs, take_over


@pytest.fixture
def locked(tmp_path: Path) -> Path:
    """A directory with the locks of a Snakemake call that is gone."""
    (tmp_path / ".snakemake/locks").mkdir(parents=True)
    for name in ("0.input.lock", "0.output.lock"):
        (tmp_path / ".snakemake/locks" / name).write_text("results/records.tsv\n")
    (tmp_path / ".snakemake/controller").write_text(platform.node())
    return tmp_path


def locks(directory: Path) -> int:
    return len(list((directory / ".snakemake/locks").iterdir()))


def test_the_locks_of_a_dead_controller_are_removed(locked):
    alive, removed = take_over(locked)
    assert alive is not None
    assert removed == 2
    assert locks(locked) == 0


def test_the_locks_of_a_living_one_stay(locked):
    first, _ = take_over(locked)
    (locked / ".snakemake/locks/0.output.lock").write_text("results/records.tsv\n")
    second, removed = take_over(locked)
    assert (removed, locks(locked)) == (0, 1)
    # The first ends; the second is still there when a third begins.
    first.close()
    third, removed = take_over(locked)
    assert (removed, locks(locked)) == (0, 1)
    second.close()
    third.close()
    assert take_over(locked)[1] == 1


def test_the_locks_of_a_controller_on_another_machine_stay(locked):
    (locked / ".snakemake/controller").write_text(f"not-{platform.node()}")
    for _ in range(3):
        alive, removed = take_over(locked)
        assert (removed, locks(locked)) == (0, 2)
        alive.close()


def test_locks_of_nobody_known_stay(locked):
    (locked / ".snakemake/controller").unlink()
    for _ in range(2):
        alive, removed = take_over(locked)
        assert (removed, locks(locked)) == (0, 2)
        alive.close()


def test_a_directory_without_locks_is_taken_over_by_another_machine(locked):
    (locked / ".snakemake/controller").write_text(f"not-{platform.node()}")
    for lock in (locked / ".snakemake/locks").iterdir():
        lock.unlink()
    take_over(locked)[0].close()
    (locked / ".snakemake/locks/0.output.lock").write_text("results/records.tsv\n")
    assert take_over(locked)[1] == 1


def test_nothing_is_removed_where_the_file_system_has_no_locks(locked, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert take_over(locked) == (None, 0)
    assert locks(locked) == 2


def test_a_note_that_leads_elsewhere_is_left_alone(locked, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("content")
    (locked / ".snakemake/controller").unlink()
    (locked / ".snakemake/controller").symlink_to(victim)
    assert take_over(locked) == (None, 0)
    assert (victim.read_text(), locks(locked)) == ("content", 2)


def mark(directory: Path, output: str) -> Path:
    """Mark an output as incomplete, as Snakemake does where a name may have 40 characters."""
    name = base64.urlsafe_b64encode(output.encode()).decode()
    parts = [name[at : at + 39] for at in range(0, len(name), 39)]
    path = directory.joinpath(".snakemake/incomplete", *(f"@{part}" for part in parts[:-1]), parts[-1])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")
    return path


def test_the_marks_of_a_run_go_where_it_has_its_record_and_nowhere_else(tmp_path):
    finished, begun = (f"results/runs/cnn/digits/resnet18/lr={lr}+seed=0" for lr in (0.1, 0.2))
    for output in (f"{finished}/record.tsv", f"{finished}/history.tsv", f"{begun}/history.tsv"):
        (tmp_path / output).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / output).touch()
    (tmp_path / "results/record.tsv").touch()
    gone = [mark(tmp_path, f"{finished}/{name}.tsv") for name in ("record", "history")]
    stay = [mark(tmp_path, f"{begun}/{name}.tsv") for name in ("record", "history")]
    # The mark of a table that has a record beside it, and a file that is not a mark.
    stay.append(mark(tmp_path, "results/records.tsv"))
    stay.append(tmp_path / ".snakemake/incomplete/a note.txt")
    stay[-1].touch()
    assert remove_marks_of_finished_runs(tmp_path) == len(gone)
    assert [path.exists() for path in gone] == [False, False]
    assert all(path.is_file() for path in stay)
    assert remove_marks_of_finished_runs(tmp_path) == 0


def test_marks_that_another_call_removes_meanwhile_are_left_out(tmp_path, monkeypatch):
    """Snakemake removes the folders of a mark with it."""
    theirs = mark(tmp_path, "results/runs/cnn/digits/resnet18/lr=0.1+seed=0/record.tsv")
    listed = os.scandir

    def removed(path):
        if Path(path).name.startswith("@") and theirs.exists():
            theirs.unlink()
            os.removedirs(theirs.parent)
        return listed(path)

    monkeypatch.setattr(os, "scandir", removed)
    assert remove_marks_of_finished_runs(tmp_path) == 0
    assert not theirs.parent.exists()
