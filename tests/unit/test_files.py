"""Files are written as a whole, with the permissions of any other new file."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from ablations.errors import AblationsError
from ablations.files import atomic_path, open_own, refuse_links, write_text


@pytest.fixture
def umask():
    """Set a umask for one test."""
    before = os.umask(0o027)
    yield 0o027
    os.umask(before)


def by_torch(path: Path) -> None:
    safetensors.torch.save_file({"x": torch.zeros(2)}, path)


def by_numpy(path: Path) -> None:
    safetensors.numpy.save_file({"x": np.zeros(2)}, path)


@pytest.mark.parametrize("write", [lambda path: path.write_text("x"), by_torch, by_numpy])
def test_a_new_file_has_the_permissions_that_the_umask_leaves(
    write: Callable[[Path], object], umask: int, tmp_path: Path
):
    with atomic_path(tmp_path / "file") as temporary:
        write(temporary)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~umask


def test_the_umask_of_the_process_is_never_changed(monkeypatch, tmp_path):
    """Another thread's new files would be open to everyone meanwhile."""
    monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("the umask was set"))
    write_text(tmp_path / "file", "content")
    assert (tmp_path / "file").read_text() == "content"


def test_the_temporary_file_is_hidden_beside_its_target(tmp_path):
    with atomic_path(tmp_path / "new/file") as temporary:
        assert temporary.parent == tmp_path / "new"
        assert temporary.name.startswith(".file.")
        assert temporary.name.endswith(".tmp")
        assert temporary.exists()
        assert not (tmp_path / "new/file").exists()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file"]


# --- links ---------------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(tmp_path, monkeypatch) -> Path:
    """A folder outside of the working directory."""
    (tmp_path / "project").mkdir()
    (tmp_path / "elsewhere/below").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "elsewhere"


@pytest.mark.parametrize("link", ["results/link", "results/runs/link", "results/runs/../link"])
def test_nothing_is_written_through_a_link_below_the_first_directory(link, elsewhere):
    place = Path(os.path.normpath(link))
    place.parent.mkdir(parents=True)
    place.symlink_to(elsewhere)
    for path in (Path(link, "file"), Path(link, "below/file"), Path(link).absolute() / "new/file"):
        with pytest.raises(AblationsError, match="is a link to .*elsewhere"):
            write_text(path, "content")
    assert [each.name for each in elsewhere.rglob("*")] == ["below"]


def test_a_link_in_the_place_of_a_file_is_replaced(elsewhere):
    (elsewhere / "file").write_text("old")
    Path("results").mkdir()
    Path("results/file").symlink_to(elsewhere / "file")
    write_text(Path("results/file"), "new")
    assert ((elsewhere / "file").read_text(), Path("results/file").read_text()) == ("old", "new")
    Path("results/run.log").symlink_to(elsewhere / "file")
    with pytest.raises(AblationsError, match="run.log is a link"):
        refuse_links(Path("results/file"), Path("results/run.log"))


def test_the_first_directory_may_be_a_link_of_ones_own(elsewhere, monkeypatch):
    Path("results").symlink_to(elsewhere)
    write_text(Path("results/new/file"), "content")
    write_text(elsewhere / "outside/file", "content")
    assert (elsewhere / "new/file").exists()
    monkeypatch.setattr("ablations.files._is_trusted", lambda link, directory: False)
    with pytest.raises(AblationsError, match="one of your own"):
        write_text(Path("results/new/file"), "content")


@pytest.mark.parametrize("plant", [Path.symlink_to, Path.hardlink_to, lambda path, _: os.mkfifo(path)])
def test_a_file_of_ones_own_is_neither_a_link_nor_a_pipe(plant, tmp_path):
    (tmp_path / "victim").write_text("kept")
    plant(tmp_path / "note", tmp_path / "victim")
    with pytest.raises(OSError, match="victim|note"):
        open_own(tmp_path / "note", os.O_RDWR | os.O_CREAT)
    assert (tmp_path / "victim").read_text() == "kept"
    os.close(open_own(tmp_path / "new", os.O_RDWR | os.O_CREAT))
    assert (tmp_path / "new").is_file()
