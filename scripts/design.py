"""Rule design: what the grid of each study can show and cannot, before anything is trained."""

from collections.abc import Mapping
from typing import Any

from ablations.config.studies import parse_study
from ablations.errors import run_script
from ablations.presentation.design_table import in_words


def print_designs(studies: Mapping[str, Mapping[str, Any]]) -> None:
    """Print the design of each study, as it is written in the config."""
    print()
    for name, written in studies.items():
        print(in_words(name, parse_study(written)))


if __name__ == "__main__":
    run_script(
        lambda: print_designs(snakemake.params.studies),  # noqa: F821
        log=snakemake.log[0],  # noqa: F821
    )
