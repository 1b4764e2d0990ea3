"""The first call in a directory shows the commands that it runs."""

import dataclasses
import os

import pytest
from ablations.config.own_kinds import read_kinds
from ablations.tracking.new_commands import NOTE, new_commands

KIND = {
    "command": "python train.py {hyperparameters} --seed {seed}",
    "setup": "module load x",
    "hyperparameters": {"depth": "int"},
    "metrics": {"loss": {}},
}
TOLD = "own: module load x python train.py {hyperparameters} --seed {seed}"


@pytest.fixture
def kind():
    return read_kinds({"own": KIND})["own"]


def test_commands_are_shown_once_in_a_directory(kind, tmp_path):
    assert new_commands(tmp_path, [kind]) == [TOLD]
    assert new_commands(tmp_path, [kind]) == []
    assert new_commands(tmp_path / "other", [kind]) == [TOLD]


@pytest.mark.parametrize("changed", [{"command": "rm -r x"}, {"setup": "rm -r x"}, {"environment": "x.yaml"}])
def test_a_changed_command_is_new(changed, kind, tmp_path):
    new_commands(tmp_path, [kind])
    assert len(new_commands(tmp_path, [kind, dataclasses.replace(kind, **changed)])) == 1


def test_the_note_of_a_directory_that_was_moved_here_does_not_count(kind, tmp_path):
    new_commands(tmp_path / "theirs", [kind])
    (tmp_path / "theirs").rename(tmp_path / "mine")
    assert new_commands(tmp_path / "mine", [kind]) == [TOLD]


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.write_bytes(b"\xff")])
def test_a_note_that_cannot_be_read_hides_no_command(make, kind, tmp_path):
    (tmp_path / NOTE).parent.mkdir()
    make(tmp_path / NOTE)
    assert new_commands(tmp_path, [kind]) == [TOLD]


def test_of_a_long_command_the_beginning_and_the_length_are_shown(kind, tmp_path):
    (told,) = new_commands(tmp_path, [dataclasses.replace(kind, setup="", command="x" * 1000)])
    assert told == f"own: {'x' * 300}… (and 700 characters more)"
