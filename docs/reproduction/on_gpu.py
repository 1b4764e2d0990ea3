"""Train the networks of the published studies on one GPU, several at a time, without Snakemake.

    python docs/reproduction/on_gpu.py --source-dir DIR     # or: make gpu-studies
    python docs/reproduction/on_gpu.py --source-dir DIR RUN…     # these directories of runs, in this order

It needs torch, torchvision, numpy, pydantic, safetensors, filelock, psutil, PyYAML and this checkout, and no
network: `--source-dir` has the files of MNIST and FashionMNIST as they are distributed, and in its folder
`weights` that of the ImageNet weights.
The longest runs begin first. Stop it at any time (Ctrl-C, SIGTERM, or `--minutes`): each run writes a
checkpoint, and the same command resumes. Where NVIDIA's multi-process service can be used, runs use the GPU
at the same time, and otherwise in turns.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
# Of the plugin, one module, which needs neither Snakemake nor submitit.
PLUGIN = "plugins/snakemake-executor-plugin-submitit/src"
sys.path[:0] = [str(PROJECT / folder) for folder in ("scripts", "docs/reproduction", PLUGIN)]

from ablations.config.config import Config
from ablations.runs.provenance import RUNS_PER_JOB
from ablations.runs.run import Run
from reproduce import read_config
from snakemake_executor_plugin_submitit.mps import multi_process_service

# Those of MobileNetV2, the only other network. The number in the name of a ResNet is that of its layers.
MOBILENET_LAYERS = 53


def networks(config: Config, wanted: list[str]) -> list[Run]:
    """The networks that are not trained, in the order of their start: as wanted, or the longest first."""
    runs = {run.directory: run for run in config.runs() if run.kind.models_are_counted}
    if strange := [name for name in wanted if name not in runs]:
        sys.exit(f"error: {strange[0]} is not a network of the published studies")
    chosen = [runs[name] for name in wanted] or sorted(runs.values(), key=_steps, reverse=True)
    return [run for run in chosen if not Path(run.record).exists()]


def _steps(run: Run) -> float:
    """How long a run takes, in no unit: a step has as many kernels as the network has layers."""
    values = run.values()
    resnet = re.fullmatch(r"resnet(\d+)", run.model)
    layers = int(resnet[1]) if resnet else MOBILENET_LAYERS
    return layers * int(values["epochs"]) / int(values["batch_size"])


def check_gpu() -> None:
    """End with a sentence if torch cannot use a GPU; asked in a process of its own, which leaves it free."""
    program = (
        f"import sys; sys.path.insert(0, {str(PROJECT / 'scripts')!r}); "
        "from ablations.training.devices import problem_of_cuda; sys.exit(problem_of_cuda())"
    )
    done = subprocess.run([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"error: torch finds no usable CUDA device here: {done.stderr.strip()}")


def stage(config: Config, name: str, source_dir: Path) -> None:
    """Stage a dataset from the files of `source_dir`, where it is not staged yet."""
    dataset, path = config.datasets[name], Path(config.staged_path(name))
    if path.exists():
        return
    words = ["--dataset", name, "--definition", json.dumps(dataset.identity()), "--output", str(path)]
    sources = {name: [source.model_dump(exclude_none=True) for source in dataset.sources]}
    words += ["--sources", json.dumps(sources), "--source-dir", str(source_dir)]
    subprocess.run([sys.executable, str(PROJECT / "scripts/stage_dataset.py"), *words], check=True)


def stage_weights(config: Config, run: Run, source_dir: Path) -> None:
    """Stage the weights that a run starts from, where it starts from any and they are not staged yet."""
    name = str(run.values().get("pretrained", "none"))
    if name == "none" or (path := Path(config.weights_path(name, run.model))).exists():
        return
    definitions = {name: weights.written for name, weights in config.fetched_weights().items()}
    words = ["--name", name, "--model", run.model, "--definitions", json.dumps(definitions)]
    words += ["--source-dir", str(source_dir), "--output", str(path)]
    subprocess.run([sys.executable, str(PROJECT / "scripts/stage_weights.py"), *words], check=True)


def start(config: Config, run: Run, device: str, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a run as the rule train_cnn does."""
    record = Path(run.record)
    record.parent.mkdir(parents=True, exist_ok=True)
    words = [str(PROJECT / "scripts/train_cnn.py"), "--dataset", config.staged_path(run.dataset)]
    words += ["--model", run.model, "--definition-digest", config.datasets[run.dataset].digest()]
    words += [*run.hyperparameters.flags(), "--device", device, "--batches", config.source_of_batches()]
    words += ["--record", str(record), "--history", str(record.with_name("history.tsv"))]
    if (name := run.values().get("pretrained", "none")) != "none":
        words += ["--weights", config.weights_path(str(name), run.model)]
    with record.with_name("run.log").open("ab") as log:
        return subprocess.Popen([sys.executable, *words], stderr=log, env={**os.environ, **environment})


def train(
    config: Config, runs: list[Run], options: argparse.Namespace, environment: Mapping[str, str]
) -> bool:
    """Train `runs`, as many at a time as there are places; False if it was stopped, or one failed."""
    end = time.monotonic() + 60 * options.minutes
    stopped: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: stopped.append(number))
    waiting, at_work, failed = list(runs), {}, 0
    while at_work or waiting:
        if stopped or time.monotonic() > end:
            waiting.clear()
            for process in at_work:
                process.send_signal(signal.SIGTERM)
        while waiting and len(at_work) < options.at_a_time:
            run = waiting.pop(0)
            at_work[start(config, run, options.device, environment)] = run
        for process in [process for process in at_work if process.poll() is not None]:
            run = at_work.pop(process)
            failed += process.returncode != 0
            print(f"{'trained' if process.returncode == 0 else 'not trained'}: {run.directory}", flush=True)
        time.sleep(0.2)
    return not failed and all(Path(run.record).exists() for run in runs)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--source-dir", type=Path, required=True, help="folder with the files of the datasets"
    )
    parser.add_argument("--at-a-time", type=int, default=8, choices=range(1, 65), metavar="N",
                        help="runs at the same time")  # fmt: skip
    parser.add_argument("--minutes", type=float, default=1e6, help="stop after so many minutes")
    parser.add_argument("runs", nargs="*", metavar="RUN", help="directories of runs; all if none is given")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    options = parser.parse_args()
    if options.device == "cuda":
        check_gpu()
    config = read_config()
    runs = networks(config, options.runs)
    for name in sorted({run.dataset for run in runs}):
        stage(config, name, options.source_dir)
    for run in runs:
        stage_weights(config, run, options.source_dir)
    with multi_process_service(options.device == "cuda" and options.at_a_time > 1) as environment:
        how = "by MPS" if environment else "in turns"
        print(f"networks to train: {len(runs)}, {options.at_a_time} at a time, {how}", flush=True)
        environment = {**environment, RUNS_PER_JOB: str(options.at_a_time)}
        sys.exit(not train(config, runs, options, environment))


if __name__ == "__main__":
    main()
