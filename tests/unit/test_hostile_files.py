"""Every file that is read may have been written by somebody else: whatever it holds, its reader ends at once.

A reader either gives what its caller can do without (None, nothing), or one sentence that names the file.
"""

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ablations.analysis.cells import load_records
from ablations.commands import history
from ablations.commands.results import read_items, read_metrics
from ablations.config.reading import load_config
from ablations.config.sections import ConfigError
from ablations.config.studies.published import read_published
from ablations.config.yaml_files import read_yaml
from ablations.data.staged import count_images, read_metadata
from ablations.data.weights import read_weights
from ablations.errors import AblationsError
from ablations.files import digest
from ablations.runs import state
from ablations.runs.provenance import code_digest
from ablations.runs.records import quick_record, read_history, read_profile, read_record
from ablations.runs.results_table import read_results
from ablations.tracking.plan import PLAN, Costs, read_plan
from ablations.tracking.status import last_line_of
from ablations.training.checkpoints import Checkpoint
from compare_runs import read_scores
from gpu import read_results as read_gpu_results
from safetensors.numpy import save_file
from snakemake_executor_plugin_submitit.holdings import read_packs
from snakemake_executor_plugin_submitit.results import read_result

PROJECT = Path(__file__).parents[2]
KINDS = {
    "own": {
        "command": "python train.py {hyperparameters} --seed {seed}",
        "hyperparameters": {"depth": "int", "lr": "float"},
        "metrics": {"share": {"noise": "proportion", "count": 20}, "loss": {}},
        "items": "share",
    }
}
STUDY = {
    "title": "Own",
    "kind": "own",
    "grid": [{"depth": [1, 2], "lr": 0.5}],
    "table": {"rows": ["depth"], "values": ["share"]},
    "published": "p.tsv",
}


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("p.tsv").write_text("depth\tshare\n1\t0.9\n", encoding="utf-8")
    config = load_config([], {"kinds": KINDS, "studies": {"own": STUDY}}, tmp_path)
    Path("p.tsv").unlink()
    return config.studies["own"]


# --- what a file may be --------------------------------------------------------------------------


def bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def of_size(path: Path, size: int) -> None:
    with path.open("wb") as file:
        file.truncate(size)


MANY = "\t".join(f"c{i}" for i in range(100_000))
NAMES = "kind\tdataset\tmodel\tstatus\trun\tseconds\tbasis\tepoch\tmacs\tdepth\tshare\tseed"
TEXTS = {
    "nothing": "",
    "an end of a line": "\n",
    "NUL": "\0" * 1000,
    "a nest of lists": "[" * 100_000,
    "a nest of mappings": '{"a":' * 100_000,
    "an endless number": "9" * 6000,
    "an endless number in JSON": '{"share": ' + "9" * 6000 + "}",
    "an endless float": '{"share": 1e999999999, "loss": NaN, "exit": Infinity}',
    "no mapping": "[1, 2, null]",
    "no keys": '{"jobs": 3, "packs": {}, "process": [], "lines": 4}',
    "a mapping of wrong types": '{"process": {"id": -1}, "attempts_s": "x", "exit": "0", "jobs": [[]]}',
    "many columns": f"{MANY}\n{MANY}\n",
    "many columns of numbers": f"{MANY}\n" + "\t".join("1" * 100_000) + "\n",
    "many lines": "a\n" * 100_000,
    "a field without end": f"{NAMES}\n" + "x" * 200_000 + "\n",
    "repeated columns": "epoch\tepoch\trun\trun\n1\t2\t3\t4\n",
    "no rows": f"{NAMES}\n",
    "a row of nan": f"{NAMES}\n" + "\t".join(["nan"] * 12) + "\n",
    "a row of infinities": f"{NAMES}\n" + "\t".join(["-inf"] * 12) + "\n",
    "a row of huge numbers": f"{NAMES}\n" + "\t".join(["9" * 6000] * 12) + "\n",
    "a row of negative numbers": f"{NAMES}\n" + "\t".join(["-1"] * 12) + "\n",
    "too many fields": f"{NAMES}\n" + "1\t" * 100 + "\n",
    "escapes": f"{NAMES}\n" + "\t".join(["\x1b[2J\u202e"] * 12) + "\n",
    "quotes": '"' * 1001,
}
FILES: dict[str, Callable[[Path], Any]] = {
    "a pipe": os.mkfifo,
    "a directory": os.mkdir,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a socket": bind,
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a file of 16 GB": lambda path: of_size(path, 2**34),
    "random bytes": lambda path: path.write_bytes(np.random.default_rng(0).bytes(10_000)),
    "UTF-16": lambda path: path.write_bytes("kind\tstatus\n".encode("utf-16")),
    "Latin-1": lambda path: path.write_bytes("größe\tstatus\n".encode("latin-1")),
    "a header of safetensors": lambda path: path.write_bytes((2**40).to_bytes(8, "little") + b"{}"),
    "an array of 8 TB": lambda path: path.write_bytes(array_header((10**12,))),
    **{name: lambda path, text=text: path.write_text(text, "utf-8") for name, text in TEXTS.items()},
}


