# Ablation Tables: a hyperparameter grid becomes the final tables of a paper.
# README.md says how to use it; config/config.yaml what it runs.

from snakemake.utils import min_version

min_version("9.27")


include: "rules/common.smk"
include: "rules/datasets.smk"
include: "rules/models.smk"
include: "rules/runs.smk"
include: "rules/tables.smk"
include: "rules/figures.smk"


localrules:
    all,
    stage,
    stage_dataset,
    stage_weights,
    merge_records,
    make_table,
    describe_design,
    compare_levels,
    attribute_variance,
    compare_published,
    plot_study,
    plot_curves,
    preview,
    design,
    plan,


rule all:
    default_target: True
    input:
        all_tables,
        all_figures,
        all_records,
    message:
        "All of it is there: the tables in results/tables/, the figures in results/figures/"


rule stage:
    input:
        all_staged,
    message:
        "Everything that runs need is staged"
