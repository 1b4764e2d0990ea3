"""Rule plot_study: one study's table, effects, trade-offs and grid as figures, as SVG and PNG."""

from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ablations.analysis.cells import load_records
from ablations.config.studies import parse_study
from ablations.errors import run_script
from ablations.presentation.figures.effects import effects_figure
from ablations.presentation.figures.grid import grid_figure
from ablations.presentation.figures.study import study_figure
from ablations.presentation.figures.style import write_figure
from ablations.presentation.figures.tradeoff import tradeoff_figure
from ablations.runs.run import Run
from ablations.tracking.status import Slurm, states


def plot_study(
    written: Mapping[str, Any],
    records: Path,
    published: Path | None,
    base: Path,
    failed: Collection[Run] = (),
) -> None:
    """Draw the study `written` in the config to `base`.svg and .png, and the others beside them.

    `failed` are runs without a record that will have none unless they are run again.
    """
    study, found = parse_study(written), load_records(records)
    write_figure(study_figure(study, found, published), base)
    for name, draw in (
        ("effects", effects_figure),
        ("tradeoff", tradeoff_figure),
        ("grid", partial(grid_figure, failed=failed)),
    ):
        write_figure(draw(study, found), base.with_name(f"{base.name}_{name}"))


def failed_runs(written: Mapping[str, Any], slurm: Slurm) -> set[Run]:
    """The runs of a study that have ended without a record."""
    return {state.run for state in states(parse_study(written).runs(), slurm) if state.what == "failed"}


if __name__ == "__main__":
    run_script(
        lambda: plot_study(
            snakemake.params.study,  # noqa: F821
            Path(snakemake.input.records),  # noqa: F821
            next(map(Path, snakemake.input.published), None),  # noqa: F821
            Path(snakemake.output[0]).with_suffix(""),  # noqa: F821
            failed=failed_runs(snakemake.params.study, Slurm.ask())  # noqa: F821
            if snakemake.params.partial  # noqa: F821
            else (),
        ),
        log=snakemake.log[0],  # noqa: F821
    )
