"""Rule preview: tables and figures of the runs that are there, with the others' cells marked."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ablations.config.studies import parse_study
from ablations.errors import run_script
from ablations.tracking.status import Slurm
from attribute_variance import attribute_variance
from compare_levels import compare_levels
from compare_published import compare_published
from make_table import make_table
from merge_records import merge_files
from plot_curves import plot_curves
from plot_study import failed_runs, plot_study

FOLDER = Path("results/preview")


def preview(
    records: Sequence[str],
    profiles: Mapping[tuple[str, str], str],
    studies: Mapping[str, Mapping[str, Any]],
    published: Mapping[str, str],
) -> None:
    """Write records.tsv, tables and figures of `studies` to results/preview/, and print the tables."""
    there = [record for record in records if Path(record).exists()]
    counted = {key: path for key, path in profiles.items() if Path(path).exists()}
    merge_files(there, counted, FOLDER / "records.tsv")
    slurm = Slurm.ask()
    for name, study in studies.items():
        records_tsv, base, figures = (
            FOLDER / "records.tsv",
            FOLDER / "tables" / name,
            FOLDER / "figures" / name,
        )
        compared = Path(published[name]) if name in published else None
        make_table(name, study, records_tsv, base)
        compare_levels(name, study, records_tsv, base.with_name(f"{name}_effects"))
        attribute_variance(name, study, records_tsv, base.with_name(f"{name}_variance"))
        print(base.with_suffix(".md").read_text(encoding="utf-8"))
        if compared:
            compare_published(name, study, records_tsv, compared, base.with_name(f"{name}_vs_published"))
        plot_study(study, records_tsv, compared, figures, failed_runs(study, slurm))
        if parse_study(study).kind.has_history:
            plot_curves(study, figures.with_name(f"{name}_curves"))
    logging.info("%d of %d runs are there; tables and figures are in %s", len(there), len(records), FOLDER)
    print(f"{len(there)} of {len(records)} runs are there; tables and figures are in {FOLDER}/")


if __name__ == "__main__":
    run_script(
        lambda: preview(
            snakemake.params.records,  # noqa: F821
            snakemake.params.profiles,  # noqa: F821
            snakemake.params.studies,  # noqa: F821
            snakemake.params.published,  # noqa: F821
        ),
        log=snakemake.log[0],  # noqa: F821
    )
