"""What the workflow adds to Snakemake's own time and memory, before any job runs.

    python benchmarks/dag.py [--runs 1000 10000 100000] [--rounds 3] [--json PATH]

For each size: a dry run of a study of so many runs, and the dry run of one of them (what every cluster
job does first), against the same of a kind that the config defines, and against two workflows of two rules
with the same number of runs. The rules of the bare one hold an output and a command; those of the one
written by hand declare what a run's rule declares: its input, two outputs, log, resources, message and
flags, and the record's merging. In turn, and the ratios of the medians. Then the time that 10,000 records
take to be merged.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).parent.parent
sys.path.insert(0, str(PROJECT / "scripts"))

import numpy as np
from ablations.config.reading import load_config
from ablations.kinds import hits
from ablations.kinds.cnn import CnnRecord
from ablations.runs.records import write_record

RECORDS = 10_000
BARE = """
RUNS = [f"results/runs/cnn/digits/resnet18/seed={i}/record.tsv" for i in range(COUNT)]
rule all:
    input: RUNS
rule train:
    output: "results/runs/cnn/digits/resnet18/seed={seed}/record.tsv"
    shell: "touch {output}"
"""
BY_HAND = """
RUNS = [f"results/runs/cnn/digits/resnet18/lr=0.001+epochs=1+seed={i}/record.tsv" for i in range(COUNT)]
rule merge:
    default_target: True
    input: RUNS
    output: "results/records.tsv"
    shell: "touch {output}"
rule train:
    input: ancient(lambda wildcards: "data.safetensors")
    output:
        record="results/runs/cnn/{dataset}/{model}/{hyperparameters}/record.tsv",
        history="results/runs/cnn/{dataset}/{model}/{hyperparameters}/history.tsv",
    log: "results/runs/cnn/{dataset}/{model}/{hyperparameters}/run.log"
    threads: 1
    resources: mem_mb=4000, runtime="4h"
    params: flags=lambda wildcards: wildcards.hyperparameters.replace("+", " --").replace("=", " ")
    message: "Training {wildcards.model} on {wildcards.dataset}: {wildcards.hyperparameters}"
    shell:
        "python train.py --dataset {input[0]:q} --model {wildcards.model} --{params.flags} "
        "--threads {threads} --record {output.record:q} --history {output.history:q} 2>> {log:q}"
"""
STUDY = """
studies:
  large:
    title: as many runs as it takes
    kind: cnn
    grid:
      - {{dataset: digits, model: [resnet18, resnet50], batch_size: [16, 32], optimizer: [sgd, adam],
         lr: [{rates}], epochs: 1, pin_memory: false}}
    seeds: [{seeds}]
    table: {{rows: [model, batch_size, optimizer, lr], values: test_accuracy}}
"""
# The same grid of a user's own kind.
OWN_KIND = """
kinds:
  own:
    command: python train.py {dataset} {model} {hyperparameters} --seed {seed} --history {history}
    hyperparameters: {batch_size: int, optimizer: str, lr: float, epochs: int, pin_memory: bool}
    metrics: {test_accuracy: {better: higher}}
