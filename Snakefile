# Ablation Tables: a hyperparameter grid becomes the final tables of a paper.
# docs/commands.md says how to use it, docs/config.md what can be configured.

from snakemake.utils import min_version

min_version("9.27")


include: "rules/common.smk"
include: "rules/console.smk"
include: "rules/datasets.smk"
include: "rules/models.smk"
include: "rules/runs.smk"
include: "rules/tables.smk"
include: "rules/figures.smk"
include: "rules/planning.smk"


rule all:
    default_target: True
    input:
        all_tables,
        all_figures,
        all_records,
    localrule: True
    message:
        "Everything is complete. Figures are in results/figures/, and tables in results/tables/: "
        + ", ".join(f"{study}.md" for study in CONFIG.studies)


from ablations.files import refuse_links


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
