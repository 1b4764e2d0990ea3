"""Rule merge_records: all records of the studies, with their models' profiles, as TSV and as Parquet."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from ablations.errors import run_script
from ablations.runs.records import merge, read_profile, write_parquet, write_table


def merge_files(records: Iterable[str], profiles: Mapping[tuple[str, str], str], output: Path) -> None:
    """Merge `records`, each with the profile of its (dataset, model), into `output` and a .parquet."""
    counts = {key: read_profile(Path(path)) for key, path in profiles.items()}
    names, rows = merge(map(Path, records), Path.cwd(), counts)
    write_parquet(output.with_suffix(".parquet"), names, rows)
    write_table(output, names, rows)


if __name__ == "__main__":
    run_script(
        lambda: merge_files(snakemake.input.records, snakemake.params.profiles, Path(snakemake.output[0])),  # noqa: F821
        log=snakemake.log[0],  # noqa: F821
    )
