"""Command lines: flags that are the hyperparameters of a kind of run or choose a config, and quoting."""

import argparse
import logging
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import ValidationError

from ablations.errors import AblationsError
from ablations.kinds.hyperparameters import Hyperparameters
from ablations.readable import make_readable

if TYPE_CHECKING:
    from ablations.config.config import Config

H = TypeVar("H", bound=Hyperparameters)

PROJECT = Path(__file__).resolve().parents[2]
# The config of a call that names none.
CONFIG = PROJECT / "config/config.yaml"


def literal(text: object) -> str:
    """A text in the command of a rule, written in an f-string, that reaches the command as it is.

    Not a param of the rule, because a new value must not rerun anything; and not a global variable, because
    those of a module are unknown where its commands are formatted.
    """
    return shlex.quote(str(text)).replace("{", "{{").replace("}", "}}")


def add_hyperparameters(parser: argparse.ArgumentParser, cls: type[Hyperparameters]) -> None:
    """Add a flag for each hyperparameter of `cls`; those of the core are required."""
    group = parser.add_argument_group("hyperparameters")
    for name, field in cls.model_fields.items():
        group.add_argument(
            f"--{name.replace('_', '-')}",
            dest=name,
            required=field.is_required(),
            metavar="VALUE",
            help=f"{field.description}" + ("" if field.is_required() else f" (default: {field.default})"),
        )


def take_hyperparameters(options: argparse.Namespace, cls: type[H]) -> H:
    """The hyperparameters among parsed options.

    Raises AblationsError for a value that is out of its bounds, or contradicts another.
    """
    given = {name: getattr(options, name) for name in cls.model_fields if getattr(options, name) is not None}
    try:
        hyperparameters = cls.model_validate_strings(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0])
        flag = f"--{name.replace('_', '-')}"
        raise AblationsError(f"{flag} is '{given.get(name, '')}': {first['msg']}") from None
    if conflict := hyperparameters.conflict(getattr(options, "model", None)):
        raise AblationsError(conflict)
    return hyperparameters


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add the flags that choose a config and some of its studies."""
    parser.add_argument("--configfile", type=Path, default=CONFIG)
    parser.add_argument("--study", nargs="+", help="these studies alone")


def take_config(options: argparse.Namespace) -> "Config":
    """The config that parsed options choose, checked.

    Raises ConfigError with one line for each problem found.
    """
    # What only trains reads no config, and is spared the import.
    from ablations.config.reading import load_config

    overrides = {"studies": options.study} if options.study else {}
    return load_config([PROJECT / "config/datasets.yaml", options.configfile], overrides, PROJECT)


def log_to_stderr() -> None:
    """Send log lines, with the time, to stderr, where a rule's log collects them."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S",
    )
    make_readable(logging.getLogger().handlers)
    logging.captureWarnings(True)