def array_header(shape: tuple[int, ...]) -> bytes:
    described = str({"descr": "<f8", "fortran_order": False, "shape": shape}).ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(described).to_bytes(2, "little") + described.encode()


# --- who reads it --------------------------------------------------------------------------------

# The name of the file, and its reader.
READERS: dict[str, tuple[str, Callable[[Any, Path], Any]]] = {
    "record": ("record.tsv", lambda study, path: read_record(path, {"own": study.kind})),
    "quick record": ("record.tsv", lambda study, path: quick_record(path)),
    "history": ("history.tsv", lambda study, path: read_history(path)),
    "profile": ("profile.tsv", lambda study, path: read_profile(path)),
    "state": ("state.json", lambda study, path: state.read(path)),
    "plan": ("plan.tsv", lambda study, path: read_plan(path)),
    "log": ("run.log", lambda study, path: last_line_of(path)),
    "config": ("c.yaml", lambda study, path: read_yaml(path)),
    "published": ("p.tsv", read_published),
    "results": ("r.csv", lambda study, path: read_results(study.kind, path, {}, {}, ["share"])),
    "results as TSV": ("r.tsv", lambda study, path: read_results(study.kind, path, {}, {}, ["share"])),
    "results as Parquet": ("r.parquet", lambda study, path: read_results(study.kind, path, {}, {}, [])),
    "merged records": ("records.tsv", lambda study, path: load_records(path, study.kind)),
    "metrics": ("metrics.json", lambda study, path: read_metrics(study.kind, path, path.parent, "")),
    "items": ("items.npy", lambda study, path: read_items(path, study.kind.metrics["share"], 50.0)),
    "scores": ("scores.npy", lambda study, path: read_scores(path)),
    "history of a command": ("history.jsonl", lambda study, path: history.read_rows(path)),
    "code": ("train.py", lambda study, path: code_digest([str(path)])),
    "staged dataset": ("d.safetensors", lambda study, path: read_metadata(path)),
    "images of a staged dataset": ("d.safetensors", lambda study, path: count_images(path)),
    "weights": ("w.pt", lambda study, path: read_weights(path)),
    "weights as safetensors": ("w.safetensors", lambda study, path: read_weights(path)),
    "checkpoint": ("checkpoint.pt", lambda study, path: checkpoint(path).load()),
    "checks of a GPU": ("gpu.json", lambda study, path: read_gpu_results(path)),
    "manifest": (".snakemake/submitit/1/manifest.json", lambda study, path: read_packs(Path())),
    "result of a member": ("0-0.json", lambda study, path: read_result(path)),
}


def checkpoint(path: Path) -> Checkpoint:
    return Checkpoint(path, SimpleNamespace(identity={}))


@pytest.mark.parametrize("reader", READERS)
def test_whatever_a_file_is_its_reader_ends_with_nothing_or_with_a_sentence(reader, study):
    name, read = READERS[reader]
    root = Path.cwd()
    for i, (what, make) in enumerate(FILES.items()):
        # These may be as large as a model, or are read as a stream.
        if what == "a file of 16 GB" and reader in ("code", "checkpoint", "weights", "merged records"):
            continue
        (root / f"{i}").mkdir()
        os.chdir(root / f"{i}")
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        make(path)
        try:
            read(study, path)
        except AblationsError as error:
            said = str(error)
            assert path.name in said, (what, said)
            assert all(len(line) < 2500 for line in said.splitlines()), what
            assert len(said.splitlines()) <= 50, what
            assert not any(word in said for word in ("Traceback", "<class", "set_int_max")), (what, said)


# --- what a state may hold -----------------------------------------------------------------------

PROCESS = {"id": 1, "host": "a", "job": None, "started_at": 0}
PROGRESS = {"epoch": 1, "epochs": 2, "step": 1, "steps": 2, "eta_s": 1}


@pytest.mark.parametrize("value", ["-1", "NaN", "1e999", "9" * 400, "9" * 5000, "[]", "null"])
def test_a_state_with_an_impossible_number_is_no_state(value, tmp_path):
    path = tmp_path / "state.json"
    whole = {"process": PROCESS, "progress": PROGRESS, "updated_at": 0.0}
    path.write_text(json.dumps(whole))
    assert state.read(path) is not None
    for part, name in (("process", "id"), ("progress", "step"), ("progress", "steps"), ("process", "host")):
        changed = {**whole, part: {**whole[part], name: "VALUE"}}
        path.write_text(json.dumps(changed).replace('"VALUE"', value))
        assert state.read(path) is None


