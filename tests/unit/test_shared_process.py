"""A process that runs share gives each its own log, exit status and end."""

import contextlib
import errno
import json
import os
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from ablations.errors import AblationsError
from ablations.runs import lanes
from ablations.runs.attempts import HeldError, Stopped
from ablations.runs.state import Process
from ablations.training import shared_process
from ablations.training.cuda_graphs import WHILE_RECORDING, CannotRecord
from ablations.training.lanes import Lane
from ablations.training.shared_process import SharedProcess
from trainings import as_a_process


class Stoppable:
    """What a shared process needs of a checkpoint."""

    told = ""

    def stop(self, name: str) -> None:
        self.told = name


ERRORS = {
    "fails": AblationsError("it fails"),
    "held": HeldError("another is at it"),
    "graph": CannotRecord("no graph"),
    "bad flags": SystemExit(2),
    "recording": torch.OutOfMemoryError("no memory"),
}
ERRORS["recording"].add_note(WHILE_RECORDING)


def carry_out(arguments, listen) -> Iterator[None]:
    """A run of some steps, which writes each into its log; or one that stops when it is told to."""
    what, steps = arguments
    checkpoint = Stoppable()
    listen(checkpoint)
    for step in range(int(steps)):
        os.write(lanes.STDERR, f"{what} {step} {Process.current().id}\n".encode())
        if checkpoint.told:
            raise Stopped(f"told {checkpoint.told}")
        yield
    if what in ERRORS:
        raise ERRORS[what]


@pytest.fixture
def hand_over(tmp_path, monkeypatch):
    """Hands runs over, before the process serves them; returns their connections."""
    # The log of this process is a file, so that pytest's own is left alone.
    monkeypatch.setattr(lanes, "STDERR", os.open(tmp_path / "own.log", os.O_CREAT | os.O_WRONLY))
    monkeypatch.setattr(shared_process, "IDLE_S", 0.01)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "socket"))
    listener.listen()

    def send(process: int, what: str, steps: int = 2, cpus: Sequence[int] = ()) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(tmp_path / "socket"))
        request = lanes.LaneRequest([what, str(steps)], process, 0.0, [*(cpus or os.sched_getaffinity(0))])
        with (tmp_path / f"{process}.log").open("w") as log:
            message = json.dumps(asdict(request)).encode() + b"\n"
            socket.send_fds(connection, [message], [log.fileno()])
        return connection

    send.serve = lambda: SharedProcess(listener, tmp_path / "socket", carry_out, on_gpu=False).serve()
    with as_a_process():
        yield send
    os.close(lanes.STDERR)


def test_each_run_has_its_own_log_status_and_end(hand_over, tmp_path):
    wanted = {"ends": b"0", "fails": b"1", "held": b"", "bad flags": b"2", "ends later": b"0"}
    connections = [
        hand_over(number, what, 2 + 3 * (what == "ends later")) for number, what in enumerate(wanted, 1)
    ]
    hand_over.serve()
    assert [connection.recv(10) for connection in connections] == list(wanted.values())
    for number, what in enumerate(wanted, 1):
        steps = 2 + 3 * (what == "ends later")
        log = (tmp_path / f"{number}.log").read_text()
        assert log == "".join(f"{what} {step} {number}\n" for step in range(steps))
    assert not (tmp_path / "own.log").read_text()
    assert not (tmp_path / "socket").exists(), "the next run starts another process"


def test_a_run_is_stopped_by_a_signal_or_by_the_end_of_its_own_process(hand_over, tmp_path):
    told, dead, other = hand_over(1, "long", 9), hand_over(2, "long", 9), hand_over(3, "long", 9)
    told.sendall(b"SIGTERM\n")
    dead.close()
    hand_over.serve()
    assert (told.recv(10), other.recv(10)) == (b"1", b"0")
    logs = [len((tmp_path / f"{number}.log").read_text().splitlines()) for number in (1, 2, 3)]
    assert logs[0] < 9
    assert logs[1] < 9
    assert logs[2] == 9


