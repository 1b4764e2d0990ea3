"""Rule make_table: the table of one study, as TSV, Markdown, LaTeX and HTML."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ablations.analysis.cells import load_records
from ablations.config.studies import parse_study
from ablations.errors import run_script
from ablations.presentation.study_table import study_table


def make_table(name: str, written: Mapping[str, Any], records: Path, base: Path) -> None:
    """Write the table of the study `written` in the config to `base`.tsv, .md, .tex and .html."""
    study_table(name, parse_study(written), load_records(records)).write(base)


if __name__ == "__main__":
    run_script(
        lambda: make_table(
            snakemake.wildcards.study,  # noqa: F821
            snakemake.params.study,  # noqa: F821
            Path(snakemake.input.records),  # noqa: F821
            Path(snakemake.output[0]).with_suffix(""),  # noqa: F821
        ),
        log=snakemake.log[0],  # noqa: F821
    )
