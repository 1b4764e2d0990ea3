"""Checks of what a study declares about the comparisons of its levels, before any run."""

from collections.abc import Iterator

from ablations.config.studies.questions import ONLY
from ablations.config.studies.study import Study
from ablations.errors import nearest
from ablations.kinds.hyperparameters import spell


def margins(study: Study) -> dict[str, float]:
    """The margin of each metric that has one, in the table's unit; of a time, a ratio above 1."""
    named = {study.reported(name) if name else study.analysed[0]: name for name in study.margin}
    return {metric: study.margin[name] for metric, name in named.items()}


def check_questions(study: Study, where: str) -> Iterator[str]:
    """Whether the margins are of metrics with noise, and the primary hyperparameters vary."""
    yield from _check_margins(study, f"{where}.margin")
    for i, name in enumerate(study.primary):
        if name not in study.factors:
            yield (
                f"{where}.primary[{i}]: '{name}' is not a hyperparameter of {study.kind.name} runs"
                f"{nearest(name, study.factors)} (there are {', '.join(study.factors)})"
            )
        elif not study.varies(name):
            yield f"{where}.primary[{i}]: the grid has one level of {name}, and nothing is compared"


def _check_margins(study: Study, where: str) -> Iterator[str]:
    if ONLY in study.margin and len(study.analysed) > 1:
        each = ", ".join(f"{name}: {spell(study.margin[ONLY])}" for name in study.analysed)
        yield (
            f"{where}: the study analyses {len(study.analysed)} metrics; write a margin for each that needs "
            f"one, such as {{{each}}}"
        )
        return
    for name, margin in margins(study).items():
        of_one = where if ONLY in study.margin else f"{where}.{name}"
        if name not in study.analysed:
            known = study.analysed
            hint = nearest(name, known)
            yield f"{of_one}: the study does not analyse '{name}'{hint} (it analyses {', '.join(known)})"
            continue
        metric = study.kind.metrics[name]
        if metric.noise == "exact":
            yield f"{of_one}: {name} is exact, and its differences need no test; leave its margin out"
        elif metric.noise == "time" and margin <= 1:
            yield (
                f"{of_one}: {name} is compared as a ratio; write a margin above 1, such as 1.05 for 5 %, "
                f"and not {spell(margin)}"
            )
