"""Compare two finished runs by the test images that each classified correctly (McNemar's exact test).

    python scripts/compare_runs.py results/runs/…/record.tsv results/runs/…/record.tsv

The result holds for these two runs; other seeds may give another.
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
    """The lines that describe the comparison. Raises AblationsError for runs that cannot be compared."""
    (one, correct), (other, also_correct) = map(_answers, (first, second))
    images = f"test images of {one.dataset}"
    if (one.dataset, len(correct)) != (other.dataset, len(also_correct)):
        raise AblationsError(
            f"{first} has {len(correct)} {images}, but {second} has {len(also_correct)} of {other.dataset}; "
            "only runs on the same images can be compared"
        )
    found = compare_images([((one.dataset, correct), (other.dataset, also_correct))])
    assert found.p is not None
    assert found.interval is not None
    significant = "significant" if found.p < ALPHA else "not significant"
    seeds = "; it may be larger for other seeds" if one.kind.is_random else ""
    return [
        f"first:  {100 * np.mean(correct):.2f} %  {first}",
        f"second: {100 * np.mean(also_correct):.2f} %  {second}",
        f"of {len(correct):,} {images}, {np.sum(correct & ~also_correct)} are correct in the first only and "
        f"{np.sum(also_correct & ~correct)} in the second only",
        f"second minus first: {found.difference:+.2f} points (95 % interval {found.interval.low:+.2f} to "
        f"{found.interval.high:+.2f}), p = {found.p:.4g} by McNemar's exact test",
        f"the difference is {significant} on these test images{seeds}",
    ]


def _answers(path: Path) -> tuple[Run, np.ndarray]:
    """A run, and whether it classified each test image correctly, of shape (images,)."""
    run, record = read_record(path)
    if record.status != "ok" or record.test_correct is None:
        why = "the run diverged" if record.status != "ok" else "an older version wrote the record"
        raise AblationsError(f"{path}: it does not list the test images that the run got right: {why}")
    return run, unpack(record.test_correct, record.test_samples)


if __name__ == "__main__":
    run_script(main)
