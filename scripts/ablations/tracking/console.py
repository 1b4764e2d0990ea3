"""The console of a call: a line for each run that ends, and at the end what failed and why.

Snakemake prints seven lines for each job. Its log file in `.snakemake/log` keeps them all.
"""

import logging
import math
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from ablations.kinds import Kind
from ablations.readable import readable
from ablations.runs.records import quick_record
from ablations.tracking.plan import clock, seconds_taken
from ablations.tracking.status import end_of, last_line_of

# The name of Snakemake's handler of the terminal.
STREAM = "DefaultStreamHandler"
# Of a log that tells why a run failed, the lines that are shown.
SHOWN_LINES, SHOWN_BYTES = 20, 65536
# Of the causes of failures, those that are listed at the end.
SHOWN_CAUSES = 10
# What SLURM calls the end of a job, in the words of an executor.
ENDED_WITH = re.compile(r"(?:status is: |has ended with )'?([A-Z][A-Z_]+)")
RESTART = re.compile(r"Trying to restart job (\d+)\.")
BETWEEN_PARTS = re.compile(r"[/+]")


class Console(logging.Formatter):
    """What is printed of Snakemake's events: both a filter and the formatter of a handler.

    `kinds` are the kinds of run by the rule that executes them, and `directories` gives those of all
    planned runs. Events of other rules are worded as Snakemake does.
    """

    def __init__(
        self,
        kinds: Mapping[str, Kind],
        directories: Callable[[], Iterable[str]],
    ) -> None:
        super().__init__()
        self._kinds, self._directories, self._usual = kinds, directories, logging.Formatter()
        self._runs: dict[int, tuple[Kind, str]] = {}
        self._common: set[str] | None = None
        self._total = self._finished = 0
        self._begun_at: float | None = None
        self._failed: dict[str, tuple[str, str]] = {}

    def replace(self, handlers: Iterable[logging.Handler]) -> None:
        """Take the place of the formatter of Snakemake's handler of the terminal, where there is one."""
        for handler in handlers:
            if handler.name == STREAM:
                self._usual = handler.formatter or self._usual
                handler.setFormatter(self)
                # The first filter: what another one leaves out is noted too.
                handler.filters.insert(0, self)

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether an event is printed. Every event of a run is noted here, printed or not."""
        event = _event(record)
        if event == "run_info":
            stats = record.__dict__.get("stats", {})
            self._total = max(self._total, sum(stats.get(rule, 0) for rule in self._kinds))
        elif event == "job_info" and (kind := self._kinds.get(record.__dict__["rule_name"])):
            self._runs[record.__dict__["jobid"]] = kind, str(Path(record.__dict__["output"][0]).parent)
            self._begun_at = self._begun_at or time.monotonic()
            return False
        elif event == "job_finished":
            return record.__dict__["job_id"] in self._runs
        elif event == "error":  # the event of the job follows, and tells more
            return "CalledProcessError in file" not in record.getMessage()
        return event not in ("job_started", "progress") and record.msg != "Select jobs to execute..."

    def format(self, record: logging.LogRecord) -> str:
        event, values = _event(record), record.__dict__
        if event == "job_info" and values["rule_msg"]:
            return str(values["rule_msg"])
        if event == "job_finished":
            return self._of_finished(*self._runs[values["job_id"]])
        if event == "job_error" and values["jobid"] in self._runs:
            return self._of_failed(self._runs[values["jobid"]][1], values)
        if event is None and (match := RESTART.fullmatch(str(record.msg))) and int(match[1]) in self._runs:
            return f"Trying to restart {self._name(self._runs[int(match[1])][1])}"
        return self._usual.format(record)

    def _of_finished(self, kind: Kind, directory: str) -> str:
        self._finished += 1
        self._failed.pop(directory, None)
        line = f"[{self._finished}/{max(self._total, self._finished)}] {self._name(directory)}"
        record = quick_record(Path(directory, "record.tsv"))
        if record is not None:
            line += f": {_result(kind, record)} in {clock(seconds_taken(kind, record))}"
        ended = self._finished + len(self._failed)
        if ended < self._total and self._begun_at is not None:
            seconds = (time.monotonic() - self._begun_at) / ended * (self._total - ended)
            line += f", about {clock(seconds)} left"
        return line

    def _of_failed(self, directory: str, values: Mapping[str, object]) -> str:
        said = " ".join(readable(str(values.get("rule_msg") or "")).split())
        logs = values["log"]
        assert isinstance(logs, Sequence)
        log = next((name for name in map(str, logs) if last_line_of(Path(name))), f"{directory}/run.log")
        last = last_line_of(Path(log))
        ended = ENDED_WITH.search(said)
        if last.startswith("error"):
            cause = last
        elif ended:
            cause = f"SLURM ended its job with {ended[1]}"
        else:
            cause = said or "it ended without an error of its own, as a process does that is killed"
        is_new = cause not in {known for known, _ in self._failed.values()}
        self._failed[directory] = cause, log
        lines = [f"FAILED {self._name(directory)}: {cause}"]
        if said and said != cause:
            lines.append(f"    {said}")
        if is_new:
            lines += [f"    the end of {log}:", *(f"    | {line}" for line in _end(Path(log)))]
        return "\n".join(lines)

    def summary(self) -> str:
        """What failed in the whole call, each cause once, and what to call; empty if no run failed."""
        if not self._failed:
            return ""
        causes = Counter(cause for cause, _ in self._failed.values())
        lines = [f"\n{len(self._failed)} {'run' if len(self._failed) == 1 else 'runs'} failed:"]
        for cause, count in causes.most_common(SHOWN_CAUSES):
            example = next(log for known, log in self._failed.values() if known == cause)
            lines += [f"  {count} × {cause}", f"      {'such as ' if count > 1 else ''}{example}"]
        if len(causes) > SHOWN_CAUSES:
            lines.append(f"  and {len(causes) - SHOWN_CAUSES} other causes; `make status` lists the runs")
        lines.append("Run the same command to try them again; finished runs are skipped.")
        lines.append("To make the tables without them, add --config partial=true to it.\n")
        return "\n".join(lines)

    def _name(self, directory: str) -> str:
        """The parts of a run's path that not all planned runs share."""
        if self._common is None:
            parts = [set(BETWEEN_PARTS.split(each)) for each in self._directories()]
            self._common = set.intersection(*parts) if len(parts) > 1 else {"results", "runs"}
        parts_of_it = BETWEEN_PARTS.split(directory)
        return " ".join(part for part in parts_of_it if part not in self._common) or directory


def _event(record: logging.LogRecord) -> str | None:
    """The name of Snakemake's event; None for a message."""
    return getattr(getattr(record, "event", None), "value", None)


def _result(kind: Kind, record: Mapping[str, str]) -> str:
    """The main metric of a run, as a table would show it."""
    metric = kind.metrics[kind.main_metric]
    try:
        value = float(record.get(metric.column, "")) * metric.scale
    except ValueError:
        value = math.nan
    if record["status"] != "ok" or math.isnan(value):
        return record["status"]
    return f"{metric.label} {value:.{metric.decimals}f} {metric.unit}".rstrip()


def _end(log: Path) -> list[str]:
    """The last lines of a log."""
    try:
        return end_of(log, SHOWN_BYTES)[-SHOWN_LINES:]
    except OSError as error:
        return [f"it cannot be read ({error.strerror})"]
