"""Rule plot_study: one figure of a study, as SVG, PNG and PDF."""

import json
from pathlib import Path

from ablations.analysis.cells import load_records
from ablations.config.own_kinds import read_kinds
from ablations.config.studies.study import parse_study
from ablations.errors import run_script
from ablations.presentation.figures import FIGURES
from ablations.presentation.figures.style import write_figure


def main() -> None:
    study = parse_study(json.loads(snakemake.params.study), read_kinds(json.loads(snakemake.params.kinds)))
    published = next(map(Path, snakemake.input.published), None)
    failed = {run for run in study.runs() if run.record in snakemake.params.failed}
    draw = FIGURES[snakemake.wildcards.figure.removeprefix("_")]
    figure = draw(study, load_records(Path(snakemake.input.records), study.kind), published, failed)
    write_figure(figure, Path(snakemake.output[0]).with_suffix(""))


if __name__ == "__main__":
    run_script(main, log=snakemake.log[0])
