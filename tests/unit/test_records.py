"""Records: written whole, read with suspicion, merged by the thousand."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ablations.errors import AblationsError
from ablations.kinds import hits
from ablations.kinds.svm import SVM, SvmHyperparameters, SvmRecord
from ablations.runs import records
from ablations.runs.records import merge, quick_record, read_record, write_record, write_table
from ablations.runs.run import Run, parse_hyperparameters
from payloads import FORMULAS, PAGES, SECRETS, TERMINALS


def make_run(**changes) -> Run:
    plain = {"kernel": "rbf", "train_samples": 100}
    return Run(SVM, "digits", "svc", SvmHyperparameters(**plain | changes))


def make_record(**changes) -> SvmRecord:
    plain = {
        "status": "ok",
        "test_accuracy": 97.25,
        "train_time_ms": 12.5,
        "test_time_ms": 3.25,
        "startup_time_ms": 800.0,
        "peak_memory_mb": 120.0,
        "test_samples": 400,
        "device": "cpu",
        "device_name": "A processor",
        "threads": 2,
        "host": "node",
        "started_at": "2026-01-01T00:00:00+00:00",
        "attempts": 1,
        "attempt_seconds": "0.5",
        "workflow_version": "0.1.0",
        "python_version": "3.11.7",
        "numpy_version": "2",
        "support_vectors": 40,
        "backend": "pairwise_gram",
        "scikit_learn_version": "1",
    }
    plain |= changes
    if plain["status"] == "ok" and plain["test_accuracy"] is not None and "test_correct" not in plain:
        # Of an accuracy that so many images can have.
        right = round(plain["test_accuracy"] * plain["test_samples"] / 100)
        plain["test_accuracy"] = 100 * right / plain["test_samples"]
        plain["test_correct"] = hits.pack(np.arange(plain["test_samples"]) < right)
    return SvmRecord(**plain)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    run = make_run()
    write_record(tmp_path / run.record, run, make_record())
    return tmp_path / run.record


def test_what_is_written_is_read(written):
    assert read_record(written) == (make_run(), make_record())


@pytest.mark.parametrize("gamma", [1e-7, 1.5e-6, 0.00012345678, 1 / 3, 1e20])
def test_a_hyperparameter_keeps_all_of_its_digits(gamma, tmp_path):
    run = make_run(gamma=gamma)
    write_record(tmp_path / run.record, run, make_record(train_time_ms=1 / 3))
    read, record = read_record(tmp_path / run.record)
    assert read == run
    assert record.train_time_ms == 0.333333
    assert merge([tmp_path / run.record], tmp_path, {})[1][0]["gamma"] == gamma


def test_a_record_may_lack_what_a_diverged_run_has_not(tmp_path):
    write_record(tmp_path / "r.tsv", make_run(), make_record(status="diverged", test_accuracy=None))
    assert read_record(tmp_path / "r.tsv")[1].test_accuracy is None


def test_a_name_with_tabs_and_line_breaks_stays_in_its_column(tmp_path):
    write_record(tmp_path / "r.tsv", make_run(), make_record(host='a\tb\n"c"'))
    assert read_record(tmp_path / "r.tsv")[1].host == "a b 'c'"


@pytest.mark.parametrize("text", [*TERMINALS, *FORMULAS, *SECRETS, *PAGES])
def test_a_text_that_somebody_wrote_into_a_record_is_text(text, written, tmp_path):
    """In the merged records as TSV and as Parquet, and at a glance."""
    if set(text) & set("\t\r\n\udc1b"):
        return  # the file would not be a record
    rewrite(written, "A processor", text)
    names, rows = merge([written], tmp_path, {})
    write_table(tmp_path / "all.tsv", names, rows)
    field = pd.read_csv(tmp_path / "all.tsv", sep="\t", dtype=str, keep_default_na=False)["device_name"][0]
    glance = quick_record(written)["device_name"]
    for shown in (field, rows[0]["device_name"], glance):
        assert shown.isprintable()
        assert not SECRETS.get(text) or SECRETS[text] not in shown
    assert not field.startswith(tuple("=+-@＝"))
    assert field == rows[0]["device_name"].replace('"', "'")


def test_a_mask_of_answers_is_kept_as_it_is(tmp_path):
    """Base64 may end like the name of a secret."""
    mask = "eNpwd=" + "token=" * 3
    record = make_record(status="diverged", test_accuracy=None, test_correct=mask)
    write_record(tmp_path / "r.tsv", make_run(), record)
    assert read_record(tmp_path / "r.tsv")[1].test_correct == mask


def test_a_path_and_its_run_are_one(written):
    text = written.parent.name
    assert parse_hyperparameters(SVM, text) == make_run().hyperparameters


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kernel=rbf+train_samples=0100", "ask for 'kernel=rbf+train_samples=100'"),
        ("kernel=rbf+train_samples=100+C=1", "ask for 'kernel=rbf+train_samples=100'"),
        ("train_samples=100+kernel=rbf", "ask for 'kernel=rbf+train_samples=100'"),
        ("kernel=rbf", "train_samples: Field required"),
        ("kernel=rbf+train_samples=100+train_samples=100", "does not name a svm run"),
        ("rbf", "does not name a svm run; expected kernel=…+train_samples=…"),
        ("kernel=rbx+train_samples=100", "kernel: Input should be"),
    ],
)
def test_a_run_has_one_spelling(text, expected):
    with pytest.raises(AblationsError) as error:
        parse_hyperparameters(SVM, text)
    assert expected in str(error.value)


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda p: p.write_text(p.read_text()[:-20]), "truncated"),
        (lambda p: p.write_text(p.read_text().split("\n")[0] + "\n"), "has 1 lines"),
        (lambda p: p.write_text(""), "truncated"),
        (lambda p: p.write_bytes(b"\xff\xfe\n"), "not UTF-8"),
        (lambda p: p.write_text(p.read_text() * 2), "has 4 lines"),
        (lambda p: rewrite(p, "97.25", "ninety"), "its test_accuracy is 'ninety'"),
        (lambda p: rewrite(p, "97.25", "101"), "its test_accuracy is '101'"),
        (lambda p: rewrite(p, "\tok\t", "\tfine\t"), "its status is 'fine'"),
        (lambda p: rewrite(p, "\tok\t", "\t\t"), "its status is ''"),
        (
            lambda p: rewrite(p, "test_accuracy", "accuracy"),
            "accuracy, test_accuracy are too many or missing",
        ),
        (lambda p: rewrite(p, "svm\t", "gan\t"), "its kind is 'gan'"),
        (lambda p: rewrite(p, "97.25\t", ""), "columns and"),
        (lambda p: p.unlink(), "cannot be read"),
    ],
)
def test_a_damaged_record_is_an_error_that_names_the_file(damage, expected, written, tmp_path):
    damage(written)
    with pytest.raises(AblationsError) as error:
        merge([written], tmp_path, {})
    assert expected in str(error.value)
    assert str(written) in str(error.value)


def test_a_record_older_than_a_hyperparameter_has_its_default(written):
    """`degree` was never named in it; the run is the same, and is not trained again."""
    rows = [line.split("\t") for line in written.read_text().splitlines()]
    at = rows[0].index("degree")
    written.write_text("".join("\t".join(row[:at] + row[at + 1 :]) + "\n" for row in rows))
    run, _ = read_record(written)
    assert run == make_run()


@pytest.mark.parametrize("text", ["", "garbage\nmore\n", "kind\tdataset\nsvm\tdigits\n"])
def test_a_glance_takes_no_other_file_for_a_record(text, written):
    assert records.quick_record(written)["status"] == "ok"
    written.write_text(text)
    assert records.quick_record(written) is None


def test_a_mask_that_contradicts_the_accuracy_is_damage(written):
    text = written.read_text()
    other = make_record(test_accuracy=50.0).test_correct
    written.write_text(text.replace(make_record().test_correct, other))
    with pytest.raises(AblationsError, match="test_correct has an accuracy of 50.000000 %"):
        read_record(written)


def test_a_foreign_record_is_an_error(written, tmp_path):
    other = tmp_path / make_run(C=2.0).record
    other.parent.mkdir(parents=True)
    other.write_text(written.read_text())
    with pytest.raises(
        AblationsError, match="this record is in the wrong directory; it belongs in .*train_samples=100/"
    ):
        merge([other], tmp_path, {})


def test_a_duplicated_record_is_an_error(written, tmp_path):
    with pytest.raises(AblationsError, match="it is the same run as"):
        merge([written, written], tmp_path, {})


def test_rows_keep_the_order_given(tmp_path):
    runs = [make_run(C=c) for c in (3.0, 1.0, 2.0)]
    for run in runs:
        write_record(tmp_path / run.record, run, make_record())
    names, rows = merge([tmp_path / run.record for run in runs], tmp_path, {})
    assert [row["C"] for row in rows] == [3.0, 1.0, 2.0]
    assert names[:3] == ["kind", "dataset", "model"]


def test_two_thousand_records_are_merged(tmp_path):
    runs = [make_run(C=float(c)) for c in range(1, 2_001)]
    for run in runs:
        path = tmp_path / run.record
        path.parent.mkdir(parents=True)
        # Without the flush to disk of a single record, which two thousand files cannot wait for.
        row = {**run.values(), **dict(make_record())}
        names = records.columns(SVM)
        path.write_text("\t".join(names) + "\n" + "\t".join(records._field(row[n]) for n in names) + "\n")
    _, rows = merge((tmp_path / run.record for run in runs), tmp_path, {})
    assert [row["C"] for row in rows] == [float(c) for c in range(1, 2_001)]


def test_a_writer_killed_before_the_rename_leaves_no_record(tmp_path):
    """SIGKILL when the new content is whole on disk, and does not have its name yet."""
    script = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = ["scripts", "tests", "tests/unit"]
Path.replace = lambda self, target: os.kill(os.getpid(), signal.SIGKILL)
from test_records import make_record, make_run, write_record
write_record(Path(sys.argv[1]) / "record.tsv", make_run(), make_record())
"""
    project = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=project, check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "record.tsv").exists()
    write_record(tmp_path / "record.tsv", make_run(), make_record())
    assert read_record(tmp_path / "record.tsv")[0] == make_run()


def test_a_writer_that_dies_leaves_no_record_and_no_temporary_file(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "write_text", lambda *_, **__: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_record(tmp_path / "record.tsv", make_run(), make_record())
    assert list(tmp_path.iterdir()) == []


def test_a_path_survives_the_way_to_a_cluster_job():
    """Snakemake writes a job's wildcards into its command line and reads them there."""
    from snakemake.target_jobs import parse_target_jobs_cli_args
    from snakemake_interface_executor_plugins.utils import TargetSpec, encode_target_jobs_cli_args

    wildcards = {"dataset": "digits", "hyperparameters": make_run(gamma=1e20).hyperparameters.canonical()}
    (word,) = encode_target_jobs_cli_args([TargetSpec("fit_svm", wildcards)])
    (parsed,) = parse_target_jobs_cli_args([word])
    assert parsed.wildcards_dict == wildcards
