"""Records are counted by the code that made them, and compared with the present code."""

import pytest
from ablations.analysis.code_versions import CodeVersion, count_versions
from ablations.presentation.code_note import code_note
from ablations.presentation.study_table import study_table
from test_tables import all_records, record, study

ONE = {"code_commit": "1" * 12, "code_modified": "false", "workflow_version": "0.1.0"}
MODIFIED = {**ONE, "code_modified": "true"}
TWO = {**ONE, "code_commit": "2" * 12}
OLDER = {"workflow_version": "0.1.0"}


def test_one_version_needs_no_note():
    assert code_note([]) == []
    assert code_note([ONE, ONE]) == []
    assert code_note([OLDER, OLDER]) == []


def test_a_note_counts_the_runs_of_each_version_the_most_frequent_first():
    unknown = {**TWO, "code_modified": ""}
    assert code_note([TWO, ONE, ONE, MODIFIED, OLDER, OLDER, OLDER, unknown]) == [
        "The runs were made by different code: 3 by version 0.1.0 of an unknown commit, "
        "2 by commit 111111111111, 1 by commit 222222222222, 1 by commit 111111111111 with modifications "
        "and 1 by commit 222222222222, perhaps modified."
    ]


def test_the_version_of_the_workflow_counts_only_without_a_commit():
    later = {**ONE, "workflow_version": "0.2.0"}
    assert len(count_versions([ONE, later])) == 1
    assert len(count_versions([OLDER, {"workflow_version": "0.2.0"}])) == 2


def test_columns_as_text_and_as_values_are_one_version():
    values = {"code_commit": "1" * 12, "code_modified": False, "workflow_version": "0.1.0"}
    assert CodeVersion.of(values) == CodeVersion.of(ONE)
    empty = {"code_commit": "", "code_modified": "", "workflow_version": "0.1.0"}
    assert CodeVersion.of({**empty, "code_commit": None}) == CodeVersion.of(empty) == CodeVersion.of(OLDER)


@pytest.mark.parametrize(
    ("made_by", "present", "outdated"),
    [
        (ONE, ONE, False),
        (ONE, TWO, True),
        (OLDER, ONE, True),
        (MODIFIED, ONE, True),
        (ONE, MODIFIED, True),
        (MODIFIED, MODIFIED, True),
        ({**ONE, "code_modified": ""}, ONE, True),
        (OLDER, OLDER, False),
        (OLDER, {"workflow_version": "0.2.0"}, True),
        (ONE, OLDER, True),
    ],
)
def test_a_record_is_outdated_unless_the_present_code_surely_made_it(made_by, present, outdated):
    assert CodeVersion.of(made_by).is_outdated(CodeVersion.of(present)) == outdated


def test_a_table_of_different_code_says_so():
    part_a = study("part_a")
    records = all_records(part_a, **ONE)
    assert not [note for note in study_table("part_a", part_a, records).notes if "code" in note]
    run = next(iter(records))
    notes = study_table("part_a", part_a, {**records, run: record(run, **TWO)}).notes
    expected = f"{len(records) - 1} by commit 111111111111 and 1 by commit 222222222222."
    assert f"The runs were made by different code: {expected}" in notes
