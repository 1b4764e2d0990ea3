"""The makespan of short runs on this machine, without SLURM: the executor, Snakemake itself, HyperQueue.

`benchmarks/slurm.py --against hyperqueue` calls it. HyperQueue is installed from PyPI into a temporary
environment; nothing else needs it.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

VERSION = "0.27.0"
SNAKEFILE = """
rule all:
    input: [f"done/{i}" for i in range(RUNS)]
rule stub:
    output: "done/{i}"
    resources: runtime=10
    shell: "sleep LENGTH; touch {output}"
"""
HYPERQUEUE = """
import sys
from pathlib import Path
from hyperqueue import Job, LocalCluster
from hyperqueue.cluster import WorkerConfig

runs, length, slots = sys.argv[1:]
Path("done").mkdir()
with LocalCluster(worker_config=WorkerConfig(cores=int(slots))) as cluster:
    client, job = cluster.client(), Job()
    for i in range(int(runs)):
        job.program(["sh", "-c", f"sleep {length}; touch done/{i}"], stdout=None, stderr=None)
    client.wait_for_jobs([client.submit(job)])
"""
# One allocation with as many places as there are slots.
LOCAL = ["--executor", "submitit", "--submitit-cluster", "local", "--submitit-array-parallelism", "1"]
LOCAL += ["--max-jobs-per-timespan", "10000/1s", "--submitit-linger", "0.2", "--submitit-pack", "SLOTS"]
# What is compared, the first with the others; RUNS and SLOTS stand for numbers.
VARIANTS = {
    "HyperQueue": [],
    "snakemake --cores 8": ["--cores", "SLOTS"],
    "submitit, in turn": [*LOCAL, "--jobs", "RUNS", "--submitit-waves", "RUNS"],
    "submitit, refill": [*LOCAL, "--jobs", "RUNS", "--submitit-waves", "9", "--submitit-refill", "5"],
    "submitit, refill, --jobs 8": [
        *LOCAL,
        "--jobs",
        "SLOTS",
        "--submitit-waves",
        "9",
        "--submitit-refill",
        "5",
    ],
}


def install(folder: Path) -> Path:
    """An environment with HyperQueue; returns its Python."""
    venv.create(folder, with_pip=True)
    python = folder / "bin/python"
    command = [python, "-m", "pip", "install", "--quiet", f"hyperqueue=={VERSION}"]
    if subprocess.run(command, check=False).returncode:
        sys.exit(f"error: HyperQueue {VERSION} cannot be installed from PyPI")
    return python


def makespan(variant: str, python: Path, runs: int, length_s: float, slots: int) -> float:
    """Seconds from the start of a process to its end, with the start of everything that it needs."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        root = Path(name)
        text = SNAKEFILE.replace("RUNS", str(runs)).replace("LENGTH", f"{length_s:g}")
        (root / "Snakefile").write_text(text)
        numbers = {"RUNS": str(runs), "SLOTS": str(slots)}
        flags = [numbers.get(word, word) for word in VARIANTS[variant]]
        command = [sys.executable, "-P", "-m", "snakemake", *flags]
        if not flags:
            command = [str(python), "-c", HYPERQUEUE, str(runs), f"{length_s:g}", str(slots)]
        start = time.monotonic()
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
        took = time.monotonic() - start
        finished = len(list(root.glob("done/*")))
        if done.returncode or finished != runs:
            sys.exit(f"error: {variant} finished {finished} of {runs} runs:\n{done.stderr[-3000:]}")
    return took


def compare(runs: int, length_s: float, slots: int, rounds: int) -> dict[str, float]:
    """Print the makespan of each variant, in turn in each round, and its ratio to that of the first."""
    found: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    with tempfile.TemporaryDirectory(prefix="hyperqueue-") as folder:
        python = install(Path(folder))
        for _ in range(rounds):
            for variant, times in found.items():
                times.append(makespan(variant, python, runs, length_s, slots))
                print(f"{variant:28} {times[-1]:6.1f} s  load {os.getloadavg()[0]:.1f}", flush=True)
    first, *_ = found.values()
    ideal_s = runs * length_s / slots
    print(f"\n{runs} runs of {length_s:g} s in {slots} slots (ideal {ideal_s:g} s), {rounds} rounds")
    for variant, times in found.items():
        ratio = statistics.median(own / base for own, base in zip(times, first, strict=True))
        print(f"{variant:28} {statistics.median(times):6.1f} s  {ratio:5.2f} of HyperQueue")
    return {f"{variant}_makespan_s": statistics.median(times) for variant, times in found.items()}
