"""The reproduction of the published studies: its tables are those of the records that are kept."""

import csv
import re
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]
PLACE = PROJECT / "docs/reproduction"


def test_the_kept_tables_are_what_the_kept_records_give(tmp_path):
    command = [sys.executable, str(PLACE / "reproduce.py"), "tables", "--to", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    made = {path.relative_to(tmp_path): path for path in tmp_path.glob("tables/*")}
    kept = {path.relative_to(PLACE): path for path in PLACE.glob("tables/*")}
    assert made.keys() == kept.keys()
    for name, path in made.items():
        assert path.read_text() == kept[name].read_text(), f"{name}: call `make reproduction`"


def test_the_page_has_the_numbers_of_the_tables():
    page = (PROJECT / "docs/reproduction.md").read_text()
    for study, among in (("question_2", "10 runs"), ("part_a", "16 runs on MNIST")):
        with (PLACE / f"tables/{study}_vs_published.tsv").open() as file:
            rows = [row for row in csv.DictReader(file, delimiter="\t") if row["metric"] == "test_accuracy"]
        measured = [row for row in rows if row["measured"] != "missing"]
        for row in measured:
            cells = (row["published"], row["measured"], row["difference"], row["allowed"], row["verdict"])
            assert re.search(" *\\| *".join(map(re.escape, cells)), page), row
        assert f"{len(measured)} of {among}" in page
    records = len(list(PLACE.glob("runs/**/record.tsv")))
    assert f"[{records} of 45 runs]" in page
