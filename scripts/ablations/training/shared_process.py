"""The process that several runs share: it carries them out in turn, as `runs.lanes` hands them over.

Each run keeps its stderr, its random numbers, its exit status and its end. What fails in one does not
change the others, unless the process cannot continue: then it ends, and each of them resumes by itself from
its checkpoint.
"""

import gc
import logging
import os
import selectors
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import torch

from ablations.errors import on_gpu_memory, run_script
from ablations.runs import lanes
from ablations.runs.attempts import HeldError
from ablations.runs.provenance import ASKED, Asked
from ablations.training.checkpoints import Checkpoint
from ablations.training.cuda_graphs import WHILE_RECORDING, CannotRecord
from ablations.training.lanes import Lane, Steps

log = logging.getLogger(__name__)

Listen = Callable[[Checkpoint], None]
# Carries out the run of these arguments.
CarryOut = Callable[[Sequence[str], Listen], Iterator[None]]
# How long the process waits for another run before it ends, in seconds: one that follows starts at once.
IDLE_S = 5.0
# A run that has connected sends its request at once, or it has died.
REQUEST_S = 10.0


class SharedProcess:
    """The runs that this process carries out in turn; `listener` is its socket, at `path`."""

    def __init__(self, listener: socket.socket, path: Path, carry_out: CarryOut, *, on_gpu: bool) -> None:
        self._listener, self._path = listener, path
        self._carry_out, self._on_gpu = carry_out, on_gpu
        self._stderr = os.dup(lanes.STDERR)
        self._runs: list[_Run] = []
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ)
        listener.setblocking(False)
        for number in lanes.SIGNALS:
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: object) -> None:
        for run in self._runs:
            run.stop(signal.Signals(number).name)

    def serve(self) -> None:
        """Carry out what is handed over, until nothing is for a while."""
        # What is there now stays: the search for what a run has left need not look at it.
        gc.collect()
        gc.freeze()
        while True:
            heard = self._hear(0 if self._runs else IDLE_S)
            if not self._runs and not heard and self._end():
                return
            for run in list(self._runs):
                if not run.turn():
                    self._close(run)

    def _hear(self, patience_s: float) -> bool:
        """Take what has arrived: runs, and words to those that are here."""
        events = self._selector.select(patience_s)
        for key, _ in events:
            if key.fileobj is self._listener:
                self._accept()
            else:
                key.data.hear()
        return bool(events)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except BlockingIOError:
            return
        connection.settimeout(REQUEST_S)
        try:
            request, stderr = lanes.LaneRequest.receive(connection)
        except (OSError, ValueError, TypeError, IndexError) as error:
            log.warning("a run was not handed over (%s)", error)
            connection.close()
            return
        try:
            run = _Run(connection, request, stderr, self._carry_out, on_gpu=self._on_gpu)
        except (OSError, RuntimeError) as error:
            # Its own process learns it from the end of the connection.
            log.warning("a run could not be taken (%s)", error)
            connection.close()
            os.close(stderr)
            return
        self._runs.append(run)
        self._use_cpus()
        self._selector.register(connection, selectors.EVENT_READ, run)

    def _use_cpus(self) -> None:
        """Let all threads, torch's among them, run on the CPUs of the runs that are here, and no others."""
        cpus = {cpu for run in self._runs for cpu in run.cpus}
        for thread in Path("/proc/self/task").iterdir() if cpus else ():
            # The thread has ended, or the CPUs are no longer those of this job.
            with suppress(OSError, ValueError):
                os.sched_setaffinity(int(thread.name), cpus)

    def _close(self, run: "_Run") -> None:
        self._runs.remove(run)
        self._use_cpus()
        os.dup2(self._stderr, lanes.STDERR)
        self._selector.unregister(run.connection)
        run.close()
        if run.ruins:
            # The others learn it from the end of their connections.
            os._exit(1)
        if self._on_gpu:
            torch.cuda.synchronize()
        # A training and its step refer to each other.
        del run
        gc.collect()

    def _end(self) -> bool:
        """Give up the socket, unless a run is just connecting."""
        if not self._path.exists():
            return True
        try:
            with lanes.starting(self._path, wait=False):
                if self._selector.select(0):
                    return False
                self._path.unlink()
                self._listener.close()
        except OSError:
            # The folder is gone, or a run connects.
            return not self._path.exists()
        return True


