"""Where Python finds modules: in the library and the environment, not beside what others may have written.

Python would import from the working directory (`python -m`), and from the directory of a script, which for
Snakemake's scripts is `.snakemake/scripts`. The commands of a user's own kinds are spared: they may import
from beside themselves.
"""

import os
import shlex
from collections.abc import Mapping, MutableMapping
from pathlib import Path

SCRIPTS = Path(__file__).parents[1]
# Python asks only whether the variable is set. By this value it is known as ours, and not the user's.
SAFE_PATH, OURS = "PYTHONSAFEPATH", "ablations"


def import_safely(environment: MutableMapping[str, str]) -> str:
    """Protect every Python process that inherits `environment`; return what the shell of a rule has to add.

    The text is a template: its braces are doubled. It is not in the environment, as Snakemake removes
    PYTHONPATH where rules have environments of their own.
    """
    environment.setdefault(SAFE_PATH, OURS)
    added = f"export PYTHONPATH={shlex.quote(str(SCRIPTS))}${{PYTHONPATH:+:$PYTHONPATH}}; "
    return added.replace("{", "{{").replace("}", "}}")


def without_ours(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment as the user had it."""
    kept = dict(environment)
    if kept.get(SAFE_PATH) == OURS:
        del kept[SAFE_PATH]
    paths = kept.pop("PYTHONPATH", "").split(os.pathsep)
    if theirs := os.pathsep.join(path for path in paths if path != str(SCRIPTS)):
        kept["PYTHONPATH"] = theirs
    return kept
