"""The effects table of a study: every comparison with a verdict."""

from collections.abc import Sequence

import pandas as pd

from ablations.analysis import inference as statistics
from ablations.analysis.cells import Records
from ablations.analysis.effects import MOST_LEVELS, Effect, corrected, effects
from ablations.analysis.inference import ALPHA, Interval, Noise
from ablations.config.studies import Study
from ablations.kinds.hyperparameters import spell
from ablations.presentation.document import LABELS, Table


def effects_table(name: str, study: Study, records: Records) -> Table:
    """All comparisons with Holm's correction over the table, and a verdict in words for each."""
    found = list(effects(study, records))
    ps = corrected(found)
    tests = sum(p is not None for p in ps)
    rows, shown = [], []
    for effect, p in zip(found, ps, strict=True):
        if effect.comparison:
            verdict = _verdict(effect, p, tests, study.kind.is_random)
            rows.append(_fields(effect, p, verdict))
            shown.append(_display(effect, p, verdict))
    data = pd.DataFrame(rows, columns=DATA)
    display = pd.DataFrame(shown, columns=DISPLAY)
    # Without the columns that no comparison of this study fills.
    display = display[[column for column in display if display.empty or (display[column] != "").any()]]
    title = f"{study.title}: what each hyperparameter does to the test accuracy"
    return Table(title, f"{name}_effects", data, display, _notes(study, found, tests))


DATA = (
    "hyperparameter", "first", "second", "pairs", "judged_by", "units", "difference", "difference_ci_low",
    "difference_ci_high", "p_holm", "effect_size", "effect_ci_low", "effect_ci_high", "verdict",
)  # fmt: skip
DISPLAY = (
    "Hyperparameter", "From", "To", "Pairs", "Judged by", "Difference (points)", "95 % interval", "p (Holm)",
    "Effect size d", "95 % interval of d", "Verdict",
)  # fmt: skip


# What the noise of a comparison is called in the table.
JUDGED_BY: dict[Noise, str] = {
    "seeds": "seeds",
    "settings": "settings",
    "images": "test images",
    "model": "linear model",
}


def _verdict(effect: Effect, p: float | None, tests: int, random: bool) -> str:
    comparison = effect.comparison
    assert comparison is not None
    pairs = comparison.pairs
    if p is None:
        if pairs == 1:
            return "one pair: no test; seeds are needed" if random else "one pair: no test"
        return (
            "no spread to judge by" if comparison.difference else "no difference, and no spread to judge by"
        )
    runs = "these two runs" if pairs == 1 else "these runs"
    if p < ALPHA:
        higher = effect.second if comparison.difference > 0 else effect.first
        only = {"model": ", if nothing interacts", "images": f", of {runs}" if random else ""}
        return f"{spell(higher)} is more accurate{only.get(comparison.noise, '')}"
    if comparison.noise == "images":
        return f"the test images do not tell {runs} apart"
    if comparison.noise == "model":
        return "no difference shown, if nothing interacts"
    assert comparison.effect is not None
    # Where there are seeds, more of them in as many settings; else more pairs, of whatever settings.
    unit = "seeds" if comparison.noise == "seeds" else "pairs"
    needed = statistics.pairs_needed(comparison.effect, tests)
    if needed is None:
        return "no difference shown, and none of this size to be shown"
    return (
        f"no difference shown; one of this size would take about {max(needed, comparison.units + 1)} {unit}"
    )


def _fields(effect: Effect, p: float | None, verdict: str) -> dict[str, str]:
    comparison = effect.comparison
    assert comparison is not None
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


def _display(effect: Effect, p: float | None, verdict: str) -> dict[str, str]:
    comparison = effect.comparison
    assert comparison is not None
    return {
        "Hyperparameter": LABELS.get(effect.factor, effect.factor),
        "From": spell(effect.first),
        "To": spell(effect.second),
        "Pairs": str(comparison.pairs or ""),
        "Judged by": JUDGED_BY[comparison.noise],
        "Difference (points)": f"{comparison.difference:+.2f}",
        "95 % interval": _text(comparison.interval, 2),
        "p (Holm)": "" if p is None else ("< 0.001" if p < 0.001 else f"{p:.3f}"),
        "Effect size d": "" if comparison.effect is None else f"{comparison.effect:+.2f}",
        "95 % interval of d": _text(comparison.effect_interval, 1),
        "Verdict": verdict,
    }


def _text(interval: Interval | None, decimals: int) -> str:
    return "" if interval is None else f"{interval.low:+.{decimals}f} to {interval.high:+.{decimals}f}"


def _notes(study: Study, found: Sequence[Effect], tests: int) -> list[str]:
    notes = []
    noises = {e.comparison.noise for e in found if e.comparison and e.comparison.p is not None}
    if tests:
        same = f"Pairs of runs that differ in nothing else{', with the same seed' * study.kind.is_random}. "
        notes.append(
            f"{same * (noises != {'model'})}A difference is of the second level less the first; p is "
            f"two-sided, with Holm's correction over {tests} {'test' if tests == 1 else 'tests'}. An "
            "interval is that of one comparison."
        )
    if noises & {"seeds", "settings"}:
        notes.append(
            "By Student's paired test. d is the mean difference in standard deviations of what it is judged "
            "by. How many it would take is for a power of 80 %."
        )
    if "seeds" in noises:
        notes.append(
            "Judged by seeds: by how much their means over the settings of this grid differ. In each of "
            "these settings the difference may be another."
        )
    if "settings" in noises:
        seeds = "cannot be told from what seeds do. More seeds would tell"
        seeds = (
            seeds if study.kind.is_random else "counts as noise: not all runs say which images they got right"
        )
        notes.append(
            "Judged by settings: most have one pair, so that what an effect differs by from one setting to "
            f"the other {seeds}."
        )
    if "images" in noises:
        what = "other seeds may differ by more, and two or more would say by how much"
        what = what if study.kind.is_random else "nothing else in them is left to chance"
        notes.append(
            "Judged by test images: which of them each run got right (one pair: McNemar's exact test); "
            f"{what}."
        )
    if "model" in noises:
        notes.append(
            "Judged by a linear model: no two runs differ in this alone, and the difference is that in a "
            "model of all main effects (ordinary least squares). What interacts makes it wrong."
            + " Where each seed has every point, its noise is what it differs by between them."
            * (study.kind.is_random and len(study.seeds) > 1)
        )
    never = [e for e in found if not e.comparison and not e.pairs]
    names = dict.fromkeys(effect.factor for effect in never)
    whole = [n for n in names if all(not e.pairs for e in found if e.factor == n)]
    some = [n for n in names if n not in whole]
    if whole:
        notes.append(
            f"No two runs of this study differ in {' or in '.join(whole)} alone; see the table of its design."
        )
    if some:
        notes.append(f"Not all levels of {' and of '.join(some)} are in runs that differ in nothing else.")
    lost = {e.factor: 0 for e in found}
    for effect in found:
        lost[effect.factor] += effect.pairs - (effect.comparison.pairs if effect.comparison else 0)
    if missing := ", ".join(f"{count} of {factor}" for factor, count in lost.items() if count):
        notes.append(f"Pairs left out, as a run of them is not there or has diverged: {missing}.")
    many = [f for f in study.factors if len({run.value(f) for run in study.runs()}) > MOST_LEVELS]
    if many:
        notes.append(
            f"Of more than {MOST_LEVELS} levels ({', '.join(many)}) each is compared with the first alone."
        )
    if not found:
        notes.append("Nothing varies in this study.")
    return notes
