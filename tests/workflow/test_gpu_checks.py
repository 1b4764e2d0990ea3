"""`make gpu-check`: its command and its comparisons, with a closure in the place of a CUDA graph."""

import json
import os
import subprocess
import sys
import time
from contextlib import nullcontext

import gpu
import gpu_checks
import psutil
import pytest
import torch
from ablations.training.cuda_graphs import GraphedStep
from checkout import PATIENCE_S, PROJECT


@pytest.fixture
def at(tmp_path) -> gpu_checks.Setting:
    return gpu_checks.Setting(torch.device("cpu"), tmp_path, {})


def test_the_command_prints_and_keeps_the_lines_of_each_check(tmp_path):
    names = ["environment", "families"]
    command = [sys.executable, "benchmarks/gpu.py", "--device", "cpu", "--out", str(tmp_path)]
    done = subprocess.run(
        [*command, "--only", *names, "speed"], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    assert set(results) == set(names)
    assert all(line in done.stdout for result in results.values() for line in result["lines"])
    assert results["families"]["lines"] == ["PASS shufflenet_v2_x0_5 at 32×32, graph True"]
    assert "speed: left out, for want of a GPU" in done.stdout
    assert "2 checks, 0 with a FAIL: none" in done.stdout


def test_trainings_in_turn_have_the_bits_of_each_alone(at):
    assert [verdict for verdict, _ in gpu_checks.lanes(at)] == ["PASS", "PASS"]


def test_trainings_that_share_random_numbers_are_found(at, monkeypatch):
    monkeypatch.setattr("ablations.training.lanes._RandomNumbers.in_use", lambda self: nullcontext())
    assert "FAIL" in [verdict for verdict, _ in gpu_checks.lanes(at)]


def test_a_replay_with_other_bits_is_found(at, monkeypatch):
    replay = GraphedStep.__call__

    def spoiled(self, images, labels):
        replay(self, images, labels)
        with torch.no_grad():
            self.step.__self__.model.fc.bias[0] += 1e-6

    monkeypatch.setattr(GraphedStep, "__call__", spoiled)
    (verdict, text), *_ = gpu_checks.replays_equal_steps(at)
    assert verdict == "FAIL"
    assert "first difference at step 1: fc.bias" in text


def test_a_run_that_is_stopped_ends_with_the_same_bits(at):
    assert [verdict for verdict, _ in gpu_checks.resumes(at)] == ["PASS", "PASS"]


def test_a_checkpoint_that_loses_something_is_found(at, monkeypatch):
    load = gpu_checks.Checkpoint.load

    def lossy(self):
        saved = load(self)
        return saved and {**saved, "random": torch.Generator().manual_seed(7).get_state()}

    monkeypatch.setattr(gpu_checks.Checkpoint, "load", lossy)
    assert {verdict for verdict, _ in gpu_checks.resumes(at)} == {"FAIL"}


def test_a_failed_recording_is_checked_on_a_model_that_draws(staged, tmp_path):
    """On the CPU nothing is recorded, and both processes must give the same answers."""
    at = gpu_checks.Setting(torch.device("cpu"), tmp_path, {"mnist": staged})
    ((verdict, text),) = gpu_checks.failed_capture(at)
    assert verdict == "PASS", text
    assert text.startswith("mobilenet_v3_small: said True")


def test_packs_are_compared_with_a_run_alone(at):
    verdicts = list(gpu_checks.packs(at))
    assert [verdict for verdict, _ in verdicts] == ["PASS", "PASS"], verdicts
    assert verdicts[1][1].startswith("2 at a time in turns")


@pytest.mark.parametrize("of_the_command", [False, True])
def test_a_check_that_is_ended_leaves_no_process(of_the_command):
    """One that takes too long, and the command itself at SIGTERM."""
    script = "sleep 1000 & echo $!; wait"
    if of_the_command:
        program = "import gpu, signal, subprocess; signal.signal(15, gpu.stop); "
        program += f"subprocess.run({script!r}, shell=True)"
        command = [sys.executable, "-c", program]
    else:
        command = ["sh", "-c", script]
    benchmarks = {**os.environ, "PYTHONPATH": str(PROJECT / "benchmarks")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=benchmarks) as process:
        neighbour = int(process.stdout.readline())
        if of_the_command:
            process.terminate()
        else:
            gpu.end_with_children(process.pid)
        assert process.wait(PATIENCE_S) == (143 if of_the_command else -9)
    # Whoever takes over the dead process may not ask how it ended.
    until = time.monotonic() + PATIENCE_S
    while psutil.pid_exists(neighbour) and psutil.Process(neighbour).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until
