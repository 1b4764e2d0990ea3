"""What a cluster's time is spent on: makespan, held GPU time and controller CPU, per executor and size.

    python benchmarks/slurm.py [--runs 8 40 200] [--length-s 2] [--json PATH]
    python benchmarks/slurm.py --against hyperqueue [--rounds 3]

Brings up the test cluster (two nodes of eight CPUs and four GPUs, which are only names; the machine may have
fewer cores) and sends N runs that only sleep through each executor, with the settings of its profile.
Every allocation asks for one GPU, so that there are eight slots. The ideal makespan of one run per job is
runs × length / slots; a run holds its allocation, and so a GPU, for its length at best, or a share of it in
a pack.

With `--against hyperqueue`, 64 runs go through eight slots of this machine without SLURM, by HyperQueue and
by the executor in turn; see `short_runs.py`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

PROJECT = Path(__file__).parent.parent
sys.path[:0] = [str(PROJECT / "tests"), str(PROJECT / "tests/slurm")]

import short_runs
from cluster import ACCOUNT, NODES, Cluster
from studies import EXECUTORS

CPUS, GPUS = 8, 4
SLOTS = GPUS * len(NODES)
# What is compared: an executor, and what is changed in its profile.
VARIANTS = {
    "slurm": ("slurm", {}),
    "submitit": ("submitit", {}),
    "submitit, not direct": ("submitit", {"submitit-direct": "never"}),
    "submitit, in turn": ("submitit", {"submitit-array-parallelism": SLOTS, "submitit-waves": 100}),
    "submitit, packs of 8": ("submitit", {"submitit-pack": 8}),
}
SNAKEFILE = """
rule all:
    input: [f"done/{i}" for i in range(RUNS)]
rule stub:
    output: "done/{i}"
    threads: 1
    resources: mem_mb=500, runtime=10, slurm_account="ACCOUNT", slurm_partition="gpu", gres="gpu:1"
    shell: "sleep LENGTH; touch {output}"
"""
# Of the profile, what is not of one cluster or of one rule.
LEFT_OUT = ("default-resources", "set-resources", "rerun-triggers", "slurm-jobname-prefix")


def measure(cluster: Cluster, variant: str, runs: int, length_s: float) -> dict[str, float]:
    """One call of Snakemake with `runs` stubs, by its whole process and by SLURM's accounts."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        root = Path(folder)
        text = SNAKEFILE.replace("RUNS", str(runs)).replace("LENGTH", str(length_s))
        (root / "Snakefile").write_text(text.replace("ACCOUNT", ACCOUNT))
        executor, changes = VARIANTS[variant]
        profile = {}
        for name in (EXECUTORS[executor], "profiles/default"):
            profile |= yaml.safe_load((PROJECT / name / "config.yaml").read_text())
        kept = {key: value for key, value in profile.items() if key not in LEFT_OUT}
        kept |= {"jobs": 1000, **changes}
        (root / "profile").mkdir()
        (root / "profile/config.yaml").write_text(yaml.safe_dump(kept))
        before = set(cluster.call("sacct", "-X", "-n", "-P", "-o", "JobIDRaw").split())
        start = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "snakemake", "--profile", "profile"],
            cwd=root,
            env={**os.environ, **cluster.environment},
            stdout=subprocess.DEVNULL,
            stderr=(root / "err").open("wb"),
        )
        _, status, usage = os.wait4(process.pid, 0)
        makespan = time.monotonic() - start
        if status:
            sys.exit(f"error: {variant} failed:\n{(root / 'err').read_text()[-3000:]}")
        lines = cluster.call("sacct", "-X", "-n", "-P", "-o", "JobIDRaw,ElapsedRaw").split()
        held = sum(int(s) for job, s in (line.split("|") for line in lines) if job not in before)
    ideal = max(1.0, runs / SLOTS) * length_s
    return {
        "makespan_s": makespan,
        "makespan_ratio": makespan / ideal,
        "held_s_per_run": held / runs,
        "held_ratio": held / runs / length_s,
        "controller_cpu_s": usage.ru_utime + usage.ru_stime,
        "controller_cpu_s_per_run": (usage.ru_utime + usage.ru_stime) / runs,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, nargs="+", default=[8, 40, 200])
    parser.add_argument("--length-s", type=float, default=2)
    parser.add_argument("--executors", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--against", choices=["hyperqueue"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.against:
        found = short_runs.compare(8 * SLOTS, options.length_s, SLOTS, options.rounds)
        if options.json:
            options.json.write_text(json.dumps(found, indent=1) + "\n")
        return
    cluster = Cluster.launch(cpus=CPUS, gpus=GPUS)
    results: dict[str, float] = {}
    columns = f"{'executor':21} {'runs':>5} {'makespan':>9} {'ideal ×':>8} {'held/run':>9} {'ideal ×':>8}"
    print(f"{columns} {'controller CPU':>15} {'per run':>8}  of the first one's makespan and held time")
    try:
        for runs in options.runs:
            first = None
            for executor in options.executors:
                found = measure(cluster, executor, runs, options.length_s)
                first = first or found
                results |= {f"{executor}_{runs}_{name}": value for name, value in found.items()}
                print(
                    f"{executor:21} {runs:5} {found['makespan_s']:7.1f} s {found['makespan_ratio']:8.1f} "
                    f"{found['held_s_per_run']:7.1f} s {found['held_ratio']:8.1f} "
                    f"{found['controller_cpu_s']:13.1f} s {found['controller_cpu_s_per_run']:6.2f} s "
                    f"{found['makespan_s'] / first['makespan_s']:6.2f} "
                    f"{found['held_s_per_run'] / first['held_s_per_run']:6.2f}",
                    flush=True,
                )
    finally:
        cluster.down()
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
