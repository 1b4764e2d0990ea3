"""Rule compare_published: one study's measured values beside the published ones."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ablations.analysis.cells import load_records
from ablations.config.studies import parse_study
from ablations.errors import run_script
from ablations.presentation.published_table import published_table


def compare_published(
    name: str, written: Mapping[str, Any], records: Path, published: Path, base: Path
) -> None:
    """Write the comparison of the study `written` in the config to `base`.tsv, .md, .tex and .html."""
    study = parse_study(written)
    published_table(name, study, load_records(records), published).write(base)


if __name__ == "__main__":
    run_script(
        lambda: compare_published(
            snakemake.wildcards.study,  # noqa: F821
            snakemake.params.study,  # noqa: F821
            Path(snakemake.input.records),  # noqa: F821
            Path(snakemake.input.published[0]),  # noqa: F821
            Path(snakemake.output[0]).with_suffix(""),  # noqa: F821
        ),
        log=snakemake.log[0],  # noqa: F821
    )
