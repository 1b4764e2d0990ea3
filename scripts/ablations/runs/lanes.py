"""Lanes: how a run finds the process that it may share with others, and hands itself over to it.

The environment gives a folder, which alike processes of one user on one machine see, and how many runs may
share a process. Each run starts in a process of its own. The first starts the shared one, and each sends it
its arguments and its stderr, passes on its signals, and ends with the exit status that it is told. If it is
told none, it carries out its run itself.
"""

import fcntl
import hashlib
import itertools
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from ablations.runs.provenance import GIVEN_BACK, seconds_since_start, since_boot

log = logging.getLogger(__name__)

# The executor of `profiles/slurm-packed` sets them, if the resource `lanes` of a job asks for it.
FOLDER, LANES = "SNAKEMAKE_SUBMITIT_LANES_FOLDER", "SNAKEMAKE_SUBMITIT_LANES"
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
STDERR = 2
MOST_WAITING = 128


@dataclass(frozen=True)
class LaneRequest:
    """A run as its own process hands it over: the arguments of its script, and what describes that process.

    `since` is when the process was started, in seconds since the machine was. `cpus` are those it may use.
    """

    arguments: list[str]
    process: int
    since: float
    cpus: list[int]

    @classmethod
    def of_this_process(cls, arguments: Sequence[str]) -> "LaneRequest":
        """The request of the process that calls."""
        cpus = sorted(os.sched_getaffinity(0))
        return cls([*arguments], os.getpid(), since_boot() - seconds_since_start(), cpus)

    def send(self, connection: socket.socket) -> None:
        """Send the request with the stderr of this process."""
        message = json.dumps(asdict(self)).encode() + b"\n"
        sent = socket.send_fds(connection, [message], [STDERR])
        if rest := message[sent:]:
            connection.sendall(rest)

    @classmethod
    def receive(cls, connection: socket.socket) -> tuple["LaneRequest", int]:
        """A request, and the descriptor of a stderr. Raises OSError for anything else."""
        message, handles, _, _ = socket.recv_fds(connection, 2**16, 1)
        while not message.endswith(b"\n"):
            if not (more := connection.recv(2**16)):
                raise OSError("a process has ended before it handed over its run")
            message += more
        return cls(**json.loads(message)), handles[0]


def hand_over(script: Path, settings: Sequence[str], arguments: Sequence[str]) -> int | None:
    """Have a run carried out by a process that runs with the same `settings` may share.

    The shared process executes `script` with these arguments: the settings, the descriptor of its socket, and
    the path of that. Returns the exit status of the run, or None if this process must carry it out itself.
    """
    folder, most = os.environ.get(FOLDER), os.environ.get(LANES, "")
    # A terminal shows a bar for each run.
    if not folder or not most.isdecimal() or int(most) < 2 or os.isatty(STDERR):
        return None
    # A pack may have several GPUs, of which each of its runs sees one.
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    try:
        alike = json.dumps([_code(script), sys.executable, str(Path.cwd()), gpus, *settings])
        name = hashlib.sha256(alike.encode()).hexdigest()[:12]
        command = [sys.executable, str(script), *settings]
        with _free_lane(Path(folder), name, int(most)) as path, _connect(path, command) as connection:
            status = _wait(connection, LaneRequest.of_this_process(arguments))
    except OSError as error:
        log.warning("no process can be shared (%s)", error)
        return None
    if status is None:
        GIVEN_BACK.set(since_boot())
        log.info("the run continues in a process of its own")
    return status


def _code(script: Path) -> list[tuple[str, int, int]]:
    """What tells whether the code of `script` and beside it is still what a shared process has imported."""
    found = ((str(file), file.stat()) for file in sorted(script.parent.rglob("*.py")))
    return [(name, status.st_size, status.st_mtime_ns) for name, status in found]


@contextmanager
def _free_lane(folder: Path, name: str, most: int) -> Iterator[Path]:
    """Hold a lane that is free, until this process ends; the socket of the process that it belongs to."""
    for number in itertools.count():
        with (folder / f"{name}-{number}.lane").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield folder / f"{name}-{number // most}"
            return


@contextmanager
def starting(path: Path, *, wait: bool = True) -> Iterator[None]:
    """In the block, no other process starts or ends the shared process whose socket is at `path`.

    Raises BlockingIOError if another is in such a block and this one does not `wait`.
    """
    with path.with_suffix(".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield


def _connect(path: Path, command: Sequence[str]) -> socket.socket:
    """A connection to the shared process, which is started if there is none."""
    connection = socket.socket(socket.AF_UNIX)
    with starting(path):
        try:
            connection.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            _start(path, command)
            connection.connect(str(path))
    return connection


def _start(path: Path, command: Sequence[str]) -> None:
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        # Others can connect while the shared process still imports its libraries.
        listener.listen(MOST_WAITING)
        handle = listener.fileno()
        child = os.fork()
        if child == 0:
            # The shared process is a grandchild, and in no session of a run: it outlives the run that has
            # started it, holds none of its pipes open, and its memory is not that of this run.
            with suppress(BaseException):
                subprocess.Popen(
                    [*command, str(handle), str(path)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=(handle,),
                    start_new_session=True,
                )
            os._exit(0)
        os.waitpid(child, 0)


def _wait(connection: socket.socket, request: LaneRequest) -> int | None:
    """Wait for the end of the run and return its exit status, or None if the shared process told none."""
    told = []

    def pass_on(number: int, frame: object) -> None:
        told.append(number)
        with suppress(OSError):
            connection.send(f"{signal.Signals(number).name}\n".encode())

    request.send(connection)
    before = {number: signal.signal(number, pass_on) for number in SIGNALS}
    answer = b""
    try:
        while part := connection.recv(16):
            answer += part
    except ConnectionResetError:
        answer = b""
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if not answer and told:
        signal.raise_signal(told[0])
    return int(answer) if answer else None
