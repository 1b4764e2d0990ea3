"""The process that several runs of rule train_cnn share: the first of them starts it, see `runs.lanes`."""

import os
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

# Otherwise the work of more than eight streams would wait in common queues. Read when the GPU is first used.
os.environ.setdefault("CUDA_DEVICE_MAX_CONNECTIONS", "32")

import torch
import train_cnn
from ablations.command_line import log_to_stderr
from ablations.errors import run_script
from ablations.training import light_imports
from ablations.training.shared_process import Listen, SharedProcess


def carry_out(arguments: Sequence[str], listen: Listen) -> Iterator[None]:
    """Carry out the run of train_cnn with these arguments."""
    options, hp = train_cnn.parse(arguments)
    return train_cnn.steps(options, hp, listen)


def main() -> None:
    log_to_stderr()
    light_imports.keep_the_compiler_out()
    import torchvision.models  # noqa: F401  # before the first run, so that all later objects are its own

    device, _, _, handle, path = sys.argv[1:]
    on_gpu = device != "cpu" and torch.cuda.is_available()
    SharedProcess(socket.socket(fileno=int(handle)), Path(path), carry_out, on_gpu=on_gpu).serve()


if __name__ == "__main__":
    run_script(main)
