"""Runs of own kinds: what a command leaves becomes a record, and what it does wrong becomes a sentence."""

import json
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from ablations.commands import history
from ablations.commands.output import HEAD_BYTES, TAIL_BYTES
from ablations.config.own_kinds import read_kinds
from ablations.kinds.hits import unpack
from ablations.runs import state
from ablations.runs.records import read_history, read_record

SCRIPT = Path(__file__).parents[2] / "scripts/run_command.py"
FOLDER = Path("results/runs/own/none/none/depth=4+seed=0")
KIND: dict[str, Any] = {
    "hyperparameters": {"depth": "int"},
    "metrics": {"psnr": {"label": "PSNR", "decimals": 2, "better": "higher"}},
}


class Place:
    """A directory in which one run of an own kind is executed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / FOLDER

    def start(self, command: str, environment: dict[str, str] | None = None, **kind: Any) -> subprocess.Popen:
        """Start the run; its kind has this command, and what else is given."""
        definition = {**KIND, "command": f"{command} # {{depth}}", **kind}
        words = ["--kind", "own", "--definition", json.dumps(definition), "--hyperparameters", FOLDER.name]
        words += ["--record", str(FOLDER / "record.tsv"), "--history", str(FOLDER / "history.tsv")]
        self.kinds = read_kinds({"own": definition})
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "run.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, SCRIPT, *words],
                cwd=self.root,
                stderr=log,
                env={**os.environ, "ABLATIONS_DEADLINE": "", **(environment or {})},
            )

    def run(self, command: str, **kind: Any) -> int:
        return self.start(command, **kind).wait(timeout=120)

    @property
    def log(self) -> str:
        return (self.folder / "run.log").read_text(encoding="utf-8", errors="replace")

    @property
    def record(self) -> Any:
        return read_record(self.folder / "record.tsv", self.kinds)[1]

    @property
    def left(self) -> set[str]:
        return {path.name for path in self.folder.iterdir()}

    def refused(self, command: str, **kind: Any) -> str:
        """The sentence that the run fails with, after which no record and no history is there."""
        assert self.run(command, **kind) == 1
        assert self.left & {"record.tsv", "history.tsv", "items.npy"} == set()
        assert "Traceback" not in self.log
        found = state.read(self.folder / "state.json")
        assert found is not None
        assert found.stopped is not None
        assert f"error: {found.stopped.error}" in self.log
        assert "results/runs/own/none/none/depth=4+seed=0" in found.stopped.error
        return found.stopped.error


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def wait_for(condition: Callable[[], Any], process: subprocess.Popen | None = None) -> None:
    """Wait until something is so; a generous limit ends a test that would wait forever."""
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        assert process is None or process.poll() is None, "it ended before"
        time.sleep(0.02)


def saved(array: object) -> str:
    """A command that saves results per test item."""
    return f"""python -c "import os, numpy as n; n.save(os.environ['ABLATIONS_ITEMS'], {array})";"""


# --- what works ---


@pytest.mark.parametrize(
    ("command", "metric"),
    [
        ("""echo training; echo '{{"psnr": 31.25, "other": "text"}}'""", {}),
        ("""echo '{{"psnr": 31.25}}' > {metrics}; echo done""", {}),
        ("""echo '{{"psnr": 31.25}}' > $ABLATIONS_METRICS""", {}),
        (
            """echo '{{"eval": {{"psnr": 31.25}}}}' > {directory}/r.json""",
            {"file": "r.json", "key": "eval/psnr"},
        ),
        ("""echo '{{"eval/psnr": 31.25}}' > {directory}/r.json""", {"file": "r.json", "key": "eval/psnr"}),
        ("printf 'epoch,psnr\\n0,9\\n1,31.25\\n1,\\n' > {directory}/m.csv", {"file": "m.csv"}),
        ("printf 'epoch\\tpsnr\\n0\\t31.25\\n' > $ABLATIONS_DIRECTORY/m.tsv", {"file": "m.tsv"}),
    ],
    ids=["last line", "file", "variable", "own JSON", "own flat JSON", "own CSV", "own TSV"],
)
def test_metrics_are_found_where_the_script_leaves_them(place, command, metric):
    assert place.run(command, metrics={"psnr": metric}) == 0
    assert (place.record.psnr, place.record.status) == (31.25, "ok")
    assert place.left == {"record.tsv", "history.tsv", "run.log", "run.lock"}


def test_a_command_is_told_its_seed_threads_and_files(place):
    said = (
        'echo "$ABLATIONS_SEED $OMP_NUM_THREADS $ABLATIONS_THREADS" {seed} {threads}; touch {checkpoints}/a'
    )
    assert place.run(f"""{said}; echo '{{{{"psnr": 1}}}}'""") == 0
    assert "\n0 1 1 0 1\n" in place.log


def test_the_lines_of_setup_come_first_and_a_failing_one_ends_the_run(place):
    assert place.run("""echo "{{\\"psnr\\": $VALUE}}\"""", setup="export VALUE=7") == 0
    assert place.record.psnr == 7
    for name in ("record.tsv", "history.tsv"):
        (place.folder / name).unlink()
    assert "exit status 3" in place.refused("echo never", setup="(exit 3)")


