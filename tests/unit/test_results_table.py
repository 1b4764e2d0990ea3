"""Studies whose results come from a table that was made elsewhere."""

from pathlib import Path
from typing import Any

import pytest
from ablations.analysis.cells import load_records
from ablations.config.reading import load_config
from ablations.config.sections import ConfigError
from ablations.errors import AblationsError
from ablations.kinds import KINDS
from ablations.presentation.effects_table import effects_table
from ablations.presentation.study_table import study_table
from ablations.runs.records import merge, write_table
from ablations.runs.results_table import _read

PROJECT = Path(__file__).parents[2]
KIND = {
    "hyperparameters": {"depth": "int", "act": {"choices": ["relu", "gelu"], "default": "relu"}},
    "metrics": {"psnr": {"label": "PSNR", "better": "higher"}, "time": {"noise": "time", "better": "lower"}},
}
ROWS = ["depth,seed,psnr", "4,0,30.25", "4,1,30.75", "8,0,31.25", "8,1,31.5"]


@pytest.mark.parametrize(
    "content", ["", "kind\tmodel\nsvm\tsvc\n", "kind\tdataset\tmodel\nsvm\tdigits\n", None]
)
def test_merged_records_that_are_none_are_a_sentence(content, tmp_path):
    if content is not None:
        (tmp_path / "records.tsv").write_text(content)
    with pytest.raises(AblationsError, match=r"records\.tsv: .* merged records"):
        load_records(tmp_path / "records.tsv", KINDS["svm"])


class Table:
    """A table of results in a directory, and a study that takes its runs from it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.file = root / "results.csv"

    def config(self, rows: list[str], records: dict[str, Any] | None = None, **more: Any):
        self.file.write_text("".join(f"{row}\n" for row in rows))
        study = {
            "title": "Elsewhere",
            "kind": "denoiser",
            "grid": [{"depth": [4, 8]}],
            "seeds": [0, 1],
            "table": {"rows": ["depth"], "values": "psnr"},
            "records": {"file": str(self.file), **(records or {})},
        }
        return load_config([], {"kinds": {"denoiser": KIND}, "studies": {"s": study}, **more}, PROJECT)

    def shown(self, config) -> dict[str, str]:
        """The cells of the study's table, from the merged records."""
        study = config.studies["s"]
        names, rows = merge([], self.root, {}, config.all_kinds, study.records.read(study, self.file))
        write_table(self.root / "records.tsv", names, rows)
        records = load_records(self.root / "records.tsv", study.kind)
        assert "runs" not in effects_table("s", study, records).display
        shown = study_table("s", study, records).display
        return dict(zip(shown["depth"], shown.iloc[:, 1], strict=True))

    def refused(self, rows: list[str], records: dict[str, Any] | None = None) -> str:
        with pytest.raises(ConfigError) as error:
            self.config(rows, records)
        return str(error.value)


@pytest.fixture
def table(tmp_path):
    return Table(tmp_path)


CELLS = {"4": "30.50 ± 0.35", "8": "31.38 ± 0.18"}


def test_the_table_of_a_study_comes_from_a_file(table):
    config = table.config(ROWS)
    assert table.shown(config) == CELLS
    assert config.executed_runs() == []
    assert len(config.runs()) == 4


@pytest.mark.parametrize(
    ("header", "records"),
    [
        ("config.depth,config.seed,summary.psnr", {}),
        ("params.depth,params.seed,metrics.psnr", {}),
        ("layers,s,test PSNR", {"columns": {"depth": "layers", "seed": "s", "psnr": "test PSNR"}}),
    ],
    ids=["W&B", "MLflow", "other"],
)
def test_the_names_of_trackers_are_understood(table, header, records):
    assert table.shown(table.config([header, *ROWS[1:]], records)) == CELLS


def test_rows_of_runs_that_did_not_finish_are_not_used(table):
    rows = [f"{ROWS[0]},status", *(f"{row},FINISHED" for row in ROWS[1:]), "8,1,,crashed", "8,2,1,finished"]
    assert table.shown(table.config(rows)) == CELLS


def test_a_run_that_diverged_needs_no_metric(table):
    rows = [f"{ROWS[0]},status", *(f"{row},ok" for row in ROWS[1:4]), "8,1,,diverged"]
    assert table.shown(table.config(rows))["8"] == "31.25 (1 diverged)"


def test_parquet_is_read_with_its_types(table):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table.config(ROWS)
    table.file = table.root / "results.parquet"
    columns = {"depth": [4, 4, 8, 8], "seed": [0, 1, 0, 1], "psnr": [30.25, 30.75, 31.25, 31.5]}
    study = {"kinds": {"denoiser": KIND}, "studies": {"s": {
        "title": "Elsewhere", "kind": "denoiser", "grid": [{"depth": [4, 8]}], "seeds": [0, 1],
        "table": {"rows": ["depth"]}, "records": str(table.file),
    }}}  # fmt: skip
    parquet.write_table(pyarrow.table(columns), table.file)
    assert table.shown(load_config([], study, PROJECT)) == CELLS


def test_what_is_missing_is_marked_where_that_is_wanted(table):
    assert table.shown(table.config(ROWS[:-1], partial=True))["8"] == "31.25 (1 missing)"


def test_times_of_unknown_machines_are_shown(table):
    study = {"table": {"rows": ["depth"], "values": ["psnr", "time"]}}
    rows = [f"{row},{end}" for row, end in zip(ROWS, ["time", "5", "6", "7", "8"], strict=True)]
    config = table.config(rows)
    written = {**config.studies["s"].written, **study}
    config = load_config([], {"kinds": {"denoiser": KIND}, "studies": {"s": written}}, PROJECT)
    assert table.shown(config) == CELLS


