# Pictures of what the tables hold.

# What follows the name of a study in the names of its figures -> what the figure shows.
FIGURES = {
    "": "figure of the table",
    "_effects": "figure of the effects",
    "_tradeoff": "trade-off against cost",
    "_grid": "map of the grid",
    "_ranks": "ranks over the datasets",
    "_profiles": "share of runs that reach a value",
    "_curves": "learning curves",
}


def figures_of(study, part=""):
    """The figures of a study, without their suffixes. Some need a history, datasets or seeds."""
    it = CONFIG.studies[study]
    lacking = {"_curves"} if not it.kind.has_history else set()
    lacking |= {"_ranks"} if not is_ranked(it) else set()
    lacking |= {"_profiles"} if not is_profiled(it) else set()
    return [
        f"results/{part}figures/{study}{figure}"
        for figure in FIGURES
        if figure not in lacking
    ]


def all_figures(wildcards):
    """Every figure of the selected studies."""
    figures = [figure for study in CONFIG.studies for figure in figures_of(study)]
    return expand("{figure}.{suffix}", figure=figures, suffix=("svg", "png", "pdf"))


def failed_runs(wildcards):
    """For `params`: the records of runs that ended without one, where a figure marks what is missing."""
    if not (wildcards.part or CONFIG.partial):
        return []
    from ablations.tracking.status import failed_records

    return failed_records(CONFIG.studies[wildcards.study].runs())


def label_of_figure(wildcards):
    """For the report: what a figure shows."""
    return {"what": FIGURES[wildcards.figure]}


rule plot_study:
    input:
        # Also for the learning curves: a run's history is written before its record.
        records="results/{part}records.tsv",
        published=published_of,
    output:
        "results/{part}figures/{study}{figure}.svg",
        report(
            "results/{part}figures/{study}{figure}.png",
            category="{study}",
            labels=label_of_figure,
            caption="captions/figure.rst",
        ),
        "results/{part}figures/{study}{figure}.pdf",
    log:
        "logs/plot_study/{part}{study}{figure}.log",
    wildcard_constraints:
        figure="|".join(FIGURES),
    localrule: True
    conda:
        ENVIRONMENT
    params:
        study=study_of,
        title=title_of,
        kinds=kinds_of,
        failed=failed_runs,
        code=presentation_code,
    message:
        "Drawing {wildcards.study}{wildcards.figure}"
    script:
        "../scripts/plot_study.py"


def preview_tables(wildcards):
    """Every study's own table, of the completed runs: what a preview prints."""
    return [f"results/preview/tables/{study}.md" for study in CONFIG.studies]


def preview_files(wildcards):
    """Every study's tables and figures, of the completed runs."""
    part = "preview/"
    tables = [f"{t}.md" for study in CONFIG.studies for t in tables_of(study, part)]
    return tables + [
        f"{figure}.svg"
        for study in CONFIG.studies
        for figure in figures_of(study, part)
    ]


# It waits for no run. While the study is running, call it with --nolock.
rule preview:
    input:
        preview_files,
        tables=preview_tables,
    log:
        "logs/preview/preview.log",
    localrule: True
    conda:
        ENVIRONMENT
    message:
        "Tables and figures of the completed runs are in results/preview/"
    shell:
        "cat {input.tables:q} 2> {log:q}"
