"""Rule plot_study: one study's table as a figure, as SVG and PNG."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ablations.config import parse_study
from ablations.errors import run_script
from ablations.figures import study_figure, write_figure
from ablations.tables import load_records


def plot_study(written: Mapping[str, Any], records: Path, published: Path | None, base: Path) -> None:
    """Draw the study `written` in the config to `base`.svg and .png."""
    write_figure(study_figure(parse_study(written), load_records(records), published), base)


if __name__ == "__main__":
    run_script(
        lambda: plot_study(
            snakemake.params.study,  # noqa: F821
            Path(snakemake.input.records),  # noqa: F821
            next(map(Path, snakemake.input.published), None),  # noqa: F821
            Path(snakemake.output[0]).with_suffix(""),  # noqa: F821
        ),
        log=snakemake.log[0],  # noqa: F821
    )
