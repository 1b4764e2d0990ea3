"""Notes on a table of effects: how its comparisons were made, and what it does not compare."""

from collections.abc import Sequence

from ablations.analysis.effects import MOST_LEVELS, Effect
from ablations.analysis.inference import Comparison, Noise
from ablations.analysis.model_matrix import Continuous, varying_levels
from ablations.analysis.sample_size import detectable
from ablations.config.studies.questions import Test
from ablations.config.studies.study import Study
from ablations.kinds.hyperparameters import spell
from ablations.kinds.metrics import Metric
from ablations.presentation.effect_verdicts import Corrected
from ablations.presentation.wording import labels, listed

# With fewer seeds than this, the notes tell how little they detect.
FEW_SEEDS = 5


def is_constant(comparison: Comparison) -> bool:
    """Whether an exact value is the same for both levels, as the parameters of a model are for all seeds."""
    return comparison.noise == "exact" and not comparison.difference


# The test, and what it takes the differences of the units as.
TESTS: dict[Test, tuple[str, str]] = {
    "t": ("Student's paired test", "normal"),
    "wilcoxon": (
        "Wilcoxon's signed-rank test. A difference is the median of the means of every two units (Hodges and "
        "Lehmann), and its interval is that of the test",
        "symmetric",
    ),
    "permutation": (
        "the permutation test of the mean, which flips the signs of the differences of the units",
        "symmetric",
    ),
    "bootstrap": (
        "the bootstrap, which draws the units again; its interval is the expanded percentile interval",
        "many enough to stand for all",
    ),
}


def method_notes(
    study: Study, metric: Metric, found: Sequence[Effect], judged: Sequence[Corrected]
) -> list[str]:
    """How the comparisons of a metric were made."""
    tests = sum(each.p is not None and not each.is_exploratory for each in judged)
    noises = {e.comparison.noise for e in found if e.comparison and e.comparison.p is not None}
    notes = []
    if noises - {"model"}:
        same_seed = " and has the same seed" * study.kind.is_random
        notes.append(f"Each pair of runs differs in nothing else{same_seed}.")
    if metric.noise == "time":
        notes.append(
            "A ratio (×) is the second level over the first. Tests and intervals are on the log scale. Only "
            "runs on the same device, with the same numbers of threads and of runs per job, are compared."
        )
    elif any(effect.comparison for effect in found):
        notes.append("A difference is the second level minus the first.")
    if metric.noise == "exact":
        mean = ": a difference is the mean over the pairs" * any(effect.pairs for effect in found)
        notes.append(f"Exact values need no test{mean}.")
    if tests:
        several = f"{tests} {'test' if tests == 1 else 'tests'}"
        several += f" of {labels(study, study.primary)}" if study.primary else ""
        several += " of this metric" * (len(study.analysed) > 1)
        notes.append(
            f"p is two-sided, with Holm's correction over {several}. Each interval is that of a single "
            "comparison, without correction."
        )
    name, shape = TESTS[study.test]
    numbers = " The numbers of seeds or pairs are for a power of 80 %, and for the ends of the interval of d."
    numbers *= study.test == "t"
    if noises & {"seeds", "settings"}:
        notes.append(
            f"The test is {name}. d is the mean difference in standard deviations of the units that it is "
            f"judged by, with Hedges' correction.{numbers}"
        )
        notes.append(
            f"Assumed: the differences of the units are independent and {shape}. The settings of a grid are "
            "chosen; other settings may have other differences."
        )
    few = [e.comparison.units for e in found if e.comparison and e.comparison.noise == "seeds"]
    if any(each.depends_on for each in judged):
        notes.append(
            "'Depends on' names hyperparameters whose interaction with this one is significant at 5 %, by an "
            "F test with Holm's correction over all interactions. The difference is an average over them."
        )
    if few and min(few) < FEW_SEEDS and study.test == "t":
        size = detectable(min(few), max(tests, 1))
        notes.append(
            f"With {min(few)} seeds and this correction, a difference is detected with a power of 80 % only "
            f"if it is at least {size:.1f} times the standard deviation between seeds."
        )
    return notes + [note for noise, note in _noise_notes(study, metric).items() if noise in noises]


