"""What packs hold now, read by another program while the executor writes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from snakemake_executor_plugin_submitit.folder import Submission
from snakemake_executor_plugin_submitit.holdings import FOLDER, PackedJob, read_packs
from snakemake_executor_plugin_submitit.private_folder import make_private
from snakemake_executor_plugin_submitit.results import Result, write_result


def submit(root: Path, *packs: list[str], jobs: list[str] | None = None, age_s: float = 0) -> Submission:
    """A submission as the executor saves it, with one member for each output."""
    make_private(root / FOLDER)
    described = [
        [{"key": name, "outputs": [name], "log": f"{name}.log"} for name in outputs] for outputs in packs
    ]
    made = Submission.create(root / FOLDER, "prefix", "slurm", described)
    made.jobs = [f"7_{i}" for i in range(len(packs))] if jobs is None else jobs
    made.save()
    manifest = made.folder / "manifest.json"
    modified_at = manifest.stat().st_mtime - age_s
    os.utime(manifest, (modified_at, modified_at))
    return made


def test_each_output_has_its_job_and_its_end(tmp_path):
    made = submit(tmp_path, ["a", "b"], ["c"])
    write_result(made.results, 0, 1, Result(-9, "it was killed"))
    write_result(made.results, 1, 0, Result(0))
    found = read_packs(tmp_path)
    assert list(found) == ["a", "b", "c"]
    assert [found[name].job for name in "abc"] == ["7_0", "7_0", "7_1"]
    assert [found[name].has_ended for name in "abc"] == [False, True, True]
    assert [found[name].exit_code for name in "abc"] == [None, -9, 0]
    assert found["b"] == PackedJob("7_0", ("b",), Path("b.log"), True, made.results / "0-1.json")


def test_a_job_is_found_by_each_of_its_outputs(tmp_path):
    made = submit(tmp_path, ["a"])
    manifest = made.folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace('["a"]', '["a", "b"]'))
    found = read_packs(tmp_path)
    assert found["a"] == found["b"]
    assert found["a"].outputs == ("a", "b")


def test_the_last_submission_of_an_output_counts(tmp_path):
    submit(tmp_path, ["a"], jobs=["9"])
    submit(tmp_path, ["a"], jobs=["8"], age_s=60)
    assert read_packs(tmp_path)["a"].job == "9"


def test_without_an_executor_there_is_nothing(tmp_path):
    assert read_packs(tmp_path) == {}
    assert read_packs(tmp_path / "missing") == {}


def test_a_submission_that_is_not_confirmed_is_left_out(tmp_path):
    submit(tmp_path, ["a"], jobs=[])
    assert read_packs(tmp_path) == {}


@pytest.mark.parametrize(
    "text",
    [
        "", '{"jobs": ["7"], "pa', "[]", "7", "\x00\xff", '{"jobs": "7", "packs": []}', '{"jobs": ["7"]}',
        '{"jobs": [7], "packs": [[{"outputs": ["b"], "log": "l"}]]}',
        '{"jobs": ["7"], "packs": [null]}', '{"jobs": ["7"], "packs": [["b"]]}',
        '{"jobs": ["7"], "packs": [[{"outputs": "b", "log": "l"}, {"outputs": [1], "log": "l"}]]}',
        '{"jobs": ["7"], "packs": [[{"outputs": ["b"]}, {"log": "l"}]]}',
    ],
)  # fmt: skip
def test_a_manifest_that_cannot_be_read_is_left_out(text, tmp_path):
    submit(tmp_path, ["a"])
    (submit(tmp_path, ["b"]).folder / "manifest.json").write_text(text, encoding="latin-1")
    assert list(read_packs(tmp_path)) == ["a"]


def test_a_manifest_of_another_version_is_read_as_far_as_it_is_known(tmp_path):
    made = submit(tmp_path, ["a"])
    manifest = made.folder / "manifest.json"
    content = json.loads(manifest.read_text()) | {"version": 2}
    content["packs"][0].append({"kind": "new"})
    manifest.write_text(json.dumps(content))
    write_result(made.results, 0, 0, Result(3))
    result = made.results / "0-0.json"
    result.write_text(json.dumps(json.loads(result.read_text()) | {"seconds": 5}))
    assert read_packs(tmp_path)["a"].exit_code == 3


@pytest.mark.parametrize("text", ["", '{"exi', "[]", '{"exit": "0"}', "{}"])
def test_a_result_that_cannot_be_read_is_an_end_without_exit_code(text, tmp_path):
    made = submit(tmp_path, ["a"])
    (made.results / "0-0.json").write_text(text)
    found = read_packs(tmp_path)["a"]
    assert (found.has_ended, found.exit_code) == (True, None)


def test_a_result_that_is_removed_meanwhile_has_no_exit_code(tmp_path):
    made = submit(tmp_path, ["a"])
    write_result(made.results, 0, 0, Result(0))
    found = read_packs(tmp_path)["a"]
    made.remove()
    assert found.exit_code is None


def imported_by(statement: str) -> set[str]:
    """The packages that a new interpreter has imported after a statement."""
    command = f"{statement}; import sys; print(*(name.partition('.')[0] for name in sys.modules))"
    return set(
        subprocess.run([sys.executable, "-c", command], capture_output=True, check=True).stdout.split()
    )


def test_it_imports_neither_snakemake_nor_submitit():
    printed = imported_by("import snakemake_executor_plugin_submitit.holdings")
    assert b"snakemake_executor_plugin_submitit" in printed
    heavy = {b"snakemake", b"snakemake_interface_common", b"snakemake_interface_executor_plugins"}
    assert not printed & (heavy | {b"submitit", b"psutil", b"cloudpickle"})


def test_the_registry_of_snakemake_finds_the_executor():
    """The package loads its attributes at first use, and the registry asks for them."""
    statement = (
        "from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry as R; "
        "plugin = R().get_plugin('submitit'); "
        "assert plugin.executor.__name__ == 'Executor'; "
        "assert plugin.common_settings.non_local_exec; "
        "assert plugin.settings_cls.__name__ == 'ExecutorSettings'; "
        "import snakemake_executor_plugin_submitit as package; "
        "assert not hasattr(package, 'missing')"
    )
    assert b"submitit" in imported_by(statement)
