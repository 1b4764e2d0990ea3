# Ablation Tables: a hyperparameter grid becomes the final tables of a paper.
# docs/commands.md says how to use it, docs/config.md what can be configured.

from snakemake.utils import min_version

min_version("9.27")


include: "rules/common.smk"
include: "rules/calls.smk"
include: "rules/datasets.smk"
include: "rules/models.smk"
include: "rules/runs.smk"
include: "rules/tables.smk"
include: "rules/figures.smk"
include: "rules/planning.smk"
include: "rules/pages.smk"


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
