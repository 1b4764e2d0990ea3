"""Compare two finished runs in every metric of their kind.

    python scripts/compare_runs.py [--configfile FILE] results/runs/…/record.tsv results/runs/…/record.tsv

A proportion is compared by the items that each run got right, such as the test images that it classified
correctly (McNemar's exact test), and a metric with a score for each item by the paired t test. The result
holds for these two runs; other seeds may give another. Of other metrics, single runs do not show the noise.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from ablations.analysis.inference import ALPHA, Interval
from ablations.analysis.items import compare_items
from ablations.analysis.measurements import CONDITIONS, items_of
from ablations.command_line import add_config, take_config
from ablations.errors import AblationsError, run_script
from ablations.files import open_regular
from ablations.kinds import KINDS, Kind
from ablations.kinds.hits import unpack
from ablations.kinds.hyperparameters import spell
from ablations.kinds.metrics import Metric
from ablations.presentation.wording import difference_text, interval_text, listed, marked, ratio_text
from ablations.runs.records import quick_record, read_record
from ablations.runs.run import Run
from scipy import stats

# A run, and the columns of its record as text.
Finished = tuple[Run, dict[str, str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("first", type=Path, metavar="RECORD")
    parser.add_argument("second", type=Path, metavar="RECORD")
    add_config(parser)
    options = parser.parse_args()
    kinds = [read_kind(path) for path in (options.first, options.second)]
    known = KINDS if set(kinds) <= {"", *KINDS} else take_config(options).all_kinds
    for line in compare_runs(options.first, options.second, known):
        print(line)


def compare_runs(first: Path, second: Path, kinds: Mapping[str, Kind] = KINDS) -> list[str]:
    """The lines that describe the comparison. Raises AblationsError for runs without a common metric."""
    one, other = (_finished(path, kinds) for path in (first, second))
    lines = [f"first:  {first}", f"second: {second}"]
    for name, metric in one[0].kind.metrics.items():
        if other[0].kind.metrics.get(name) != metric:
            continue
        if metric.column in one[1].keys() & other[1].keys():
            files = [path.parent / metric.scores for path in (first, second)]
            scored = metric.scores and all(file.is_file() for file in files)
            judged = _by_scores(metric, one[0], other[0], *files) if scored else _judged(metric, one, other)
            lines += ["", _values(metric, one, other), *map("  {}".format, judged)]
    if len(lines) == 2:
        raise AblationsError(f"{first} and {second} have no metric in common")
    return lines


def read_kind(path: Path) -> str:
    """The name of the kind of a record; empty where it cannot be read, which is found out later."""
    return (quick_record(path) or {}).get("kind", "")


def _finished(path: Path, kinds: Mapping[str, Kind]) -> Finished:
    run, record = read_record(path, kinds)
    if record.status != "ok":
        raise AblationsError(f"{path}: the run diverged, so there is nothing to compare")
    return run, {name: spell(value) for name, value in dict(record).items() if value is not None}


def _values(metric: Metric, one: Finished, other: Finished) -> str:
    texts = (f"{float(row[metric.column]) * metric.scale:.{metric.decimals}f}" for _, row in (one, other))
    return f"{marked(metric)}: {' and '.join(texts)}"


def _judged(metric: Metric, one: Finished, other: Finished) -> list[str]:
    """What can be said about the difference in this metric."""
    if metric.answers:
        return _by_items(metric, one, other)
    (run, row), (_, other_row) = one, other
    first, second = (float(each[metric.column]) for each in (row, other_row))
    if metric.noise == "time":
        if differ := [name for name in CONDITIONS if row.get(name) != other_row.get(name)]:
            return [f"not compared: the runs differ in {listed(differ)}"]
        text = f"second over first: {ratio_text(second / first)}" if first else "the first is 0"
    else:
        text = f"second minus first: {difference_text(metric, (second - first) * metric.scale)}"
        if metric.noise == "exact" or not run.kind.is_random:
            return [f"{text}, which is exact"]
    return [f"{text}; single runs of this metric do not show whether that is noise"]


def read_scores(path: Path) -> np.ndarray:
    """The score of each item, as a run left them. Raises AblationsError."""
    try:
        with open_regular(path) as file:
            found = np.load(file, allow_pickle=False)
    except Exception as error:  # numpy's reader raises many types for what is damaged
        raise AblationsError(f"{path}: it is not an array that numpy.save wrote ({error})") from None
    if not isinstance(found, np.ndarray) or found.ndim != 1 or found.dtype.kind != "f" or not found.size:
        raise AblationsError(f"{path}: it does not hold one score for each item")
    return found


def _by_scores(metric: Metric, first: Run, second: Run, *files: Path) -> list[str]:
    """The comparison by the scores of each item."""
    one, other = map(read_scores, files)
    sets = [f"{scores.size:,} items of {run.dataset}" for scores, run in ((one, first), (other, second))]
    if sets[0] != sets[1]:
        return [f"not compared: one run has {sets[0]}, and the other {sets[1]}"]
    difference = float(np.mean(other - one))
    if np.ptp(other - one) == 0:
        return [f"second minus first: {difference_text(metric, difference)} for each of {one.size:,} items"]
    found = stats.ttest_rel(other, one)
    low, high = found.confidence_interval(1 - ALPHA)
    return [
        f"second minus first, mean of {one.size:,} items: {difference_text(metric, difference)} (95 % "
        f"interval {interval_text(metric, Interval(low, high))}), p = {found.pvalue:.4g} by the paired t test"
    ]


def _by_items(metric: Metric, one: Finished, other: Finished) -> list[str]:
    (first, row), (second, other_row) = one, other
    if metric.answers not in row.keys() & other_row.keys():
        return [f"not compared: one record does not list the {metric.noun} that the run got right"]
    counts = items_of(metric, row), items_of(metric, other_row)
    sets = [f"{n:,} {metric.noun} of {run.dataset}" for n, run in zip(counts, (first, second), strict=True)]
    if sets[0] != sets[1]:
        return [f"not compared: one run has {sets[0]}, and the other {sets[1]}"]
    right, also_right = (unpack(r[metric.answers], counts[0]) for r in (row, other_row))
    found = compare_items([((first.dataset, right), (second.dataset, also_right))], metric.whole)
    assert found.p is not None
    significant = "significant" if found.p < ALPHA else "not significant"
    seeds = "; it may be larger for other seeds" if first.kind.is_random else ""
    return [
        f"of {sets[0]}, {np.sum(right & ~also_right)} are correct in the first only and "
        f"{np.sum(also_right & ~right)} in the second only",
        f"second minus first: {difference_text(metric, found.difference)} (95 % interval "
        f"{interval_text(metric, found.interval)}), p = {found.p:.4g} by McNemar's exact test",
        f"the difference is {significant} on these {metric.noun}{seeds}",
    ]


if __name__ == "__main__":
    run_script(main)
