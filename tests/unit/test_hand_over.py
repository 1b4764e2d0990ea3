"""A run finds the process that it may share, or learns that it has to go on by itself."""

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from ablations.runs import lanes

PROJECT = Path(__file__).parents[2]
# A shared process that answers at once, as the arguments of a run tell it.
SERVER = """
import os, socket, sys
from pathlib import Path
from ablations.runs import lanes
setting, handle, path = sys.argv[1:]
listener = socket.socket(fileno=int(handle))
# It ends where a test ends before it.
listener.settimeout(60)
Path(path).with_name("started").open("a").write("once ")
while True:
    connection, _ = listener.accept()
    request, stderr = lanes.LaneRequest.receive(connection)
    os.write(stderr, f"{os.path.basename(path)[-1]} {request.arguments} of {request.process}".encode())
    os.close(stderr)
    what = request.arguments[0]
    if what == "die":
        os._exit(1)
    if what == "alone":
        connection.close()
    elif what == "hold":
        connection.sendall(b"143" if connection.recv(100) == b"SIGTERM\\n" else b"1")
        connection.close()
    else:
        connection.sendall(what.encode())
        connection.close()
"""
CLIENT = """
import sys
from pathlib import Path
from ablations.runs import lanes
from ablations.runs.provenance import GIVEN_BACK
status = lanes.hand_over(Path(sys.argv[1]), [sys.argv[2]], sys.argv[3:])
print(status, "given back" if GIVEN_BACK.get() else "")
"""


@pytest.fixture
def start(tmp_path):
    """Starts the process of a run, which prints what it is told; the shared one ends with the test."""
    server = tmp_path / "server.py"
    server.write_text(SERVER)
    variables = {**os.environ, lanes.FOLDER: str(tmp_path), "PYTHONPATH": str(PROJECT / "scripts")}
    started = []

    def begin(
        *arguments: str, setting: str = "same", most: str = "2", gpu: str = "0"
    ) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", CLIENT, str(server), setting, *arguments]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        own = {lanes.LANES: most, "CUDA_VISIBLE_DEVICES": gpu}
        process = subprocess.Popen(command, env={**variables, **own}, **streams)
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()
    for path in tmp_path.glob("*-[0-9]"):
        with socket.socket(socket.AF_UNIX) as connection, contextlib.suppress(ConnectionRefusedError):
            connection.connect(str(path))
            lanes.LaneRequest(["die"], 1, 0.0, []).send(connection)


def answer(process: subprocess.Popen[str]) -> tuple[str, str]:
    out, log = process.communicate(timeout=60)
    return out.strip(), log


def test_a_run_ends_with_the_status_that_it_is_told_and_its_log_is_its_own(start, tmp_path):
    for status in ("0", "1"):
        process = start(status)
        assert answer(process) == (status, f"0 ['{status}'] of {process.pid}")
    assert (tmp_path / "started").read_text() == "once "


@pytest.mark.parametrize("what", ["alone", "die"])
def test_a_run_that_is_told_nothing_goes_on_by_itself(start, what):
    assert answer(start(what))[0] == "None given back"


@pytest.mark.parametrize("other", [{"setting": "other"}, {"gpu": "1"}], ids=str)
def test_runs_with_other_settings_or_another_gpu_share_another_process(start, tmp_path, other):
    start("0").communicate()
    start("0", **other).communicate()
    assert (tmp_path / "started").read_text() == "once once "


@pytest.mark.parametrize(
    ("folder", "most"), [(".", "1"), (".", "many"), (".", ""), ("gone", "2")], ids="/".join
)
def test_a_run_that_can_share_with_no_other_starts_nothing(monkeypatch, tmp_path, folder, most):
    monkeypatch.setenv(lanes.FOLDER, str(tmp_path / folder))
    monkeypatch.setenv(lanes.LANES, most)
    monkeypatch.setattr(lanes.os, "isatty", lambda handle: False)
    assert lanes.hand_over(tmp_path / "server.py", [], []) is None
    assert not list(tmp_path.iterdir())


def test_runs_of_changed_code_share_another_process(start, tmp_path):
    start("0").communicate()
    package = tmp_path / "package"
    package.mkdir()
    (package / "new.py").write_text("")
    start("0").communicate()
    assert (tmp_path / "started").read_text() == "once once "
    (package / "new.py").write_text("1")
    start("0").communicate()
    start("0").communicate()
    assert (tmp_path / "started").read_text() == "once once once "


def test_a_signal_is_passed_on_to_the_shared_process(start):
    process = start("hold")
    assert b"hold" in os.read(process.stderr.fileno(), 200), "the shared process has it"
    process.send_signal(signal.SIGTERM)
    assert answer(process)[0] == "143"


def test_a_run_without_a_free_lane_gets_another_process(start, tmp_path):
    assert answer(start("0"))[1].startswith("0 "), "the number of the process"
    (free,) = tmp_path.glob("*-0.lane")
    with free.open() as first, free.with_name(free.name.replace("-0", "-1")).open("w") as second:
        fcntl.flock(first, fcntl.LOCK_EX)
        fcntl.flock(second, fcntl.LOCK_EX)
        assert answer(start("0"))[1].startswith("1 ")
    assert answer(start("0"))[1].startswith("0 ")
