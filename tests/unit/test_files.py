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
from ablations.files import atomic_path, write_text


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
