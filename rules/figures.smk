# Pictures of what the tables hold.


rule plot_study:
    input:
        records="results/records.tsv",
        published=published_of,
    output:
        expand(
            "results/figures/{{study}}{name}.{suffix}",
            name=["", "_effects", "_tradeoff", "_grid"],
            suffix=["svg", "png"],
        ),
    log:
        "logs/plot_study/{study}.log",
    conda:
        ENVIRONMENT
    params:
        study=lambda wildcards: CONFIG.studies[wildcards.study].written,
    message:
        "Drawing {wildcards.study}"
    script:
        "../scripts/plot_study.py"


rule plot_curves:
    input:
        # For when they are there: a run's history is written before its record.
        records="results/records.tsv",
    output:
        multiext("results/figures/{study}_curves", ".svg", ".png"),
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
