"""Rule merge_records: all records of the studies, with their models' profiles, as TSV and as Parquet."""

from pathlib import Path
from typing import Any

from ablations.config.own_kinds import read_kinds
from ablations.config.studies.study import parse_study
from ablations.errors import run_script
from ablations.runs import merged
from ablations.runs.records import merge, read_profile, write_parquet, write_table
from ablations.runs.run import Run


def main() -> None:
    records, profiles = snakemake.input.records, snakemake.params.profiles
    # Before anything is read: what is replaced meanwhile then differs from the note.
    sources = merged.described([Path(file) for file in snakemake.input])
    if snakemake.wildcards.part:  # a preview has no inputs, and another call may make a run again meanwhile
        records = [record for record in snakemake.params.records if Path(record).exists()]
        profiles = {key: path for key, path in profiles.items() if Path(path).exists()}
    counts = {key: read_profile(Path(path)) for key, path in profiles.items()}
    kinds = read_kinds(snakemake.params.kinds)
    results: dict[Run, dict[str, Any]] = {}
    for written, path in zip(snakemake.params.studies, snakemake.input.results, strict=True):
        study = parse_study(written, kinds)
        assert study.records is not None
        results |= study.records.read(study, Path(path))
    names, rows = merge(map(Path, records), Path.cwd(), counts, kinds, results)
    output = Path(snakemake.output[0])
    write_parquet(output.with_suffix(".parquet"), names, rows)
    write_table(output, names, rows)
    if not snakemake.wildcards.part:
        merged.note([Path(file) for file in snakemake.output], sources)


if __name__ == "__main__":
    run_script(main, log=snakemake.log[0])
