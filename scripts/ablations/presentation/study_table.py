"""The table of a study, with the layout of a table in a paper."""

from collections.abc import Mapping, Sequence

import pandas as pd

from ablations.analysis.cells import Cell, Records, cell
from ablations.analysis.inference import binomial_error
from ablations.config.studies import Study
from ablations.kinds.hyperparameters import spell
from ablations.presentation.code_note import code_note
from ablations.presentation.document import LABELS, Table

# thop and torch count different operations. A larger relative difference is noted below the table.
COUNTERS_DISAGREE = 0.05


def cell_text(content: Cell) -> str:
    """A cell for readers: `98.61 ± 0.08 (n = 3)`, `diverged`, `missing`."""
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
    """A cell as TSV fields: `name`, plus, with several seeds, `_sd`, `_ci_low`, `_ci_high` and `_n`."""
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
    """The table of a study: rows in the order of its grid, one cell per point, over its seeds."""
    layout = study.table
    groups = study.points()
    rows: dict[tuple[str, ...], tuple[dict[str, str], dict[str, str]]] = {}
    for values, runs in groups:
        levels = tuple(spell(values[factor]) for factor in layout.rows)
        fields, texts = rows.setdefault(levels, ({}, {}))
        for metric_name in study.values:
            metric = study.kind.metrics[metric_name]
            content = cell(metric, [records.get(run) for run in runs])
            column, label = metric_name, metric.heading
            if layout.columns:
                column = label = spell(values[layout.columns])
            fields |= cell_fields(content, column, seeds=len(study.seeds) > 1)
            texts[label] = cell_text(content)
    shown = [LABELS.get(factor, factor) for factor in layout.rows]
    # A point that the grid excludes has an empty cell; it is not a missing run.
    data = pd.DataFrame([dict(zip(layout.rows, k, strict=True)) | d for k, (d, _) in rows.items()]).fillna("")
    display = pd.DataFrame([dict(zip(shown, k, strict=True)) | d for k, (_, d) in rows.items()]).fillna("")
    title = study.title
    if layout.columns:
        title += f": {study.kind.metrics[study.values[0]].heading.lower()}"
    found = [records.get(run) for _, runs in groups for run in runs]
    return Table(title, name, data, display, _notes(study, found))


def _notes(study: Study, rows: Sequence[Mapping[str, str] | None]) -> list[str]:
    notes = []
    completed = [row for row in rows if row]
    metrics = set(study.values)
    if len(completed) < len(rows):
        notes.append(f"Preliminary: {len(rows) - len(completed)} of {len(rows)} runs are missing.")
    if not completed:
        return notes
    if {"gmacs", "gflops"} & metrics:
        notes += _counter_notes(completed)
    notes += _device_notes(completed)
    notes += code_note(completed)
    if len(study.seeds) > 1:
        notes.append("± is the standard deviation over seeds; 95 % intervals of the means are in the TSV.")
    if "test_accuracy" in metrics:
        notes += _noise_notes(completed)
    if "train_time_ms" in metrics:
        notes.append(f"Times were measured on {', '.join(sorted(set(map(_device, completed))))}.")
    if any(row["status"] == "diverged" for row in completed):
        notes.append("A run has diverged if its loss became NaN or infinite; means exclude it.")
    return notes


def _counter_notes(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """What the counters count, and for which models they disagree."""
    notes = {
        "": "MACs are multiply-accumulate operations counted by thop. FLOPs are floating-point operations "
        "counted by torch, two per multiply-accumulate. Both are for the forward pass of one image."
    }
    for row in rows:
        if "macs" not in row:
            continue
        macs, flops = int(row["macs"]), int(row["flops"])
        if abs(flops - 2 * macs) > COUNTERS_DISAGREE * 2 * macs:
            share = 100 * (flops / (2 * macs) - 1)
            notes[row["model"]] = (
                f"The counters disagree for {row['model']}: torch's FLOPs differ from twice thop's MACs by "
                f"{share:+.0f} %. One of them does not support a layer of this model."
            )
    return list(notes.values())


def _device_notes(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Settings that had no effect, and times that are not comparable."""
    notes = []
    idle = [r for r in rows if r.get("pin_memory") == "true" and r.get("pin_memory_effective") == "false"]
    if any(row["device"] == "cpu" for row in idle):
        notes.append("pin_memory had no effect on machines without an accelerator.")
    if any(row["device"] != "cpu" for row in idle):
        notes.append("pin_memory had no effect where the images were stored on the accelerator.")
    if len({row.get("batches") for row in rows if row["device"] != "cpu"}) > 1:
        notes.append(
            "Some runs read their batches from the device and others from the host; their times are not "
            "comparable."
        )
    return notes


def _noise_notes(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """The standard error of the accuracies due to the choice of the test images."""
    errors: dict[int, list[float]] = {}
    for row in rows:
        # The normal approximation does not hold where all or none are correct.
        if 0 < float(row.get("test_accuracy", 0)) < 100:
            images = int(row["test_samples"])
            errors.setdefault(images, []).append(binomial_error(float(row["test_accuracy"]), images))
    notes = []
    for images, found in errors.items():
        low, high = f"{min(found):.2f}", f"{max(found):.2f}"
        size = low if low == high else f"{low} to {high}"
        notes.append(
            f"The choice of the {images:,} test images gives accuracies a standard error of {size} points."
        )
    return notes


def _device(row: Mapping[str, str]) -> str:
    if row["device"] != "cpu":
        return row["device_name"]
    return f"{row['device_name']} ({row['threads']} thread{'' if row['threads'] == '1' else 's'})"