class _Run:
    """A run that was handed over by `connection`."""

    def __init__(
        self,
        connection: socket.socket,
        request: lanes.LaneRequest,
        stderr: int,
        carry_out: CarryOut,
        *,
        on_gpu: bool,
    ) -> None:
        self.connection, self._stderr = connection, stderr
        self._request, self._carry_out, self._on_gpu = request, carry_out, on_gpu
        self._checkpoint: Checkpoint | None = None
        self._told = ""
        # None where its own process must carry it out.
        self._status: int | None = 0
        # Whether this process cannot continue after what happened in this run.
        self.ruins = False
        self._lane = Lane(self._steps(), on_gpu=on_gpu)

    @property
    def cpus(self) -> list[int]:
        """The CPUs that the run's own process may use."""
        return self._request.cpus

    def _steps(self) -> Steps[None]:
        ASKED.set(Asked(self._request.process, self._request.since))
        try:
            yield from self._carry_out(self._request.arguments, self._listen)
        except HeldError as error:
            log.info("%s", error)
            self._status = None
        except CannotRecord as error:
            log.warning("%s", error)
            self.ruins = True

    def turn(self) -> bool:
        """Take a step of the run; False if it has ended."""
        more: list[bool] = []
        # Whatever writes into the log of the process writes into that of this run.
        os.dup2(self._stderr, lanes.STDERR)
        try:
            run_script(lambda: more.append(self._step()))
        except SystemExit as end:
            self._status = end.code if isinstance(end.code, int) else 1
        except OSError:
            # The sentence that ends a run cannot be written: its disk is full, for example.
            self._status = 1
        if self.ruins:
            # Perhaps another run has done it. Each finds out by itself.
            self._status = None
        _flush_stderr()
        return more == [True]

    def _step(self) -> bool:
        try:
            return self._lane.turn()
        except RuntimeError as error:
            self.ruins = self.ruins or _ruins(error, on_gpu=self._on_gpu)
            raise

    def hear(self) -> None:
        """Take a word of the run's own process: a signal, or its end."""
        try:
            words = self.connection.recv(1024).decode().split()
        except OSError:
            words = []
        self.stop(words[0] if words else "SIGKILL")

    def stop(self, name: str) -> None:
        """Stop the run after its current step, as the signal of this name does."""
        self._told = self._told or name
        if self._checkpoint:
            self._checkpoint.stop(self._told)

    def _listen(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        if self._told:
            checkpoint.stop(self._told)

    def close(self) -> None:
        """Tell the run's own process how it has ended."""
        try:
            if self._status is not None:
                self.connection.sendall(str(self._status).encode())
        except OSError as error:
            log.info("the process of the run has ended (%s)", error)
        self.connection.close()
        os.close(self._stderr)


def _ruins(error: RuntimeError, *, on_gpu: bool) -> bool:
    """Whether a process cannot continue after this error."""
    if isinstance(error, torch.AcceleratorError):
        # Whatever is asked of the GPU after such an error fails too, unless it was only short of memory.
        return on_gpu_memory(error) is None
    if WHILE_RECORDING in getattr(error, "__notes__", ()):
        return True
    if on_gpu:
        # Errors of cuDNN and cuBLAS do not tell whether the GPU still works.
        try:
            torch.cuda.synchronize()
        except RuntimeError:
            return True
    return False


def _flush_stderr() -> None:
    """Flush stderr, or drop what cannot be written: it must not reach the log of the next run."""
    try:
        sys.stderr.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, lanes.STDERR)
        os.close(nowhere)
        sys.stderr.flush()
