"""Commands of a config that were not run in a directory before: a config of somebody else is code."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from ablations.files import read_text, write_text
from ablations.kinds.command import CommandKind

# The digests of the commands that were shown to this user in this directory, one in a line.
NOTE = ".snakemake/commands"
# Of a command, the characters that are shown.
SHOWN = 300


def new_commands(kinds: Iterable[CommandKind], models: Mapping[str, str], directory: Path) -> list[str]:
    """What was not run in `directory` before, for a person to read; each is returned once.

    These are the commands of `kinds`, and the code that builds `models`, by their names.
    """
    note = directory / NOTE
    try:
        seen = read_text(note).split()
    except (OSError, ValueError):
        seen = []
    told = {_digest(directory, kind.setup, kind.command, kind.environment): _shown(kind) for kind in kinds}
    told |= {_digest(directory, code): f"the model {name}: {code}" for name, code in models.items()}
    new = {digest: text for digest, text in told.items() if digest not in seen}
    with suppress(OSError):  # they are shown again
        write_text(note, "\n".join([*seen, *new, ""]))
    return list(new.values())


def _digest(directory: Path, *code: str | None) -> str:
    # With the user and the place, as a directory may come from elsewhere, its note included.
    told = [os.getuid(), str(directory.resolve()), *code]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _shown(kind: CommandKind) -> str:
    text = " ".join(f"{kind.setup}\n{kind.command}".split())
    rest = f"… (and {len(text) - SHOWN:,} characters more)" if len(text) > SHOWN else ""
    return f"{kind.name}: {text[:SHOWN]}{rest}"
