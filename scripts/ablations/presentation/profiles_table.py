"""The table of profiles of a study with many seeds: interquartile means, and how often each is better."""

import pandas as pd

from ablations.analysis.measurements import Records
from ablations.analysis.profiles import ProfiledSetting, baseline_of, profiles
from ablations.analysis.ranks import can_be_ranked
from ablations.config.studies.rankings import FEWEST_SEEDS, settings_by_dataset
from ablations.config.studies.study import Study
from ablations.kinds.hyperparameters import spell
from ablations.kinds.metrics import Metric
from ablations.presentation.document import Table
from ablations.presentation.wording import apart, in_sentence, marked, merged

NONE, BETTER, OF_SHARE = "–", "Better than the reference", "95 % interval of it"
DATA = (
    "iqm", "iqm_ci_low", "iqm_ci_high", "n", "better_share", "better_ci_low", "better_ci_high", "reference",
)  # fmt: skip
TAKEN = ("metric", *DATA)
HEADINGS = ("Metric", "n", "Interquartile mean", "95 % interval", BETTER, OF_SHARE)


def profiles_table(name: str, study: Study, records: Records) -> Table:
    """The interquartile mean of each setting, and the share of seeds in which it beats the reference."""
    rows: list[dict[str, str]] = []
    shown: list[dict[str, str]] = []
    notes = {}
    metrics = {name: study.kind.metrics[name] for name in study.analysed}
    profiled = {name: metric for name, metric in metrics.items() if can_be_ranked(metric)}
    for metric_name, metric in profiled.items():
        found = profiles(study, records, metric_name)
        reference = next((each for each in found if each.is_reference), None)
        for each in found:
            levels = {apart(factor, TAKEN): spell(level) for factor, level in each.setting}
            rows.append({"metric": metric_name, **levels, **_fields(each)})
            shown.append(
                {"Metric": marked(metric)}
                | {apart(study.label(f), HEADINGS): study.level_label(f, level) for f, level in each.setting}
                | _texts(metric, each)
            )
        notes[metric.label] = _notes(study, records, found, reference)
    factors = [factor for factor, _ in next(iter(settings_by_dataset(study)))]
    data = pd.DataFrame(rows, columns=["metric", *(apart(factor, TAKEN) for factor in factors), *DATA])
    headed = [apart(study.label(factor), HEADINGS) for factor in factors]
    display, of_one = pd.DataFrame(shown, columns=[HEADINGS[0], *headed, *HEADINGS[1:]]), ""
    if len(profiled) == 1:
        display, of_one = display.drop(columns="Metric"), f" of the {in_sentence(metric.label)}"
    title = f"{study.title}: interquartile means{of_one}"
    all_notes = merged(notes) or ["No analysed metric has a better direction and noise."]
    return Table(title, f"{name}_profiles", data, display, all_notes)


def _fields(found: ProfiledSetting) -> dict[str, str]:
    interval, beats = found.interval, found.beats
    return {
        "iqm": "" if found.mean is None else f"{found.mean:.4f}",
        "iqm_ci_low": f"{interval.low:.4f}" if interval else "",
        "iqm_ci_high": f"{interval.high:.4f}" if interval else "",
        "n": str(len(found.values)),
        "better_share": f"{beats.share:.4f}" if beats else "",
        "better_ci_low": f"{beats.interval.low:.4f}" if beats else "",
        "better_ci_high": f"{beats.interval.high:.4f}" if beats else "",
        "reference": "yes" if found.is_reference else "",
    }


def _texts(metric: Metric, found: ProfiledSetting) -> dict[str, str]:
    interval, beats, decimals = found.interval, found.beats, metric.decimals
    ends = f"{interval.low:.{decimals}f} to {interval.high:.{decimals}f}" if interval else NONE
    of_beats = f"{beats.interval.low:.0%} to {beats.interval.high:.0%}" if beats else ""
    without = "reference" if found.is_reference else NONE
    return {
        "n": str(len(found.values)),
        "Interquartile mean": NONE if found.mean is None else f"{found.mean:.{decimals}f}",
        "95 % interval": ends,
        BETTER: f"{beats.share:.0%}".replace("%", " %") if beats else without,
        OF_SHARE: of_beats.replace("%", " %"),
    }


def _notes(
    study: Study, records: Records, found: list[ProfiledSetting], reference: ProfiledSetting | None
) -> list[str]:
    over = "seeds and datasets" if any(len(by) > 1 for by in settings_by_dataset(study).values()) else "seeds"
    notes = [
        f"The interquartile mean is that of the middle half of the n values over {over}. It hardly depends "
        "on a few runs that collapse. Its interval is a bootstrap over seeds."
    ]
    if any(each.beats for each in found):
        of_data = "the best interquartile mean, which the data choose"
        which = of_data if baseline_of(study, records) is None else "the baseline"
        notes.append(
            f"{BETTER}: the share of the seeds in which a setting is better than {which}; equal values "
            "count half. The interval is for other seeds (Clopper and Pearson)."
        )
    if any(each.mean is None for each in found):
        notes.append(
            f"{NONE}: fewer than {FEWEST_SEEDS} seeds have all values, or too many of the runs diverged."
        )
    if any(each.diverged for each in found):
        notes.append(f"Diverged runs, which count as the worst: {sum(each.diverged for each in found)}.")
    return notes
