"""Tables: the records of a study laid out as in a paper."""

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pandas as pd

from ablations.analysis.inference import Interval, binomial_error, t_interval
from ablations.config.studies import Study
from ablations.errors import AblationsError
from ablations.files import write_text
from ablations.kinds import KINDS
from ablations.kinds.hyperparameters import spell
from ablations.kinds.metrics import Metric
from ablations.runs.run import Run

LABELS = {
    "dataset": "Dataset",
    "model": "Model",
    "batch_size": "Batch size",
    "optimizer": "Optimizer",
    "lr": "Learning rate",
    "epochs": "Epochs",
    "pin_memory": "pin_memory",
    "kernel": "Kernel",
    "train_samples": "Training images",
}
# thop and torch count different operations; beyond this share, a reader should know.
COUNTERS_DISAGREE = 0.05


@dataclass(frozen=True)
class Cell:
    """The values of one metric over the seeds of one point: `values` has those that are numbers."""

    metric: Metric
    values: tuple[float, ...]
    diverged: int = 0
    missing: int = 0

    @property
    def mean(self) -> float | None:
        """The mean of the values there are."""
        return fmean(self.values) if self.values else None

    @property
    def sd(self) -> float | None:
        """The sample standard deviation; one value has none."""
        return stdev(self.values) if len(self.values) > 1 else None

    @property
    def interval(self) -> Interval | None:
        """The 95 % interval of the mean over seeds (Student's); one value has none."""
        return t_interval(self.values)

    @property
    def counted(self) -> bool:
        """Whether the metric is the same for every seed: a model's cost has no noise to show."""
        return self.metric.column != ""

    def text(self) -> str:
        """As a reader sees it: `98.61 ± 0.08 (n = 3)`, `diverged`, `missing`."""
        if self.mean is None:
            return "diverged" if self.diverged else "missing"
        decimals = self.metric.decimals
        text = f"{self.mean:.{decimals}f}"
        notes = []
        if self.sd is not None and not self.counted:
            text += f" ± {self.sd:.{decimals}f}"
            notes.append(f"n = {len(self.values)}")
        notes += [f"{self.diverged} diverged"] if self.diverged else []
        notes += [f"{self.missing} missing"] if self.missing else []
        return f"{text} ({', '.join(notes)})" if notes else text

    def fields(self, name: str, seeds: bool) -> dict[str, str]:
        """As TSV fields: `name`, and with several seeds its `_sd`, `_ci_low`, `_ci_high` and `_n`."""
        decimals = self.metric.decimals
        shown = self.text() if self.mean is None else f"{self.mean:.{decimals}f}"
        if not seeds or self.counted:
            return {name: shown}
        interval = self.interval
        numbers = {
            "sd": self.sd,
            "ci_low": interval and interval.low,
            "ci_high": interval and interval.high,
        }
        texts = {f"{name}_{k}": "" if v is None else f"{v:.{decimals}f}" for k, v in numbers.items()}
        return {name: shown, **texts, f"{name}_n": str(len(self.values))}


@dataclass
class Table:
    """A table in its two forms: `data` for programs, `display` for readers, of the same content."""

    title: str
    label: str
    data: pd.DataFrame
    display: pd.DataFrame
    notes: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        """GitHub's Markdown, with the notes below."""
        body = self.display.map(lambda text: text.replace("|", "\\|")).to_markdown(
            index=False, disable_numparse=True
        )
        notes = "".join(f"\n{i}. {note}" for i, note in enumerate(self.notes, 1))
        return f"### {self.title}\n\n{body}\n" + (f"{notes}\n" if notes else "")

    def latex(self) -> str:
        """A booktabs table that compiles as it stands within a document."""
        body = self.display.map(_tex).to_latex(
            index=False,
            escape=False,
            header=[_tex(str(name)) for name in self.display.columns],
            column_format="l" * len(self.display.columns),
        )
        notes = " ".join(f"[{i}] {_tex(note)}" for i, note in enumerate(self.notes, 1))
        lines = [
            "% needs \\usepackage{booktabs,graphicx}; a table wider than the text is scaled down to it",
            "\\begin{table}",
            "\\centering",
            f"\\caption{{{_tex(self.title)}}}",
            f"\\label{{tab:{self.label}}}",
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            body.rstrip("\n") + "}",
            *([f"\\par\\smallskip\\footnotesize {notes}"] if notes else []),
            "\\end{table}",
        ]
        return "\n".join(lines) + "\n"

    def html(self) -> str:
        """A page of its own, which needs nothing else."""
        body = self.display.to_html(index=False, escape=True, border=0)
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in self.notes)
        title = html.escape(self.title)
        return (
            f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
            f"<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n{body}\n"
            + (f"<ol>{notes}</ol>\n" if notes else "")
            + "</body>\n</html>\n"
        )

    def write(self, base: Path) -> None:
        """Write `base`.tsv, .md, .tex and .html, each atomically."""
        write_text(
            base.with_name(base.name + ".tsv"),
            self.data.to_csv(sep="\t", index=False, lineterminator="\n"),
        )
        write_text(base.with_name(base.name + ".md"), self.markdown())
        write_text(base.with_name(base.name + ".tex"), self.latex())
        write_text(base.with_name(base.name + ".html"), self.html())


_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;color:#222;background:#fff;margin:2em}h1{font-size:1.2em}"
    "table{border-collapse:collapse;border-top:2px solid #222;border-bottom:2px solid #222}"
    "th{text-align:left;border-bottom:1px solid #222}th,td{padding:.25em .8em;vertical-align:top}"
    "th,td:not(:last-child){white-space:nowrap}tr:nth-child(even) td{background:#f5f5f5}"
    "ol{color:#555;max-width:60em}"
)
_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "±": r"$\pm$", "×": r"$\times$", "−": r"$-$", "≤": r"$\le$", "<": r"$<$", ">": r"$>$",
}  # fmt: skip


def _tex(text: str) -> str:
    return "".join(_TEX.get(letter, letter) for letter in text)


# --- records -------------------------------------------------------------------------------------


def load_records(path: Path) -> dict[Run, dict[str, str]]:
    """The merged records by run, each a mapping of column to text; an empty field is absent."""
    try:
        frame = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise AblationsError(f"{path}: it cannot be read as merged records ({error})") from None
    records = {}
    for row in frame.to_dict("records"):
        values = {name: value for name, value in row.items() if value != ""}
        kind = KINDS[values["kind"]]
        cls = kind.hyperparameters
        own = {name: values[name] for name in cls.model_fields if name in values}
        run = Run(kind, values["dataset"], values["model"], cls.model_validate_strings(own))
        records[run] = values
    return records


def cell(metric: Metric, name: str, rows: Sequence[Mapping[str, str] | None]) -> Cell:
    """The cell of some runs' records (None where a record is missing).

    Of a run that diverged counts only what its training has no part in: its times are of fewer steps.
    """
    column = metric.column or name
    there = [row for row in rows if row is not None]
    whole = [row for row in there if metric.comparison == "exact" or row["status"] != "diverged"]
    return Cell(
        metric,
        values=tuple(float(row[column]) * metric.scale for row in whole if column in row),
        diverged=len(there) - len(whole),
        missing=len(rows) - len(there),
    )


# --- the table of a study ------------------------------------------------------------------------


def study_table(name: str, study: Study, records: Mapping[Run, Mapping[str, str]]) -> Table:
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
            row["data"] |= content.fields(column, seeds)
            row["display"][label] = content.text()
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
