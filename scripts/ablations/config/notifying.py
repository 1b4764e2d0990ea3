"""The config's `notify`: the command that is told how a call ended."""

import shlex
import shutil
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from ablations.config.kinds import Commands
from ablations.readable import readable


def _words(value: Any) -> Any:
    """A text as the words that a shell would make of it; no shell will see them."""
    if not isinstance(value, str):
        return value
    try:
        words = shlex.split(value)
    except ValueError as error:
        raise ValueError(f"it cannot be split into words: {str(error).lower()}") from None
    if not words:
        raise ValueError("it is empty; name a command, or leave it out")
    return words


Notifier = Annotated[
    list[Commands],
    BeforeValidator(_words, json_schema_input_type=str | list[str]),
    Field(description="a command that is told when a call ends: words, or a text that is split into words"),
]


def hints_on_notifier(words: Sequence[str]) -> Iterator[str]:
    """What is wrong with the command as far as this machine knows. No call fails for it."""
    if words and shutil.which(words[0]) is None:
        yield (
            f"notify: there is no program '{readable(words[0])}' here, so nobody will be told how the call "
            "ends; install it, or correct its name"
        )
    text = " ".join(words)
    if readable(text) != text:
        yield (
            "notify: it shows a password or token; let the command take it from the environment: "
            """sh -c 'curl -d @- "$URL"'"""
        )
