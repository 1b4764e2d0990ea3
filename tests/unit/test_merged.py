"""Merged records that are not what the last merge here made of the records, whatever their times."""

import os
from pathlib import Path

import pytest
from ablations.files import changed_at
from ablations.runs import merged

TABLE, PARQUET = Path("results/records.tsv"), Path("results/records.parquet")
SOURCES = [Path("a/record.tsv"), Path("b/record.tsv")]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Two records, merged."""
    monkeypatch.chdir(tmp_path)
    for file in (TABLE, PARQUET, *SOURCES):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{file} as it was\n")
    merged.note([TABLE, PARQUET], merged.described(SOURCES))
    return tmp_path


def follow(sources=tuple(SOURCES)) -> bool:
    return merged.follow([TABLE, PARQUET], sources)


def change(file: Path) -> None:
    """Change a file as somebody does who hides it: it has the size and the time of the old one."""
    times = file.stat()
    file.write_text(file.read_text().replace("as", "AS"))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_what_was_made_here_follows(here):
    assert follow()


@pytest.mark.parametrize("file", [TABLE, PARQUET])
def test_a_changed_table_does_not_follow(file, here):
    change(file)
    assert not follow()


def test_a_record_that_is_replaced_while_it_is_merged_is_noticed(here):
    before = merged.described(SOURCES)
    SOURCES[0].write_text("another\n")
    merged.note([TABLE, PARQUET], before)
    assert not follow()


def test_a_replaced_record_is_noticed_although_it_is_old(here):
    SOURCES[0].write_text("another\n")
    os.utime(SOURCES[0], (1, 1))
    assert not follow()


def test_a_copy_with_new_times_follows(here):
    for file in SOURCES:
        os.utime(file, (1, 1))
    assert follow()


@pytest.mark.parametrize("note", [None, "", "{", "[]", "null", "{}", "[" * 5000, '{"merged": 1}'])
def test_a_table_from_elsewhere_does_not_follow(note, here):
    merged.NOTE.unlink()
    if note is not None:
        merged.NOTE.write_text(note)
    assert not follow()


def test_where_a_merge_comes_anyway_the_table_stays(here):
    assert follow(SOURCES[:1]), "of other runs"
    SOURCES[0].unlink()
    assert follow(), "a record is missing"
    TABLE.unlink()
    assert follow(), "so is the table"


def test_a_record_that_goes_meanwhile_was_never_changed(here):
    assert changed_at(SOURCES[0]) == SOURCES[0].stat().st_mtime_ns
    SOURCES[0].unlink()
    assert changed_at(SOURCES[0]) is None