@pytest.mark.parametrize("what", ["graph", "recording"])
def test_after_a_failed_recording_every_run_goes_on_by_itself(hand_over, monkeypatch, what):
    class Ended(Exception):
        """Stands for the end of the process."""

    def end(status: int) -> None:
        raise Ended

    monkeypatch.setattr(shared_process.os, "_exit", end)
    graph, other = hand_over(1, what), hand_over(2, "long", 9)
    with contextlib.suppress(Ended):
        hand_over.serve()
    assert graph.recv(10) == b""
    other.setblocking(False)
    with pytest.raises(BlockingIOError):
        other.recv(10)


def test_what_is_no_run_disturbs_none(hand_over, tmp_path):
    noise = socket.socket(socket.AF_UNIX)
    noise.connect(str(tmp_path / "socket"))
    noise.sendall(b"[]\n")
    run = hand_over(1, "ends")
    hand_over.serve()
    assert (noise.recv(10), run.recv(10)) == (b"", b"0")


@pytest.mark.parametrize(("works", "ruins"), [(True, False), (False, True)])
def test_an_error_ruins_the_process_if_the_gpu_does_not_work_after_it(monkeypatch, works, ruins):
    def synchronize() -> None:
        if not works:
            raise RuntimeError("illegal memory access")

    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    error = RuntimeError("CUDNN_STATUS_EXECUTION_FAILED")
    assert shared_process._ruins(error, on_gpu=True) == ruins
    assert not shared_process._ruins(error, on_gpu=False)


def test_a_run_whose_log_cannot_be_written_ends_no_other(hand_over, monkeypatch):
    def cannot_write(step) -> None:
        step()
        if len(told) == 0 and not told.append("no space"):
            raise OSError(errno.ENOSPC, "No space left on device")

    told = []
    monkeypatch.setattr(shared_process, "run_script", cannot_write)
    full, other = hand_over(1, "long", 0), hand_over(2, "ends")
    hand_over.serve()
    assert (full.recv(10), other.recv(10)) == (b"1", b"0")


def test_what_cannot_be_written_does_not_reach_the_next_log(tmp_path, monkeypatch):
    with (tmp_path / "log").open("w") as log, Path("/dev/full").open("w") as full:
        own = os.open(tmp_path / "own", os.O_CREAT | os.O_WRONLY)
        monkeypatch.setattr(lanes, "STDERR", own)
        monkeypatch.setattr(sys, "stderr", os.fdopen(own, "w"))
        os.dup2(full.fileno(), own)
        sys.stderr.write("lost")
        shared_process._flush_stderr()
        os.dup2(log.fileno(), own)
        sys.stderr.write("kept")
        shared_process._flush_stderr()
        assert (tmp_path / "log").read_text() == "kept"
        sys.stderr.close()


def test_a_run_that_cannot_be_taken_goes_on_by_itself(hand_over, monkeypatch):
    def build(*arguments, on_gpu: bool) -> Lane[None]:
        if len(built) == 0 and not built.append("no memory"):
            raise RuntimeError("no memory")
        return Lane(*arguments, on_gpu=on_gpu)

    built = []
    monkeypatch.setattr(shared_process, "Lane", build)
    first, other = hand_over(1, "ends"), hand_over(2, "ends")
    hand_over.serve()
    assert (first.recv(10), other.recv(10)) == (b"", b"0")


def test_the_process_runs_on_the_cpus_of_the_runs_that_are_here(hand_over, monkeypatch):
    asked = []
    monkeypatch.setattr(
        shared_process.os, "sched_setaffinity", lambda thread, cpus: asked.append((thread, cpus))
    )
    hand_over(1, "ends", 1, cpus=[0])
    hand_over(2, "ends later", 9, cpus=[0, 3])
    hand_over.serve()
    assert {thread for thread, _ in asked} >= {threading.get_native_id()}
    masks = [cpus for thread, cpus in asked if thread == threading.get_native_id()]
    assert masks[-1] == {0, 3}, "of the run that is left"
    assert masks[0] == {0}
