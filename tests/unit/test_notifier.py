"""The command that is told how a call ended: in time, whole, and never at the cost of the study."""

import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from ablations.config.hints import hints
from ablations.config.reading import load_config
from ablations.errors import AblationsError
from ablations.runs import state
from ablations.tracking.new_commands import new_commands
from ablations.tracking.notifier import Outcome, notify, outcome
from checkout import PATIENCE_S
from payloads import SECRETS

STUDY = {
    "title": "T",
    "kind": "svm",
    "grid": [{"dataset": "digits", "kernel": ["rbf", "poly", "linear"], "train_samples": 200}],
    "table": {"rows": "kernel"},
}
PROJECT = Path(__file__).parents[2]
TOLD = Outcome(("one", "two"), False, 3, 1, 2, "/a/place")
READ = "import os, sys; open('told', 'w').write(sys.stdin.read() + os.environ['ABLATIONS_SUBJECT'])"


def load(**config):
    return load_config([PROJECT / "config/datasets.yaml"], {"studies": {"s": STUDY}, **config}, PROJECT)


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("mail -s 'it ended' me@example.org", ["mail", "-s", "it ended", "me@example.org"]),
        (["sh", "-c", "cat > x; $(y)"], ["sh", "-c", "cat > x; $(y)"]),
        ("curl -d @- ntfy.sh/x; rm -r y", ["curl", "-d", "@-", "ntfy.sh/x;", "rm", "-r", "y"]),
        ([], []),
    ],
)
def test_the_command_is_words_and_no_shell_reads_them(written, words):
    assert load(notify=written).notify == words


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("mail 'x", "it cannot be split into words: no closing quotation"),
        (" ", "it is empty"),
        (5, "notify"),
        (["a", 5], "notify"),
        (["a", "b\0"], "control characters"),
        ({"mail": "x"}, "notify"),
    ],
)
def test_what_is_no_command_is_refused_in_a_sentence(written, problem):
    with pytest.raises(AblationsError, match="notify") as refused:
        load(notify=written)
    assert problem in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_a_program_that_is_not_there_is_said_at_planning_and_so_is_a_secret():
    assert list(hints(load(notify="cat"))) == []
    [said] = hints(load(notify="no-such-program x"))
    assert "notify: there is no program 'no-such-program' here" in said
    for text, secret in SECRETS.items():
        said = " ".join(hints(load(notify=["sh", "-c", f"curl {text}"])))
        assert "password or token" in said
        assert secret not in said


def test_the_message_is_on_the_input_and_in_the_environment(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert notify(python(READ), TOLD) == ""
    assert (tmp_path / "told").read_text() == (
        "one, two: failed\nRuns: 3 finished, 1 failed, 2 missing\nDirectory: /a/place\none, two: failed"
    )
    environment = TOLD.environment()
    assert environment["ABLATIONS_OUTCOME"] == "failed"
    assert environment["ABLATIONS_MISSING"] == "2"


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (python("raise SystemExit('no\\x1b[2J network')"), "ended with exit status 1 (no network)"),
        (python("import os, signal; os.kill(os.getpid(), 9)"), "ended with exit status -9"),
        (["/no/such/program"], "cannot be executed (No such file or directory)"),
        (["/etc/passwd"], "cannot be executed (Permission denied)"),
        (["cat", "\0"], "cannot be executed (embedded null byte)"),
        (["cat", "x" * 2**20], "cannot be executed (Argument list too long)"),
    ],
)
def test_a_command_that_fails_is_said_in_one_line(words, problem):
    said = notify(words, TOLD)
    assert problem in said
    assert said.isprintable()


def test_a_command_that_hangs_is_killed_with_all_that_it_started(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    child = "import signal, time; signal.signal(15, signal.SIG_IGN); open('up', 'w'); time.sleep(999)"
    hangs = f"""
import pathlib, signal, subprocess, sys, time
signal.signal(15, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, '-c', {child!r}])
while not pathlib.Path('up').exists(): time.sleep(0.01)
pathlib.Path('pid').write_text(str(child.pid))
time.sleep(999)
"""
    # As if the time were over once both wait.
    wait = subprocess.Popen.wait

    def until_both_wait(process, timeout=None):
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            assert process.poll() is None
        return wait(process, timeout and 0.01)

    monkeypatch.setattr("subprocess.Popen.wait", until_both_wait)
    assert "had not ended after 30 s, and was killed" in notify(python(hangs), TOLD)
    # The kernel ends it.
    await_end(int((tmp_path / "pid").read_text()))


def await_end(process_id: int) -> None:
    """Wait for the end of a process, which nobody may be there to reap."""
    until = time.monotonic() + PATIENCE_S
    with suppress(psutil.NoSuchProcess):
        while psutil.Process(process_id).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < until


def test_a_command_that_leaves_a_process_holding_its_output_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    child = "import pathlib, time\nwhile not pathlib.Path('end').exists(): time.sleep(0.01)"
    leaves = (
        f"import pathlib, subprocess, sys\nchild = subprocess.Popen([sys.executable, '-c', {child!r}])\n"
        "pathlib.Path('pid').write_text(str(child.pid))"
    )
    assert notify(python(leaves), TOLD) == ""
    (tmp_path / "end").touch()
    # The test's directory is removed after the test, and with it the file that ends this process.
    await_end(int((tmp_path / "pid").read_text()))


def test_runs_are_counted_by_the_files_that_they_left(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = load()
    done, failed, _ = (run for run in config.executed_runs())
    for run in (done, failed):
        Path(run.directory).mkdir(parents=True)
    Path(done.record).touch()
    stopped = state.RunState(state.Process.current(), stopped=state.Stop("error", "x"))
    state.write(Path(failed.directory, state.NAME), stopped)
    Path(failed.directory, "run.log").write_text("error: x\n")
    told = outcome(config, succeeded=False)
    assert (told.finished, told.failed, told.missing) == (1, 1, 1)
    assert told.subject == "s: failed"
    assert f"Directory: {tmp_path}" in told.text


def test_many_studies_are_not_all_named():
    told = Outcome(tuple(f"s{i}" for i in range(12)), True, 1, 0, 0, "/")
    assert told.subject.endswith("s9 and 2 more: succeeded")


def test_the_command_is_among_those_that_are_new_in_a_directory(tmp_path):
    assert new_commands(tmp_path, notifier=["mail", "a b"]) == ["notify: mail 'a b'"]
    assert new_commands(tmp_path, notifier=["mail", "a b"]) == []
    assert new_commands(tmp_path, notifier=["mail", "a", "b"]) == ["notify: mail a b"]
