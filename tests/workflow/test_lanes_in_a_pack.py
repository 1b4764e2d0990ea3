"""Members of a real pack that share a process: each is judged by itself, and has the bits of it alone."""

import contextlib
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import psutil
from ablations.runs import lanes, state
from snakemake_executor_plugin_submitit import lanes as of_the_plugin
from snakemake_executor_plugin_submitit.member import MEMBER_OF, Member
from snakemake_executor_plugin_submitit.pack import Pack
from snakemake_executor_plugin_submitit.results import read_result
from snakemake_executor_plugin_submitit.shell_job import ShellJob
from trainings import PROJECT, call, without_times, words

# Several steps, some of them with dropout; and a run that fails, one that diverges, and one that ends early.
RUNS = {
    "whole": ("--model", "mobilenet_v2", "--epochs", "2"),
    "other": ("--model", "mobilenet_v2", "--seed", "1"),
    "fails": ("--train-samples", "1"),
    "diverges": ("--model", "shufflenet_v2_x0_5", "--optimizer", "sgd", "--lr", "100", "--epochs", "2"),
}


def member(folder: Path, command: str) -> Member:
    job = ShellJob("train_cnn", command, "/bin/bash", 1, None, [], [], [], 0, False, {})
    return Member(f"{sys.executable} -P -m snakemake", str(folder / "job.log"), None, job.to_json())


def start_pack(root: Path, commands: dict[str, str]) -> subprocess.Popen[bytes]:
    """Run the commands in a pack."""
    (root / "results").mkdir()
    for name in commands:
        (root / name).mkdir()
    members = [member(root / name, command) for name, command in commands.items()]
    results, here = str(root / "results"), str(PROJECT)
    pack = Pack(0, members, len(members), results, here, {}, runtime_min=10, delay_s=5, requeues=10, lanes=8)
    (root / "pack.pkl").write_bytes(pickle.dumps(pack))
    code = "import pickle, sys; pickle.load(open(sys.argv[1], 'rb'))()"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    return subprocess.Popen([sys.executable, "-c", code, str(root / "pack.pkl")], env=kept)


def statuses(root: Path, names: Iterable[str]) -> dict[str, int]:
    return {name: read_result(root / "results" / f"0-{i}.json").exit for i, name in enumerate(names)}


def shared_process(root: Path) -> psutil.Process | None:
    """The process that the members of this pack share, and no other."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            shared = any(word.endswith("train_lanes.py") for word in process.cmdline())
            if shared and process.environ()[MEMBER_OF] == str(root / "results"):
                return process
    return None


def test_both_sides_use_the_same_names():
    assert (lanes.LANES, lanes.FOLDER) == (of_the_plugin.LANES, of_the_plugin.FOLDER)


def test_members_that_share_a_process_are_judged_each_by_itself(staged, tmp_path):
    commands = {
        name: f"{sys.executable} scripts/train_cnn.py {' '.join(words(staged, tmp_path / name, *flags))} "
        f"2>> {tmp_path / name}/run.log"
        for name, flags in RUNS.items()
    }
    assert start_pack(tmp_path, commands).wait() == 0
    logs = {name: (tmp_path / name / "run.log").read_text() for name in RUNS}
    assert statuses(tmp_path, RUNS) == {"whole": 0, "other": 0, "fails": 1, "diverges": 0}, logs
    assert not any("own" in text for text in logs.values()), "none had to go on by itself"
    for name, flags in RUNS.items():
        alone = tmp_path / "alone" / name
        done = call(staged, alone, *flags)
        if name == "fails":
            assert done.stderr.splitlines()[-1] == logs[name].splitlines()[-1]
            assert state.read(tmp_path / name / "state.json").stopped.why == "error"
            continue
        for file in ("record.tsv", "history.tsv"):
            expected, found = without_times(alone / file), without_times(tmp_path / name / file)
            expected.pop("runs_per_job", None)
            assert found.pop("runs_per_job", ["4"]) == ["4"]
            if "shares_process" in expected:
                assert (expected.pop("shares_process"), found.pop("shares_process")) == ([""], ["true"])
            assert found == expected
        assert logs[name].count("epoch") == done.stderr.count("epoch")


def test_a_run_goes_on_by_itself_when_the_shared_process_is_killed(staged, tmp_path):
    flags = ("--model", "shufflenet_v2_x0_5", "--epochs", "8", "--checkpoint-interval-s", "0")
    folder = tmp_path / "killed"
    train = f"{sys.executable} scripts/train_cnn.py {' '.join(words(staged, folder, *flags))}"
    pack = start_pack(tmp_path, {"killed": f"{train} 2>> {folder}/run.log", "other": "true"})
    # It imports torch now, so that there is time to look for it.
    while (shared := shared_process(tmp_path)) is None:
        assert pack.poll() is None
        time.sleep(0.05)
    while not (folder / "checkpoint.pt").exists():
        time.sleep(0.01)
    shared.kill()
    assert pack.wait() == 0
    log = (folder / "run.log").read_text()
    assert statuses(tmp_path, ["killed"]) == {"killed": 0}, log
    assert "the run continues in a process of its own" in log
    assert "resuming from epoch" in log
    call(staged, tmp_path / "alone", *flags)
    assert without_times(folder / "history.tsv") == without_times(tmp_path / "alone/history.tsv")
