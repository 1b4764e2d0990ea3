"""Kinds that a config defines: their runs execute a command of the user's own."""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from string import Formatter
from typing import Any, ClassVar

from pydantic import create_model

from ablations.kinds.hyperparameters import spell
from ablations.kinds.kind import Kind
from ablations.kinds.metrics import Metric
from ablations.kinds.record import NotNegative, Record, Text

# What a command can name besides its places and hyperparameters -> what is given to it.
PLACEHOLDERS = {
    "hyperparameters": "all hyperparameters as --name value",
    "overrides": "all hyperparameters as name=value",
    "seed": "the seed",
    "metrics": "the file for its metrics",
    "history": "the file for its history",
    "checkpoints": "a directory that survives between attempts",
    "directory": "a directory of this attempt",
    "items": "the file for its results per test item",
    "threads": "how many CPU threads it may use",
}
RUN_TIME = Metric("run_time_ms", "Run time", 0, "time", "ms", "lower")


class CommandRecord(Record):
    """The record of a command: `run_time_ms` is that of all attempts, `code_digest` that of its `code`.

    `host_peak_mb` is the most memory that its processes had together, and `gpu_peak_mb` what they had of the
    GPU. `items_correct` tells which test items are correct, as `hits.pack` writes it.
    """

    ADDED: ClassVar[tuple[str, ...]] = (
        *Record.ADDED,
        "code_digest",
        "host_peak_mb",
        "gpu_peak_mb",
        "items_correct",
    )
    LONGEST: ClassVar[str] = "items_correct"
    DECIMALS: ClassVar[int | None] = None
    # Metrics may be added to a kind, and removed from it.
    OPEN: ClassVar[bool] = True

    run_time_ms: NotNegative
    code_digest: Text | None = None
    host_peak_mb: NotNegative | None = None
    gpu_peak_mb: NotNegative | None = None
    items_correct: str | None = None


def command_record(metrics: Mapping[str, Metric]) -> type[Record]:
    """The model of the record of a command with these metrics."""

    class RecordOfKind(CommandRecord):
        ADDED: ClassVar[tuple[str, ...]] = (*CommandRecord.ADDED, *metrics)

    measured: dict[str, Any] = {name: (float | None, None) for name in metrics if name != RUN_TIME.column}
    return create_model("CommandRecord", __base__=RecordOfKind, **measured)


@dataclass(frozen=True)
class MetricSource:
    """Where a command leaves a metric: the `key` of a `file` in its directory, or of its metrics file."""

    key: str
    file: str | None = None


@dataclass(frozen=True, eq=False)
class CommandKind(Kind):
    """A kind whose runs execute `command`, a template, in a shell, after the lines of `setup`.

    `paths` are the files of datasets and models that stand for files, by place and name; with `inputs` they
    are what a run needs before it starts.
    `sources` tell where each metric is read. `history` names the history in the directory of the command, if
    it does not take its name from `{history}`. `items` is the metric that its results per item belong to.
    What matches a pattern in `keep` stays of the command's directory. `environment` is a file for conda.
    """

    command: str = ""
    setup: str = ""
    paths: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    sources: Mapping[str, MetricSource] = field(default_factory=dict)
    history: str = ""
    items: str = ""
    keep: tuple[str, ...] = ()
    environment: str = ""
    written: Mapping[str, Any] = field(default_factory=dict)

    def files(self, places: Mapping[str, str]) -> list[str]:
        """The files that a run needs, from its dataset and model."""
        named = [files[places[place]] for place, files in self.paths.items() if places[place] in files]
        return [*named, *self.inputs]

    def command_of(self, values: Mapping[str, Any], given: Mapping[str, object]) -> str:
        """The command of the run with these values, for a shell; `given` are its seed, files and threads."""
        own = {name: spell(values[name]) for name in self.hyperparameters.model_fields if name != "seed"}
        words = {name: [str(value)] for name, value in given.items()} | {n: [v] for n, v in own.items()}
        for place in self.places:
            words[place] = [self.paths.get(place, {}).get(values[place], values[place])]
        words["hyperparameters"] = [word for name, value in own.items() for word in (f"--{name}", value)]
        words["overrides"] = [f"{name}={value}" for name, value in own.items()]
        return "".join(
            text + (shlex.join(words[name]) if name else "") for text, name in split_template(self.command)
        )


def split_template(command: str) -> Iterator[tuple[str, str]]:
    """The parts of a template: text, and the placeholder behind it, if there is one.

    Raises ValueError for braces that do not enclose a name, and for a placeholder in quotes.
    """
    quote = ""
    for text, name, form, conversion in Formatter().parse(command):
        quote = _open_quote(text, quote)
        if name is not None and (form or conversion or not name.isidentifier()):
            raise ValueError(f"{{{name}}} is not a placeholder; write other braces twice: {{{{ and }}}}")
        if name is not None and quote in ("'", '"'):
            raise ValueError(f"{{{name}}} is in quotes; leave them out, each placeholder is quoted already")
        yield text, name or ""


def _open_quote(text: str, quote: str) -> str:
    """The quote, or `#` of a comment, that is open after a piece of a shell's text, if it is open before."""
    before = " "
    escaped = False
    for letter in text:
        if quote == "#":
            quote = "" if letter == "\n" else quote
        elif escaped:
            escaped = False
        elif letter == "\\" and quote != "'":
            escaped = True
        elif quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"" or (letter == "#" and before in " \t\n;"):
            quote = letter
        before = letter
    return quote
