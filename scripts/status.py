"""The progress of the studies: what is done, running, queued, to do and failed, why, and how to resume.

    python scripts/status.py [--configfile FILE] [--study NAME …] [--watch SECONDS | --json | --outdated]

Reads what runs leave on disk, and asks SLURM once where there is one. It changes nothing, and can be
called at any time.

`--outdated` prints the records of finished runs that other code than the present one made. This reruns them:

    snakemake --profile profiles/local --forcerun $(python scripts/status.py --outdated)
"""

import argparse
import json
import logging
import shlex
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ablations import __version__
from ablations.analysis.code_versions import CodeVersion, count_versions
from ablations.command_line import CONFIG, add_config, log_to_stderr, take_config
from ablations.config.config import Config
from ablations.data.staged import count_images
from ablations.errors import run_script
from ablations.presentation.code_note import code_note
from ablations.runs.provenance import code_of
from ablations.runs.records import quick_record, read_profile
from ablations.runs.run import Run
from ablations.tracking.controller import lives
from ablations.tracking.plan import Costs, clock, makespan
from ablations.tracking.slurm_queue import Slurm
from ablations.tracking.status import RunStatus, statuses

log = logging.getLogger("status")

# Runs of one kind that are shown by name; the others are counted.
SHOWN = 20
STATES = ("done", "running", "queued", "to do", "failed", "diverged")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add_config(parser)
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--watch", type=float, metavar="SECONDS", help="again and again, until Ctrl-C")
    how.add_argument("--json", action="store_true", help="for scripts")
    how.add_argument("--outdated", action="store_true", help="records that other code made, one per line")
    options = parser.parse_args()
    if options.watch is not None and not options.watch > 0:
        parser.error("--watch is a number of seconds above 0")
    log_to_stderr()
    config = take_config(options)
    if options.outdated:
        print_outdated(config)
    elif options.json:
        print(json.dumps(as_data(config, look(config)), indent=1))
    elif options.watch:
        watch(config, options)
    else:
        show(config, look(config), options)


def command(options: argparse.Namespace, slurm: Slurm) -> str:
    """The command that resumes the studies, with the profile of the last call where it can be known."""
    if Path(".snakemake/submitit").is_dir():
        profile = "slurm-packed"
    else:
        profile = "slurm" if slurm.answered or Path("logs/slurm").is_dir() else "local"
    words = ["snakemake", "--profile", f"profiles/{profile}"]
    if options.study:
        words += ["--config", f"studies=[{', '.join(options.study)}]"]
    if options.configfile != CONFIG:
        words += ["--configfile", str(options.configfile)]
    return shlex.join(words)


def print_outdated(config: Config) -> None:
    """Print the record of each finished run that other code than the present one made."""
    kinds = {study.kind for study in config.studies.values()}
    present = {kind: CodeVersion.of({**code_of(kind), "workflow_version": __version__}) for kind in kinds}
    if any(version.modified for version in present.values()):
        log.warning(
            "the present code is modified: all finished runs count as made by other code, and will again "
            "after a rerun; commit your changes first"
        )
    for run in config.executed_runs():
        record = quick_record(Path(run.record))
        if record is not None and CodeVersion.of(record).is_outdated(present[run.kind]):
            print(run.record)


def code_notes(config: Config, found: Mapping[Run, RunStatus]) -> list[str]:
    """What must be said on the code that made the runs, a sentence for each kind."""
    kinds = {study.kind.name: study.kind for study in config.studies.values()}
    notes = []
    for name, kind in kinds.items():
        records = [status.record for run, status in found.items() if run.kind is kind and status.record]
        notes += code_note(records, f"Runs of {name}")
    return notes


def look(config: Config) -> tuple[dict[Run, RunStatus], Slurm]:
    """The status of every run of the config."""
    slurm = Slurm.ask()
    executed = {status.run: status for status in statuses(config.executed_runs(), slurm)}
    taken = {
        run
        for study in config.studies.values()
        if study.records is not None
        for run in study.records.read(study, config.file(study.records.file))
    }
    rest = {run: RunStatus(run, "done" if run in taken else "to do") for run in config.runs()}
    return rest | executed, slurm


def seconds_left(config: Config, found: Mapping[Run, RunStatus]) -> float | None:
    """Until all is done, with as many runs at a time as run now.

    None while none runs, and while there is nothing to judge by: no run is done, and a running run has
    no ETA.
    """
    running = [status for status in found.values() if status.what == "running"]
    todo = [status for status in found.values() if status.what in ("queued", "to do", "failed")]
    records = [status.record for status in found.values() if status.record]
    if not running or not (records or (not todo and all(status.eta_s is not None for status in running))):
        return None
    places = {
        (run.dataset, run.model): config.profile_path(run.dataset, run.model)
        for run in found
        if run.kind.models_are_counted
    }
    macs = {key: read_profile(Path(path))["macs"] for key, path in places.items() if Path(path).exists()}
    counts = {name: count_images(Path(config.staged_path(name))) for name in config.datasets}
    costs = Costs(records, macs, {name: count for name, count in counts.items() if count}, config.all_kinds)
    left = [
        status.eta_s if status.eta_s is not None else (1 - status.share) * costs.of(status.run).seconds
        for status in running
    ]
    return makespan([*left, *(costs.of(status.run).seconds for status in todo)], len(running))


