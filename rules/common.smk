# The config, and the call of Snakemake that reads it.

import os
import re
import shlex
import sys
from functools import cache
from pathlib import Path

from snakemake.exceptions import WorkflowError

# Not `workflow.basedir`: where another workflow uses this one as a module, that is the other's directory.
ROOT = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).parent
ENVIRONMENT = "../envs/environment.yaml"

# Without the root, which Snakemake adds: it is most often the working directory.
sys.path[:] = [str(ROOT / "scripts"), *(each for each in sys.path if each != str(ROOT))]

from ablations.command_line import literal
from ablations.config.reading import load_config
from ablations.errors import AblationsError
from ablations.kinds import KINDS
from ablations.search_path import import_safely
from ablations.tracking.controller import lives, problem_of, take_over
from ablations.tracking.snakemake_call import Call

CALL = Call(workflow)
# Relative where that is possible: what Snakemake prints can then be pasted and read.
SCRIPTS = literal("scripts" if Path.cwd() == ROOT else ROOT / "scripts")

# The scripts run in the environment that Snakemake was started from, activated or not, unless each rule
# has its own by `--software-deployment-method conda`.
#
# With `exec` a signal reaches the run itself. A shell in between would end at once, its job with it, and
# the run would be killed before it has written its checkpoint. (It is not in the commands, which are
# printed to be pasted into a shell that has to survive them.)
ACTIVATE = (
    ""
    if CALL.makes_environments
    else f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; "
)
# Another workflow, which uses this one as a module, may import from beside its scripts.
SAFE = "" if CALL.is_of_another_workflow else import_safely(os.environ)
shell.prefix(f"set -euo pipefail; {SAFE}{ACTIVATE}exec ")


def read_config():
    """The checked config: config/config.yaml, or the files of `--configfile`.

    Snakemake's own `config` is not used, except where another workflow uses this one as a module: it drops
    duplicate keys, merges a `--configfile` into the default one, and replaces `studies` by the selection
    `--config 'studies=[a]'`.

    A job was planned by a call that expanded and checked every grid, and does not expand them again:
    100,000 runs take seconds.
    """
    files, values = (
        CALL.config_files or [ROOT / "config/config.yaml"],
        CALL.config_values,
    )
    if CALL.is_of_another_workflow:
        files, values = [], config
    files = [ROOT / "config/datasets.yaml", *files]
    try:
        return load_config(files, values, ROOT, expand=CALL.is_controller)
    except AblationsError as error:
        raise WorkflowError(f"The config is not valid.\n{error}")


CONFIG = read_config()


wildcard_constraints:
    dataset=r"[A-Za-z0-9._-]+",
    model=r"[A-Za-z0-9._-]+",
    hyperparameters=r"[^/]+",
    study="|".join(map(re.escape, CONFIG.studies)),
    # Tables and figures of the completed runs alone are in results/preview/.
    part="(preview/)?",


@cache
def begin():
    """Take over from a call that was killed, where this call is about to run jobs.

    The result, None where it is not, tells whether it is the only call at work in this directory.

    Every input function of a target calls it: only while Snakemake builds its graph, and before it looks at
    the locks, is it known whether this is a dry run.
    """
    if not CALL.runs_jobs or not CALL.locks_files:
        return None
    if CALL.submits_jobs and (problem := problem_of(Path.cwd())):
        # Snakemake would print an exception here with a traceback.
        logger.error(problem)
        raise SystemExit(1)
    is_alone = not lives(Path.cwd())
    alive, removed = take_over(Path.cwd())
    if removed:
        logger.info("The last call here was killed; its lock is removed.\n")
    # Open as long as this process lives, by the cache.
    return is_alone, alive