@pytest.mark.parametrize("seconds", ["nan", "inf", "-1", "1e300", "9" * 6000, "x", ""])
def test_a_planted_plan_gives_no_time_limit(seconds, tmp_path):
    path = tmp_path / PLAN
    path.parent.mkdir()
    path.write_text(f"run\tseconds\tbasis\tplanned_on\nr\t{seconds}\tthe same settings\t2026-01-01\n")
    assert read_plan(path) == {}


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "x", "9" * 6000, "1e300"])
def test_a_record_with_an_impossible_time_is_not_planned_by(value, tmp_path):
    path = tmp_path / "record.tsv"
    path.write_text(f"kind\tdataset\tmodel\tstatus\trun_time_ms\nown\tnone\tnone\tok\t{value}\n")
    assert quick_record(path) is None


def test_a_plan_takes_whatever_else_a_record_holds(study):
    own = {"own": study.kind}
    record = {"kind": "own", "dataset": "x", "model": "y", "status": "ok", "epochs": "9" * 6000}
    foreign = {**record, "kind": "nobody's"}
    for run in study.runs():
        assert Costs([record, foreign], {}, {}, own).of(run).seconds >= 0


DEFINITION = {"image_shape": [1, 2, 2], "classes": 2, "mean": [0.5], "std": [0.5]}
METADATA = {"name": "d", "sha256": "0", "definition": DEFINITION}


@pytest.mark.parametrize(
    "changed",
    [
        {"name": 1},
        {"definition": None},
        {"definition": {**DEFINITION, "image_shape": "12"}},
        {"definition": {**DEFINITION, "image_shape": [1, 10**9, 2]}},
        {"definition": {**DEFINITION, "mean": []}},
        {"definition": {**DEFINITION, "std": [float("nan")]}},
        {"definition": {**DEFINITION, "image_shape": [1, 3, 3]}},
    ],
)
def test_a_staged_dataset_is_what_its_metadata_says(changed, tmp_path):
    arrays = {
        "train_images": np.zeros((3, 1, 2, 2), np.uint8),
        "train_labels": np.zeros(3, np.int64),
        "test_images": np.zeros((2, 1, 2, 2), np.uint8),
        "test_labels": np.zeros(2, np.int64),
    }
    path = tmp_path / "d.safetensors"
    save_file(arrays, path, {"dataset": json.dumps(METADATA)})
    assert read_metadata(path)["name"] == "d"
    save_file(arrays, path, {"dataset": json.dumps(METADATA | changed)})
    with pytest.raises(AblationsError, match="is not a staged dataset"):
        read_metadata(path)


# --- configs -------------------------------------------------------------------------------------

