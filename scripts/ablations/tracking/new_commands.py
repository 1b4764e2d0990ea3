"""Commands of a config that were not run in a directory before: a config of somebody else is code."""

import hashlib
import json
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

from ablations.files import read_text, write_text
from ablations.kinds.command import CommandKind

# The digests of the commands that were shown to this user in this directory, one in a line.
NOTE = ".snakemake/commands"
# Of a command, the characters that are shown.
SHOWN = 300


def new_commands(
    directory: Path,
    kinds: Iterable[CommandKind] = (),
    models: Mapping[str, str] = MappingProxyType({}),
    notifier: Sequence[str] = (),
) -> list[str]:
    """What was not run in `directory` before, for a person to read; each is returned once.

    These are the commands of `kinds`, the code that builds `models`, by their names, and the `notifier`.
    """
    note = directory / NOTE
    try:
        seen = read_text(note).split()
    except (OSError, ValueError):
        seen = []
    found = {
        _digest(directory, kind.setup, kind.command, kind.environment): _shown(
            kind.name, f"{kind.setup}\n{kind.command}"
        )
        for kind in kinds
    }
    found |= {_digest(directory, code): _shown(f"the model {name}", code) for name, code in models.items()}
    if notifier:
        found[_digest(directory, *notifier)] = _shown("notify", shlex.join(notifier))
    new = {digest: shown for digest, shown in found.items() if digest not in seen}
    with suppress(OSError):  # they are shown again
        write_text(note, "\n".join([*seen, *new, ""]))
    return list(new.values())


def _digest(directory: Path, *parts: str) -> str:
    # With the user and the place, as a directory may come from elsewhere, its note included.
    told = [os.getuid(), str(directory.resolve()), *parts]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _shown(name: str, command: str) -> str:
    text = " ".join(command.split())
    rest = f"… (and {len(text) - SHOWN:,} characters more)" if len(text) > SHOWN else ""
    return f"{name}: {text[:SHOWN]}{rest}"
