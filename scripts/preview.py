"""Rule preview: the tables of the runs that are there, with the others' cells marked."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ablations.errors import run_script
from attribute_variance import attribute_variance
from compare_levels import compare_levels
from compare_published import compare_published
from make_table import make_table
from merge_records import merge_files

FOLDER = Path("results/preview")


def preview(
    records: Sequence[str],
    profiles: Mapping[tuple[str, str], str],
    studies: Mapping[str, Mapping[str, Any]],
    published: Mapping[str, str],
) -> None:
    """Write records.tsv and the tables of `studies` to results/preview/, and print the tables."""
    there = [record for record in records if Path(record).exists()]
    counted = {key: path for key, path in profiles.items() if Path(path).exists()}
    merge_files(there, counted, FOLDER / "records.tsv")
    for name, study in studies.items():
        base = FOLDER / "tables" / name
        make_table(name, study, FOLDER / "records.tsv", base)
        compare_levels(name, study, FOLDER / "records.tsv", base.with_name(f"{name}_effects"))
        attribute_variance(name, study, FOLDER / "records.tsv", base.with_name(f"{name}_variance"))
        print(base.with_suffix(".md").read_text(encoding="utf-8"))
        if name in published:
            compared = base.with_name(f"{name}_vs_published")
            compare_published(name, study, FOLDER / "records.tsv", Path(published[name]), compared)
    logging.info("%d of %d runs are there; the tables are in %s", len(there), len(records), FOLDER)
    print(f"{len(there)} of {len(records)} runs are there; the tables are in {FOLDER}/tables/")


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