@pytest.mark.parametrize(
    ("rows", "records", "sentence"),
    [
        (ROWS[:-1], {}, "has no row for 1 of 4 runs (depth=8+seed=1)"),
        ([*ROWS, "4,0,30"], {}, "results.csv, line 6: it is the same run as line 2"),
        ([*ROWS, "four,0,30"], {}, "results.csv, line 6: depth is 'four'"),
        ([*ROWS, "4,0"], {}, "results.csv, line 6: it has 2 fields, and the first line has 3"),
        ([*ROWS, "4,3,high"], {}, "results.csv, line 6, psnr: 'high' is not a number"),
        ([*ROWS, "4,3,nan"], {}, "results.csv, line 6, psnr: 'nan' is not a number"),
        ([*ROWS, "4,3,"], {}, "results.csv, line 6, psnr: '' is not a number"),
        (["depth,seed,pnsr"], {}, "no column 'psnr'; did you mean 'pnsr'? (there are depth, seed, pnsr)"),
        (["depth,psnr"], {}, "it has no column 'seed'"),
        (ROWS, {"columns": {"status": "state"}}, "it has no column 'state'"),
        (ROWS, {"columns": {"act": "activation"}}, "it has no column 'activation'"),
        ([f"{ROWS[0]},time", "4,0,1,0"], {}, "line 2, time: 0 is not possible; a time is above 0"),
        (["depth,depth,psnr"], {}, "it has the column 'depth' twice"),
        ([f"{ROWS[0]},act", "4,0,1,tanh"], {}, "line 2: act is 'tanh'"),
        (["depth,seed,psnr,metrics.psnr"], {}, "columns for psnr (psnr, metrics.psnr); choose one"),
        (ROWS, {"columns": {"dept": "depth"}}, "records.columns: 'dept' is not a hyperparameter or a"),
        (ROWS, {"columns": {"depth": "layers"}}, "it has no column 'layers'"),
        (ROWS, {"where": {"width": 4}}, "records.where: 'width' is not a hyperparameter"),
        (ROWS, {"file": "no/such.csv"}, "records: there is no file '/"),
        ([f"{ROWS[0]},act", "4,0,1,gelu"], {"where": {"act": "relu"}}, "line 2, act: it is 'gelu', and"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_file_is_a_sentence_with_its_line(table, rows, records, sentence):
    said = table.refused(rows, records)
    assert sentence in said
    assert said.startswith("studies.s.records")


def test_a_level_that_the_file_leaves_out_is_given(table):
    rows = ["seed,psnr", "0,30", "1,31"]
    with pytest.raises(AblationsError, match="for 2 of 4 runs"):
        table.config(rows, {"where": {"depth": 4}})


def test_two_studies_do_not_take_the_same_run_from_two_files(table):
    study = {**table.config(ROWS).studies["s"].written}
    other = {**study, "records": {"file": str(table.file), "columns": {"psnr": "psnr"}}}
    both = {"kinds": {"denoiser": KIND}, "studies": {"one": study, "two": other}}
    with pytest.raises(ConfigError, match=r"two.records: depth=4\+seed=0 is also a run of the study one"):
        load_config([], both, PROJECT)
    load_config([], {**both, "studies": {"one": study, "two": study}}, PROJECT)


def test_the_counts_of_a_model_are_joined_to_networks_alone(table):
    config = table.config(ROWS)
    study = config.studies["s"]
    profiles = {("none", "none"): {"macs": 1, "flops": 2, "params": 3}}
    _, rows = merge([], table.root, profiles, config.all_kinds, study.records.read(study, table.file))
    assert not any("params" in row for row in rows)


def test_a_kind_without_a_command_is_not_executed(table):
    with pytest.raises(ConfigError, match="records: it is missing; runs of kind denoiser have no command"):
        table.config(ROWS, {}, studies={"s": {
            "title": "t", "kind": "denoiser", "grid": [{"depth": 4}], "table": {"rows": ["depth"]},
        }})  # fmt: skip


@pytest.mark.parametrize("values", [[2] * 1_000_001, ["x" * 10_000] * 300])
def test_a_small_parquet_of_much_content_is_refused(values, tmp_path, monkeypatch):
    monkeypatch.setattr("ablations.runs.results_table.MOST_BYTES", 10**6)
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"depth": values}), tmp_path / "results.parquet")
    assert (tmp_path / "results.parquet").stat().st_size < 2**22
    with pytest.raises(AblationsError, match=r"cannot be read as a table .*more than"):
        _read(tmp_path / "results.parquet")


def test_the_problem_of_another_study_is_told_as_its_own(table):
    table.config(ROWS)
    broken = {
        "title": "Drawn", "kind": "denoiser", "grid": [{"depth": [4, 8]}], "sample": {"points": 9},
        "table": {"rows": ["depth"]},
    }  # fmt: skip
    elsewhere = {
        "title": "Elsewhere", "kind": "denoiser", "grid": [{"depth": [4, 8]}], "seeds": [0, 1],
        "table": {"rows": ["depth"]}, "records": str(table.file),
    }  # fmt: skip
    with pytest.raises(ConfigError) as error:
        load_config([], {"kinds": {"denoiser": KIND}, "studies": {"a": elsewhere, "b": broken}}, PROJECT)
    assert str(error.value).startswith("studies.b")
