"""`make gpu-check`: its command and its comparisons, with a closure in the place of a CUDA graph."""

import json
import os
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import gpu
import gpu_checks
import psutil
import pytest
import torch
from ablations.data.staged import read_metadata
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


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU: it cannot be missing")
def test_without_a_gpu_a_check_fails_with_a_sentence(tmp_path):
    command = [sys.executable, "benchmarks/gpu.py", "--out", str(tmp_path), "--only", "families"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    (line,) = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))["families"]["lines"]
    assert line.startswith("FAIL torch finds no usable CUDA device here: ")


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


def test_steps_are_compared_with_those_of_torch_alone(at):
    ((verdict, text),) = gpu_checks.plain_loop(at)
    assert verdict == "PASS", text
    assert "losses of 12 steps differ by" in text


def test_steps_of_another_length_than_torchs_are_found(at, monkeypatch):
    make = gpu_checks.make_trainer

    def spoiled(at, model, hp, data):
        return make(at, model, hp.model_copy(update={"lr": 10 * hp.lr}), data)

    monkeypatch.setattr(gpu_checks, "make_trainer", spoiled)
    ((verdict, text),) = gpu_checks.plain_loop(at)
    assert verdict == "FAIL", text


def test_batches_from_the_host_are_compared_with_those_on_the_device(at):
    ((verdict, text),) = gpu_checks.sources(at)
    assert (verdict, "bits equal True" in text) == ("PASS", True)


def test_batches_in_another_order_are_found(at, monkeypatch):
    make = gpu_checks.make_trainer

    def spoiled(at, model, hp, data, *, source):
        other = hp.model_copy(update={"seed": int(source == "host")})
        return make(at, model, other, data, source=source)

    monkeypatch.setattr(gpu_checks, "make_trainer", spoiled)
    ((verdict, text),) = gpu_checks.sources(at)
    assert (verdict, "bits equal False" in text) == ("FAIL", True)


@pytest.mark.parametrize(
    ("rates", "verdicts"),
    [
        ({"plain": 1564, "lightning": 1282, "engine": 9391}, ["PASS", "PASS"]),
        ({"plain": 1564, "engine": 9391}, ["PASS"]),
        ({"plain": 2000, "lightning": 1282, "engine": 9391}, ["FAIL", "PASS"]),
        ({"plain": 1564, "lightning": 1600, "engine": 9391}, ["PASS", "FAIL"]),
    ],
)
def test_a_gpu_must_train_several_times_as_fast_as_other_loops(rates, verdicts, tmp_path, monkeypatch):
    def measured(command, **options):
        found = {f"{name}_images_per_s": rate for name, rate in rates.items()}
        Path(command[command.index("--json") + 1]).write_text(json.dumps(found))
        return subprocess.CompletedProcess(command, 0, "engine 9391 images/s", "")

    monkeypatch.setattr(gpu_checks.subprocess, "run", measured)
    at = gpu_checks.Setting(torch.device("cuda"), tmp_path, {})
    lines = list(gpu_checks.ratio(at))
    assert lines[0] == ("VALUE", "engine 9391 images/s")
    assert [verdict for verdict, _ in lines[1:]] == verdicts


def test_the_datasets_of_a_check_are_named(staged, tmp_path):
    at = gpu_checks.Setting(torch.device("cpu"), tmp_path, {"digits": staged})
    lines = [text for _, text in gpu_checks.environment(at)]
    assert f"digits: SHA-256 of the images and labels {read_metadata(staged)['sha256']}" in lines


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


def test_real_runs_are_stopped_resumed_and_compared(staged, tmp_path):
    at = gpu_checks.Setting(torch.device("cpu"), tmp_path, dict.fromkeys(("mnist", "fashion_mnist"), staged))
    verdicts = list(gpu_checks.real_runs(at))
    assert [verdict for verdict, _ in verdicts] == ["PASS"] * 3, verdicts
    assert verdicts[-1][1] == "stopped by SIGUSR2 and resumed: 2 attempts, equal result True"


def test_the_same_run_in_two_processes_is_compared(at):
    ((verdict, text),) = gpu_checks.determinism(at)
    assert verdict == "PASS", text
