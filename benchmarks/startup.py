"""Seconds from the start of a process to the end of its first training step, part by part.

    python benchmarks/startup.py [--rounds 5] [--model resnet18] [--json PATH]
    python benchmarks/startup.py --lanes 8     # 8 short runs in one process, and each in its own

A run, and the plain script that a user would write (torch and torchvision as they import), on the 8×8
digits, one thread, in turn; medians. Then what the run's own record says of a call of its script. With
`--lanes`, the seconds of processors that all processes take together, of one round after the other.
"""

import argparse
import csv
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).parent.parent
HEAD = """
import json, sys
from ablations.runs.provenance import seconds_since_start
parts = {}
def done(part):
    parts[part] = seconds_since_start() - sum(parts.values())
done("interpreter")
"""
RUN = """
from ablations import command_line
from ablations.runs import attempts
from ablations.kinds.cnn_hyperparameters import CnnHyperparameters
from ablations.runs import run as runs
hp = CnnHyperparameters(
    batch_size=32, optimizer="adam", lr=0.001, epochs=1, pin_memory=False, seed=0)
done("library, pydantic")
import torch
done("torch")
from ablations.training import light_imports
from ablations.training import models
from ablations.training import setup
from ablations.runs import provenance
from ablations.runs import records
from ablations.training import trainer as training
from ablations.data.staged import open_staged
light_imports.keep_the_compiler_out()
done("engine")
dataset = open_staged(sys.argv[1], "pt")
setup.configure(hp, 1)
done("dataset")
model = models.build_model(sys.argv[2], dataset.image_shape, dataset.classes)
done("torchvision, model")
models.check_batches(model, dataset.image_shape, len(dataset.train), hp.batch_size)
done("checks of the batches")
trainer = training.Trainer(model, dataset, hp, torch.device("cpu"))
done("trimming, optimizer")
trainer._step(dataset.train.images[:32], dataset.train.labels[:32])
done("first step")
print(json.dumps(parts))
"""
PLAIN = """
import torch
done("torch")
import torchvision
done("torchvision")
from safetensors.torch import load_file
data = load_file(sys.argv[1])
torch.manual_seed(0)
torch.set_num_threads(1)
done("dataset")
model = torchvision.models.get_model(sys.argv[2], num_classes=10)
model.conv1 = torch.nn.Conv2d(1, 64, 7, 2, 3, bias=False)
done("model")
optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
done("optimizer")
images, labels = (data["train_images"][:32] / 255 - 0.5) / 0.5, data["train_labels"][:32]
optimizer.zero_grad()
torch.nn.functional.cross_entropy(model(images), labels).backward()
optimizer.step()
done("first step")
print(json.dumps(parts))
"""


def stage(folder: Path) -> Path:
    """The digits, staged as the workflow does."""
    sys.path.insert(0, str(PROJECT / "scripts"))
    from ablations.config.reading import load_config
    from ablations.data.sources import StagingRequest
    from ablations.data.staging import stage

    files = [PROJECT / "config/datasets.yaml", PROJECT / "config/quickstart.yaml"]
    path = folder / "digits.safetensors"
    stage(StagingRequest("digits", load_config(files, root=PROJECT).datasets["digits"]), path)
    return path


def parts(code: str, *arguments: str) -> dict[str, float]:
    """The seconds of each part, of one process."""
    done = subprocess.run(
        [sys.executable, "-c", HEAD + code, *arguments],
        env={**os.environ, "PYTHONPATH": str(PROJECT / "scripts")},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def command_of_a_run(dataset: Path, model: str, folder: Path) -> list[str]:
    """A short run: two steps and an evaluation."""
    flags = (
        f"--dataset {dataset} --model {model} --batch-size 32 --optimizer adam --lr 0.001 --epochs 1 "
        f"--pin-memory false --train-samples 64 --seed 0 --device cpu --history {folder}/history.tsv"
    )
    script = str(PROJECT / "scripts/train_cnn.py")
    return [sys.executable, script, *flags.split(), "--record", str(folder / "record.tsv")]


def startup_of_a_run(dataset: Path, model: str, folder: Path) -> float:
    """The seconds that the record of a real call says: to its first step, that step not included."""
    subprocess.run(command_of_a_run(dataset, model, folder), check=True, stderr=subprocess.DEVNULL)
    with (folder / "record.tsv").open(encoding="utf-8") as file:
        return float(next(csv.DictReader(file, delimiter="\t"))["startup_time_ms"]) / 1000


def processor_seconds(dataset: Path, model: str, runs: int, most: int) -> float:
    """What the processes of `runs` short runs take together, of which up to `most` share one."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folders = [Path(name, str(number)) for number in range(runs)]
        variables = {
            **os.environ,
            "SNAKEMAKE_SUBMITIT_LANES": str(most),
            "SNAKEMAKE_SUBMITIT_LANES_FOLDER": name,
        }
        started = []
        for folder in folders:
            folder.mkdir()
            command = command_of_a_run(dataset, model, folder)
            started.append(subprocess.Popen(command, env=variables, stderr=subprocess.DEVNULL))
        if any(process.wait() for process in started):
            sys.exit("a run has failed")
    # The shared process is not a child of this one, which adopts it.
    while True:
        try:
            os.wait()
        except ChildProcessError:
            break
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def compare_lanes(dataset: Path, options: argparse.Namespace) -> dict[str, float]:
    """Runs that share a process against as many that share none, in turns."""
    from ablations.commands.process import adopt_orphans

    adopt_orphans()
    ratios = []
    for _ in range(options.rounds):
        alone, shared = (
            processor_seconds(dataset, options.model, options.lanes, most) for most in (1, options.lanes)
        )
        ratios.append(shared / alone)
        print(
            f"{options.lanes} runs, processor seconds: {alone:.1f} in as many processes, {shared:.1f} in one"
        )
    print(f"shared / alone: {statistics.median(ratios):.2f}")
    return {"lanes": options.lanes, "lanes_to_alone_ratio": statistics.median(ratios)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", default="resnet18", help="a ResNet: the plain script replaces its conv1")
    parser.add_argument("--lanes", type=int, help="compare runs that share a process; so many")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        dataset = stage(Path(name))
        if options.lanes:
            results = compare_lanes(dataset, options)
            if options.json:
                options.json.write_text(json.dumps(results, indent=1) + "\n")
            return
        taken: dict[str, list[dict[str, float]]] = {"plain": [], "run": []}
        recorded = []
        # The first call of each reads files that later ones find in memory.
        for i in range(options.rounds + 1):
            for which, code in (("plain", PLAIN), ("run", RUN)):
                found = parts(code, str(dataset), options.model)
                if i:
                    taken[which].append(found)
            seconds = startup_of_a_run(dataset, options.model, Path(name))
            if i:
                recorded.append(seconds)
    for which, calls in taken.items():
        total = statistics.median(sum(call.values()) for call in calls)
        print(f"{which}: {total:.2f} s to the end of the first step")
        for part in calls[0]:
            seconds = statistics.median(call[part] for call in calls)
            results[f"{which}_{part.replace(', ', '_').replace(' ', '_')}_s"] = seconds
            print(f"  {seconds:5.2f} s  {part}")
        results[f"{which}_s"] = total
    results["run_to_plain_ratio"] = results["run_s"] / results["plain_s"]
    results["recorded_s"] = statistics.median(recorded)
    print(f"run / plain: {results['run_to_plain_ratio']:.2f}")
    print(f"train_cnn.py, by its own record: {results['recorded_s']:.2f} s before its first step")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
