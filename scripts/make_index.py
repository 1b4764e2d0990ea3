"""Rule make_index: the page that links to the page of each study."""

from pathlib import Path

from ablations.analysis.cells import load_records
from ablations.config.own_kinds import read_kinds
from ablations.config.studies.study import parse_study
from ablations.errors import run_script
from ablations.files import write_text
from ablations.presentation.page import index_page


def main() -> None:
    kinds = read_kinds(snakemake.params.kinds)
    studies = {name: parse_study(written, kinds) for name, written in snakemake.params.studies.items()}
    path = Path(snakemake.input.records)
    of_kind = {study.kind: load_records(path, study.kind) for study in studies.values()}
    records = {name: of_kind[study.kind] for name, study in studies.items()}
    write_text(Path(snakemake.output[0]), index_page(studies, records))


if __name__ == "__main__":
    run_script(main, log=snakemake.log[0])
