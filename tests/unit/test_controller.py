"""The locks of controllers that live and of those that died."""

import fcntl
import platform
from pathlib import Path

import pytest
from ablations.tracking.controller import remove_locks_of_the_dead


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
    alive, removed = remove_locks_of_the_dead(locked)
    assert alive is not None
    assert removed == 2
    assert locks(locked) == 0


def test_the_locks_of_a_living_one_stay(locked):
    first, _ = remove_locks_of_the_dead(locked)
    (locked / ".snakemake/locks/0.output.lock").write_text("results/records.tsv\n")
    second, removed = remove_locks_of_the_dead(locked)
    assert (removed, locks(locked)) == (0, 1)
    # The first ends; the second is still there when a third begins.
    first.close()
    third, removed = remove_locks_of_the_dead(locked)
    assert (removed, locks(locked)) == (0, 1)
    second.close()
    third.close()
    assert remove_locks_of_the_dead(locked)[1] == 1


def test_the_locks_of_a_controller_on_another_machine_stay(locked):
    (locked / ".snakemake/controller").write_text(f"not-{platform.node()}")
    for _ in range(3):
        alive, removed = remove_locks_of_the_dead(locked)
        assert (removed, locks(locked)) == (0, 2)
        alive.close()


def test_locks_of_nobody_known_stay(locked):
    (locked / ".snakemake/controller").unlink()
    for _ in range(2):
        alive, removed = remove_locks_of_the_dead(locked)
        assert (removed, locks(locked)) == (0, 2)
        alive.close()


def test_a_directory_without_locks_is_taken_over_by_another_machine(locked):
    (locked / ".snakemake/controller").write_text(f"not-{platform.node()}")
    for lock in (locked / ".snakemake/locks").iterdir():
        lock.unlink()
    remove_locks_of_the_dead(locked)[0].close()
    (locked / ".snakemake/locks/0.output.lock").write_text("results/records.tsv\n")
    assert remove_locks_of_the_dead(locked)[1] == 1


def test_nothing_is_removed_where_the_file_system_has_no_locks(locked, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert remove_locks_of_the_dead(locked) == (None, 0)
    assert locks(locked) == 2


def test_a_note_that_leads_elsewhere_is_left_alone(locked, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("content")
    (locked / ".snakemake/controller").unlink()
    (locked / ".snakemake/controller").symlink_to(victim)
    assert remove_locks_of_the_dead(locked) == (None, 0)
    assert (victim.read_text(), locks(locked)) == ("content", 2)
