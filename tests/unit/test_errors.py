"""Whatever ends a script ends it with a sentence."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ablations.errors import AblationsError, run_script

PROJECT = Path(__file__).parents[2]


def ending(error: BaseException):
    def main() -> None:
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "expected", "has_traceback"),
    [
        (AblationsError("a study is empty"), "a study is empty", False),
        (PermissionError(13, os.strerror(13), "/data/x"), "/data/x: Permission denied", False),
        (OSError(28, os.strerror(28)), "No space left on device", True),
        (ValueError("it is wrong\nand long"), "ValueError: it is wrong", True),
        (KeyError("lr"), "KeyError: 'lr'", True),
        (MemoryError(), "MemoryError", True),
        (RecursionError("too deep"), "RecursionError: too deep", True),
    ],
)
@pytest.mark.parametrize("with_log", [True, False])
def test_a_script_ends_with_a_sentence(error, expected, has_traceback, with_log, tmp_path, capfd):
    for handler in list(logging.root.handlers):
        logging.root.removeHandler(handler)
    log = tmp_path / "log"
    with pytest.raises(SystemExit) as ended:
        run_script(ending(error), str(log) if with_log else None)
    printed = capfd.readouterr().err
    assert ended.value.code == 1
    assert printed.splitlines()[-1] == f"error: {expected}"
    assert ("Traceback" in printed) == (has_traceback and not with_log)
    if with_log:
        assert f"error: {expected}" in log.read_text()
        assert ("Traceback" in log.read_text()) == has_traceback


class OutOfMemoryError(RuntimeError):
    """torch's, by its name."""


@pytest.mark.parametrize(
    "numbers",
    [
        "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 15.77 GiB of which "
        "12.88 MiB is free",
        "CUDA out of memory. Tried to allocate 2.00 GiB",
    ],
)
@pytest.mark.parametrize(
    "advice",
    [
        "",
        ". Including non-PyTorch memory, this process has 14 GiB in use. Of the allocated memory 1 GiB "
        "is allocated by PyTorch. If reserved but unallocated memory is large try setting an option",
        ". Process 812 has 79.10 GiB memory in use. Of the allocated memory 1 GiB is allocated by PyTorch",
    ],
)
def test_a_gpu_with_too_little_memory_is_a_sentence(numbers, advice, capfd):
    with pytest.raises(SystemExit):
        run_script(ending(OutOfMemoryError(numbers + advice)))
    assert capfd.readouterr().err == (
        f"error: the GPU has too little free memory for this run ({numbers}); use a smaller batch_size, let "
        "fewer runs share the GPU, or take one with more memory\n"
    )


def test_ctrl_c_is_a_sentence(capfd):
    with pytest.raises(SystemExit) as ended:
        run_script(ending(KeyboardInterrupt()))
    assert (ended.value.code, capfd.readouterr().err) == (130, "error: it was stopped by Ctrl-C\n")


@pytest.mark.parametrize("output", ["file/data/digits.safetensors", "file"])
def test_a_data_dir_that_cannot_be_written_is_a_sentence(output, tmp_path):
    """As root may write everywhere, a file stands where the directory is to be."""
    (tmp_path / "file").write_text("")
    definition = '{"format": "digits", "image_shape": [1, 8, 8], "classes": 10, "mean": [0.5], "std": [0.5]}'
    command = [sys.executable, str(PROJECT / "scripts/stage_dataset.py"), "--dataset", "digits"]
    command += ["--definition", definition, "--output", f"{output}/x.safetensors"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith(f"error: {tmp_path}/file")
