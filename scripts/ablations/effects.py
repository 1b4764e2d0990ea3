"""The effects table of a study: every two levels of a hyperparameter, compared where nothing else differs."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ablations import statistics
from ablations.config import Study
from ablations.hits import unpack
from ablations.hyperparameters import spell
from ablations.runs import Run
from ablations.statistics import ALPHA, Comparison, Interval
from ablations.tables import LABELS, Table

# Of a factor with more levels, each is compared with the first alone.
MOST_LEVELS = 8
Records = Mapping[Run, Mapping[str, str]]


@dataclass(frozen=True)
class Effect:
    """Two levels of a factor, and their comparison: over `settings` of all else, and seeds.

    `pairs` of runs in the grid differ in this factor alone; `comparison` is of those whose accuracies are
    there, and None where none is. `by_images` says that it is of two single runs, by the test images that
    each got right.
    """

    factor: str
    first: Any
    second: Any
    pairs: int
    settings: int
    comparison: Comparison | None
    by_images: bool = False


def effects(study: Study, records: Records) -> Iterator[Effect]:
    """The comparisons of test accuracy between the levels of each factor that varies."""
    runs = study.runs()
    for factor in study.factors:
        levels = list(dict.fromkeys(run.value(factor) for run in runs))
        if len(levels) < 2:
            continue
        # All else, the seed included -> level -> record, if there is one with an accuracy.
        alike: dict[tuple[Any, ...], dict[Any, Mapping[str, str] | None]] = {}
        names = [name for name in runs[0].values() if name != factor]
        for run in runs:
            record = records.get(run)
            found = record if record and "test_accuracy" in record else None
            alike.setdefault(tuple(map(run.value, names)), {})[run.value(factor)] = found
        pairs = (
            itertools.combinations(levels, 2)
            if len(levels) <= MOST_LEVELS
            else ((levels[0], level) for level in levels[1:])
        )
        at_seed = names.index("seed") if "seed" in names else None
        for first, second in pairs:
            paired = {k: (by[first], by[second]) for k, by in alike.items() if first in by and second in by}
            both = {key: (a, b) for key, (a, b) in paired.items() if a and b}
            settings = {tuple(v for i, v in enumerate(key) if i != at_seed) for key in both}
            yield Effect(factor, first, second, len(paired), len(settings), *_compare(list(both.values())))


def _compare(pairs: Sequence[tuple[Mapping[str, str], Mapping[str, str]]]) -> tuple[Comparison | None, bool]:
    if not pairs:
        return None, False
    if len(pairs) == 1 and all("test_correct" in record for record in pairs[0]):
        one, other = (unpack(record["test_correct"], int(record["test_samples"])) for record in pairs[0])
        if len(one) == len(other):
            return statistics.compare_images(one, other), True
    differences = [float(b["test_accuracy"]) - float(a["test_accuracy"]) for a, b in pairs]
    return statistics.compare_pairs(differences), False


def effects_table(name: str, study: Study, records: Records) -> Table:
    """All comparisons with Holm's correction over the table, and a verdict in words for each."""
    found = list(effects(study, records))
    tested = [effect for effect in found if effect.comparison and effect.comparison.p is not None]
    adjusted = statistics.holm([effect.comparison.p for effect in tested])  # type: ignore[union-attr]
    holm = dict(zip(map(id, tested), adjusted, strict=True))
    rows, shown, apart = [], [], []
    for effect in found:
        if effect.comparison is None:
            apart.append(effect)
            continue
        p = holm.get(id(effect))
        rows.append(_fields(effect, p, len(tested)))
        shown.append(_display(effect, p, len(tested)))
    data = pd.DataFrame(rows, columns=DATA)
    display = pd.DataFrame(shown, columns=DISPLAY)
    # Without the columns that no comparison of this study fills.
    display = display[[column for column in display if display.empty or (display[column] != "").any()]]
    title = f"{study.title}: what each hyperparameter does to the test accuracy"
    return Table(title, f"{name}_effects", data, display, _notes(found, apart, tested))


DATA = (
    "hyperparameter", "first", "second", "pairs", "difference", "difference_ci_low", "difference_ci_high",
    "p_holm", "effect_size", "effect_ci_low", "effect_ci_high", "verdict",
)  # fmt: skip
DISPLAY = (
    "Hyperparameter", "From", "To", "Pairs", "Difference (points)", "95 % interval", "p (Holm)",
    "Effect size d", "95 % interval of d", "Verdict",
)  # fmt: skip


