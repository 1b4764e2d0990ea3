"""Rule make_table: one table of a study, as TSV, Markdown, LaTeX and HTML."""

import json
from pathlib import Path

from ablations.analysis.cells import load_records
from ablations.config.own_kinds import read_kinds
from ablations.config.studies.study import parse_study
from ablations.errors import run_script
from ablations.presentation.tables import TABLES


def main() -> None:
    wildcards = snakemake.wildcards
    sources = [Path(path) for path in snakemake.input]
    study = parse_study(json.loads(snakemake.params.study), read_kinds(json.loads(snakemake.params.kinds)))
    records = load_records(sources[0], study.kind) if sources else {}
    published = sources[1] if len(sources) > 1 else None
    make = TABLES[wildcards.table.removeprefix("_")]
    table = make(wildcards.study, study, records, published)
    table.write(Path(snakemake.output[0]).with_suffix(""))


if __name__ == "__main__":
    run_script(main, log=snakemake.log[0])
