"""The tests on each variant of the cluster: the whole suite on the default, and the faults on the others.

    python tests/slurm/matrix.py [--variant WORDS] [ARGUMENTS OF PYTEST]

It ends with a line for each variant. Its status is 1 if a test failed or, where CI is set, a variant was
skipped.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

import cgroups
from newer_slurm import CannotMakeError, command_in, ready_root
from variants import MATRIX, Variant

HERE = Path(__file__).parent
FAULTS = [
    HERE / f"test_{name}.py" for name in ("cgroups", "faults", "killed_scripts", "refilled_packs", "cluster")
]


def play(variant: Variant, arguments: list[str], report: Path) -> str:
    """Run the tests on a variant, and say in a line what came of them."""
    tests = [HERE] if variant == Variant() else FAULTS
    command = [sys.executable, "-m", "pytest", *arguments, f"--junitxml={report}", *map(str, tests)]
    if variant.cgroups and (obstacle := cgroups.obstacle()):
        return f"NOT TESTED: {obstacle}"
    try:
        command = command_in(ready_root(), command) if variant.newer else command
    except CannotMakeError as error:
        return f"NOT TESTED: {error}"
    subprocess.run(command, env={**os.environ, "CLUSTER_VARIANT": str(variant)}, check=False)
    if not report.exists():
        return "FAILED: no test ran"
    ended = {}
    for case in ElementTree.parse(report).iter("testcase"):
        words = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
        ended[case.get("name")] = words[0] if words else "passed"
    counts = "  ".join(f"{count} {word}" for word, count in sorted(Counter(ended.values()).items()))
    bad = [name for name, word in ended.items() if word in ("failure", "error")]
    return f"FAILED: {counts}: {', '.join(bad)}" if bad else counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variant", help='one variant alone, such as "24.11 cgroups"; "" is the default')
    options, arguments = parser.parse_known_args()
    variants = MATRIX if options.variant is None else [Variant.parse(options.variant)]
    said = {}
    with tempfile.TemporaryDirectory() as folder:
        for number, variant in enumerate(variants):
            print(f"=== {str(variant) or 'the default'}", flush=True)
            said[variant] = play(variant, arguments, Path(folder) / f"{number}.xml")
    for variant, line in said.items():
        print(f"{str(variant) or 'the default':36} {line}")
    failing = ("FAILED", "NOT TESTED") if os.environ.get("CI") else ("FAILED",)
    sys.exit(any(line.startswith(failing) for line in said.values()))


if __name__ == "__main__":
    main()
