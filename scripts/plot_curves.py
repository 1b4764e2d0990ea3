"""Rule plot_curves: the learning curves of one study's networks, as SVG and PNG."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ablations.config.studies import parse_study
from ablations.errors import run_script
from ablations.presentation.figures.curves import curves_figure
from ablations.presentation.figures.style import write_figure


def plot_curves(written: Mapping[str, Any], base: Path) -> None:
    """Draw the histories of the study `written` in the config to `base`.svg and .png."""
    study = parse_study(written)
    histories = {run: Path(run.directory) / "history.tsv" for run in study.runs()}
    write_figure(curves_figure(study, histories), base)


if __name__ == "__main__":
    run_script(
        lambda: plot_curves(
            snakemake.params.study,  # noqa: F821
            Path(snakemake.output[0]).with_suffix(""),  # noqa: F821
        ),
        log=snakemake.log[0],  # noqa: F821
    )
