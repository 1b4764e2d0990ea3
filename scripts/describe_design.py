"""Rule describe_design: what the grid of one study can tell apart, as a table."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ablations.config.studies import parse_study
from ablations.errors import run_script
from ablations.presentation.design_table import design_table


def describe_design(name: str, written: Mapping[str, Any], base: Path) -> None:
    """Write the design of the study `written` in the config to `base`.tsv, .md, .tex and .html."""
    design_table(name, parse_study(written)).write(base)


if __name__ == "__main__":
    run_script(
        lambda: describe_design(
            snakemake.wildcards.study,  # noqa: F821
            snakemake.params.study,  # noqa: F821
            Path(snakemake.output[0]).with_suffix(""),  # noqa: F821
        ),
        log=snakemake.log[0],  # noqa: F821
    )