def test_a_run_that_declares_that_it_diverged_is_a_result(place):
    assert place.run("""echo '{{"status": "diverged", "psnr": NaN}}'""") == 1
    assert place.run("""echo '{{"status": "diverged"}}'""") == 0
    assert (place.record.status, place.record.psnr) == ("diverged", None)


def test_a_run_that_diverged_says_so_beside_metrics_of_its_own_file(place):
    written = "printf 'psnr\\n3\\n' > {directory}/m.csv; echo '{{\"status\": \"diverged\"}}'"
    assert place.run(written, metrics={"psnr": {"file": "m.csv"}}) == 0
    assert place.record.status == "diverged"


def test_the_history_is_kept_in_the_projects_form(place):
    whole = """echo '{{"epoch": 1, "loss": 2}}' >> {history}"""
    cut_off = """printf '{{"epoch": 2, "loss": 1, "x": "a"}}\\n{{"ep' >> {history}"""
    assert place.run(f"""{whole}; {cut_off}; echo '{{{{"psnr": 1}}}}'""") == 0
    assert read_history(place.folder / "history.tsv") == [{"epoch": 1, "loss": 2}, {"epoch": 2, "loss": 1}]


def test_a_step_that_is_written_again_replaces_the_first(tmp_path):
    (tmp_path / "h").write_text("step\tloss\n1\t5\n2\t4\n2\t3\n\n3\tnan\n")
    assert history.read_rows(tmp_path / "h") == [{"step": 1, "loss": 5}, {"step": 2, "loss": 3}, {"step": 3}]


def test_rows_for_the_same_step_are_one(tmp_path):
    (tmp_path / "h").write_text("epoch,step,train_loss,val_loss\n0,37,,2.5\n0,37,2,\n1,75,,1.5\n")
    assert history.read_rows(tmp_path / "h") == [
        {"epoch": 0, "step": 37, "val_loss": 2.5, "train_loss": 2},
        {"epoch": 1, "step": 75, "val_loss": 1.5},
    ]


def test_a_command_may_change_its_directory(place):
    write = """echo '{{"epoch": 1}}' > {history}; echo '{{"psnr": 1}}' > {metrics}"""
    assert place.run(f"cd /; {write}") == 0
    assert read_history(place.folder / "history.tsv") == [{"epoch": 1}]


@pytest.mark.parametrize(
    ("row", "repeats", "steps"),
    [
        ({"epoch": 3.0}, 10, (3, 10, 10)),
        ({"step": 30.0, "steps": 100.0}, None, (30, 100, 1)),
        ({"epoch": 3.0, "step": 30.0}, None, None),
        ({"epoch": 12.0}, 10, None),
    ],
)
def test_progress_is_known_where_the_whole_is_known(row, repeats, steps):
    assert history.progress([row], repeats) == steps


