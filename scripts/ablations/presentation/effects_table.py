"""The effects table of a study: every comparison of two levels, with a verdict."""

from collections.abc import Sequence

import pandas as pd

from ablations.analysis.cells import Records
from ablations.analysis.design import varying_levels
from ablations.analysis.effects import MOST_LEVELS, Effect, corrected, effects
from ablations.analysis.inference import ALPHA, MOST_PAIRS, Comparison, Interval, Noise, pairs_needed
from ablations.config.studies import Study
from ablations.kinds.hyperparameters import spell
from ablations.presentation.document import LABELS, Table

DATA = (
    "hyperparameter", "first", "second", "pairs", "judged_by", "units", "difference", "difference_ci_low",
    "difference_ci_high", "p_holm", "effect_size", "effect_ci_low", "effect_ci_high", "verdict",
)  # fmt: skip
DISPLAY = (
    "Hyperparameter", "From", "To", "Pairs", "Judged by", "Difference (points)", "95 % interval", "p (Holm)",
    "Effect size d", "95 % interval of d", "Verdict",
)  # fmt: skip
# The names of the sources of noise in the table.
JUDGED_BY: dict[Noise, str] = {
    "seeds": "seeds",
    "settings": "settings",
    "images": "test images",
    "model": "linear model",
}


def effects_table(name: str, study: Study, records: Records) -> Table:
    """All comparisons, with Holm's correction over the table and a verdict for each."""
    found = list(effects(study, records))
    ps = corrected(found)
    tests = sum(p is not None for p in ps)
    rows, shown = [], []
    for effect, p in zip(found, ps, strict=True):
        if comparison := effect.comparison:
            verdict = _verdict(effect, comparison, p, tests, study.kind.is_random)
            rows.append(_fields(effect, comparison, p, verdict))
            shown.append(_display(effect, comparison, p, verdict))
    data = pd.DataFrame(rows, columns=DATA)
    display = pd.DataFrame(shown, columns=DISPLAY)
    # Without the columns that no comparison of this study fills.
    display = display[[column for column in display if display.empty or (display[column] != "").any()]]
    noises = {e.comparison.noise for e in found if e.comparison and e.comparison.p is not None}
    notes = [*_method_notes(study, noises, tests), *_gap_notes(study, found)]
    title = f"{study.title}: effect of each hyperparameter on the test accuracy"
    return Table(title, f"{name}_effects", data, display, notes)


def _verdict(effect: Effect, comparison: Comparison, p: float | None, tests: int, random: bool) -> str:
    pairs, noise = comparison.pairs, comparison.noise
    if p is None:
        if pairs == 1:
            return "not tested: a single pair; add seeds" if random else "not tested: a single pair"
        return f"{'' if comparison.difference else 'no difference; '}not tested: the differences do not vary"
    if_additive = ", if there are no interactions" if noise == "model" else ""
    if p < ALPHA:
        higher = effect.second if comparison.difference > 0 else effect.first
        runs = "these two runs" if pairs == 1 else "these runs"
        limit = f", in {runs}" if noise == "images" and random else if_additive
        return f"{spell(higher)} is more accurate{limit}"
    if noise == "images":
        return "not significant on these test images"
    if comparison.effect is None:
        return f"not significant{if_additive}"
    # More seeds in the same settings where there are several; otherwise more pairs, in any settings.
    unit = "seeds" if noise == "seeds" else "pairs"
    needed = pairs_needed(comparison.effect, tests)
    many = f"more than {MOST_PAIRS:,}" if needed is None else f"about {max(needed, comparison.units + 1)}"
    return f"not significant; detecting a difference of this size would take {many} {unit}"


