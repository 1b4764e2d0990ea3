# What a call prints of its own, how it words what Snakemake prints, and what it checks before its first job.

from ablations.config.hints import hints
from ablations.files import refuse_links
from ablations.readable import make_readable
from ablations.runs.gpus import Torch, notes_before_training
from ablations.tracking.console import Console
from ablations.tracking.new_commands import new_commands
from ablations.tracking.notifier import notify, outcome
from ablations.tracking.overview import overview

CONSOLE = Console(
    {kind.rule: kind for kind in CONFIG.all_kinds.values() if kind.rule},
    lambda: [run.directory for run in CONFIG.executed_runs()],
)
if CALL.is_controller:
    logger.info(overview(CONFIG) + "\n")
    for hint in hints(CONFIG):
        logger.warning(f"note: {hint}\n")
    if not CALL.words_jobs:
        CONSOLE.replace(logger.handlers)
make_readable(logger.handlers)

# Rules that a user calls to look at a study.
LOOKS = {"design", "pages", "plan", "preview"}


def tell_new_commands(**code):
    """Tell which code of the config runs for the first time in this directory, where it is about to."""
    if CALL.runs_jobs and (new := new_commands(Path.cwd(), **code)):
        logger.warning(
            "note: this code of the config is new in this directory, and runs as you, with all that you "
            "may do:\n    " + "\n    ".join(new) + "\n"
        )


def tell_of_gpus():
    """Tell what is known of this machine's GPUs, where this call plans networks for it, or trains them."""
    networks = {study.kind.rule for study in CONFIG.studies.values()} & {CNN.rule}
    planned = {job.rule.name for job in workflow.dag.needrun_jobs()}
    if workflow.local_exec and networks and planned & {*networks, "plan"}:
        # With an environment for each rule, networks train with another torch.
        torch = Torch.installed() if ACTIVATE else None
        for note in notes_before_training(CONFIG.device, os.environ, torch):
            logger.warning(f"note: {note}\n")


def tell_end(succeeded):
    """Tell the command that the config names how this call ended, if it was more than a look."""
    targets = {job.rule.name for job in workflow.dag.targetjobs}
    if CONFIG.notify and CALL.runs_jobs and not targets & LOOKS:
        if problem := notify(CONFIG.notify, outcome(CONFIG, succeeded)):
            logger.warning(problem)


onstart:
    # Before Snakemake, a shell or a script writes anything of a job.
    try:
        # Among them are the folders that SLURM writes logs into.
        refuse_links(*Path("logs").glob("*/*"))
        for job in workflow.dag.needrun_jobs():
            refuse_links(*map(Path, (*job.output, *job.log)))
    except AblationsError as error:
        logger.error(str(error))
        raise SystemExit(1)
    if CONFIG.notify:
        tell_new_commands(notifier=CONFIG.notify)
    tell_of_gpus()


onsuccess:
    tell_end(succeeded=True)


onerror:
    logger.info(CONSOLE.summary())
    tell_end(succeeded=False)
