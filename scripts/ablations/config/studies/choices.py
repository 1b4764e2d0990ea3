"""Choices: the hyperparameters of a study that a validation metric chooses, checked before any run."""

from collections.abc import Iterator

from ablations.config.studies.study import Study
from ablations.errors import nearest


def check_report(study: Study, where: str) -> Iterator[str]:
    """Whether runs have the best epoch that `report` asks for."""
    kind, where = study.kind, f"{where}.report"
    if study.report == "last":
        return
    if not kind.at_best:
        yield f"{where}: runs of kind {kind.name} do not record a best epoch; leave it out"
    elif 0 in study.levels(kind.held_out):
        yield (
            f"{where}: runs with {kind.held_out}: 0 have no best epoch; set it above 0 "
            "in every block of the grid"
        )


def check_choice(study: Study, where: str) -> Iterator[str]:
    """Whether `choose` names factors that vary, and a metric that does not come from the test set."""
    if (choice := study.choose) is None:
        return
    where, kind = f"{where}.choose", study.kind
    if study.table.columns:
        yield f"{where}: the table has `columns`; name these hyperparameters in its `rows`"
    for i, name in enumerate(choice.over):
        if name not in study.factors:
            yield (
                f"{where}.over[{i}]: '{name}' is not a hyperparameter of {kind.name} runs"
                f"{nearest(name, study.factors)} (there are {', '.join(study.factors)})"
            )
        elif not study.varies(name):
            yield f"{where}.over[{i}]: the grid has one level of {name}, and nothing can be chosen"
        elif name in study.table.rows:
            yield f"{where}.over[{i}]: {name} is in the table's `rows`; rows tell apart what is not chosen"
    reported = {*study.values, *study.analysed}
    # Which metrics of a user's kind are of the test set is not known.
    allowed = kind.chosen_by if kind.is_shipped else tuple(n for n in kind.metrics if n not in reported)
    if choice.by not in kind.metrics:
        yield f"{where}.by: '{choice.by}' is not a metric of {kind.name} runs{nearest(choice.by, allowed)}"
    elif choice.by not in allowed:
        shown = (
            f"it may be {' or '.join(allowed)}" if allowed else f"{kind.name} runs have no metric that may"
        )
        yield f"{where}.by: {choice.by} is reported, or of the test set, and may not choose ({shown})"
    elif kind.metrics[choice.by].better is None:
        yield f"{where}.by: whether a higher {choice.by} is better is not known; say so by `better`"
    elif kind.held_out and 0 in study.levels(kind.held_out):
        yield f"{where}.by: runs that hold nothing out have no {choice.by}; set {kind.held_out} in the grid"
