"""Two finished runs, compared by the test images that each got right (McNemar's exact test).

    python scripts/compare_runs.py results/runs/…/record.tsv results/runs/…/record.tsv

It says whether their test images tell these two runs apart, and nothing of other seeds.
"""

import argparse
from pathlib import Path

import numpy as np
from ablations.analysis.inference import ALPHA, compare_images
from ablations.errors import AblationsError, run_script
from ablations.kinds.hits import unpack
from ablations.runs.records import read_record
from ablations.runs.run import Run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("first", type=Path, metavar="RECORD")
    parser.add_argument("second", type=Path, metavar="RECORD")
    options = parser.parse_args()
    for line in compare_runs(options.first, options.second):
        print(line)


def compare_runs(first: Path, second: Path) -> list[str]:
    """The comparison in words: second less first."""
    (one, right), (other, also_right) = map(_answers, (first, second))
    if (one.dataset, len(right)) != (other.dataset, len(also_right)):
        raise AblationsError(
            f"{first} is of {len(right)} test images of {one.dataset}, and {second} of {len(also_right)} of "
            f"{other.dataset}: only runs on the same images can be compared"
        )
    found = compare_images([((one.dataset, right), (other.dataset, also_right))])
    assert found.p is not None
    assert found.interval is not None
    seeds = "; other seeds may differ by more" if one.kind.is_random else ""
    apart = "tell" if found.p < ALPHA else "do not tell"
    return [
        f"first:  {100 * np.mean(right):.2f} %  {first}",
        f"second: {100 * np.mean(also_right):.2f} %  {second}",
        f"of {len(right):,} test images of {one.dataset}, {np.sum(right & ~also_right)} only the first got "
        f"right, and {np.sum(also_right & ~right)} only the second",
        f"second less first: {found.difference:+.2f} points (95 % interval {found.interval.low:+.2f} to "
        f"{found.interval.high:+.2f}), p = {found.p:.4g} by McNemar's exact test",
        f"the test images {apart} these two runs apart" + seeds,
    ]


def _answers(path: Path) -> tuple[Run, np.ndarray]:
    run, record = read_record(path)
    if record.status != "ok" or record.test_correct is None:
        why = "it has diverged" if record.status != "ok" else "it was written by an older version"
        raise AblationsError(f"{path}: it does not say which test images the run got right; {why}")
    return run, unpack(record.test_correct, record.test_samples)


if __name__ == "__main__":
    run_script(main)
