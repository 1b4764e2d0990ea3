"""The table of a study, with the layout of a table in a paper."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from ablations.analysis.cells import Cell, cell, interval_over_items
from ablations.analysis.inference import Interval, binomial_error
from ablations.analysis.measurements import Records, items_of, measured
from ablations.analysis.points import contrasts
from ablations.config.studies.study import Study
from ablations.config.studies.study_sections import Spread
from ablations.kinds.hyperparameters import spell
from ablations.kinds.metrics import Metric
from ablations.presentation.baseline_columns import (
    CONTRAST,
    NONE,
    baseline_notes,
    contrast_fields,
    contrast_text,
    heading,
    stacked,
)
from ablations.presentation.changes import changes
from ablations.presentation.code_note import code_note
from ablations.presentation.document import Table
from ablations.presentation.marks import marks
from ablations.presentation.wording import apart, difference_unit, in_sentence, listed, marked

# What the names of a cell's further columns in a TSV end in.
ENDINGS = ("sd", "ci_low", "ci_high", "ci_items_low", "ci_items_high", "n")
# What ± or the brackets of a cell are.
SPREADS = {
    "sd": "± is the standard deviation over {}",
    "se": "± is the standard error of the mean over {}",
    "ci95": "In brackets is Student's 95 % interval of the mean over {}",
}


def cell_text(content: Cell, seeds: int = 0, spread: Spread = "sd") -> str:
    """A cell for readers: `98.61 ± 0.08`, `diverged`, `missing`, with `n = 2` if it has not so many seeds."""
    if content.mean is None:
        return "diverged" if content.diverged else "missing"
    decimals = content.metric.decimals
    text = f"{content.mean:.{decimals}f}"
    notes = []
    if content.sd is not None and not content.counted:
        if spread == "ci95":
            ends = content.interval and (content.interval.low, content.interval.high)
            text += f" [{ends[0]:.{decimals}f}, {ends[1]:.{decimals}f}]" if ends else ""
        else:
            size = content.sd if spread == "sd" else content.sd / math.sqrt(len(content.values))
            text += f" ± {size:.{decimals}f}"
        notes += [f"n = {len(content.values)}"] if len(content.values) != seeds else []
    notes += [f"{content.diverged} diverged"] if content.diverged else []
    notes += [f"{content.missing} missing"] if content.missing else []
    return f"{text} ({', '.join(notes)})" if notes else text


def cell_fields(
    content: Cell, name: str, seeds: bool, over_items: Interval | None = None, separator: str = "_"
) -> dict[str, str]:
    """A cell as TSV fields: `name`, plus, with several seeds, `_sd`, `_ci_low`, `_ci_high` and `_n`.

    A metric with answers also has `_ci_items_low` and `_ci_items_high`, the interval over seeds and items.
    """
    decimals = content.metric.decimals
    shown = cell_text(content) if content.mean is None else f"{content.mean:.{decimals}f}"
    if not seeds or content.counted:
        return {name: shown}
    interval = content.interval
    numbers = {
        "sd": content.sd,
        "ci_low": interval and interval.low,
        "ci_high": interval and interval.high,
    }
    if content.metric.answers:
        numbers |= {
            "ci_items_low": over_items and over_items.low,
            "ci_items_high": over_items and over_items.high,
        }
    texts = {k: "" if v is None else f"{v:.{decimals}f}" for k, v in numbers.items()}
    texts["n"] = str(len(content.values))
    return {name: shown, **{f"{name}{separator}{k}": text for k, text in texts.items()}}


@dataclass
class _Row:
    """A row of the table: its number, what tells it apart, and its cells for programs and for readers."""

    number: int
    levels: dict[str, str]
    change: str
    fields: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)


def study_table(name: str, study: Study, records: Records) -> Table:
    """The table of a study: rows in the order of its grid, one cell per point, over its seeds."""
    points, separator = study.points(), separator_of(study)
    compared = {m: contrasts(study, records, m, points) for m in study.values} if study.base else {}
    best, mark_notes = marks(study, records, points)
    changed = changes(study, [values for values, _ in points]) if study.base else [""] * len(points)
    rows: dict[tuple[str, ...], _Row] = {}
    bold, seeds = set(), set()
    for i, (values, runs) in enumerate(points):
        levels = {factor: spell(values[factor]) for factor in study.rows}
        row = rows.setdefault(tuple(levels.values()), _Row(len(rows), levels, changed[i]))
        found = [records.get(run) for run in runs]
        for metric_name in study.values:
            metric = study.kind.metrics[metric_name]
            content = cell(metric, found)
            column, label = _column(study, metric_name, values)
            over_items = interval_over_items(metric, found)
            row.fields |= cell_fields(content, column, len(study.seeds) > 1, over_items, separator)
            row.texts[label] = cell_text(content, len(study.seeds), study.table.spread)
            seeds |= {len(content.values)} if content.sd is not None and not content.counted else set()
            bold |= {(row.number, label)} if (i, metric_name) in best else set()
            if compared:
                contrast = compared[metric_name][i]
                row.fields |= contrast_fields(study, metric_name, contrast, column, separator)
                of_level = label if study.table.columns else ""
                row.texts[heading(metric, of_level)] = contrast_text(study, metric, contrast)
    title = study.title
    if study.table.columns:
        title += f": {in_sentence(marked(study.kind.metrics[study.values[0]]))}"
    # A point that the grid excludes has an empty cell; it is not a missing run.
    data = pd.DataFrame([_data(study, row) for row in rows.values()]).fillna("")
    display, heads = pd.DataFrame([_display(study, row) for row in rows.values()]), _heads(study)
    display = display[[*(name for name in display if name not in heads), *heads]]
    every = [records.get(run) for _, runs in points for run in runs]
    notes = [*baseline_notes(study, compared, points), *mark_notes, *study_notes(study, every, seeds)]
    if display.isna().any(axis=None):
        notes.append(f"{NONE} instead of a value: the study does not have this point.")
    places = frozenset((row, display.columns.get_loc(label)) for row, label in bold)
    groups = len(study.rows) > 1 and not study.base
    display = display.fillna(NONE)
    printed = stacked(display) if study.base else None
    return Table(title, name, data, display, notes, places, heads=heads, groups=groups, printed=printed)


def _data(study: Study, row: _Row) -> dict[str, str]:
    return row.levels | ({own_name(study, "change"): row.change} if study.base else {}) | row.fields


def _display(study: Study, row: _Row) -> dict[str, str]:
    change = {own_heading(study, "Change"): row.change} if study.base else {}
    # With `ablate`, the change says what the levels are.
    names = {} if study.ablate else row.levels
    shown = {study.label(factor): study.level_label(factor, level) for factor, level in names.items()}
    return change | shown | row.texts


def _column(study: Study, metric: str, values: Mapping[str, object]) -> tuple[str, str]:
    """The name and the heading of the column of a point."""
    if not (factors := study.table.columns):
        return metric, marked(study.kind.metrics[metric])
    name = "/".join(map(spell, study.column(values)))
    if name in (*study.rows, *map(study.label, study.rows)):
        return f"{factors[0]}={name}", f"{factors[0]}={name}"
    return name, ", ".join(study.level_label(factor, values[factor]) for factor in factors)


def _heads(study: Study) -> dict[str, tuple[str, ...]]:
    """The headings of the columns of levels, in the order of the grid, each with its parts from above."""
    levels = {name: study.levels(name) for name in study.table.columns}
    heads: dict[str, tuple[str, ...]] = {}
    points = study.points() if levels else ()
    for values, _ in sorted(points, key=lambda point: [of.index(point[0][n]) for n, of in levels.items()]):
        _, label = _column(study, study.values[0], values)
        *above, lowest = [study.level_label(name, values[name]) for name in levels]
        lowest = lowest if above else label
        heads[label] = (*above, lowest)
        if study.base:
            metric = study.kind.metrics[study.values[0]]
            heads[heading(metric, label)] = (*above, heading(metric, lowest))
    return heads


def own_name(study: Study, name: str) -> str:
    """The name of a column in a TSV that is neither a hyperparameter nor a metric."""
    return apart(name, {*study.factors, *study.kind.metrics})


def own_heading(study: Study, heading: str) -> str:
    """The heading of such a column, for readers."""
    return apart(heading, {*map(study.label, study.factors), *map(marked, study.kind.metrics.values())})


def separator_of(study: Study) -> str:
    """What joins the name of a column and `sd`: a sign that no name has, where a level is named `mnist_n`."""
    layout = study.table
    points = study.points() if layout.columns else ()
    levels = {"/".join(map(spell, study.column(values))) for values, _ in points}
    endings = (*ENDINGS, *CONTRAST * bool(study.base))
    heads = levels or {*study.values, *([study.choose.by] if study.choose else [])}
    taken = {*heads, *study.rows, *study.chosen}
    return ":" if any(f"{head}_{ending}" in taken for head in heads for ending in endings) else "_"


def study_notes(study: Study, rows: Sequence[Mapping[str, str] | None], seeds: set[int]) -> list[str]:
    """What readers of a table of these runs must know, whatever its layout."""
    notes = []
    completed = [row for row in rows if row]
    metrics = [study.kind.metrics[name] for name in study.values]
    if len(completed) < len(rows):
        notes.append(f"Preliminary: {len(rows) - len(completed)} of {len(rows)} runs are missing.")
    if not completed:
        return notes
    notes += dict.fromkeys(metric.note for metric in metrics if metric.note)
    notes += study.kind.notes(completed, study.values)
    notes += code_note(completed)
    if seeds:
        notes.append(_spread_note(study, metrics, seeds))
    for metric in metrics:
        notes += _noise_notes(metric, completed) if metric.noise == "proportion" else []
    if times := [metric.label for metric in metrics if metric.noise == "time"]:
        labels = listed([times[0], *map(in_sentence, times[1:])])
        devices = ", ".join(sorted({_device(row) for row in completed if "device_name" in row}))
        if devices:
            notes.append(f"{labels} {'was' if len(times) == 1 else 'were'} measured on {devices}.")
    if any(row["status"] == "diverged" for row in completed):
        notes.append("A run has diverged if its loss became NaN or infinite; means exclude it.")
    return notes


def _spread_note(study: Study, metrics: Sequence[Metric], seeds: set[int]) -> str:
    """What stands behind a mean, of cells with so many seeds."""
    text = SPREADS[study.table.spread].format(f"{len(study.seeds)} seeds")
    if study.table.spread == "ci95":
        nouns = [metric.noun for metric in metrics if metric.noise == "proportion"]
        text += f", for these {nouns[0]}" if nouns else ""
        text += "; there is none where all seeds are equal"
    return f"{text}. A cell with n has fewer." if min(seeds) < len(study.seeds) else f"{text}."


def _noise_notes(metric: Metric, rows: Sequence[Mapping[str, str]]) -> list[str]:
    """The standard error of a proportion due to the choice of its items."""
    errors: dict[int, list[float]] = {}
    for row in rows:
        value, items = (measured(metric, row) or 0.0) * metric.scale, items_of(metric, row)
        # The normal approximation does not hold where all or none are correct.
        if items and 0 < value < metric.whole:
            errors.setdefault(items, []).append(binomial_error(value, items, metric.whole))
    notes = []
    for items, found in errors.items():
        low, high = (f"{end:.{metric.decimals}f}" for end in (min(found), max(found)))
        size = low if low == high else f"{low} to {high}"
        notes.append(
            f"The choice of the {items:,} {metric.noun} gives the {in_sentence(metric.label)} a standard "
            f"error of {size} {difference_unit(metric)}".rstrip()
            + "."
        )
    return notes


def _device(row: Mapping[str, str]) -> str:
    """The device of a run, with the threads of a CPU, and with the runs that shared it."""
    counts = {"thread": int(row["threads"]) if row["device"] == "cpu" else 0}
    if (packed := int(row.get("runs_per_job", 1))) > 1:
        counts["run"] = packed
    shares = {"thread": "", "run": " per job"}
    texts = [f"{n} {noun}{'s' * (n > 1)}{shares[noun]}" for noun, n in counts.items() if n]
    return row["device_name"] + (f" ({', '.join(texts)})" if texts else "")
