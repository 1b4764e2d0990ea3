# What a call prints of its own, and how it words what Snakemake prints.

from ablations.config.hints import hints
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


onerror:
    logger.info(CONSOLE.summary())