def test_what_is_to_be_kept_stays(place):
    files = "mkdir {directory}/a; touch {directory}/a/w.pt {directory}/a/x {directory}/b.png {directory}/c"
    assert place.run(f"""{files}; echo '{{{{"psnr": 1}}}}'""", keep=["*/w.pt", "*.png"]) == 0
    kept = {str(path.relative_to(place.folder)) for path in (place.folder / "files").rglob("*.p*")}
    assert kept == {"files/a/w.pt", "files/b.png"}
    assert not (place.folder / "files/a/x").exists()
    assert not (place.folder / "files/c").exists()


def test_the_target_of_a_link_that_stays_stays_too(place):
    files = "cd {directory}; touch best.pt other.pt; ln -s best.pt last.pt"
    assert place.run(f"""{files}; echo '{{{{"psnr": 1}}}}'""", keep="last.pt") == 0
    assert {path.name for path in (place.folder / "files").iterdir()} == {"best.pt", "last.pt"}


def test_results_per_item_are_in_the_record(place):
    kind = {"metrics": {"acc": {"noise": "proportion", "count": 5, "unit": "%"}}, "items": "acc"}
    assert place.run(f"""{saved([True, False, True, True, False])} echo '{{{{"acc": 60}}}}'""", **kind) == 0
    assert unpack(place.record.items_correct, 5).tolist() == [True, False, True, True, False]


def test_scores_per_item_are_a_file_beside_the_record(place):
    assert place.run(f"""{saved([30.5, 32])} echo '{{{{"psnr": 31.25}}}}'""", items="psnr") == 0
    assert np.load(place.folder / "items.npy").tolist() == [30.5, 32.0]


def test_two_runs_are_compared_by_their_scores_per_item(tmp_path):
    one, other = Place(tmp_path / "one"), Place(tmp_path / "other")
    for place, scores in ((one, [30, 31, 32, 33]), (other, [31, 32, 32.5, 34.5])):
        mean = sum(scores) / len(scores)
        place.root.mkdir()
        assert place.run(f"""{saved(scores)} echo '{{{{"psnr": {mean}}}}}'""", items="psnr") == 0
    script = runpy.run_path(str(SCRIPT.with_name("compare_runs.py")))
    lines = script["compare_runs"](*(p.folder / "record.tsv" for p in (one, other)), one.kinds)
    said = "  second minus first, mean of 4 items: +1.00 (95 % interval +0.35 to +1.65), p = 0.01628"
    assert f"{said} by the paired t test" in lines


def test_the_code_that_made_a_record_is_in_it(place):
    (place.root / "train.py").write_text("print(1)")
    said = """echo '{{"psnr": 1}}'"""
    assert place.run(said, code="train.py") == 0
    first = place.record.code_digest
    (place.folder / "record.tsv").unlink()
    (place.root / "train.py").write_text("print(2)")
    assert place.run(said, code=["train.py"]) == 0
    assert first != place.record.code_digest
    assert len(first) == 16


# --- what scripts do wrong ---

