"""The effects table of a study: every comparison of two levels, with a verdict."""

import math
from collections.abc import Callable, Sequence

import pandas as pd

from ablations.analysis.effects import MOST_LEVELS, Effect, corrected, effects
from ablations.analysis.inference import Comparison, Interval, Noise
from ablations.analysis.measurements import Records
from ablations.analysis.model_matrix import varying_levels
from ablations.analysis.sample_size import detectable
from ablations.analysis.variance import interactions
from ablations.config.studies import Study
from ablations.kinds.hyperparameters import spell
from ablations.kinds.metrics import Metric
from ablations.presentation.document import Table
from ablations.presentation.effect_verdicts import Corrected, judged_by, verdict
from ablations.presentation.wording import (
    difference_text,
    in_sentence,
    interval_text,
    listed,
    marked,
    merged,
    signed,
)

DATA = (
    "metric", "hyperparameter", "first", "second", "pairs", "judged_by", "units",
    "difference", "difference_ci_low", "difference_ci_high", "ratio", "ratio_ci_low", "ratio_ci_high",
    "p_holm", "p_items_holm", "effect_size", "effect_ci_low", "effect_ci_high", "verdict",
)  # fmt: skip
DISPLAY = (
    "Metric", "Hyperparameter", "From", "To", "Pairs", "Judged by", "Difference", "95 % interval", "p (Holm)",
    "Effect size d", "95 % interval of d", "Verdict",
)  # fmt: skip

# With fewer seeds than this, the notes tell how little they detect.
FEW_SEEDS = 5


def _units_text(metric: Metric, comparison: Comparison) -> str:
    """What gives the noise of a comparison, with the number of units where these are counted."""
    name = judged_by(metric, comparison)
    if comparison.noise in ("model", "exact"):
        return name
    return f"{comparison.units:,} {name.removesuffix('s') if comparison.units == 1 else name}"


def effects_table(name: str, study: Study, records: Records) -> Table:
    """All comparisons of each metric, with Holm's correction over them and a verdict for each."""
    rows, shown, notes = [], [], {}
    for metric_name in study.analysed:
        metric = study.kind.metrics[metric_name]
        found = list(effects(study, records, metric_name))
        ps, over_items = corrected(found), corrected(found, over_items=True)
        tests = sum(p is not None for p in ps)
        depends = interactions(study, records, metric_name)
        for effect, p, p_over_items in zip(found, ps, over_items, strict=True):
            comparison = effect.comparison
            if comparison and not _is_constant(comparison):
                others = depends.get(effect.factor, ()) if comparison.noise == "seeds" else ()
                its = Corrected(p, p_over_items, tests, others)
                words = verdict(study, metric, effect, its)
                rows.append({"metric": metric_name, **_fields(metric, effect, comparison, its, words)})
                ends = [study.level_label(effect.factor, end) for end in (effect.first, effect.second)]
                readable = _display(metric, study.label(effect.factor), effect, comparison, p, words)
                shown.append(readable | dict(zip(("From", "To"), ends, strict=True)))
        notes[metric.label] = [*_method_notes(study, metric, found, tests), *_gap_notes(study, found)]
    data = pd.DataFrame(rows, columns=DATA)
    display = pd.DataFrame(shown, columns=DISPLAY)
    # Without the columns that no comparison of this study fills.
    display = display[[column for column in display if display.empty or (display[column] != "").any()]]
    of_one = ""
    if len(study.analysed) == 1:
        display = display.drop(columns="Metric")
        of_one = f" on the {in_sentence(metric.label)}"
    title = f"{study.title}: effect of each hyperparameter{of_one}"
    return Table(title, f"{name}_effects", data, display, merged(notes))


def _is_constant(comparison: Comparison) -> bool:
    """Whether an exact value is the same for both levels, as the parameters of a model are for all seeds."""
    return comparison.noise == "exact" and not comparison.difference


def _fields(
    metric: Metric, effect: Effect, comparison: Comparison, its: Corrected, words: str
) -> dict[str, str]:
    is_ratio = metric.noise == "time"
    size = _numbers(comparison.difference, comparison.interval, math.exp if is_ratio else float)
    ends = zip(("", "_ci_low", "_ci_high"), size, strict=True)
    d = _numbers(comparison.effect, comparison.effect_interval, float)
    return {
        "hyperparameter": effect.factor,
        "first": spell(effect.first),
        "second": spell(effect.second),
        "pairs": str(comparison.pairs),
        "units": str(comparison.units),
        "judged_by": judged_by(metric, comparison),
        **{f"{'ratio' if is_ratio else 'difference'}{end}": text for end, text in ends},
        "p_holm": "" if its.p is None else f"{its.p:.4g}",
        "p_items_holm": "" if its.p_over_items is None else f"{its.p_over_items:.4g}",
        **dict(zip(("effect_size", "effect_ci_low", "effect_ci_high"), d, strict=True)),
        "verdict": words,
    }


