# Records become results/records.tsv, the one source of every table, and the same in Parquet.

import hashlib

from ablations.config.studies.rankings import is_profiled, is_ranked
from ablations.files import changed_at
from ablations.presentation.escapes import rst, script_json
from ablations.runs import merged, state

# All records in one table.
MERGED = ["results/records.tsv", "results/records.parquet"]

# What follows the name of a study in the names of its tables -> what the table shows.
TABLES = {
    "": "table",
    "_design": "design",
    "_effects": "effects",
    "_variance": "variance",
    "_compute": "compute",
    "_ranks": "ranks over the datasets",
    "_profiles": "interquartile means and profiles",
    "_vs_published": "against the published values",
}


def records_of(part):
    """The records that tables are made of: all, or for a preview and with `partial` the completed ones."""
    begin()
    records = [run.record for run in CONFIG.executed_runs()]
    if part or CONFIG.partial:
        return [record for record in records if Path(record).exists()]
    return records


def all_records(wildcards):
    """Every record of the selected studies, and all in one. They are targets: a deleted one is made again."""
    return [*records_of(""), MERGED[0]]


def records_to_merge(wildcards):
    """For `input`: records, their models' profiles, and tables of results. A preview waits for no run."""
    results = [
        CONFIG.file(study.records.file)
        for study in CONFIG.studies.values()
        if study.records
    ]
    if wildcards.part:
        return {"records": [], "profiles": [], "results": results}
    files = [records_of(""), profile_files(wildcards), results]
    forget_merged([Path(file) for of_each in files for file in of_each])
    return dict(zip(("records", "profiles", "results"), files))


def forget_merged(sources):
    """Remove merged records that are not what a merge here made of these files, so that they are made again.

    They may come from another directory, or from an editor; and a record that is older than they are may
    have replaced another.
    """
    is_alone, _ = begin() or (False, None)
    merged_files = [Path(file) for file in MERGED]
    if is_alone and not merged.follow(merged_files, sources):
        for file in merged_files:
            file.unlink(missing_ok=True)
        logger.info(
            f"{MERGED[0]} is not what was made here of the present records; it is made again.\n"
        )


def studies_with_results(wildcards):
    """For `params`: the studies whose runs are taken from a table, as they are written."""
    return [study.written for study in CONFIG.studies.values() if study.records]


def records_merged(wildcards):
    """For `params`, which Snakemake compares between calls: a digest of the paths of the records.

    For a preview the paths themselves, each with the time of its last change.
    """
    records = records_of(wildcards.part)
    if wildcards.part:
        times = {record: changed_at(Path(record)) for record in records}
        return {record: time for record, time in times.items() if time}
    return hashlib.sha256("\n".join(records).encode()).hexdigest()


def tables_of(study, part=""):
    """The tables of a study, without their suffixes. Some need published values, datasets or seeds."""
    it = CONFIG.studies[study]
    lacking = {"_vs_published"} if not it.published else set()
    lacking |= {"_ranks"} if not is_ranked(it) else set()
    lacking |= {"_profiles"} if not is_profiled(it) else set()
    return [
        f"results/{part}tables/{study}{table}"
        for table in TABLES
        if table not in lacking
    ]


def all_tables(wildcards):
    """Every final table of the selected studies."""
    begin()
    tables = [table for study in CONFIG.studies for table in tables_of(study)]
    return expand("{table}.{suffix}", table=tables, suffix=("tsv", "md", "tex", "html"))


def published_of(wildcards):
    """The file of a study's published values, as a list of one or none."""
    published = CONFIG.studies[wildcards.study].published
    return [CONFIG.file(published.file)] if published else []


def sources_of(wildcards):
    """For `input`: the files that a table is made of. The design depends on the grid alone."""
    if wildcards.table == "_design":
        return []
    published = published_of(wildcards) if wildcards.table == "_vs_published" else []
    return [f"results/{wildcards.part}records.tsv", *published]


@cache
def digest_of_presentation():
    """A digest of the code between records and tables."""
    scripts = ROOT / "scripts"
    folders = ("analysis", "config", "kinds", "presentation", "runs")
    names = ("make_table.py", "plot_study.py", "merge_records.py")
    files = [scripts / name for name in names]
    for folder in folders:
        files += sorted((scripts / "ablations" / folder).rglob("*.py"))
    found = hashlib.sha256()
    for file in files:
        found.update(f"{file.relative_to(scripts)}\n".encode() + file.read_bytes())
    return found.hexdigest()[:16]


def presentation_code(wildcards):
    """For `params`: a digest of the code, so that newer code makes tables and figures again, and no run."""
    return digest_of_presentation()


def study_of(wildcards):
    """For `params`: a study as it is written in the config. Only its own changes make its tables again.

    Snakemake writes these params into a script of its report, as they are.
    """
    return script_json(CONFIG.studies[wildcards.study].written)


def own_kinds(wildcards):
    """For `params`: the config's own kinds, as they are written."""
    return CONFIG.own_kinds()


def kinds_of(wildcards):
    """For `params`: the config's own kind of a study, as it is written, if it has one."""
    return script_json(CONFIG.own_kinds(wildcards.study))


def attempts_of(wildcards):
    """For `params`: the last attempts, of which the compute table alone tells."""
    return last_attempts(wildcards) if wildcards.table == "_compute" else {}


def last_attempts(wildcards):
    """For `params`: when runs of a study last noted their attempts.

    A completed run notes none, and only a preview and `partial` have others.
    """
    if not (wildcards.part or CONFIG.partial):
        return {}
    return state.last_notes(CONFIG.studies[wildcards.study].runs())


def title_of(wildcards):
    """For `params`: the title of a study, for the captions of the report."""
    return rst(CONFIG.studies[wildcards.study].title)


def label_of_table(wildcards):
    """For the report: what a table shows."""
    return {"what": TABLES[wildcards.table]}


rule merge_records:
    input:
        unpack(records_to_merge),
    output:
        "results/{part}records.tsv",
        "results/{part}records.parquet",
    log:
        "logs/merge_records/{part}merge_records.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        records=records_merged,
        profiles=profiles,
        kinds=own_kinds,
        studies=studies_with_results,
        code=presentation_code,
    message:
        "Merging {output}"
    script:
        "../scripts/merge_records.py"


rule make_table:
    input:
        sources_of,
    output:
        multiext("results/{part}tables/{study}{table}", ".tsv", ".md", ".tex"),
        report(
            "results/{part}tables/{study}{table}.html",
            category="{study}",
            labels=label_of_table,
            caption="captions/table.rst",
        ),
    log:
        "logs/make_table/{part}{study}{table}.log",
    wildcard_constraints:
        table="|".join(TABLES),
    localrule: True
    conda:
        ENVIRONMENT
    params:
        study=study_of,
        title=title_of,
        kinds=kinds_of,
        attempts=attempts_of,
        code=presentation_code,
    message:
        "Making the table {wildcards.study}{wildcards.table}"
    script:
        "../scripts/make_table.py"
