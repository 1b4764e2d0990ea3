# Records become results/records.tsv, the one source of every table, and the same in Parquet.


rule merge_records:
    input:
        records=all_records,
        profiles=lambda wildcards: sorted(set(profiles().values())),
    output:
        "results/records.tsv",
        "results/records.parquet",
    log:
        "logs/merge_records/merge_records.log",
    conda:
        ENVIRONMENT
    params:
        records=all_records_digest,
        profiles=profiles,
    message:
        "Merging {output}"
    script:
        "../scripts/merge_records.py"


rule make_table:
    input:
        records="results/records.tsv",
    output:
        multiext("results/tables/{study}", ".tsv", ".md", ".tex"),
        in_report("results/tables/{study}.html", "table"),
    log:
        "logs/make_table/{study}.log",
    conda:
        ENVIRONMENT
    params:
        study=lambda wildcards: CONFIG.studies[wildcards.study].written,
    message:
        "Making the table of {wildcards.study}"
    script:
        "../scripts/make_table.py"


rule compare_levels:
    input:
        records="results/records.tsv",
    output:
        multiext("results/tables/{study}_effects", ".tsv", ".md", ".tex"),
        in_report("results/tables/{study}_effects.html", "effects"),
    log:
        "logs/compare_levels/{study}.log",
    conda:
        ENVIRONMENT
    params:
        study=lambda wildcards: CONFIG.studies[wildcards.study].written,
    message:
        "Comparing the levels of {wildcards.study}"
    script:
        "../scripts/compare_levels.py"


rule attribute_variance:
    input:
        records="results/records.tsv",
    output:
        multiext("results/tables/{study}_variance", ".tsv", ".md", ".tex"),
        in_report("results/tables/{study}_variance.html", "variance"),
    log:
        "logs/attribute_variance/{study}.log",
    conda:
        ENVIRONMENT
    params:
        study=lambda wildcards: CONFIG.studies[wildcards.study].written,
    message:
        "Attributing the variance of {wildcards.study}"
    script:
        "../scripts/attribute_variance.py"


rule compare_published:
    input:
        records="results/records.tsv",
        published=published_of,
    output:
        multiext("results/tables/{study}_vs_published", ".tsv", ".md", ".tex"),
        in_report(
            "results/tables/{study}_vs_published.html", "against the published values"
        ),
    log:
        "logs/compare_published/{study}.log",
    conda:
        ENVIRONMENT
    params:
        study=lambda wildcards: CONFIG.studies[wildcards.study].written,
    message:
        "Comparing {wildcards.study} with its published values"
    script:
        "../scripts/compare_published.py"


# From the grids alone: these two need no run.
rule describe_design:
    output:
        multiext("results/tables/{study}_design", ".tsv", ".md", ".tex"),
        in_report("results/tables/{study}_design.html", "design"),
    log:
        "logs/describe_design/{study}.log",
    conda:
        ENVIRONMENT
    params:
        study=lambda wildcards: CONFIG.studies[wildcards.study].written,
    message:
        "Describing the design of {wildcards.study}"
    script:
        "../scripts/describe_design.py"


rule design:
    log:
        "logs/design/design.log",
    conda:
        ENVIRONMENT
    params:
        studies={name: study.written for name, study in CONFIG.studies.items()},
    message:
        "What the studies can show"
    script:
        "../scripts/design.py"


# Counts what it needs, and reads the records that are there; it waits for no run.
rule plan:
    input:
        lambda wildcards: sorted(set(profiles().values())),
    log:
        "logs/plan/plan.log",
    conda:
        ENVIRONMENT
    params:
        studies={name: study.written for name, study in CONFIG.studies.items()},
        profiles=profiles,
        datasets={name: str(staged_dataset(name)) for name in CONFIG.datasets},
        slots=slots,
        gpu_shares=gpu_shares,
    message:
        "What the runs will take"
    script:
        "../scripts/plan.py"


# No input and no output: it never waits for a run. While the study is running, call it with --nolock.
rule preview:
    log:
        "logs/preview/preview.log",
    conda:
        ENVIRONMENT
    params:
        records=all_records,
        profiles=profiles,
        studies={name: study.written for name, study in CONFIG.studies.items()},
        published=lambda wildcards: {
            name: str(ROOT / study.published.file)
            for name, study in CONFIG.studies.items()
            if study.published
        },
    message:
        "Making tables and figures of the runs that are there, in results/preview/"
    script:
        "../scripts/preview.py"