def _numbers(
    value: float | None, interval: Interval | None, scale: Callable[[float], float]
) -> tuple[str, str, str]:
    """A value and the ends of its interval as text."""
    ends = (interval.low, interval.high) if interval else (None, None)
    one, low, high = ("" if each is None else f"{scale(each):.4f}" for each in (value, *ends))
    return one, low, high


def _display(
    metric: Metric, label: str, effect: Effect, comparison: Comparison, p: float | None, words: str
) -> dict[str, str]:
    d = comparison.effect_interval
    return {
        "Metric": marked(metric),
        "Hyperparameter": label,
        "From": spell(effect.first),
        "To": spell(effect.second),
        "Pairs": str(comparison.pairs or ""),
        "Judged by": _units_text(metric, comparison),
        "Difference": difference_text(metric, comparison.difference),
        "95 % interval": interval_text(metric, comparison.interval),
        "p (Holm)": "" if p is None else ("< 0.001" if p < 0.001 else f"{p:.3f}"),
        "Effect size d": "" if comparison.effect is None else signed(comparison.effect, 2),
        "95 % interval of d": "" if d is None else f"{signed(d.low, 1)} to {signed(d.high, 1)}",
        "Verdict": words,
    }


def _method_notes(study: Study, metric: Metric, found: Sequence[Effect], tests: int) -> list[str]:
    """How the comparisons of a metric were made."""
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
        notes.append("Exact values need no test: a difference is the mean over the pairs.")
    if tests:
        several = (
            f"{tests} {'test' if tests == 1 else 'tests'}{' of this metric' * (len(study.analysed) > 1)}"
        )
        notes.append(
            f"p is two-sided, with Holm's correction over {several}. Each interval is that of a single "
            "comparison, without correction."
        )
    if noises & {"seeds", "settings"}:
        notes.append(
            "The test is Student's paired test. d is the mean difference in standard deviations of the units "
            "that it is judged by, with Hedges' correction. The numbers of seeds or pairs are for a power of "
            "80 %, and for the ends of the interval of d."
        )
        notes.append(
            "Assumed: the differences of the units are independent and normal. The settings of a grid are "
            "chosen; other settings may have other differences."
        )
    few = [e.comparison.units for e in found if e.comparison and e.comparison.noise == "seeds"]
    if few and min(few) < FEW_SEEDS:
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


def _gap_notes(study: Study, found: Sequence[Effect]) -> list[str]:
    """What the table does not compare, and why."""
    notes = []
    names = dict.fromkeys(effect.factor for effect in found if not effect.comparison and not effect.pairs)
    never = [n for n in names if all(not effect.pairs for effect in found if effect.factor == n)]
    partly = [n for n in names if n not in never]
    if never:
        notes.append(f"No two runs of this study differ in {' or '.join(never)} only; see the design table.")
    if partly:
        notes.append(
            f"Some levels of {' and '.join(partly)} never occur in runs that differ in nothing else."
        )
    if equal := dict.fromkeys(e.factor for e in found if e.comparison and _is_constant(e.comparison)):
        notes.append(f"Without any difference, and not listed: levels of {listed(equal)}.")
    paired = [effect for effect in found if effect.pairs]
    compared = [effect.comparison.pairs if effect.comparison else 0 for effect in paired]
    lost = [e.pairs - e.apart - e.alone - count for e, count in zip(paired, compared, strict=True)]
    notes += _left_out("a run is missing or diverged", paired, lost)
    elsewhere = "the device, threads or runs per job differ"
    notes += _left_out(elsewhere, paired, [effect.apart for effect in paired])
    single = "their setting has no second seed, so it does not show the noise of seeds"
    notes += _left_out(single, paired, [effect.alone for effect in paired])
    if apart := max((e.apart for e in found if e.comparison and not e.pairs), default=0):
        notes.append(f"Runs left out of the linear model because {elsewhere}: {apart}.")
    many = [f for f, levels in varying_levels(study).items() if len(levels) > MOST_LEVELS]
    if many:
        notes.append(
            f"Hyperparameters with more than {MOST_LEVELS} levels ({', '.join(many)}): each level is "
            "compared with the first only."
        )
    if not found:
        notes.append("No hyperparameter varies in this study.")
    return notes


def _left_out(why: str, found: Sequence[Effect], counts: Sequence[int]) -> list[str]:
    """The note on pairs that were left out, if there are any: how many of each hyperparameter."""
    of_factors = dict.fromkeys((effect.factor for effect in found), 0)
    for effect, count in zip(found, counts, strict=True):
        of_factors[effect.factor] += count
    left_out = ", ".join(f"{count} of {factor}" for factor, count in of_factors.items() if count)
    return [f"Pairs left out because {why}: {left_out}."] if left_out else []