MISBEHAVING = {
    "no metrics": ("true", "wrote no metrics there, and the last line of the output is not JSON"),
    "exit 0 with other output": ("echo finished", "the last line of the output is not JSON with them"),
    "a metric missing": (
        """echo '{{"pnsr": 1}}' > {metrics}""",
        "metrics.json: the metric psnr is missing (there is pnsr)",
    ),
    "null": ("""echo '{{"psnr": null}}'""", "the last line of the output: the metric psnr is missing"),
    "text for a number": (
        """echo '{{"psnr": "31"}}' > {metrics}""",
        "metrics.json: psnr is '31', which is not a number",
    ),
    "true for a number": ("""echo '{{"psnr": true}}' > {metrics}""", "psnr is True, which is not a number"),
    "NaN": (
        """echo '{{"psnr": NaN}}' > {metrics}""",
        "metrics.json: psnr is nan; if the training diverged",
    ),
    "infinite": ("""echo '{{"psnr": 1e999}}' > {metrics}""", "metrics.json: psnr is inf"),
    "two lines of JSON": (
        """printf '{{"psnr": 1}}\\n{{"psnr": 2}}\\n' > {metrics}""",
        "more than one JSON value",
    ),
    "half a file": ("""printf '{{"psnr": 1' > {metrics}""", "metrics.json: it holds no JSON"),
    "a list": ("""echo '[31]' > {metrics}""", "metrics.json: it holds [31]; metrics are one JSON object"),
    "nested deeply": ("""printf '[%.0s' $(seq 100000) > {metrics}""", "nested too deeply"),
    "megabytes": ("""head -c 2000000 /dev/zero > {metrics}""", "cannot be read (it has 2,000,000 bytes"),
    "not UTF-8": ("""printf '\\xff\\xfe' > {metrics}""", "metrics.json: it is not UTF-8 text"),
    "a directory": ("mkdir {metrics}", "metrics.json: it cannot be read (it is not a regular file)"),
    "an unknown status": (
        """echo '{{"psnr": 1, "status": "bad"}}'""",
        "status is 'bad'; it may be ok or diverged",
    ),
    "exit 1 after metrics": (
        """echo '{{"psnr": 1}}' > {metrics}; (exit 1)""",
        "ended with exit status 1; its output",
    ),
    "exit 1 in a pipe": ("""(exit 4) | cat; echo '{{"psnr": 1}}'""", "ended with exit status 4"),
    "not a command": ("no-such-program", "ended with exit status 127"),
    "killed": ("kill -9 $$", "was killed (SIGKILL), most often for taking more memory"),
    "a child killed": ("bash -c 'kill -9 $$'", "was killed (SIGKILL)"),
    "processes left behind": (
        """setsid sleep 600 & echo '{{"psnr": 1}}' > {metrics}""",
        "left 1 of its processes running",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("command", "sentence"), MISBEHAVING.values(), ids=MISBEHAVING)
def test_what_a_script_does_wrong_is_a_sentence(place, command, sentence):
    assert sentence in place.refused(command)


@pytest.mark.parametrize(
    ("metric", "value", "sentence"),
    [
        ({"noise": "proportion", "count": 10}, 1.5, "is 1.5; a proportion is from 0 to 1"),
        ({"noise": "proportion", "count": 10, "unit": "%"}, 101, "is 101; a proportion is from 0 to 100"),
        ({"noise": "time", "unit": "s"}, 0, "is 0; a time is above 0"),
    ],
)
def test_a_value_that_its_metric_cannot_have_is_a_sentence(place, metric, value, sentence):
    assert sentence in place.refused(f"""echo '{{{{"psnr": {value}}}}}'""", metrics={"psnr": metric})


@pytest.mark.parametrize(
    ("write", "sentence"),
    [
        ("printf 'a,psnr\\n1,x\\n' > {directory}/m.csv", "m.csv: psnr is 'x', which is not a number"),
        ("printf 'a,b\\n1,2\\n' > {directory}/m.csv", "m.csv: the metric psnr is missing (there is a, b)"),
        ("true", "m.csv: the command did not write this file"),
    ],
)
def test_a_table_of_metrics_is_checked_too(place, write, sentence):
    assert sentence in place.refused(write, metrics={"psnr": {"file": "m.csv"}})


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        ("[1, 0, 1]", "does not hold true or false for each of the 4 items"),
        ("[1, 0, 2, 1]", "does not hold true or false for each of the 4 items"),
        ("[1, 0, 0, 0]", "25 of its items are correct, and acc is 50"),
        ("[['a']]", "does not hold one number or boolean for each test item"),
        ("[object()]", "it is not an array that numpy.save wrote"),
        (None, "the command did not write its results per test item"),
    ],
)
def test_results_per_item_that_contradict_the_metric_are_a_sentence(place, array, sentence):
    kind = {"metrics": {"acc": {"noise": "proportion", "count": 4, "unit": "%"}}, "items": "acc"}
    write = (
        f"""python -c "import os, numpy as n; n.save(os.environ['ABLATIONS_ITEMS'], {array})";"""
        if array
        else ""
    )
    assert sentence in place.refused(f"""{write} echo '{{{{"acc": 50}}}}'""", **kind)


