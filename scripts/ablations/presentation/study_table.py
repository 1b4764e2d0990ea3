"""The table of a study: its records laid out as in a paper."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from ablations.analysis.cells import Cell, Records, cell
from ablations.analysis.inference import binomial_error
from ablations.config.studies import Study
from ablations.kinds.hyperparameters import spell
from ablations.presentation.document import LABELS, Table

# thop and torch count different operations; beyond this share, a reader should know.
COUNTERS_DISAGREE = 0.05


def cell_text(content: Cell) -> str:
    """A cell as a reader sees it: `98.61 ± 0.08 (n = 3)`, `diverged`, `missing`."""
    if content.mean is None:
        return "diverged" if content.diverged else "missing"
    decimals = content.metric.decimals
    text = f"{content.mean:.{decimals}f}"
    notes = []
    if content.sd is not None and not content.counted:
        text += f" ± {content.sd:.{decimals}f}"
        notes.append(f"n = {len(content.values)}")
    notes += [f"{content.diverged} diverged"] if content.diverged else []
    notes += [f"{content.missing} missing"] if content.missing else []
    return f"{text} ({', '.join(notes)})" if notes else text


def cell_fields(content: Cell, name: str, seeds: bool) -> dict[str, str]:
    """A cell as TSV fields: `name`, and with several seeds its `_sd`, `_ci_low`, `_ci_high` and `_n`."""
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
    texts = {f"{name}_{k}": "" if v is None else f"{v:.{decimals}f}" for k, v in numbers.items()}
    return {name: shown, **texts, f"{name}_n": str(len(content.values))}


def study_table(name: str, study: Study, records: Records) -> Table:
    """The table of a study, with rows in the order of its grid, and cells over its seeds."""
    layout = study.table
    groups = study.points()
    seeds = len(study.seeds) > 1
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    for values, runs in groups:
        key = tuple(spell(values[factor]) for factor in layout.rows)
        row = rows.setdefault(key, {"data": dict(zip(layout.rows, key, strict=True)), "display": {}})
        for metric_name in layout.values:
            metric = study.kind.metrics[metric_name]
            content = cell(metric, metric_name, [records.get(run) for run in runs])
            if layout.columns:
                column = label = spell(values[layout.columns])
            else:
                column, label = metric_name, metric.label
            row["data"] |= cell_fields(content, column, seeds)
            row["display"][label] = cell_text(content)
    data = pd.DataFrame([row["data"] for row in rows.values()]).fillna("")
    shown = [
        {LABELS.get(f, f): v for f, v in zip(layout.rows, key, strict=True)} | row["display"]
        for key, row in rows.items()
    ]
    # A point that the grid leaves out has no cell: that is not a run that is missing.
    display = pd.DataFrame(shown).fillna("")
    title = study.title
    if layout.columns:
        title += f": {study.kind.metrics[layout.values[0]].label.lower()}"
    runs = [run for _, members in groups for run in members]
    return Table(title, name, data, display, _notes(study, [records.get(run) for run in runs]))


def _notes(study: Study, rows: Sequence[Mapping[str, str] | None]) -> list[str]:
    notes = []
    there = [row for row in rows if row]
    if len(there) < len(rows):
        notes.append(f"Preliminary: {len(rows) - len(there)} of {len(rows)} runs are missing.")
    if {"gmacs", "gflops"} & set(study.table.values) and there:
        notes.append(
            "MACs are multiply-accumulates counted by thop, FLOPs floating-point operations "
            "counted by torch (two for each multiply-accumulate), both for one image forward."
        )
        notes += _counter_notes(there)
    idle = [r for r in there if r.get("pin_memory") == "true" and r.get("pin_memory_effective") == "false"]
    if any(r["device"] == "cpu" for r in idle):
        notes.append("pin_memory had no effect where no accelerator was at hand.")
    if any(r["device"] != "cpu" for r in idle):
        notes.append("pin_memory had no effect where the images lay on the accelerator.")
    if len({r.get("batches") for r in there if r["device"] != "cpu"}) > 1:
        notes.append(
            "Some runs took their batches from the device, some from the host: times do not compare."
        )
    if len(study.seeds) > 1 and there:
        notes.append("± is the standard deviation over seeds; 95 % intervals of the means are in the TSV.")
    if "test_accuracy" in study.table.values and there:
        notes += _noise_floor(there)
    if "train_time_ms" in study.table.values and there:
        notes.append(f"Times were taken on {', '.join(sorted(set(map(_device, there))))}.")
    if any(row["status"] == "diverged" for row in there):
        notes.append("A run whose loss was no longer finite has diverged, and enters no mean.")
    return notes


def _noise_floor(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """What the choice of the test images alone does to the accuracies."""
    errors: dict[int, list[float]] = {}
    for row in rows:
        # Where all or none are right, the approximation has nothing to say.
        if 0 < float(row.get("test_accuracy", 0)) < 100:
            images = int(row["test_samples"])
            errors.setdefault(images, []).append(binomial_error(float(row["test_accuracy"]), images))
    notes = []
    for images, found in errors.items():
        low, high = f"{min(found):.2f}", f"{max(found):.2f}"
        size = low if low == high else f"{low} to {high}"
        notes.append(
            f"An accuracy on {images:,} test images has a standard error of {size} points by the choice of "
            "these images alone."
        )
    return notes


def _device(row: Mapping[str, str]) -> str:
    if row["device"] != "cpu":
        return row["device_name"]
    return f"{row['device_name']} ({row['threads']} thread{'' if row['threads'] == '1' else 's'})"


def _counter_notes(rows: Iterable[Mapping[str, str]]) -> list[str]:
    notes = {}
    for row in rows:
        if "macs" not in row:
            continue
        macs, flops = int(row["macs"]), int(row["flops"])
        if abs(flops - 2 * macs) > COUNTERS_DISAGREE * 2 * macs:
            share = 100 * (flops / (2 * macs) - 1)
            notes[row["model"]] = (
                f"The counters disagree for {row['model']}: torch counts {share:+.0f} % against "
                "twice thop's MACs; one of them does not know a layer of it."
            )
    return list(notes.values())
