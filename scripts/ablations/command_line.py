"""Command lines whose flags are the hyperparameters of a kind of run."""

import argparse
import logging
import sys
from typing import TypeVar

from pydantic import ValidationError

from ablations.errors import AblationsError
from ablations.hyperparameters import Hyperparameters

H = TypeVar("H", bound=Hyperparameters)


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
    if conflict := hyperparameters.conflict():
        raise AblationsError(conflict)
    return hyperparameters


def log_to_stderr() -> None:
    """Send log lines, with the time, to stderr, where a rule's log collects them."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S",
    )
    logging.captureWarnings(True)
