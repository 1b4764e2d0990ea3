# What a call prints of its own, how it words what Snakemake prints, and what it checks before its first job.

from ablations.config.hints import hints
from ablations.files import refuse_links
from ablations.readable import make_readable
from ablations.tracking.console import Console
from ablations.tracking.overview import overview

CONSOLE = Console(
    {kind.rule: kind for kind in CONFIG.all_kinds.values() if kind.rule},
    lambda: [run.directory for run in CONFIG.executed_runs()],
)
if workflow.is_main_process:
    logger.info(overview(CONFIG) + "\n")
    for hint in hints(CONFIG):
        logger.warning(f"note: {hint}\n")
    if not shows_jobs_whole():
        CONSOLE.replace(logger.handlers)
make_readable(logger.handlers)


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


onerror:
    logger.info(CONSOLE.summary())
