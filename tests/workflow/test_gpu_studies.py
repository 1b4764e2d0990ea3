"""`make gpu-studies`: the driver that trains the published networks on one GPU, here on the CPU."""

import os
import signal
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from ablations.config.config import Config
from ablations.config.reading import load_config
from ablations.runs import state
from ablations.runs.run import Run
from checkout import PATIENCE_S, PROJECT
from trainings import without_times

PLUGIN = PROJECT / "plugins/snakemake-executor-plugin-submitit/src"


@pytest.fixture
def on_gpu(monkeypatch, tmp_path) -> ModuleType:
    """The driver, in an empty directory."""
    monkeypatch.setattr(sys, "path", [str(PROJECT / "docs/reproduction"), *sys.path])
    import on_gpu

    monkeypatch.chdir(tmp_path)
    # It looks at its runs five times a second.
    monkeypatch.setattr(on_gpu.time, "sleep", lambda seconds: None)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield on_gpu
    for number, handler in before.items():
        signal.signal(number, handler)


class Gpu:
    """Stands for the processes of runs: each ends after so many looks at it, with its record or a failure."""

    def __init__(self, failing: str = "nothing") -> None:
        self.failing, self.started, self.alive, self.most = failing, list[Run](), 0, 0

    def start(self, config: Config, run: Run, device: str, environment: dict[str, str]) -> "Process":
        self.started.append(run)
        self.alive += 1
        self.most = max(self.most, self.alive)
        return Process(self, run)


class Process:
    """A run that is at work."""

    def __init__(self, gpu: Gpu, run: Run) -> None:
        self.gpu, self.run, self.looks, self.returncode = gpu, run, len(gpu.started) % 3, None

    def poll(self) -> int | None:
        if self.returncode is None and self.looks == 0:
            self.gpu.alive -= 1
            self.returncode = int(self.run.directory.endswith(self.gpu.failing))
            if self.returncode == 0:
                Path(self.run.record).parent.mkdir(parents=True)
                Path(self.run.record).touch()
        self.looks -= 1
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            self.gpu.alive -= 1
            self.returncode = 1


OPTIONS = Namespace(device="cpu", at_a_time=8, minutes=60.0)


def test_the_longest_runs_begin_first_and_eight_at_a_time(on_gpu, monkeypatch):
    config, gpu = on_gpu.read_config(), Gpu()
    monkeypatch.setattr(on_gpu, "start", gpu.start)
    runs = on_gpu.networks(config, [])
    assert on_gpu.train(config, runs, OPTIONS, {})
    assert (gpu.started, gpu.most) == (runs, 8)
    order = [(run.model, run.values()["batch_size"], run.values()["epochs"]) for run in runs]
    assert set(order[:4]) == {("resnet50", 16, 15)}
    assert set(order[-6:]) == {("resnet18", 32, 5)}
    # MobileNetV2 has 53 layers, which its name does not tell.
    assert order.index(("mobilenet_v2", 32, 3)) < order.index(("resnet18", 32, 5))
    assert on_gpu.networks(config, []) == [], "all have their records"


def test_a_run_that_fails_ends_no_other(on_gpu, monkeypatch, capsys):
    config = on_gpu.read_config()
    runs = on_gpu.networks(config, [])
    gpu = Gpu(failing=runs[5].directory)
    monkeypatch.setattr(on_gpu, "start", gpu.start)
    assert not on_gpu.train(config, runs, OPTIONS, {})
    assert gpu.started == runs
    assert f"not trained: {runs[5].directory}" in capsys.readouterr().out
    assert on_gpu.networks(config, []) == [runs[5]]


@pytest.mark.parametrize("by", ["SIGTERM", "SIGINT", "--minutes"])
def test_at_its_end_no_run_is_started_and_those_at_work_are_stopped(by, on_gpu, monkeypatch):
    config, gpu = on_gpu.read_config(), Gpu()
    runs = on_gpu.networks(config, [])

    def start(config: Config, run: Run, device: str, environment: dict[str, str]) -> Process:
        process = gpu.start(config, run, device, environment)
        if len(gpu.started) == 12 and by != "--minutes":
            signal.raise_signal(signal.Signals[by])
        elif len(gpu.started) == 12:
            monkeypatch.setattr(on_gpu.time, "monotonic", lambda: float("inf"))
        return process

    monkeypatch.setattr(on_gpu, "start", start)
    assert not on_gpu.train(config, runs, OPTIONS, {})
    # The places that were free were filled before it looked.
    assert 12 <= len(gpu.started) <= 19
    assert gpu.alive == 0
    assert on_gpu.networks(config, []) == [run for run in runs if not Path(run.record).exists()]


