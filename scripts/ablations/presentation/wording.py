"""How metrics, their differences and notes about them are worded, the same in every table and figure."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence

from ablations.analysis.inference import Interval
from ablations.config.studies.study import Study
from ablations.kinds.metrics import Better, Metric

ARROWS: dict[Better | None, str] = {"higher": " ↑", "lower": " ↓", None: ""}


def marked(metric: Metric) -> str:
    """The heading of a metric with an arrow in the direction that is better: `Test accuracy (%) ↑`."""
    return metric.heading + ARROWS[metric.better]


def apart(name: str, taken: Collection[str]) -> str:
    """A name for a column beside others, one of which may have it already."""
    return f"{name}:" if name in taken else name


def in_sentence(label: str) -> str:
    """A label within a sentence: `test accuracy`, but `MACs`."""
    return label[:1].lower() + label[1:] if label[1:2].islower() else label


def listed(words: Iterable[str], joint: str = " and ") -> str:
    """Words as a list in a sentence: `a, b and c`."""
    *others, last = words
    return f"{', '.join(others)}{joint}{last}" if others else last


def labels(study: Study, names: Iterable[str], joint: str = " and ") -> str:
    """The labels of hyperparameters as a list in a sentence."""
    return listed((in_sentence(study.label(name)) for name in names), joint)


def ratio_text(ratio: float) -> str:
    """A ratio, with three decimals near 1: `×0.974`."""
    if 0.1 <= ratio < 10:
        return f"×{ratio:.3f}"
    return f"×{ratio:.3g}" if ratio < 1000 else f"×{ratio:,.0f}"


def signed(number: float, decimals: int) -> str:
    """A number with its sign: `+0.25`, and `−0.25` with a true minus."""
    return f"{number:+.{decimals}f}".replace("-", "−")


def difference_unit(metric: Metric) -> str:
    """The unit of a difference, which in percent is one of points."""
    return "points" if metric.unit == "%" else metric.unit


def difference_text(metric: Metric, difference: float) -> str:
    """A difference with its unit, or a ratio given by its logarithm: `-1.20 points`, `×0.974`."""
    if metric.noise == "time":
        return ratio_text(math.exp(difference))
    return f"{signed(difference, metric.decimals)} {difference_unit(metric)}".rstrip()


def interval_text(metric: Metric, interval: Interval | None) -> str:
    """The interval of a difference or ratio; nothing for None."""
    if interval is None:
        return ""
    if metric.noise == "time":
        return f"{ratio_text(math.exp(interval.low))} to {ratio_text(math.exp(interval.high))}"
    return " to ".join(signed(end, metric.decimals) for end in (interval.low, interval.high))


def p_in_words(p: float) -> str:
    """A p-value in a sentence, behind the letter."""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def better_text(metric: Metric, first: str, second: str, difference: float) -> str:
    """Which of two levels is better, or only higher: `adam is better (lower)`."""
    if metric.better is None:
        return f"{second if difference > 0 else first} is higher"
    is_second = (difference > 0) == (metric.better == "higher")
    return f"{second if is_second else first} is better ({metric.better})"


def merged(notes: Mapping[str, Sequence[str]]) -> list[str]:
    """The notes on several metrics, given by label: a note on only some of them begins with their labels."""
    every = dict.fromkeys(note for of_metric in notes.values() for note in of_metric)
    owners = {note: [label for label, of_metric in notes.items() if note in of_metric] for note in every}
    return [
        note if len(labels) == len(notes) else f"{', '.join(labels)}: {note}"
        for note, labels in owners.items()
    ]