def test_output_without_end_is_bounded_in_the_log(place):
    size = HEAD_BYTES + 40 * TAIL_BYTES
    assert place.run(f"""head -c {size} /dev/zero; echo; echo '{{{{"psnr": 1}}}}'""") == 0
    assert len(place.log) < HEAD_BYTES + 3 * TAIL_BYTES
    assert "bytes of output are left out here]" in place.log
    assert '{"psnr": 1}' in place.log


def test_a_log_that_cannot_be_written_does_not_hold_the_command_up(place):
    place.folder.mkdir(parents=True)
    (place.folder / "run.log").symlink_to("/dev/full")
    assert place.run("""head -c 500000 /dev/zero; echo; echo '{{"psnr": 1}}'""") == 0


@pytest.mark.parametrize("name", ['a\\"b', "a\\tb"])
def test_a_history_with_odd_names_costs_no_run(place, name):
    row = f"""echo '{{{{"epoch": 1, "{name}": 1, "n": {"9" * 5000}}}}}' >> {{history}}"""
    good = """echo '{{"epoch": 2, "loss": 1}}' >> {history}"""
    assert place.run(f"""{row}; {good}; echo '{{{{"psnr": 1}}}}'""") == 0
    assert read_history(place.folder / "history.tsv")[-1] == {"epoch": 2, "loss": 1}


def test_a_history_that_cannot_be_read_costs_no_run(place):
    assert place.run("""head -c 1000 /dev/urandom > {history}; echo '{{"psnr": 1}}'""") == 0
    assert read_history(place.folder / "history.tsv") == []
    assert "the command wrote no history there" in place.log


def test_the_metrics_of_an_earlier_attempt_are_not_taken_for_new_ones(place):
    place.refused("""echo '{{"psnr": 1}}' > {metrics}; (exit 1)""")
    assert "wrote no metrics there" in place.refused("true")


def test_what_a_kept_link_points_to_stays_where_results_are_elsewhere(place, tmp_path_factory):
    (place.root / "results").symlink_to(tmp_path_factory.mktemp("scratch"))
    leaves = "cd {directory}; echo x > epoch=3.ckpt; ln -s epoch=3.ckpt last.ckpt; touch rest"
    assert place.run(f"""{leaves}; echo '{{{{"psnr": 1}}}}'""", keep=["last.ckpt"]) == 0
    assert {path.name for path in (place.folder / "files").iterdir()} == {"epoch=3.ckpt", "last.ckpt"}
    assert (place.folder / "files/last.ckpt").read_text() == "x\n"


# --- stopping and resuming ---

# It counts to five, a number for each start, and stops on SIGTERM after having written where it was.
COUNTING = """
cd {checkpoints}
n=$(cat n 2>/dev/null || echo 0)
trap 'echo $n > n; exit 1' TERM
while [ $n -lt 5 ]; do
  n=$((n + 1)); echo '{{"epoch": '$n'}}' >> ../history.jsonl
  if [ $n -eq 2 ] && [ ! -e n ]; then touch ../started; while :; do sleep 0.1; done; fi
done
echo '{{"psnr": '$n'}}'
"""


def test_a_command_is_told_to_stop_and_resumes_from_its_checkpoint(place):
    first = place.start(COUNTING)
    wait_for((place.folder / "started").exists, first)
    first.send_signal(signal.SIGTERM)
    assert first.wait(timeout=120) == 1
    stopped = state.read(place.folder / "state.json").stopped
    assert (stopped.why, stopped.error) == ("stopped", "it was told to stop (SIGTERM)")
    assert place.run(COUNTING) == 0
    assert (place.record.psnr, place.record.attempts) == (5, 2)
    assert [row["epoch"] for row in read_history(place.folder / "history.tsv")] == [1, 2, 3, 4, 5]
    assert place.left == {"record.tsv", "history.tsv", "run.log", "run.lock", "started"}


