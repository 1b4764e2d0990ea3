"""Notes on effects that are not alike everywhere: at levels of others, on datasets, and over the seeds."""

from collections.abc import Iterator, Mapping, Sequence

from ablations.analysis.effects import Effect
from ablations.analysis.inference import ALPHA, Comparison
from ablations.analysis.normality import normality
from ablations.analysis.paired_tests import smallest_p, units_to_reach
from ablations.analysis.simple_effects import Place, Replication, SimpleEffect
from ablations.config.studies.study import Study
from ablations.kinds.metrics import Metric
from ablations.presentation.wording import difference_text, in_sentence, interval_text, listed, p_in_words

# More effects than this are not spelt out.
MOST_SPELT = 6


def normality_notes(study: Study, found: Sequence[Effect]) -> Iterator[str]:
    """Which differences of a table of effects do not look normal."""
    yield from doubts(study, [(_change(study, effect), effect.comparison) for effect in found])


def doubts(study: Study, found: Sequence[tuple[str, Comparison | None]]) -> Iterator[str]:
    """Which comparisons do not look normal, where Student's test takes them as normal, given with names."""
    comparisons = [comparison for _, comparison in found]
    ps = normality(comparisons) if study.test == "t" else []
    doubted = [
        f"{name} (p {p_in_words(p)})"
        for (name, _), p in zip(found, ps, strict=False)
        if p is not None and p < ALPHA
    ]
    if not doubted:
        return
    tests = sum(p is not None for p in ps)
    fewest = min(each.units for each in comparisons if each and each.values)
    needed = units_to_reach("permutation", tests)
    it_takes = f", and needs {needed} units" if needed and needed > fewest else ""
    yield (
        "The test of Shapiro and Wilk, with Holm's correction over "
        f"{tests} test{'s' * (tests > 1)}, finds that these differences of the units are not normal: "
        f"{listed(_shortened(doubted))}. Look for a unit far from the others. "
        f"'test: permutation' assumes only that they are symmetric{it_takes}; "
        "'test: bootstrap' assumes neither, and needs many units."
    )


def simple_notes(
    study: Study, metric: Metric, simple: Mapping[Place, Sequence[SimpleEffect]]
) -> Iterator[str]:
    """With which levels of another hyperparameter an effect that depends on it is found."""
    for (_, _, _, other), of_effect in list(simple.items())[:MOST_SPELT]:
        label = in_sentence(study.label(other))
        sides: dict[bool, list[str]] = {True: [], False: []}
        for each in of_effect:
            interval = interval_text(metric, each.comparison.interval)
            size = difference_text(metric, each.comparison.difference) + (f", {interval}" if interval else "")
            sides[each.is_clear].append(f"for {label} {study.level_label(other, each.level)} ({size})")
        change = _change(study, of_effect[0].effect)
        parts = [f"is significant {listed(sides[True])}"] if sides[True] else []
        parts += [f"is not significant {' or '.join(sides[False])}"] if sides[False] else []
        yield f"{change} {', and '.join(parts)}."
    if not simple:
        return
    count = sum(each.p is not None for of_effect in simple.values() for each in of_effect)
    left = len(simple) - MOST_SPELT
    more = f" {left} more {'effect is' if left == 1 else 'effects are'} not spelt out." if left > 0 else ""
    limited = f", for these {metric.noun}" * (metric.noise == "proportion")
    yield (
        f"These effects at single levels are tested with Holm's correction over {count} tests{limited}. "
        f"Their intervals are not corrected.{more}"
    )


def replication_note(study: Study, found: Sequence[Replication | None]) -> Iterator[str]:
    """What the counts of datasets are."""
    there = [each for each in found if each]
    if not there:
        return
    lacking = [e for e in there if e.units and smallest_p(study.test, e.units) * e.datasets >= ALPHA]
    few = " With so few units on a dataset, no difference can be significant there." * bool(lacking)
    yield (
        "The column 'Datasets' counts the datasets on which the difference has the same sign as over all "
        "datasets and is significant in the runs of that dataset alone, with Holm's correction over the "
        f"datasets.{few}"
    )


def _change(study: Study, effect: Effect) -> str:
    ends = (study.level_label(effect.factor, end) for end in (effect.first, effect.second))
    return f"{study.label(effect.factor)} {' → '.join(ends)}"


def _shortened(texts: Sequence[str]) -> list[str]:
    more = [f"{len(texts) - MOST_SPELT} more"] if len(texts) > MOST_SPELT else []
    return [*texts[:MOST_SPELT], *more]
