"""What a call prints of its runs, from the events that Snakemake logs."""

import logging
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from ablations.kinds import KINDS
from ablations.tracking.console import STREAM, Console
from payloads import SECRETS, TERMINALS
from snakemake.logging import DefaultFormatter
from snakemake_interface_logger_plugins.common import LogEvent

RUNS = {
    number: f"results/runs/svm/digits/svc/kernel={kernel}+train_samples=200"
    for number, kernel in enumerate(("rbf", "poly", "linear"), 1)
}
RECORD = "kind\tdataset\tmodel\tstatus\ttest_accuracy\ttrain_time_ms\ttest_time_ms\tstartup_time_ms\n"


class Told:
    """A console, and what it has printed."""

    def __init__(self) -> None:
        self.console = Console({"fit_svm": KINDS["svm"]}, RUNS.values)
        self.handler = logging.Handler()
        self.handler.name = STREAM
        self.handler.setFormatter(DefaultFormatter())
        self.console.replace([self.handler])
        self.lines: list[str] = []

    def event(self, event: Enum | None, text: str = "", **values: Any) -> None:
        record = logging.LogRecord("snakemake", logging.INFO, "", 0, text, None, None)
        record.__dict__.update(values, event=event)
        if self.handler.filter(record):
            self.lines.append(self.handler.format(record))

    def begins(self, *numbers: int) -> None:
        self.event(LogEvent.RUN_INFO, "Job stats:", stats={"fit_svm": len(RUNS), "total": 9})
        self.lines.clear()
        for number in numbers:
            output = [f"{RUNS[number]}/record.tsv"]
            values = {"rule_name": "fit_svm", "jobid": number, "output": output, "rule_msg": "Fitting"}
            self.event(LogEvent.JOB_INFO, **values)

    def fails(self, number: int, said: str | None = None) -> None:
        log = [f"{RUNS[number]}/run.log"]
        self.event(LogEvent.JOB_ERROR, jobid=number, rule_name="fit_svm", rule_msg=said, log=log)


@pytest.fixture
def told(tmp_path, monkeypatch) -> Told:
    monkeypatch.chdir(tmp_path)
    return Told()


def ended(number: int, log: str = "", record: str = "") -> None:
    """What a run leaves."""
    folder = Path(RUNS[number])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.log").write_text(log)
    if record:
        (folder / "record.tsv").write_text(RECORD + record + "\n")


def test_a_finished_run_is_one_line_with_its_result(told):
    told.begins(1)
    ended(1, record="svm\tdigits\tsvc\tok\t91.625\t4000\t900\t100")
    told.event(LogEvent.JOB_FINISHED, "Finished jobid: 1", job_id=1)
    (line,) = told.lines
    assert line.startswith("[1/3] kernel=rbf: Test accuracy 91.62 % in 5 s, about ")


def test_what_snakemake_repeats_of_each_job_is_left_out(told):
    told.begins(1)
    told.event(None, "Select jobs to execute...")
    told.event(LogEvent.JOB_STARTED, "Execute 1 jobs...", jobs=[1])
    told.event(LogEvent.PROGRESS, done=1, total=9)
    told.event(LogEvent.JOB_FINISHED, "Finished jobid: 7 (Rule: make_table)", job_id=7)
    told.event(LogEvent.ERROR, 'RuleException:\nCalledProcessError in file "runs.smk"')
    assert told.lines == []


def test_other_messages_stay(told):
    told.event(None, "Nothing to be done")
    told.event(LogEvent.ERROR, "MissingInputException in rule x")
    values = {"rule_name": "make_table", "jobid": 8, "output": ["t"], "rule_msg": "Making the table t"}
    told.event(LogEvent.JOB_INFO, **values, reason="R" * 8000)
    assert told.lines == ["Nothing to be done", "MissingInputException in rule x", "Making the table t"]


def test_a_cause_is_shown_with_its_log_once_and_counted_at_the_end(told):
    told.begins(1, 2, 3)
    for number in (1, 2):
        ended(number, "begun\nerror: the disk is full\n")
        told.fails(number)
    ended(3, "epoch 1\n")
    told.fails(3, "SLURM-job '7' failed, SLURM status is: 'OUT_OF_MEMORY'. For details see the log.")
    first, second, third = told.lines
    assert first.startswith("FAILED kernel=rbf: error: the disk is full\n")
    assert "    | begun\n" in first
    assert second == "FAILED kernel=poly: error: the disk is full"
    assert third.startswith("FAILED kernel=linear: SLURM ended its job with OUT_OF_MEMORY\n")
    summary = told.console.summary()
    assert "\n3 runs failed:\n  2 × error: the disk is full\n      such as " in summary
    assert "  1 × SLURM ended its job with OUT_OF_MEMORY\n" in summary
    assert "Run the same command" in summary
    assert "partial=true" in summary


def test_the_end_of_a_log_is_shown_as_text_without_secrets(told):
    texts = [*TERMINALS, *SECRETS]
    told.begins(1)
    ended(1, "".join(f"{text.encode('utf-8', 'replace').decode()}\n" for text in texts))
    told.fails(1, "at http://me:s3cret@host\x1b[2J")
    shown = "\n".join(told.lines)
    assert all(letter.isprintable() or letter == "\n" for letter in shown)
    assert "s3cret" not in shown + told.console.summary()


def test_a_run_that_succeeds_at_its_second_attempt_has_not_failed(told):
    told.begins(1)
    told.fails(1)
    assert "without an error of its own" in told.lines[0]
    assert "cannot be read" in told.lines[0]
    told.event(None, "Trying to restart job 1.")
    ended(1, record="svm\tdigits\tsvc\tdiverged\t\t4000\t900\t100")
    told.event(LogEvent.JOB_FINISHED, "Finished jobid: 1", job_id=1)
    assert told.lines[1] == "Trying to restart kernel=rbf"
    assert told.lines[2].startswith("[1/3] kernel=rbf: diverged in 5 s")
    assert told.console.summary() == ""
