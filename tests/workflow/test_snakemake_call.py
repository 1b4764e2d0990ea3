"""What the workflow reads of Snakemake's settings is what the pinned Snakemake was told."""

import json

import forked
import pytest
from checkout import PATIENCE_S, PROJECT

SNAKEFILE = f"""
import json
import sys
from dataclasses import asdict
from pathlib import Path
sys.path.insert(0, {str(PROJECT / "scripts")!r})
from ablations.tracking.snakemake_call import Call

call = Call(workflow)
NAMES = ["is_of_another_workflow", *(name for name, value in vars(Call).items() if type(value) is property)]

def tell(_):
    # While Snakemake builds its graph: some of it is not known before.
    read = {{name: getattr(call, name) for name in NAMES}}
    read |= asdict(read.pop("profile"))
    Path("controller.json" if call.is_controller else "job.json").write_text(json.dumps(read, default=str))
    return []

rule train:
    input: tell
    output: "made"
    threads: 2
    shell: "touch made"
"""
USUAL = {
    "is_controller": True, "is_of_another_workflow": False, "config_files": [], "config_values": {},
    "makes_environments": False, "words_jobs": False, "runs_jobs": True, "submits_jobs": False,
    "locks_files": True, "resources": {}, "threads": {}, "cores": 1, "nodes": None, "jobs_at_a_time": None,
}  # fmt: skip
CALLS = {
    "": {},
    "--dry-run": {"words_jobs": True, "runs_jobs": False},
    "--touch": {"runs_jobs": False},
    "--printshellcmds": {"words_jobs": True},
    "--verbose": {"words_jobs": True},
    "--config first=1 second=text": {"config_values": {"first": 1, "second": "text"}},
    "--dry-run --software-deployment-method conda": {
        "makes_environments": True, "words_jobs": True, "runs_jobs": False
    },
    "--persistence-backend db": {"locks_files": False},
    "--cores 3 --set-threads train=1": {"cores": 3, "threads": {"train": "1"}},
    "--set-resources train:runtime=30m train:gres=gpu:a100:2": {
        "resources": {"train": {"runtime": "30", "gres": "gpu:a100:2"}}
    },
    "--executor submitit --submitit-cluster local --jobs 5 --submitit-array-parallelism 7": {
        "submits_jobs": True, "cores": None, "nodes": 5, "jobs_at_a_time": 7
    },
}  # fmt: skip


@pytest.mark.parametrize("arguments", CALLS)
def test_what_is_read_is_what_snakemake_was_told(arguments, tmp_path):
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    if arguments == "--touch":
        (tmp_path / "made").touch()
    words = arguments.split()
    cores = [] if {"--cores", "--jobs"} & set(words) else ["--cores", "1"]
    done = forked.snakemake([*cores, *words], tmp_path, PATIENCE_S)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "controller.json").read_text()) == USUAL | CALLS[arguments]


def test_the_config_files_that_are_read_are_those_of_the_call(tmp_path):
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    for name in ("one.yaml", "two.yaml"):
        (tmp_path / name).write_text("key: 1\n")
    done = forked.snakemake(["--cores", "1", "--configfile", "one.yaml", "two.yaml"], tmp_path, PATIENCE_S)
    assert done.returncode == 0, done.stderr
    read = json.loads((tmp_path / "controller.json").read_text())["config_files"]
    assert read == [str(tmp_path / name) for name in ("one.yaml", "two.yaml")]


def test_the_job_of_a_call_and_the_user_of_a_module_are_known(tmp_path):
    (tmp_path / "Snakefile.used").write_text(
        SNAKEFILE.replace('shell: "touch made"', 'run: open("made", "w")')
    )
    module = 'module used:\n    snakefile: "Snakefile.used"\nuse rule * from used\n'
    (tmp_path / "Snakefile").write_text(module)
    done = forked.snakemake(["--cores", "1"], tmp_path, PATIENCE_S)
    assert done.returncode == 0, done.stderr
    controller, job = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("controller", "job"))
    assert controller == USUAL | {"is_of_another_workflow": True}
    assert (job["is_controller"], job["runs_jobs"]) == (False, False)
