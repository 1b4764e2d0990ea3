"""The rule of an own kind: execute the command of one run and write its record."""

import argparse
import json
import logging
import os
import time
from pathlib import Path

import numpy as np
from ablations.command_line import log_to_stderr
from ablations.commands import history
from ablations.commands.device import device
from ablations.commands.directories import Directories
from ablations.commands.peak_memory import PeakMemory
from ablations.commands.process import Command, Ended
from ablations.commands.results import read_items, read_metrics
from ablations.config.own_kinds import read_kinds
from ablations.errors import AblationsError, run_script
from ablations.files import atomic_path
from ablations.kinds import hits
from ablations.kinds.command import CommandKind
from ablations.runs import attempts, provenance
from ablations.runs.gpus import names_of_gpus
from ablations.runs.run import Run, parse_hyperparameters
from ablations.search_path import without_ours

log = logging.getLogger("run_command")

# The least time between two looks at the history of a command that runs.
HISTORY_S = 5.0
# Libraries read them when they start their threads.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", required=True, help="the name of the kind")
    parser.add_argument("--definition", type=json.loads, required=True, help="its section of the config")
    parser.add_argument("--dataset", help="where the kind has datasets")
    parser.add_argument("--model", help="where the kind has models")
    parser.add_argument("--hyperparameters", required=True, help="as in the path of the run")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of the command")
    parser.add_argument("--time-limit-min", type=float, help="the time limit of the job, in minutes")
    parser.add_argument("--record", type=Path, required=True, help="the record; its files lie beside")
    parser.add_argument("--history", type=Path, help="the history to write")
    options = parser.parse_args()
    log_to_stderr()
    kind = read_kinds({options.kind: options.definition})[options.kind]
    assert isinstance(kind, CommandKind)
    run = Run(
        kind,
        options.dataset or kind.fixed["dataset"],
        options.model or kind.fixed["model"],
        parse_hyperparameters(kind, options.hyperparameters),
    )
    deadline = attempts.job_deadline(os.environ, options.time_limit_min and 60 * options.time_limit_min)
    with attempts.attempt(options.record, run, deadline) as attempt:
        if attempt is not None:
            CommandRun(options, kind, run, attempt, deadline).execute()
            log.info("wrote %s", options.record)


class CommandRun:
    """One attempt at a run of an own kind."""

    def __init__(
        self,
        options: argparse.Namespace,
        kind: CommandKind,
        run: Run,
        attempt: attempts.Attempt,
        deadline: float | None,
    ) -> None:
        self.record, self.history, self.threads = options.record, options.history, options.threads
        self.kind, self.run, self.attempt, self.deadline = kind, run, attempt, deadline
        # A command may change its directory.
        self.given = Directories(options.record.absolute())
        self.raw = self.given.files / kind.history if kind.history else self.given.history
        self._seen = (0.0, 0.0)
        self.memory = PeakMemory()

    def execute(self) -> None:
        """Execute the command, and write what it left as the record."""
        device_type, device_name = device()
        if device_type == "cuda":
            gpus = names_of_gpus(os.environ)
            self.attempt.meter.add_gpus(gpus)
            self.memory = PeakMemory(gpus)
        code = provenance.code_of(self.kind)
        # A command resumes whatever has changed since, so that all attempts count.
        self.attempt.identify({})
        with self.given.held(self.deadline) as descriptor:
            self.given.prepare()
            text = self.text()
            log.info("%s", text)
            ended = Command(self.deadline).execute(text, self.environment(), descriptor, self.report)
            self.check(ended)
            columns = self.results(ended)
        record = self.kind.record(
            **columns,
            run_time_ms=1000 * sum(self.attempt.seconds),
            device=device_type,
            device_name=device_name,
            **self.attempt.columns(),
            **self.memory.columns(),
            **provenance.describe(self.kind.libraries, self.threads, code),
        )
        self.attempt.write_record(record)
        self.given.clean(self.kind.keep)

    def text(self) -> str:
        """What the shell executes."""
        seed = {"seed": self.run.value("seed")} if self.kind.is_random else {}
        files = {
            "metrics": self.given.metrics,
            "history": self.raw,
            "checkpoints": self.given.checkpoints,
            "directory": self.given.files,
            "items": self.given.items,
        }
        command = self.kind.command_of(self.run.values(), {**seed, **files, "threads": self.threads})
        return f"{self.kind.setup}\n{command}".strip()

    def environment(self) -> dict[str, str]:
        """The environment of the command: its files, its seed, and its threads."""
        own = {
            "ABLATIONS_METRICS": self.given.metrics,
            "ABLATIONS_HISTORY": self.raw,
            "ABLATIONS_CHECKPOINTS": self.given.checkpoints,
            "ABLATIONS_DIRECTORY": self.given.files,
            "ABLATIONS_ITEMS": self.given.items,
            "ABLATIONS_THREADS": self.threads,
            "PYTHONUNBUFFERED": 1,
            **dict.fromkeys(THREADS, self.threads),
        }
        if self.kind.is_random:
            own["ABLATIONS_SEED"] = self.run.value("seed")
        if self.deadline is not None:
            own["ABLATIONS_DEADLINE"] = round(self.deadline)
        return {**without_ours(os.environ), **{name: str(value) for name, value in own.items()}}

    def report(self) -> None:
        """Bring the state file up to the time, and to what the history tells, if it has changed."""
        self.attempt.note()
        self.memory.look()
        now = time.monotonic()
        try:
            changed = self.raw.stat().st_mtime
        except OSError:
            return
        if changed == self._seen[0] or now - self._seen[1] < HISTORY_S:
            return
        self._seen = changed, now
        repeats = self.kind.duration.repeats
        total = int(str(self.run.value(repeats))) if repeats else None
        if found := history.progress(history.read_rows(self.raw), total):
            self.attempt.report(*found)

    def check(self, ended: Ended) -> None:
        """Raise AblationsError if the command did not end well, with what to do."""
        if ended.stopped:
            raise ended.stopped
        log_path = self.record.with_name("run.log")
        if ended.status == 137:
            raise AblationsError(
                f"{self.run.directory}: the command was killed (SIGKILL), most often for taking more memory "
                "than its job has; see mem_mb in the profile"
            )
        if ended.status:
            raise AblationsError(
                f"{self.run.directory}: the command ended with exit status {ended.status}; its output is in "
                f"{log_path}"
            )
        if ended.left:
            raise AblationsError(
                f"{self.run.directory}: the command ended, and left {ended.left} of its processes running; "
                "they were ended, and the run counts as failed: a command must wait for its processes"
            )

    def results(self, ended: Ended) -> dict[str, object]:
        """The columns of the record that the command has measured."""
        try:
            columns = read_metrics(self.kind, self.given.metrics, self.given.files, ended.last_line)
            if self.kind.items and columns["status"] == "ok":
                columns |= self.items(columns[self.kind.items])
        except AblationsError as error:
            raise AblationsError(f"{self.run.directory}: {error}") from None
        if self.history is not None:
            rows = history.read_rows(self.raw)
            if not rows:
                log.warning("%s: the command wrote no history there", self.raw)
            history.write_rows(self.history, rows)
        return columns

    def items(self, value: float) -> dict[str, object]:
        """The column with the results per test item; scores go to a file beside the record instead."""
        metric = self.kind.metrics[self.kind.items]
        found = read_items(self.given.items, metric, value)
        if metric.answers:
            return {metric.answers: hits.pack(found)}
        with atomic_path(self.record.with_name(metric.scores)) as temporary, temporary.open("wb") as file:
            np.save(file, found)
        return {}


if __name__ == "__main__":
    run_script(main)