LAUGHS = "x-0: &a0 [1, 2, 3]\n" + "".join(
    f"x-{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
)
MERGED = "x-0: &a0 {a: 1}\n" + "".join(
    f"x-{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}], c: 1}}\n" for i in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (LAUGHS, "line 6: it has more than 40,000 values"),
        (MERGED, "it has more than 40,000 values"),
        ("studies: &a\n  b: *a\n", "line 2: an alias (*) names what contains it"),
        ("studies: &a {<<: *a}\n", "line 1: an alias (*) names what contains it"),
        ("studies: " + "[" * 5000 + "]" * 5000, "nested too deeply"),
        ("studies: " + "{a: " * 5000, "nested too deeply"),
        ("".join(" " * i + "a:\n" for i in range(500)), "line 50: it is nested too deeply"),
        ("device: " + "9" * 6000, "line 1: a number has at most 100 characters"),
        ("device: 0x" + "f" * 6000, "line 1: a number has at most 100 characters"),
        ("device: 1." + "9" * 6000, "line 1: a number has at most 100 characters"),
        ('device: !!int "' + "9" * 6000 + '"', "line 1: a number has at most 100 characters"),
        ("%YAML " + "9" * 6000 + ".1\n---\na: 1", "it is not YAML"),
        ("__use_yte__: true\nstudies: {}", "Snakemake runs Python code that is in the file; take it out"),
        ("device: 1e999", "device: it holds '1e999'"),
        ("device: 2026-13-45", "device: it holds '2026-13-45'"),
        ("device: !!timestamp 2026-13-45", "it is not YAML (month must be in 1..12)"),
        ("device: \0", "it is not YAML (unacceptable character"),
        ("#" * 2**21, "at most 1,048,576 are read"),
    ],
)
def test_a_yaml_file_has_bounds(text, said, tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        load_config([path], {}, tmp_path)
    assert said in str(refused.value)


def test_a_config_may_begin_with_a_byte_order_mark(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("device: cpu\n", encoding="utf-8-sig")
    assert read_yaml(path) == {"device": "cpu"}


def nest(value: Any, levels: int) -> Any:
    for _ in range(levels):
        value = [value] if levels % 2 else {"a": value}
    return value


@pytest.mark.parametrize(
    "value",
    [nest(1, 5000), nest(1, 5001), 10**6000, [10**6000], {"a": -(10**6000)}, [[0] * 1000] * 1000],
    ids=["mappings", "lists", "number", "number in a list", "number in a mapping", "values"],
)
def test_the_values_of_a_command_line_have_the_same_bounds(value, tmp_path):
    for key in ("device", "studies", "x-mine"):
        with pytest.raises(ConfigError, match="nested too deeply|at most 100 characters|more than 40,000"):
            load_config([], {key: value}, tmp_path)


@pytest.mark.parametrize(
    ("grid", "seeds"),
    [
        ([{"depth": list(range(1000)), "lr": [i / 1000 for i in range(1, 1001)]}], list(range(1000))),
        ([{"depth": list(range(1000)), "lr": [i / 1000 for i in range(1, 1001)]}], [0]),
        ([{"depth": 1, "lr": 1}] * 501, list(range(1000))),
        ([{"recipe": [{"depth": i, "lr": 1} for i in range(501)]}], list(range(1000))),
    ],
    ids=["a product", "two axes", "blocks", "recipes"],
)
def test_a_grid_is_counted_before_its_runs_are_made(grid, seeds, tmp_path):
    study = {**STUDY, "grid": grid, "seeds": seeds}
    del study["published"]
    with pytest.raises(ConfigError, match=r"studies.own.grid: it has [0-9,]+ points .* may have 500,000"):
        load_config([], {"kinds": KINDS, "studies": {"own": study}}, tmp_path)


def test_a_call_names_some_of_very_many_problems(tmp_path):
    study = {**STUDY, "grid": [{"depth": [f"x{i}" for i in range(5000)], "lr": 1}]}
    with pytest.raises(ConfigError) as refused:
        load_config([], {"kinds": KINDS, "studies": {"own": study}}, tmp_path)
    lines = str(refused.value).splitlines()
    assert len(lines) == 51
    assert lines[-1] == "config: there are more problems of this kind"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("depth\tshare\n" + "1\t0.9\n" * 125_001, "it has more than 250,000 cells"),
        ("\t".join(["depth"] * 1000) + "\n" + "1\n" * 1001, "it has more than 250,000 cells"),
        ("depth\tshare\n1\t0." + "9" * 1000 + "\n", "too many digits"),
        ("depth\tshare\n1\t1e-999999999\n", "too many digits"),
        ("depth\tshare\n1\t1e999999999\n", "too large"),
        ("depth\tshare\n" + "x\t1\n" * 1000, "depth is 'x'"),
    ],
    ids=["rows", "columns", "digits", "small", "large", "problems"],
)
def test_a_published_table_has_bounds(text, said, study):
    Path("p.tsv").write_text(text, encoding="utf-8")
    with pytest.raises(AblationsError) as refused:
        read_published(study, Path("p.tsv"))
    assert said in str(refused.value)
    assert len(str(refused.value).splitlines()) <= 50


def test_a_small_file_of_parquet_may_not_hold_more_than_any_study(study):
    import pyarrow
    from pyarrow import parquet

    columns = {f"c{i}": pyarrow.array(np.zeros(10_000, np.int8)) for i in range(5001)}
    parquet.write_table(pyarrow.table(columns), "r.parquet")
    with pytest.raises(AblationsError, match="50,010,000 cells"):
        read_results(study.kind, Path("r.parquet"), {}, {}, [])


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), os.mkdir])
def test_weights_and_code_that_are_no_files_are_refused_at_planning(make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "w.pt")
    study = {name: value for name, value in STUDY.items() if name != "published"}
    config = {"kinds": KINDS, "studies": {"own": study}, "weights": {"mine": "w.pt"}}
    with pytest.raises(ConfigError, match="weights.mine: .* is not a regular file"):
        load_config([], config, tmp_path)
    if not (tmp_path / "w.pt").is_dir():
        config = {"kinds": {"own": {**KINDS["own"], "code": ["w.pt"]}}, "studies": {"own": study}}
        with pytest.raises(ConfigError, match="code: .* is neither a file nor a directory"):
            load_config([], config, tmp_path)
        with pytest.raises(OSError, match="not a regular file"):
            digest(tmp_path / "w.pt", "sha256")
