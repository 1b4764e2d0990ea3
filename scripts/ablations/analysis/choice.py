"""Choices: for each setting of a study, the hyperparameters with the best mean of a validation metric."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ablations.analysis.cells import Cell, cell
from ablations.analysis.measurements import Records
from ablations.config.studies.study import Study
from ablations.runs.run import Run


@dataclass(frozen=True)
class Candidate:
    """A point that can be chosen: its values, its runs over the seeds, and their validation metric."""

    values: dict[str, Any]
    runs: Sequence[Run]
    validated: Cell

    @property
    def is_whole(self) -> bool:
        """Whether every seed has the validation metric."""
        return bool(self.validated.values) and not (self.validated.diverged or self.validated.missing)


@dataclass(frozen=True)
class Choice:
    """The candidates of one setting, in the order of the grid, and the one that validation chooses.

    `chosen` is None where no candidate has a value yet. `edges` are the chosen factors, of numbers, whose
    level is the lowest or the highest that was tried.
    """

    candidates: Sequence[Candidate]
    chosen: Candidate | None
    edges: tuple[str, ...]

    @property
    def point(self) -> tuple[dict[str, Any], Sequence[Run]]:
        """The chosen point; without runs, and with the values of the first candidate, if there is none."""
        return (self.chosen.values, self.chosen.runs) if self.chosen else (self.candidates[0].values, ())


def choices(study: Study, records: Records) -> list[Choice]:
    """One choice for each setting of what is not chosen, in the order of the table.

    The best candidate has the best mean over seeds; of equal ones, it is the first of the grid. One with a
    seed that diverged or is missing is chosen only if all have.
    """
    assert study.choose is not None
    metric = study.kind.metrics[study.choose.by]
    groups: dict[tuple[Any, ...], list[Candidate]] = {}
    for values, runs in study.points():
        validated = cell(metric, [records.get(run) for run in runs])
        groups.setdefault(study.setting(values), []).append(Candidate(values, runs, validated))
    sign = 1 if metric.better == "higher" else -1
    found = []
    for candidates in groups.values():
        able = [each for each in candidates if each.validated.mean is not None]
        able = [each for each in able if each.is_whole] or able
        chosen = max(able, key=lambda each: sign * (each.validated.mean or 0.0), default=None)
        edges = tuple(name for name in study.chosen if chosen and _is_at_edge(name, chosen, candidates))
        found.append(Choice(candidates, chosen, edges))
    return found


def table_points(study: Study, records: Records) -> Sequence[tuple[dict[str, Any], Sequence[Run]]]:
    """The points that the table of a study shows: those that validation has chosen, or else all."""
    return [choice.point for choice in choices(study, records)] if study.choose else study.points()


def _is_at_edge(name: str, chosen: Candidate, candidates: Sequence[Candidate]) -> bool:
    levels = {each.values[name] for each in candidates}
    if len(levels) < 2 or not all(type(level) in (int, float) for level in levels):
        return False
    return chosen.values[name] in (min(levels), max(levels))
