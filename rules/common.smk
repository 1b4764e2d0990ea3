# The config, and what Snakemake was told. Only here are Snakemake's settings read.

import os
import re
import shlex
import sys
from functools import cache
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.settings.enums import PersistenceBackend
from snakemake.settings.types import DeploymentMethod

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
from ablations.tracking.controller import lives, problem_of, remove_locks_of_the_dead
from ablations.tracking.profile import Profile, texts

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
    if DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method
    else f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; "
)
# Another workflow, which uses this one as a module, may import from beside its scripts.
SAFE = "" if workflow.modifier.parent_modifier else import_safely(os.environ)
shell.prefix(f"set -euo pipefail; {SAFE}{ACTIVATE}exec ")


def read_config():
    """The checked config: config/config.yaml, or the files of `--configfile`.

    Snakemake's own `config` is not used, except where another workflow uses this one as a module: it drops
    duplicate keys, merges a `--configfile` into the default one, and replaces `studies` by the selection
    `--config 'studies=[a]'`.

    A job was planned by a call that expanded and checked every grid, and does not expand them again:
    100,000 runs take seconds.
    """
    settings = workflow.config_settings
    files = list(map(Path, settings.configfiles)) or [ROOT / "config/config.yaml"]
    overrides = settings.config
    if workflow.modifier.parent_modifier is not None:
        files, overrides = [], config
    files = [ROOT / "config/datasets.yaml", *files]
    try:
        return load_config(files, overrides, ROOT, expand=workflow.is_main_process)
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


def read_profile():
    """What the profile and the command line give to the runs."""
    settings = workflow.resource_settings
    resources = settings.overwrite_resources
    return Profile(
        resources={rule: texts(values) for rule, values in resources.items()},
        threads=texts(settings.overwrite_threads),
        cores=settings.cores,
        nodes=settings.nodes,
        jobs_at_a_time=getattr(workflow.executor_settings, "array_parallelism", None),
    )


def shows_jobs_whole():
    """Whether Snakemake words each job: in a dry run, and where commands are printed."""
    told = workflow.output_settings
    return told.dryrun or told.printshellcmds or told.verbose


@cache
def runs_jobs():
    """Whether this call is about to run jobs: no dry run, and no job of another call."""
    if workflow.dryrun or workflow.touch or workflow.executor_plugin is None:
        return False
    return workflow.is_main_process


@cache
def begin():
    """Remove the locks of a call that was killed, where this call is about to run jobs.

    The result, None where it is not, tells whether it is the only call at work in this directory.

    Every input function of a target calls it: only while Snakemake builds its graph, and before it looks at
    the locks, is it known whether this is a dry run.
    """
    backend = workflow.workflow_settings.persistence_backend
    if not runs_jobs() or backend != PersistenceBackend.FILE:
        return None
    if not workflow.local_exec and (problem := problem_of(Path.cwd())):
        # Snakemake would print an exception here with a traceback.
        logger.error(problem)
        raise SystemExit(1)
    is_alone = not lives(Path.cwd())
    alive, removed = remove_locks_of_the_dead(Path.cwd())
    if removed:
        logger.info("The last call here was killed; its lock is removed.\n")
    # Open as long as this process lives, by the cache.
    return is_alone, alive