def test_the_runs_that_are_named_are_trained_in_this_order(on_gpu):
    config = on_gpu.read_config()
    named = [run.directory for run in on_gpu.networks(config, [])[7:3:-1]]
    assert [run.directory for run in on_gpu.networks(config, named)] == named
    with pytest.raises(SystemExit, match="results/runs/none is not a network of the published studies"):
        on_gpu.networks(config, ["results/runs/none"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU: it cannot be missing")
def test_without_a_gpu_a_sentence_says_why_and_nothing_is_trained(tmp_path):
    command = [sys.executable, str(PROJECT / "docs/reproduction/on_gpu.py"), "--source-dir", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith("error: torch finds no usable CUDA device here: ")
    assert (done.returncode, done.stdout, list(tmp_path.iterdir())) == (1, "", [])


# --- with processes -------------------------------------------------------------------------------

STUDIES = """
models: {broken: broken.py:build}
studies:
  s:
    title: Small networks
    kind: cnn
    grid:
      - {dataset: digits, model: shufflenet_v2_x0_5, batch_size: 32, optimizer: adam, lr: 0.001,
         epochs: [1, 40], pin_memory: false, train_samples: 128}
      - {dataset: digits, model: broken, batch_size: 32, optimizer: adam, lr: 0.001, epochs: 2,
         pin_memory: false, train_samples: 128}
    table: {rows: [model, epochs], values: test_accuracy}
"""
PROGRAM = f"""
import sys
from pathlib import Path
project = Path({str(PROJECT)!r})
sys.path[:0] = [str(project / each) for each in ("scripts", "docs/reproduction")]
import reproduce
from ablations.config.reading import load_config
files = [project / "config/datasets.yaml", Path("my.yaml")]
reproduce.read_config = lambda: load_config(files, root=Path.cwd())
import on_gpu
on_gpu.main()
"""


class Driver:
    """The driver on tiny studies, in processes as on a GPU."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "my.yaml").write_text(STUDIES)
        # A model of one's own is none of the published networks, and the driver has no flag for it.
        (root / "broken.py").write_text("def build(image_shape, classes):\n    raise RuntimeError\n")
        config = load_config([PROJECT / "config/datasets.yaml", root / "my.yaml"], root=root)
        self.short, self.long, self.broken = sorted(
            config.runs(), key=lambda run: (run.model == "broken", run.values()["epochs"])
        )

    def start(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PROGRAM, "--device", "cpu", "--source-dir", ".", "--at-a-time", "2"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PROJECT / "scripts"), str(PLUGIN)])}
        return subprocess.Popen(
            command, cwd=self.root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=environment,
        )  # fmt: skip

    def finish(self, process: subprocess.Popen[str]) -> str:
        printed, _ = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 1, printed
        return printed

    def has(self, run: Run) -> bool:
        return (self.root / run.record).exists()


def test_a_driver_that_is_stopped_resumes_and_one_run_that_fails_stays(tmp_path):
    driver = Driver(tmp_path)
    process = driver.start()
    file = tmp_path / driver.long.directory / state.NAME
    until = time.monotonic() + PATIENCE_S
    while not ((seen := state.read(file)) and seen.progress and seen.progress.step > 1):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < until
        time.sleep(0.02)
    process.terminate()
    printed = driver.finish(process)
    assert "networks to train: 3, 2 at a time, in turns" in printed
    assert f"\nnot trained: {driver.long.directory}" in printed
    assert not driver.has(driver.long)
    assert (tmp_path / driver.long.directory / "checkpoint.pt").exists()

    printed = driver.finish(driver.start())
    assert f"\ntrained: {driver.long.directory}" in printed
    assert f"\nnot trained: {driver.broken.directory}" in printed
    assert "broken" in (tmp_path / driver.broken.directory / "run.log").read_text()
    record = without_times(tmp_path / driver.long.record)
    assert (record["status"], record["attempts"], record["device"]) == (["ok"], ["2"], ["cpu"])
    # What tells times of runs that shared a GPU from those of runs that had it alone.
    assert record["runs_per_job"] == ["2"]
    assert driver.has(driver.short)
    assert driver.finish(driver.start()).startswith("networks to train: 1, ")