def _verdict(effect: Effect, p: float | None, tests: int) -> str:
    comparison, seeds = effect.comparison, "seeds"
    assert comparison is not None
    if p is None:
        if comparison.pairs == 1:
            return f"one pair: no test; {seeds} are needed"
        if comparison.difference == 0:
            return f"the same in all {comparison.pairs} pairs"
        return f"the same difference in all {comparison.pairs} pairs"
    if p < ALPHA:
        higher = effect.second if comparison.difference > 0 else effect.first
        of = ", of these two runs" if effect.by_images else ""
        return f"{spell(higher)} is more accurate{of}"
    if effect.by_images:
        return "the test images do not tell these two runs apart"
    assert comparison.effect is not None
    needed = statistics.pairs_needed(comparison.effect, tests)
    if needed is None:
        return "no difference shown, and none of this size to be shown"
    return f"no difference shown; one of this size would take about {max(needed, comparison.pairs + 1)} pairs"


def _fields(effect: Effect, p: float | None, tests: int) -> dict[str, str]:
    comparison = effect.comparison
    assert comparison is not None
    values: dict[str, str] = {
        "hyperparameter": effect.factor,
        "first": spell(effect.first),
        "second": spell(effect.second),
        "pairs": str(comparison.pairs),
        "difference": f"{comparison.difference:.4f}",
        "p_holm": "" if p is None else f"{p:.4g}",
        "effect_size": "" if comparison.effect is None else f"{comparison.effect:.3f}",
        "verdict": _verdict(effect, p, tests),
    }
    for key, interval in (("difference", comparison.interval), ("effect", comparison.effect_interval)):
        values[f"{key}_ci_low"] = "" if interval is None else f"{interval.low:.4f}"
        values[f"{key}_ci_high"] = "" if interval is None else f"{interval.high:.4f}"
    return values


def _display(effect: Effect, p: float | None, tests: int) -> dict[str, str]:
    comparison = effect.comparison
    assert comparison is not None
    return {
        "Hyperparameter": LABELS.get(effect.factor, effect.factor),
        "From": spell(effect.first),
        "To": spell(effect.second),
        "Pairs": str(comparison.pairs),
        "Difference (points)": f"{comparison.difference:+.2f}",
        "95 % interval": _text(comparison.interval, 2),
        "p (Holm)": "" if p is None else ("< 0.001" if p < 0.001 else f"{p:.3f}"),
        "Effect size d": "" if comparison.effect is None else f"{comparison.effect:+.2f}",
        "95 % interval of d": _text(comparison.effect_interval, 1),
        "Verdict": _verdict(effect, p, tests),
    }


def _text(interval: Interval | None, decimals: int) -> str:
    return "" if interval is None else f"{interval.low:+.{decimals}f} to {interval.high:+.{decimals}f}"


def _notes(found: Sequence[Effect], apart: Sequence[Effect], tested: Sequence[Effect]) -> list[str]:
    notes = []
    if tested:
        notes.append(
            "Pairs of runs with the same seed that differ in nothing else. A difference is of the second "
            f"level less the first; p is two-sided, with Holm's correction over {len(tested)} "
            f"{'test' if len(tested) == 1 else 'tests'}."
        )
    if any(not effect.by_images for effect in tested):
        notes.append(
            "By Student's paired test. d is the mean difference in standard deviations of the differences. "
            "How many pairs it would take is for a power of 80 %."
        )
    if any(effect.by_images for effect in tested):
        notes.append(
            "One pair is compared by the test images that each run got right (McNemar's exact test); other "
            "seeds may differ by more."
        )
    if any(effect.settings > 1 for effect in tested):
        notes.append("Where the size of an effect depends on the other hyperparameters, its mean over them.")
    never = [e for e in apart if not e.pairs]
    names = dict.fromkeys(effect.factor for effect in never)
    whole = [n for n in names if all(not e.pairs for e in found if e.factor == n)]
    some = [n for n in names if n not in whole]
    if whole:
        notes.append(
            f"No two runs of this study differ in {' or in '.join(whole)} alone; see snakemake design."
        )
    if some:
        notes.append(f"Not all levels of {' and of '.join(some)} are in runs that differ in nothing else.")
    lost = {e.factor: 0 for e in found}
    for effect in found:
        lost[effect.factor] += effect.pairs - (effect.comparison.pairs if effect.comparison else 0)
    if missing := ", ".join(f"{count} of {factor}" for factor, count in lost.items() if count):
        notes.append(f"Pairs left out, as a run of them is not there or has diverged: {missing}.")
    if not found:
        notes.append("Nothing varies in this study.")
    return notes
