"""Notes on what a study declares: margins, primary hyperparameters, and what its test can show."""

from collections.abc import Iterator, Sequence

from ablations.analysis.effects import Effect, effects
from ablations.analysis.equivalence import largest_spread
from ablations.analysis.inference import ALPHA
from ablations.analysis.paired_tests import smallest_p, units_to_reach
from ablations.config.studies.baselines import compared_points, is_primary
from ablations.config.studies.questions import Test
from ablations.config.studies.study import Study
from ablations.presentation.effect_verdicts import Corrected, margin_text
from ablations.presentation.wording import labels

TEST_NAMES: dict[Test, str] = {
    "t": "Student's test", "wilcoxon": "Wilcoxon's test", "permutation": "a permutation test",
    "bootstrap": "a bootstrap",
}  # fmt: skip

PAIRED_TESTS: dict[Test, str] = {
    "t": "Student's paired test", "wilcoxon": "Wilcoxon's signed-rank test",
    "permutation": "a paired permutation test", "bootstrap": "a paired bootstrap",
}  # fmt: skip


def question_notes(
    study: Study, name: str, found: Sequence[Effect], judged: Sequence[Corrected]
) -> list[str]:
    """What the declared questions of a study mean for the comparisons of a metric."""
    return [
        *_primary(study, judged), *_margin(study, name, found, judged), *_reach(study, found, judged)
    ]  # fmt: skip


def _primary(study: Study, judged: Sequence[Corrected]) -> Iterator[str]:
    count = sum(each.p is not None for each in judged if each.is_exploratory)
    if count:
        tests = "test is" if count == 1 else "tests are"
        yield (
            f"The study declares {labels(study, study.primary)} as primary. The other {count} {tests} "
            "exploratory: corrected among themselves, they suggest what a further study may confirm."
        )


def _margin(study: Study, name: str, found: Sequence[Effect], judged: Sequence[Corrected]) -> Iterator[str]:
    tested = [
        (effect.comparison, its.tests)
        for effect, its in zip(found, judged, strict=True)
        if its.margin and its.p_equivalent is not None and effect.comparison
    ]
    if not tested:
        return
    metric = study.kind.metrics[name]
    margin = next(its.margin for its in judged if its.margin)
    within = margin_text(metric, margin)
    limited = f" 'For these {metric.noun}' limits it as it limits a difference." * (
        metric.noise == "proportion"
    )
    yield (
        f"Equivalent within {within}: two one-sided tests show that the difference is smaller, with Holm's "
        f"correction over the same comparisons.{limited} Undecided: neither a difference nor equivalence is "
        "shown."
    )
    of_seeds = [(each.units, tests) for each, tests in tested if each.noise == "seeds"]
    if of_seeds and metric.noise != "time" and study.test == "t":
        units, tests = min(of_seeds)
        spread = largest_spread(margin, units, tests)
        yield (
            f"With {units} seeds and this correction, levels without any difference can be equivalent only "
            f"if the standard deviation of their differences between seeds is below {spread:.2g} "
            f"{margin_text(metric, margin).partition(' ')[2]}".rstrip()
            + "."
        )


def _reach(study: Study, found: Sequence[Effect], judged: Sequence[Corrected]) -> Iterator[str]:
    """Which comparisons the declared test cannot find, whatever their data."""
    compared = [
        (effect.comparison.units, its.tests, effect.comparison.noise)
        for effect, its in zip(found, judged, strict=True)
        if its.p is not None and effect.comparison and effect.comparison.values
    ]
    lacking = [each for each in compared if smallest_p(study.test, each[0]) * each[1] >= ALPHA]
    if lacking:
        units, tests, noise = min(lacking)
        why = unreachable(study.test, units, tests, "seeds" if noise == "model" else noise)
        yield f"{why[0].upper()}{why[1:]}."


def planned_reach(study: Study) -> Iterator[str]:
    """That the declared test cannot find anything with the seeds of a study, known before any run."""
    noisy = [name for name in study.analysed if study.kind.metrics[name].noise != "exact"]
    if study.test == "t" or not noisy:
        return
    planned = [effect for effect in effects(study, {}, noisy[0]) if effect.pairs]
    planned = [effect for effect in planned if not study.primary or effect.factor in study.primary]
    by_seeds, tests = len(study.seeds) > 1, len(planned)
    units = len(study.seeds) if by_seeds else max((effect.pairs for effect in planned), default=0)
    if planned and smallest_p(study.test, units) * tests >= ALPHA:
        yield unreachable(study.test, units, tests, "seeds" if by_seeds else "pairs")
    tests = sum(is_primary(study, *pair) for pair in compared_points(study)) if study.base else 0
    if tests and by_seeds and smallest_p(study.test, units) * tests >= ALPHA:
        yield f"differences to the baseline: {unreachable(study.test, units, tests, 'seeds')}"


def unreachable(test: Test, units: int, tests: int, noun: str, correction: str = "Holm") -> str:
    """That a test of so many units cannot be significant, and how many it takes."""
    needed = units_to_reach(test, tests)
    takes = f"at least {needed} are needed" if needed else "no number of them is enough; choose another test"
    corrected = f" after {correction}'s correction over {tests} tests" if tests > 1 else ""
    return (
        f"with {units} {noun if units > 1 else noun.removesuffix('s')}, the smallest p of {TEST_NAMES[test]} "
        f"is {smallest_p(test, units):.2g}, which cannot be significant{corrected}; {takes}"
    )