def as_data(config: Config, looked: tuple[dict[Run, RunStatus], Slurm]) -> dict[str, Any]:
    """The whole for scripts: counts per study, and each run that is not done."""
    found, slurm = looked
    return {
        "studies": {
            name: {"runs": len(study.runs()), **_counts(found[run] for run in study.runs())}
            for name, study in config.studies.items()
        },
        "seconds_left": seconds_left(config, found),
        "problem": slurm.problem,
        "code": [
            {**asdict(version), "runs": count}
            for version, count in count_versions(s.record for s in found.values() if s.record).items()
        ],
        "runs": [
            {
                "record": status.run.record,
                "state": status.what,
                "why": status.why,
                "epoch": status.epoch,
                "eta_s": status.eta_s,
                "last_line": status.last_line,
            }
            for status in found.values()
            if status.what != "done"
        ],
    }


def _counts(found: Any) -> dict[str, int]:
    counts = Counter(status.what for status in found)
    return {what: counts[what] for what in STATES}


# --- for people ----------------------------------------------------------------------------------


def watch(config: Config, options: argparse.Namespace) -> None:
    """Show the status again and again, in place where there is a terminal."""
    try:
        while True:
            looked = look(config)
            if sys.stdout.isatty():
                print("\x1b[2J\x1b[H", end="")
            show(config, looked, options)
            sys.stdout.flush()
            time.sleep(options.watch)
    except KeyboardInterrupt:
        print()


def show(config: Config, looked: tuple[dict[Run, RunStatus], Slurm], options: argparse.Namespace) -> None:
    """Print the status: a table of the studies, then what runs, what waits and what failed."""
    from rich.console import Console
    from rich.table import Table

    found, slurm = looked
    # Without a terminal nothing is cut off at a width that nobody has.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 10_000, soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("study")
    for name in ("runs", *STATES):
        table.add_column(name, justify="right")
    table.add_column("why failed")
    for name, study in config.studies.items():
        of_study = [found[run] for run in study.runs()]
        counts = _counts(of_study)
        why = Counter(status.why for status in of_study if status.what == "failed")
        colours = {"failed": "red", "diverged": "yellow", "running": "cyan", "done": "green"}
        cells = [
            f"[{colours[what]}]{count}[/]" if count and what in colours else str(count)
            for what, count in counts.items()
        ]
        classes = ", ".join(f"{count} {name}" for name, count in why.most_common())
        table.add_row(name, str(len(study.runs())), *cells, classes)
    console.print(table)
    by = {what: [status for status in found.values() if status.what == what] for what in STATES}
    if by["running"]:
        console.print("\n[bold]running[/]")
        for status in by["running"][:SHOWN]:
            eta = f", {clock(status.eta_s)} left" if status.eta_s is not None else ""
            _line(console, f"  {_name(status.run)}", f"{status.epoch or 'starting'}{eta}")
        _more(console, by["running"])
    if by["queued"]:
        console.print("\n[bold]queued[/]")
        for why, count in Counter(status.why for status in by["queued"]).most_common(SHOWN):
            _line(console, f"  {count}", why)
    if by["failed"]:
        console.print("\n[bold]failed[/]")
        for status in by["failed"][:SHOWN]:
            said = status.last_line or "it said nothing"
            _line(
                console,
                f"  {_name(status.run)}",
                said if said.startswith("error") else f"{status.why}: {said}",
            )
        _more(console, by["failed"])
    print()
    if slurm.problem:
        print(slurm.problem)
    for note in code_notes(config, found):
        print(note)
    left = seconds_left(config, found)
    if left is not None:
        print(f"about {clock(left)} left, with {len(by['running'])} at a time as now")
    print("\n".join(_what_to_call(by, command(options, slurm))))


def _what_to_call(by: Mapping[str, Sequence[RunStatus]], resume: str) -> list[str]:
    """The last sentences: what is at work, and what can be done."""
    stopped = sum(status.why == "stopped" for status in by["to do"])
    said = [f"{stopped} of the runs to do were stopped, and resume"] if stopped else []
    if not (by["running"] or by["queued"] or by["to do"] or by["failed"]):
        return ["all runs are done"]
    if lives(Path()):
        return [*said, "a call of Snakemake is at work in this directory"]
    if by["failed"]:
        return [*said, f"run the same command to resume; finished runs are skipped: {resume}"]
    if by["to do"] and not by["running"] and not by["queued"]:
        return [*said, f"nothing is running; to start or resume: {resume}"]
    return said


def _line(console: Any, name: str, text: str) -> None:
    from rich.text import Text

    console.print(Text(f"{name}  {text}"))


def _more(console: Any, listed: Sequence[RunStatus]) -> None:
    if len(listed) > SHOWN:
        console.print(f"  and {len(listed) - SHOWN} more")


def _name(run: Run) -> str:
    return run.directory.removeprefix("results/runs/")


if __name__ == "__main__":
    run_script(main)