"""
LEVELS = 2 * 2 * 2  # of model, batch size and optimizer
RATES = 5


def write_study(path: Path, runs: int, own: bool = False) -> None:
    """A config with one study of `runs` runs, a multiple of 40, of a shipped kind or of the user's own."""
    rates = ", ".join(str(0.001 * (i + 1)) for i in range(RATES))
    seeds = ", ".join(map(str, range(runs // (LEVELS * RATES))))
    study = STUDY.format(rates=rates, seeds=seeds)
    path.write_text(OWN_KIND + study.replace("kind: cnn", "kind: own") if own else study)


def call(folder: Path, *arguments: str) -> tuple[float, float]:
    """Seconds and peak memory in MB of one dry run."""
    command = [sys.executable, "-m", "snakemake", "-n", "--scheduler", "greedy", *arguments]
    with (folder / "out").open("wb") as out:
        start = time.monotonic()
        process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - start
    if status:
        sys.exit(f"error: {' '.join(command)} failed:\n{(folder / 'out').read_text()[-3000:]}")
    return seconds, usage.ru_maxrss * 1024 / 1e6


def compare(runs: int, rounds: int) -> dict[str, float]:
    """The dry runs of a study and of a bare workflow of the same size, whole and of one target."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        (folder / "Snakefile").write_text(BARE.replace("COUNT", str(runs)))
        (folder / "by_hand.smk").write_text(BY_HAND.replace("COUNT", str(runs)))
        (folder / "data.safetensors").touch()
        write_study(folder / "study.yaml", runs)
        write_study(folder / "own.yaml", runs, own=True)
        last = list(load_config([PROJECT / "config/datasets.yaml", folder / "study.yaml"]).runs())[-1].record
        ours = ["--snakefile", str(PROJECT / "Snakefile"), "--configfile", "study.yaml"]
        own = [*ours[:-1], "own.yaml"]
        bare_last = f"results/runs/cnn/digits/resnet18/seed={runs - 1}/record.tsv"
        calls = {
            "bare": [],
            "by_hand": ["--snakefile", "by_hand.smk"],
            "study": ours,
            "own": own,
            # As a cluster job calls Snakemake.
            "bare_one": ["--mode", "remote", bare_last],
            "study_one": ["--mode", "remote", *ours, "--", last],
            "own_one": ["--mode", "remote", *own, "--", last.replace("/cnn/", "/own/")],
        }
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
        for _ in range(rounds):
            for name, arguments in calls.items():
                taken[name].append(call(folder, *arguments))
    found: dict[str, float] = {}
    for name, results in taken.items():
        found[f"{name}_s"] = statistics.median(seconds for seconds, _ in results)
        found[f"{name}_mb"] = max(memory for _, memory in results)
    for what in ("s", "mb"):
        found[f"bare_{what}_ratio"] = found[f"study_{what}"] / found[f"bare_{what}"]
        found[f"by_hand_{what}_ratio"] = found[f"study_{what}"] / found[f"by_hand_{what}"]
        found[f"one_{what}_ratio"] = found[f"study_one_{what}"] / found[f"bare_one_{what}"]
        found[f"own_{what}_ratio"] = found[f"own_{what}"] / found[f"study_{what}"]
    return found


def merge_time() -> float:
    """Seconds of what `rule merge_records` does for 10,000 records on disk, its imports included."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        write_study(folder / "study.yaml", RECORDS)
        runs = list(load_config([PROJECT / "config/datasets.yaml", folder / "study.yaml"]).runs())
        for run in runs:
            path = folder / run.record
            path.parent.mkdir(parents=True)
            write_record(path, run, A_RECORD)
        code = (
            "import json, sys; from pathlib import Path; "
            "from ablations.runs.records import merge, write_table; "
            "write_table(Path('records.tsv'), *merge(map(Path, json.load(sys.stdin)), Path.cwd(), {}))"
        )
        start = time.monotonic()
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(PROJECT / "scripts")},
            input=json.dumps([run.record for run in runs]),
            text=True,
            check=True,
        )
        seconds = time.monotonic() - start
        lines = (folder / "records.tsv").read_text().count("\n")
        assert lines == RECORDS + 1, lines
    return seconds


A_RECORD = CnnRecord(
    status="ok", test_accuracy=97.5, train_accuracy=98.5, train_loss=0.0625, train_time_ms=1234.5,
    test_time_ms=123.4, startup_time_ms=2345.6, peak_memory_mb=700.1, test_samples=10000, device="cpu",
    device_name="a processor", threads=1, host="node1", started_at="2026-01-01T00:00:00+00:00",
    attempts=1, attempt_seconds="5.5", workflow_version="0", python_version="3", numpy_version="2",
    pin_memory_effective=False, precision_effective="fp32", torch_version="2", torchvision_version="0",
    batches="device", cuda_graph=False,
    test_correct=hits.pack(np.random.default_rng(0).permutation(10_000) < 9_750),
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results: dict[str, float] = {}
    for runs in options.runs:
        found = compare(runs, options.rounds)
        results |= {f"{name}_{runs}": value for name, value in found.items()}
        for what, unit in (("s", "s"), ("mb", "MB")):
            value = {name: f"{number:.1f} {unit}" for name, number in found.items()}
            print(
                f"{runs:,} runs, {'time' if unit == 's' else 'memory'}: study {value[f'study_{what}']}; "
                f"{found[f'bare_{what}_ratio']:.2f} times the bare one ({value[f'bare_{what}']}), "
                f"{found[f'by_hand_{what}_ratio']:.2f} times that by hand ({value[f'by_hand_{what}']}); "
                f"one target {value[f'study_one_{what}']}, {found[f'one_{what}_ratio']:.2f} times the "
                f"bare one ({value[f'bare_one_{what}']}); of an own kind {value[f'own_{what}']}, "
                f"{found[f'own_{what}_ratio']:.2f} times the study, one target {value[f'own_one_{what}']}",
                flush=True,
            )
    results["merge_s"] = merge_time()
    print(f"merging {RECORDS:,} records: {results['merge_s']:.1f} s")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
