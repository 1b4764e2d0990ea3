"""Rule merge_records: all records of the studies, with their models' profiles, as TSV and as Parquet."""

from pathlib import Path

from ablations.config.own_kinds import read_kinds
from ablations.errors import run_script
from ablations.runs.records import merge, read_profile, write_parquet, write_table


def main() -> None:
    records, profiles = snakemake.input.records, snakemake.params.profiles
    if snakemake.wildcards.part:  # a preview has no inputs
        records = snakemake.params.records
        profiles = {key: path for key, path in profiles.items() if Path(path).exists()}
    counts = {key: read_profile(Path(path)) for key, path in profiles.items()}
    names, rows = merge(map(Path, records), Path.cwd(), counts, read_kinds(snakemake.params.kinds))
    output = Path(snakemake.output[0])
    write_parquet(output.with_suffix(".parquet"), names, rows)
    write_table(output, names, rows)


if __name__ == "__main__":
    run_script(main, log=snakemake.log[0])