def _noise_notes(study: Study, metric: Metric) -> dict[Noise, str]:
    """What each source of noise in a comparison of this metric means."""
    if random := study.kind.is_random:
        of_settings = "It holds for this seed, whose luck with a level counts as an effect of the level."
        of_items = "The difference may be larger for other seeds; two or more seeds would show how large."
    else:
        of_items = "Nothing else in these runs is random; other training data would give other values."
        of_settings = "It includes the noise of the measurement."
        if metric.answers:
            of_settings = f"Not all runs record which {metric.noun} they got right."
    of_model = " If each seed has every point, the noise is the variation of the estimate between seeds."
    return {
        "seeds": "Judged by seeds: the noise is the variation between seeds of the mean difference over the "
        "settings of this grid. The difference itself may vary between these settings." + _items_note(metric),
        "settings": "Judged by settings: each setting has a single pair, so the variation between settings "
        f"counts as noise. {of_settings}",
        "items": f"Judged by {metric.noun}: the test compares which {metric.noun} each run got right (one "
        f"pair: McNemar's exact test). {of_items}",
        "model": "Judged by a linear model: no two runs differ in this hyperparameter only. The difference "
        "is estimated by a model of all main effects (ordinary least squares). Interactions bias it."
        + of_model
        * (random and len(study.seeds) > 1),
    }


def _items_note(metric: Metric) -> str:
    """What a verdict of seeds says of other items."""
    if metric.noise != "proportion":
        return ""
    return (
        f" Unless the verdict says 'for these {metric.noun}', the difference is also significant with the "
        "noise of their choice added, from the answers of each run."
    )


def gap_notes(study: Study, found: Sequence[Effect]) -> list[str]:
    """What the table does not compare, and why."""
    notes = []
    without = [effect for effect in found if not effect.comparison and not effect.pairs]
    if idle := dict.fromkeys(effect.factor for effect in without if effect.is_idle):
        notes.append(
            f"Without effect on this metric in these runs: {labels(study, idle)}. A linear model would "
            "credit it with what it cannot explain, so only runs that differ in nothing else would show it."
        )
    names = dict.fromkeys(effect.factor for effect in without if not effect.is_idle)
    never = [n for n in names if all(not effect.pairs for effect in found if effect.factor == n)]
    partly = [n for n in names if n not in never]
    if never:
        these = "these are" if len(never) > 1 else "it is"
        notes.append(
            f"No two runs of this study differ in {labels(study, never, ' or ')} only, so {these} not "
            "compared."
        )
    if partly:
        notes.append(
            f"Some levels of {labels(study, partly)} never occur in runs that differ in nothing else."
        )
    if equal := dict.fromkeys(e.factor for e in found if e.comparison and is_constant(e.comparison)):
        notes.append(f"Without any difference, and not listed: levels of {labels(study, equal)}.")
    paired = [effect for effect in found if effect.pairs]
    compared = [effect.comparison.pairs if effect.comparison else 0 for effect in paired]
    lost = [e.pairs - e.apart - e.alone - count for e, count in zip(paired, compared, strict=True)]
    notes += _left_out(study, "a run is missing or diverged", paired, lost)
    elsewhere = "the device, threads or runs per job differ"
    notes += _left_out(study, elsewhere, paired, [effect.apart for effect in paired])
    single = "their setting has no second seed, so it does not show the noise of seeds"
    notes += _left_out(study, single, paired, [effect.alone for effect in paired])
    if apart := max((e.apart for e in found if e.comparison and not e.pairs), default=0):
        notes.append(f"Runs left out of the linear model because {elsewhere}: {apart}.")
    levels_of = varying_levels(study)
    if drawn := [f for f, levels in levels_of.items() if isinstance(levels, Continuous)]:
        notes.append(
            f"Drawn from a range: {labels(study, drawn)}. The difference is that between the lowest and the "
            "highest drawn value on a straight line, over the logarithm where the range is log_uniform. A "
            "best value in between does not show in it."
        )
    if others := {spell(level) for f in drawn for level in getattr(levels_of[f], "apart", ())}:
        notes.append(
            f"No place on the scale of a range: {listed(sorted(others))}. Each is compared with the line, at "
            "the drawn value nearest to its middle."
        )
    many = [f for f, levels in levels_of.items() if len(levels) > MOST_LEVELS and f not in drawn]
    if many:
        notes.append(
            f"Hyperparameters with more than {MOST_LEVELS} levels ({labels(study, many)}): each level is "
            "compared with the first only."
        )
    if not found:
        notes.append("No hyperparameter varies in this study.")
    return notes


def _left_out(study: Study, why: str, found: Sequence[Effect], counts: Sequence[int]) -> list[str]:
    """The note on pairs that were left out, if there are any: how many of each hyperparameter."""
    of_factors = dict.fromkeys((effect.factor for effect in found), 0)
    for effect, count in zip(found, counts, strict=True):
        of_factors[effect.factor] += count
    left_out = ", ".join(
        f"{count} of {labels(study, [factor])}" for factor, count in of_factors.items() if count
    )
    return [f"Pairs left out because {why}: {left_out}."] if left_out else []
