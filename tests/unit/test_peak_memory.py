"""The most memory that a command takes, by its processes and by NVML."""

import ast
import os
import subprocess
import sys

import pytest
from ablations.commands.peak_memory import PeakMemory
from ablations.runs.provenance import RUNS_PER_JOB
from checkout import PROJECT
from test_energy import Library

MB = 10**6


class Gpus(Library):
    """NVML with two GPUs, of which the machine uses something before the command begins."""

    used = {1: 300 * MB, 2: 400 * MB}

    def nvmlDeviceGetMemoryInfo(self, handle, found) -> int:
        found._obj.used = self.used[handle.value]
        return self.status


# Each command holds 80 MB, and the three are there at the same time.
THREE = """
import subprocess, sys
from ablations.commands.peak_memory import PeakMemory
holds = "data = bytearray(b'1') * 80_000_000; print(flush=True); input()"
memory = PeakMemory()
running = [subprocess.Popen([sys.executable, "-c", holds], stdin=-1, stdout=-1) for _ in range(3)]
for process in running:
    process.stdout.readline()
memory.look()
for process in running:
    process.communicate(b"\\n")
print(*memory.columns().items())
"""


def test_the_processes_of_a_command_are_added_up():
    """In a new process, as this one has had other children."""
    environment = {**os.environ, "PYTHONPATH": str(PROJECT / "scripts")}
    command = [sys.executable, "-c", THREE]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    name, value = ast.literal_eval(done.stdout)
    assert name == "host_peak_mb"
    assert 3 * 80 < value < 3 * 80 + 200


def test_what_a_gpu_had_in_use_before_is_not_the_commands(monkeypatch):
    monkeypatch.setattr(Gpus, "used", dict(Gpus.used))
    memory = PeakMemory(["0"], Gpus())
    for used in (1300, 2300, 800):
        Gpus.used[1] = used * MB
        memory.look()
    assert memory.columns()["gpu_peak_mb"] == pytest.approx(2000)


def test_each_of_several_gpus_had_something_else_in_use_before(monkeypatch):
    monkeypatch.setattr(Gpus, "used", {1: 5000 * MB, 2: 100 * MB})
    memory = PeakMemory(["0", "1"], Gpus())
    Gpus.used[2] = 3100 * MB
    memory.look()
    assert memory.columns()["gpu_peak_mb"] == pytest.approx(3000)


@pytest.mark.parametrize(
    ("gpus", "library"), [(["0"], Gpus(status=3)), (["MIG-1"], Gpus()), (["0"], object()), ([], Gpus())]
)
def test_where_nvml_does_not_tell_nothing_is_said_of_a_gpu(gpus, library):
    memory = PeakMemory(gpus, library)
    memory.look()
    assert "gpu_peak_mb" not in memory.columns()


def test_a_gpu_that_runs_share_tells_nothing_of_one(monkeypatch):
    monkeypatch.setenv(RUNS_PER_JOB, "8")
    monkeypatch.setattr(Gpus, "used", dict(Gpus.used))
    memory = PeakMemory(["0"], Gpus())
    Gpus.used[1] = 5000 * MB
    memory.look()
    assert "gpu_peak_mb" not in memory.columns()
