# Pictures of what the tables hold.


rule plot_study:
    input:
        records="results/records.tsv",
        published=published_of,
    output:
        multiext("results/figures/{study}", ".svg", ".png"),
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
