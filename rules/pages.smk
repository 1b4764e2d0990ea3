# One page per study with all its tables and figures, and an index of them. `pages` waits for no run.


def page_suffixes(paths, study):
    """What follows the name of a study in these paths, without `_` -> the path."""
    return {
        Path(path).name.removeprefix(study).removeprefix("_"): path for path in paths
    }


def figures_on_page(wildcards):
    """For `params`: the figures of a study, by what their names end in."""
    return page_suffixes(figures_of(wildcards.study, wildcards.part), wildcards.study)


def tables_on_page(wildcards):
    """For `params`: what the names of a study's tables end in."""
    return list(page_suffixes(tables_of(wildcards.study), wildcards.study))


def figure_files(wildcards):
    """For `input`: the figures of a study, in both formats."""
    figures = figures_of(wildcards.study, wildcards.part)
    return expand("{figure}.{suffix}", figure=figures, suffix=("svg", "png"))


@cache
def digest_of_templates():
    """A digest of what the pages are made of, besides the code of all tables and figures."""
    scripts = ROOT / "scripts"
    files = sorted((scripts / "ablations/presentation/templates").iterdir())
    files += [scripts / "make_page.py", scripts / "make_index.py"]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[
        :16
    ]


def page_code(wildcards):
    """For `params`: digests of the code, so that newer code makes pages again, and no run."""
    return [digest_of_presentation(), digest_of_templates()]


def pages_of_studies(wildcards):
    """The page of each study."""
    if "index" in CONFIG.studies:
        # Snakemake would print an exception here with a traceback.
        logger.error(
            "error: studies.index: the index of the pages has this name; choose another"
        )
        raise SystemExit(1)
    return [f"results/{wildcards.part}pages/{study}.html" for study in CONFIG.studies]


def indexes_so_far(wildcards):
    """The index of the final pages where every record is there, and else that of the completed runs."""
    final, preview = "results/pages/index.html", "results/preview/pages/index.html"
    if not all(Path(record).exists() for record in records_of("")):
        return {"index": preview}
    # A page that a browser has shown since before then becomes complete, too.
    return {"index": final, "shown": [preview] if Path(preview).exists() else []}


rule make_page:
    input:
        figure_files,
        records="results/{part}records.tsv",
        published=published_of,
    output:
        report(
            "results/{part}pages/{study}.html",
            category="{study}",
            labels={"what": "page"},
            caption="captions/page.rst",
        ),
    log:
        "logs/make_page/{part}{study}.log",
    wildcard_constraints:
        study=f"(?!index[.])(?:{'|'.join(map(re.escape, CONFIG.studies))})",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        study=study_of,
        title=title_of,
        kinds=kinds_of,
        tables=tables_on_page,
        figures=figures_on_page,
        attempts=last_attempts,
        code=page_code,
    message:
        "Making the page of {wildcards.study}"
    script:
        "../scripts/make_page.py"


rule make_index:
    input:
        pages_of_studies,
        records="results/{part}records.tsv",
    output:
        "results/{part}pages/index.html",
    log:
        "logs/make_index/{part}index.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        studies=written_studies,
        kinds=own_kinds,
        code=page_code,
    message:
        "Making the index of the pages"
    script:
        "../scripts/make_index.py"


# It prints where the index is. While the study is running, call it with --nolock.
rule pages:
    input:
        unpack(indexes_so_far),
    log:
        "logs/pages/pages.log",
    localrule: True
    conda:
        ENVIRONMENT
    message:
        "The index of all pages is {input.index}"
    shell:
        "realpath {input.index:q} 2> {log:q}"