def _fields(effect: Effect, comparison: Comparison, p: float | None, verdict: str) -> dict[str, str]:
    values: dict[str, str] = {
        "hyperparameter": effect.factor,
        "first": spell(effect.first),
        "second": spell(effect.second),
        "pairs": str(comparison.pairs),
        "units": str(comparison.units),
        "judged_by": JUDGED_BY[comparison.noise],
        "difference": f"{comparison.difference:.4f}",
        "p_holm": "" if p is None else f"{p:.4g}",
        "effect_size": "" if comparison.effect is None else f"{comparison.effect:.3f}",
        "verdict": verdict,
    }
    for key, interval in (("difference", comparison.interval), ("effect", comparison.effect_interval)):
        values[f"{key}_ci_low"] = "" if interval is None else f"{interval.low:.4f}"
        values[f"{key}_ci_high"] = "" if interval is None else f"{interval.high:.4f}"
    return values


def _display(effect: Effect, comparison: Comparison, p: float | None, verdict: str) -> dict[str, str]:
    return {
        "Hyperparameter": LABELS.get(effect.factor, effect.factor),
        "From": spell(effect.first),
        "To": spell(effect.second),
        "Pairs": str(comparison.pairs or ""),
        "Judged by": JUDGED_BY[comparison.noise],
        "Difference (points)": f"{comparison.difference:+.2f}",
        "95 % interval": _interval_text(comparison.interval, 2),
        "p (Holm)": "" if p is None else ("< 0.001" if p < 0.001 else f"{p:.3f}"),
        "Effect size d": "" if comparison.effect is None else f"{comparison.effect:+.2f}",
        "95 % interval of d": _interval_text(comparison.effect_interval, 1),
        "Verdict": verdict,
    }


def _interval_text(interval: Interval | None, decimals: int) -> str:
    return "" if interval is None else f"{interval.low:+.{decimals}f} to {interval.high:+.{decimals}f}"


def _method_notes(study: Study, noises: set[Noise], tests: int) -> list[str]:
    """How the comparisons of this table were made, by the sources of noise that occur in it."""
    random = study.kind.is_random
    notes = []
    if tests:
        pairs = f"Each pair of runs differs in nothing else{' and has the same seed' * random}. "
        notes.append(
            f"{pairs * (noises != {'model'})}A difference is the second level minus the first. p is "
            f"two-sided, with Holm's correction over {tests} {'test' if tests == 1 else 'tests'}. Each "
            "interval is that of a single comparison, without correction."
        )
    if noises & {"seeds", "settings"}:
        notes.append(
            "The test is Student's paired test. d is the mean difference in standard deviations of the units "
            "that it is judged by. The number of seeds or pairs needed is for a power of 80 %."
        )
    if "seeds" in noises:
        notes.append(
            "Judged by seeds: the noise is the variation between seeds of the mean difference over the "
            "settings of this grid. The difference itself may vary between these settings."
        )
    if "settings" in noises:
        notes.append(
            "Judged by settings: most settings have a single pair, so the variation between settings counts "
            "as noise. "
            + (
                "It includes the noise of seeds; only more seeds separate the two."
                if random
                else "Not all runs record which images they classified correctly."
            )
        )
    if "images" in noises:
        notes.append(
            "Judged by test images: the test compares which images each run classified correctly (one pair: "
            "McNemar's exact test). "
            + (
                "The difference may be larger for other seeds; two or more seeds would show how large."
                if random
                else "Nothing else in these runs is random."
            )
        )
    if "model" in noises:
        notes.append(
            "Judged by a linear model: no two runs differ in this hyperparameter only. The difference is "
            "estimated by a model of all main effects (ordinary least squares). Interactions bias it."
            + " If each seed has every point, the noise is the variation of the estimate between seeds."
            * (random and len(study.seeds) > 1)
        )
    return notes


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
    lost = dict.fromkeys((effect.factor for effect in found), 0)
    for effect in found:
        lost[effect.factor] += effect.pairs - (effect.comparison.pairs if effect.comparison else 0)
    if missing := ", ".join(f"{count} of {factor}" for factor, count in lost.items() if count):
        notes.append(f"Pairs left out because a run is missing or diverged: {missing}.")
    many = [f for f, levels in varying_levels(study).items() if len(levels) > MOST_LEVELS]
    if many:
        notes.append(
            f"Hyperparameters with more than {MOST_LEVELS} levels ({', '.join(many)}): each level is "
            "compared with the first only."
        )
    if not found:
        notes.append("No hyperparameter varies in this study.")
    return notes
