"""Rule make_page: the page of a study, with all its tables and figures."""

import json
from pathlib import Path

from ablations.analysis.cells import load_records
from ablations.config.own_kinds import read_kinds
from ablations.config.studies.study import parse_study
from ablations.errors import run_script
from ablations.files import write_text
from ablations.presentation.figures.numbers import NUMBERS
from ablations.presentation.page import study_page
from ablations.presentation.tables import TABLES


def main() -> None:
    name, params = snakemake.wildcards.study, snakemake.params
    study = parse_study(json.loads(params.study), read_kinds(json.loads(params.kinds)))
    records = load_records(Path(snakemake.input.records), study.kind)
    published = next(map(Path, snakemake.input.published), None)
    figures = {figure: Path(base) for figure, base in params.figures.items()}
    tables = {table: TABLES[table](name, study, records, published) for table in params.tables}
    numbers = {figure: NUMBERS[figure](study, records) for figure in figures if figure in NUMBERS}
    page = study_page(study, records, tables, figures, numbers)
    write_text(Path(snakemake.output[0]), page)


if __name__ == "__main__":
    run_script(main, log=snakemake.log[0])
