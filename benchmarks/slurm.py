"""What a cluster's time is spent on: makespan, held time and controller CPU, per executor and size.

    python benchmarks/slurm.py [--runs 8 40 200] [--length-s 2] [--json PATH]

Brings up the test cluster (two nodes, eight slots; the machine may have fewer cores) and sends through
each executor N runs that only sleep, with the settings of profiles/slurm. The ideal makespan is
runs × length / slots, the ideal time that a run holds its allocation is its length.
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

from cluster import ACCOUNT, NODES, Cluster
from studies import EXECUTORS

CPUS = 4
SNAKEFILE = """
rule all:
    input: [f"done/{i}" for i in range(RUNS)]
rule stub:
    output: "done/{i}"
    threads: 1
    resources: mem_mb=500, runtime=10, slurm_account="ACCOUNT", slurm_partition="gpu"
    shell: "sleep LENGTH; touch {output}"
"""
# Of the profile, what is not of one cluster or of one rule.
LEFT_OUT = ("default-resources", "set-resources", "rerun-triggers", "slurm-jobname-prefix")


def measure(cluster: Cluster, executor: str, runs: int, length_s: float) -> dict[str, float]:
    """One call of Snakemake with `runs` stubs, by its whole process and by SLURM's accounts."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        root = Path(folder)
        text = SNAKEFILE.replace("RUNS", str(runs)).replace("LENGTH", str(length_s))
        (root / "Snakefile").write_text(text.replace("ACCOUNT", ACCOUNT))
        profile = yaml.safe_load((PROJECT / "profiles/slurm/config.yaml").read_text())
        kept = {key: value for key, value in profile.items() if key not in LEFT_OUT} | {"jobs": 1000}
        (root / "profile").mkdir()
        (root / "profile/config.yaml").write_text(yaml.safe_dump(kept))
        before = set(cluster.call("sacct", "-X", "-n", "-P", "-o", "JobIDRaw").split())
        start = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "snakemake", "--profile", "profile", *EXECUTORS[executor]],
            cwd=root,
            env={**os.environ, **cluster.environment},
            stdout=subprocess.DEVNULL,
            stderr=(root / "err").open("wb"),
        )
        _, status, usage = os.wait4(process.pid, 0)
        makespan = time.monotonic() - start
        if status:
            sys.exit(f"error: {executor} failed:\n{(root / 'err').read_text()[-3000:]}")
        lines = cluster.call("sacct", "-X", "-n", "-P", "-o", "JobIDRaw,ElapsedRaw").split()
        held = sum(int(s) for job, s in (line.split("|") for line in lines) if job not in before)
    ideal = max(1.0, runs / (CPUS * len(NODES))) * length_s
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
    parser.add_argument("--executors", nargs="+", choices=EXECUTORS, default=list(EXECUTORS))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    cluster = Cluster.launch(cpus=CPUS)
    results: dict[str, float] = {}
    columns = f"{'executor':10} {'runs':>5} {'makespan':>9} {'ideal ×':>8} {'held/run':>9} {'ideal ×':>8}"
    print(f"{columns} {'controller CPU':>15} {'per run':>8}")
    try:
        for runs in options.runs:
            for executor in options.executors:
                found = measure(cluster, executor, runs, options.length_s)
                results |= {f"{executor}_{runs}_{name}": value for name, value in found.items()}
                print(
                    f"{executor:10} {runs:5} {found['makespan_s']:7.1f} s {found['makespan_ratio']:8.1f} "
                    f"{found['held_s_per_run']:7.1f} s {found['held_ratio']:8.1f} "
                    f"{found['controller_cpu_s']:13.1f} s {found['controller_cpu_s_per_run']:6.2f} s",
                    flush=True,
                )
    finally:
        cluster.down()
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