def test_a_command_that_exits_well_when_told_to_stop_is_not_finished(place):
    process = place.start("trap 'echo {{}}; exit 0' TERM; touch started; while :; do sleep 0.1; done")
    wait_for((place.root / "started").exists, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=120) == 1
    assert not (place.folder / "record.tsv").exists()


def test_a_run_whose_command_was_told_with_it_is_stopped_and_has_not_failed(place):
    """As SLURM and the executor tell all processes of a job at once."""
    process = place.start(COUNTING)
    wait_for((place.folder / "started").exists, process)
    for each in (process, *psutil.Process(process.pid).children(recursive=True)):
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            each.send_signal(signal.SIGTERM)
    assert process.wait(timeout=120) == 1
    stopped = state.read(place.folder / "state.json").stopped
    assert (stopped.why, stopped.error) == ("stopped", "it was told to stop (SIGTERM)")


def test_no_further_line_is_executed_after_sigterm(place):
    waits = "python -c 'import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); "
    process = place.start(f"""{waits}open("started", "w"); time.sleep(600)'\ntouch second""")
    wait_for((place.root / "started").exists, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=120) == 1
    assert not (place.root / "second").exists()


def test_attempts_count_although_the_code_has_changed(place):
    (place.root / "lib.py").write_text("1")
    place.refused("exit 1", code="lib.py")
    (place.root / "lib.py").write_text("2")
    assert place.run("""echo '{{"psnr": 1}}'""", code="lib.py") == 0
    assert place.record.attempts == 2


def test_a_command_stops_before_its_job_ends(place):
    end = str(int(time.time()) + 8)
    process = place.start(
        COUNTING, {"SLURM_JOB_ID": "1", "SLURM_JOB_END_TIME": end}, setup='echo "until $ABLATIONS_DEADLINE"'
    )
    assert process.wait(timeout=120) == 1
    assert state.read(place.folder / "state.json").stopped.why == "time-out"
    assert "\nuntil 1" in place.log
    assert (place.folder / "checkpoints/n").read_text() == "2\n"


def test_the_command_of_a_killed_attempt_is_waited_for(place):
    first = place.start("touch started; while [ ! -e go ]; do sleep 0.05; done; echo first >> {history}")
    wait_for((place.root / "started").exists, first)
    command = [p for p in psutil.Process(first.pid).children() if p.name() == "bash"]
    first.kill()
    first.wait()
    second = place.start("""cat {history}; echo '{{"psnr": 1}}'""")
    wait_for(lambda: "the command of an earlier attempt is still running" in place.log, second)
    assert all(process.is_running() for process in command)
    (place.root / "go").touch()
    assert second.wait(timeout=120) == 0
    assert "\nfirst\n" in place.log


def test_two_processes_execute_a_run_once(place):
    command = """echo x >> started; while [ ! -e go ]; do sleep 0.05; done; echo '{{"psnr": 1}}'"""
    first = place.start(command)
    wait_for((place.root / "started").exists, first)
    second = place.start(command)
    wait_for(lambda: "waiting for it to end" in place.log, second)
    (place.root / "go").touch()
    assert (first.wait(timeout=120), second.wait(timeout=120)) == (0, 0)
    assert (place.root / "started").read_text() == "x\n"


def test_progress_is_in_the_state_file_while_the_command_runs(place):
    kind = {"hyperparameters": {"depth": "int"}, "repeats": "depth"}
    process = place.start(
        """echo '{{"epoch": 1}}' > {history}; while [ ! -e go ]; do sleep 0.05; done; echo '{{"psnr": 1}}'""",
        **kind,
    )
    path = place.folder / "state.json"
    wait_for(lambda: (found := state.read(path)) and found.progress is not None, process)
    assert (state.read(path).progress.step, state.read(path).progress.steps) == (1, 4)
    (place.root / "go").touch()
    assert process.wait(timeout=120) == 0
