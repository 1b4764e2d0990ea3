"""Rule design: what the grid of each study can show and what it cannot, before anything is trained."""

from ablations.config.own_kinds import read_kinds
from ablations.config.studies.study import parse_study
from ablations.errors import run_script
from ablations.presentation.design_table import in_words


def main() -> None:
    print()
    kinds = read_kinds(snakemake.params.kinds)
    for name, written in snakemake.params.studies.items():
        print(in_words(name, parse_study(written, kinds)))


if __name__ == "__main__":
    run_script(main, log=snakemake.log[0])
