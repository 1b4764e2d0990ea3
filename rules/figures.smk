# Pictures of what the tables hold.


rule plot_study:
    input:
        records="results/records.tsv",
        published=published_of,
    output:
        multiext(
            "results/figures/{study}",
            ".svg",
            "_effects.svg",
            "_tradeoff.svg",
            "_grid.svg",
        ),
        in_report("results/figures/{study}.png", "figure of the table"),
        in_report("results/figures/{study}_effects.png", "figure of the effects"),
        in_report("results/figures/{study}_tradeoff.png", "what accuracy costs"),
        in_report("results/figures/{study}_grid.png", "map of the grid"),
    log:
        "logs/plot_study/{study}.log",
    conda:
        ENVIRONMENT
    params:
        study=lambda wildcards: CONFIG.studies[wildcards.study].written,
        partial=CONFIG.partial,
    message:
        "Drawing {wildcards.study}"
    script:
        "../scripts/plot_study.py"


rule plot_curves:
    input:
        # For when they are there: a run's history is written before its record.
        records="results/records.tsv",
    output:
        "results/figures/{study}_curves.svg",
        in_report("results/figures/{study}_curves.png", "learning curves"),
    log:
        "logs/plot_curves/{study}.log",
    conda:
        ENVIRONMENT
    params:
        study=lambda wildcards: CONFIG.studies[wildcards.study].written,
    message:
        "Drawing the learning curves of {wildcards.study}"
    script:
        "../scripts/plot_curves.py"
