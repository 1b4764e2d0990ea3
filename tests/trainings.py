"""Small trainings on digits: in this process, and as the script in a process of its own."""

import io
import logging
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from ablations.data.staged import Split, StagedDataset
from ablations.kinds.cnn_hyperparameters import CnnHyperparameters

PROJECT = Path(__file__).parents[1]
SHAPE = (1, 8, 8)


def digits(train: int = 96, test: int = 50) -> StagedDataset:
    from sklearn.datasets import load_digits

    loaded = load_digits()
    images = torch.from_numpy(np.rint(loaded.images * 255 / 16).astype(np.uint8))[:, None]
    labels = torch.from_numpy(loaded.target.astype(np.int64))
    return StagedDataset(
        "digits",
        "no digest",
        SHAPE,
        10,
        (0.5,),
        (0.5,),
        Split(images[:train], labels[:train]),
        Split(images[-test:], labels[-test:]),
    )


def hyperparameters(**changes) -> CnnHyperparameters:
    plain = {"batch_size": 32, "optimizer": "sgd", "lr": 0.05, "epochs": 2, "pin_memory": False, "seed": 0}
    return CnnHyperparameters(**plain | changes)


def words(staged: Path, folder: Path, *flags: str) -> list[str]:
    """The command line of a short training that leaves its files in `folder`; `flags` change or add to it."""
    plain = {
        "--dataset": str(staged),
        "--model": "resnet18",
        "--batch-size": "32",
        "--optimizer": "adam",
        "--lr": "1e-3",
        "--epochs": "1",
        "--pin-memory": "true",
        "--train-samples": "64",
        "--seed": "0",
        "--record": str(folder / "record.tsv"),
        "--history": str(folder / "history.tsv"),
    } | dict(zip(flags[::2], flags[1::2], strict=True))
    # A flag may have several values.
    return [word for name, values in plain.items() for word in (name, *values.split())]


def call(staged: Path, folder: Path, *flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `train_cnn.py` in this process, which has imported torch already: that takes two seconds."""
    command = ["scripts/train_cnn.py", *words(staged, folder, *flags)]
    stderr = io.StringIO()
    with as_a_process(), redirect_stderr(stderr), mock.patch.object(sys, "argv", command):
        os.environ.update(environment)
        try:
            runpy.run_path(str(PROJECT / command[0]), run_name="__main__")
            status = 0
        except SystemExit as end:
            status = end.code
    return subprocess.CompletedProcess(command, status, "", stderr.getvalue())


@contextmanager
def as_a_process() -> Iterator[None]:
    """Undo what a script does to its process: its environment, log and signal handlers."""
    root, numbers = logging.getLogger(), (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
    handlers, level, signals = root.handlers, root.level, {n: signal.getsignal(n) for n in numbers}
    # With a handler there already, a script would not add its own.
    root.handlers = []
    try:
        with mock.patch.dict(os.environ):
            yield
    finally:
        logging.captureWarnings(False)
        root.handlers, root.level = handlers, level
        for number, handler in signals.items():
            signal.signal(number, handler)


TIMES = ("_ms", "seconds", "_at", "_mb", "per_s")


def without_times(path: Path) -> dict[str, list[str]]:
    header, *rows = (line.split("\t") for line in path.read_text().splitlines())
    return {name: [row[i] for row in rows] for i, name in enumerate(header) if not name.endswith(TIMES)}
