"""Rule compare_levels: what each hyperparameter of one study does, and whether that is more than noise."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ablations.analysis.cells import load_records
from ablations.config.studies import parse_study
from ablations.errors import run_script
from ablations.presentation.effects_table import effects_table


def compare_levels(name: str, written: Mapping[str, Any], records: Path, base: Path) -> None:
    """Write the effects table of the study `written` in the config to `base`.tsv, .md, .tex and .html."""
    effects_table(name, parse_study(written), load_records(records)).write(base)


if __name__ == "__main__":
    run_script(
        lambda: compare_levels(
            snakemake.wildcards.study,  # noqa: F821
            snakemake.params.study,  # noqa: F821
            Path(snakemake.input.records),  # noqa: F821
            Path(snakemake.output[0]).with_suffix(""),  # noqa: F821
        ),
        log=snakemake.log[0],  # noqa: F821
    )
