"""The status of a study: every state that a run can be in, from files as runs leave them."""

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from ablations.errors import AblationsError
from ablations.runs import state as run_state
from ablations.runs.attempts import Stopped, attempt
from ablations.runs.records import write_record
from ablations.tracking.controller import take_over
from ablations.tracking.slurm_queue import Slurm, packed_runs
from ablations.tracking.status import RunStatus, statuses
from payloads import SECRETS, TERMINALS
from test_attempts import DAMAGED
from test_records import make_record, make_run

PROJECT = Path(__file__).parents[2]
LOG = "2026-01-01 00:00:00 "


@pytest.fixture(autouse=True)
def no_slurm(monkeypatch):
    """This machine may have SLURM's commands; only those of a test are asked."""
    monkeypatch.setenv("PATH", "/nowhere")


def commands(folder: Path, monkeypatch, **scripts: str) -> None:
    folder.mkdir(exist_ok=True)
    for name, text in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/bin:/usr/bin")


def leave(root: Path, log: str = "", run=None) -> Path:
    """The directory of a run that Snakemake has started, with its log."""
    folder = root / (run or make_run()).directory
    folder.mkdir(parents=True, exist_ok=True)
    if log:
        (folder / "run.log").write_text(log)
    return folder


def begin(
    root: Path, process: int, host: str = "another-node", *, job=None, age_s: float = 0, run=None, **state
) -> None:
    """The state file that a run's process leaves."""
    by = run_state.Process(process, host, job, started_at=0)
    folder = leave(root, run=run)
    written = run_state.RunState(by, updated_at=time.time() - age_s, **state)
    run_state.write(folder / "state.json", written)


def state(root: Path, slurm: Slurm | None = None) -> RunStatus:
    [found] = statuses([make_run()], slurm or Slurm.ask(), root)
    return found


def test_a_run_that_was_not_begun_is_to_do(tmp_path):
    assert state(tmp_path).what == "to do"
    leave(tmp_path)
    assert state(tmp_path).what == "to do", "Snakemake makes directories before runs begin"


@pytest.mark.parametrize(("status", "what"), [("ok", "done"), ("diverged", "diverged")])
def test_a_record_is_the_end(status, what, tmp_path):
    leave(tmp_path, "error: an earlier attempt\n")
    accuracy = {} if status == "ok" else {"test_accuracy": None}
    write_record(tmp_path / make_run().record, make_run(), make_record(status=status, **accuracy))
    assert state(tmp_path).what == what
    assert state(tmp_path).record["threads"] == "2"


@pytest.fixture
def process_of(tmp_path):
    """Starts a process that looks like a run."""
    started = []

    def start(run) -> subprocess.Popen:
        code = "import time; time.sleep(1000)"
        started.append(subprocess.Popen([sys.executable, "-c", code, "--record", run.record]))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_a_run_with_a_living_process_runs(process_of, tmp_path):
    a_process = process_of(make_run())
    leave(tmp_path, f"{LOG}epoch 1/5: loss 0.5\n{LOG}step 280 of 900, 3.2 steps/s, ETA 0:04:05\n")
    progress = run_state.Progress(epoch=2, epochs=5, step=225, steps=900, eta_s=245)
    begin(tmp_path, a_process.pid, platform.node(), age_s=5, progress=progress)
    found = state(tmp_path)
    assert (found.what, found.epoch, found.share) == ("running", "epoch 2/5", 0.25)
    assert 200 < found.eta_s <= 240
    assert found.last_line == "step 280 of 900, 3.2 steps/s, ETA 0:04:05"
    a_process.kill()
    a_process.wait()
    assert (state(tmp_path).what, state(tmp_path).why) == ("failed", "killed")


def test_an_eta_that_has_passed_is_zero(process_of, tmp_path):
    progress = run_state.Progress(epoch=5, epochs=5, step=899, steps=900, eta_s=3)
    begin(tmp_path, process_of(make_run()).pid, platform.node(), age_s=60, progress=progress)
    assert state(tmp_path).eta_s == 0


def test_the_number_of_a_dead_process_may_be_anothers(tmp_path):
    begin(tmp_path, os.getpid(), platform.node())
    assert (state(tmp_path).what, state(tmp_path).why) == ("failed", "killed")


@pytest.mark.parametrize(("age_s", "what"), [(10, "running"), (1000, "failed")])
def test_a_run_elsewhere_without_slurm_is_judged_by_the_age_of_its_state(age_s, what, tmp_path):
    begin(tmp_path, 1, age_s=age_s)
    assert state(tmp_path).what == what


def no_context() -> Exception:
    """The error of a device without memory for another context, as torch raises it."""
    error = torch.AcceleratorError("CUDA error: out of memory")
    error.error_code = 2
    return error


ON_GPU_MEMORY = (
    "the GPU has too little free memory for this run ({}); use a smaller batch_size, let fewer runs share "
    "the GPU, or take one with more memory"
)


@pytest.mark.parametrize("identified", [False, True])
@pytest.mark.parametrize(
    ("error", "why", "text"),
    [
        (AblationsError("lr is 7: no"), "error", "lr is 7: no"),
        (ZeroDivisionError("division by zero"), "error", "ZeroDivisionError: division by zero"),
        (Stopped("it was told to stop (SIGTERM)"), "stopped", "it was told to stop (SIGTERM)"),
        (Stopped("its job ends", "time-out"), "time-out", "its job ends"),
        (MemoryError("600 GB"), "out of memory", "MemoryError: 600 GB"),
        (torch.OutOfMemoryError("20 MiB"), "out of memory", ON_GPU_MEMORY.format("20 MiB")),
        (no_context(), "out of memory", ON_GPU_MEMORY.format("CUDA error: out of memory")),
        (torch.AcceleratorError("CUDA error: unknown"), "error", "AcceleratorError: CUDA error: unknown"),
        (KeyboardInterrupt(), "stopped", "KeyboardInterrupt"),
        (AblationsError("a name that is no UTF-8: \udcff"), "error", r"a name that is no UTF-8: \udcff"),
    ],
)
def test_why_a_run_failed(error, why, text, identified, tmp_path):
    leave(tmp_path, f"{LOG}resnet18 on digits\nTraceback of an earlier attempt\n")
    with pytest.raises(type(error)), attempt(tmp_path / make_run().record, make_run()) as own:
        if identified:
            own.identify({"device": "a"})
        raise error
    found = state(tmp_path)
    what = "to do" if why == "stopped" else "failed"
    assert (found.what, found.why, found.last_line) == (what, why, text)


@pytest.mark.parametrize("end", ["ok: wrote results/runs/x/record.tsv", "wrote results/runs/x/record.tsv"])
@pytest.mark.parametrize("begun", [False, True])
def test_a_run_whose_record_was_deleted_is_to_do(end, begun, tmp_path):
    leave(tmp_path, f"{LOG}epoch 5/5\n{LOG}{end}\n")
    if begun:
        begin(tmp_path, 1, age_s=1000)
    assert (state(tmp_path).what, state(tmp_path).why) == ("to do", "")


def test_a_run_that_was_stopped_while_python_started_is_to_do(tmp_path):
    leave(tmp_path, 'Traceback (most recent call last):\n  File "x.py", line 1\nKeyboardInterrupt\n')
    assert (state(tmp_path).what, state(tmp_path).why) == ("to do", "stopped")


def test_a_run_that_was_killed_shows_the_end_of_its_log(tmp_path):
    leave(tmp_path, f"{LOG}step 3 of 9, 1.0 steps/s, ETA 0:00:06\n\n")
    begin(tmp_path, 1, age_s=1000)
    found = state(tmp_path)
    assert (found.why, found.last_line) == ("killed", "step 3 of 9, 1.0 steps/s, ETA 0:00:06")


def test_a_run_that_was_refused_before_it_held_its_lock_has_failed(tmp_path):
    leave(tmp_path, "error: it is no staged dataset\n")
    found = state(tmp_path)
    assert (found.what, found.why, found.last_line) == ("failed", "error", "error: it is no staged dataset")


@pytest.mark.parametrize("content", DAMAGED)
def test_a_run_with_a_damaged_state_file_was_killed(content, tmp_path):
    folder = leave(tmp_path, "step 3 of 9\n")
    (folder / "state.json").write_bytes(content)
    found = state(tmp_path)
    assert (found.what, found.why, found.last_line) == ("failed", "killed", "step 3 of 9")


def test_what_the_attempt_before_reached_is_not_shown_for_the_next(tmp_path):
    progress = run_state.Progress(epoch=2, epochs=5, step=120, steps=900, eta_s=245)
    stopped = run_state.Stop("stopped", "it was told to stop")
    begin(tmp_path, 1, job="7", progress=progress, stopped=stopped)
    comment = "digits_" + make_run().hyperparameters.canonical()
    found = state(tmp_path, Slurm(jobs={"7": "RUNNING"}, runs={comment: "RUNNING"}, answered=True))
    assert (found.what, found.epoch, found.eta_s) == ("running", "", None)


@pytest.mark.parametrize(
    ("ended", "why"),
    [
        ("OUT_OF_MEMORY", "out of memory"), ("TIMEOUT", "time-out"), ("PREEMPTED", "preempted"),
        ("NODE_FAIL", "node"), ("CANCELLED by 1000", "cancelled"), ("FAILED", "killed"),
    ],
)  # fmt: skip
def test_slurm_knows_better_why_a_job_ended(ended, why, tmp_path, monkeypatch):
    commands(tmp_path / "bin", monkeypatch, squeue="exit 0", sacct=f'echo "7|{ended}"')
    begin(tmp_path, 1, job="7", age_s=1000)
    assert (state(tmp_path).what, state(tmp_path).why) == ("failed", why)


@pytest.mark.parametrize(
    ("stopped", "why"), [("error", "error"), ("out of memory", "out of memory"), ("stopped", "preempted")]
)
def test_an_error_of_the_run_itself_is_not_that_of_its_job(stopped, why, tmp_path, monkeypatch):
    commands(tmp_path / "bin", monkeypatch, squeue="exit 0", sacct='echo "7|PREEMPTED"')
    begin(tmp_path, 1, job="7", stopped=run_state.Stop(stopped, "it says why"))
    assert (state(tmp_path).why, state(tmp_path).last_line) == (why, "it says why")


def test_a_job_of_an_array_is_asked_for_by_its_own_number(tmp_path, monkeypatch):
    """Of a job of an array, a run knows the number 1236, and sacct usually says 1234_5."""
    said = 'case "$*" in *JobIDRaw*) echo "1236|OUT_OF_MEMORY";; *) echo "1234_5|OUT_OF_MEMORY";; esac'
    commands(tmp_path / "bin", monkeypatch, squeue="exit 0", sacct=said)
    begin(tmp_path, 1, job="1236", age_s=1000)
    assert state(tmp_path).why == "out of memory"


def test_what_is_in_the_queue(tmp_path, monkeypatch):
    comment = "rule_fit_svm_wildcards_digits_" + make_run().hyperparameters.canonical()
    for slurms, what in (("PENDING", "queued"), ("RUNNING", "running"), ("COMPLETING", "running")):
        commands(tmp_path / "bin", monkeypatch, squeue=f'echo "7|7|{slurms}|None|{tmp_path}|{comment}"')
        (tmp_path / make_run().directory).mkdir(parents=True, exist_ok=True)
        assert state(tmp_path, Slurm.ask(tmp_path)).what == what
        assert state(tmp_path, Slurm.ask(tmp_path / "another")).what == "to do", "another study's job"
    waiting = f'echo "7|7|PENDING|Nodes required for job are DOWN|{tmp_path}|{comment}"'
    commands(tmp_path / "bin", monkeypatch, squeue=waiting)
    assert state(tmp_path, Slurm.ask(tmp_path)).why == "pending: nodes required for job are down"
    commands(tmp_path / "bin", monkeypatch, squeue='echo "slurm_load_jobs error: no controller" >&2; exit 1')
    slurm = Slurm.ask()
    assert slurm.problem == (
        "squeue does not answer (slurm_load_jobs error: no controller): what is in the queue is not known"
    )
    assert state(tmp_path, slurm).what == "to do"


@pytest.fixture
def submit(tmp_path):
    """Submits a pack of one run as job 7, as executor `submitit` keeps it."""
    folder = pytest.importorskip("snakemake_executor_plugin_submitit.folder")
    private = pytest.importorskip("snakemake_executor_plugin_submitit.private_folder")
    pytest.importorskip("snakemake_executor_plugin_submitit.holdings")

    def submit(log: Path):
        private.make_private(tmp_path / ".snakemake/submitit")
        member = {"key": "k", "outputs": [make_run().record], "log": str(log)}
        made = folder.Submission.create(tmp_path / ".snakemake/submitit", "one", "slurm", [[member]])
        made.jobs = ["7"]
        made.save()
        return made

    return submit


def asked(root: Path, **jobs: str) -> Slurm:
    runs, ended = packed_runs(root, {number.strip("_"): state for number, state in jobs.items()})
    return Slurm(runs=runs, ended=ended, answered=True)


def test_a_job_that_could_not_start_its_run_has_failed(submit, tmp_path):
    """The run itself has written nothing."""
    from snakemake_executor_plugin_submitit.results import Result, write_result

    log = tmp_path / "job.log"
    log.write_text("starting\nModuleNotFoundError: No module named 'snakemake'\n")
    made = submit(log)
    for status, what in ((0, "to do"), (1, "failed")):
        write_result(made.results, 0, 0, Result(status))
        for begun in (False, True):
            (tmp_path / make_run().directory).mkdir(parents=True, exist_ok=begun)
            assert state(tmp_path, asked(tmp_path)).what == what
        (tmp_path / make_run().directory).rmdir()
    found = state(tmp_path, asked(tmp_path))
    assert (found.why, found.last_line) == ("error", "ModuleNotFoundError: No module named 'snakemake'")


@pytest.mark.parametrize(
    "name", ["../private.log", "private", "{root}/../private.log", "link.log", "/dev/tty"]
)
def test_a_manifest_cannot_show_another_file(name, submit, tmp_path_factory, tmp_path):
    from snakemake_executor_plugin_submitit.results import Result, write_result

    for file in (tmp_path.parent / "private.log", tmp_path / "private"):
        file.write_text("s3cret\n")
    (tmp_path / "link.log").symlink_to(tmp_path.parent / "private.log")
    made = submit(name.format(root=tmp_path))
    write_result(made.results, 0, 0, Result(1))
    found = state(tmp_path, asked(tmp_path))
    assert (found.what, found.last_line) == ("failed", "")


def test_a_run_in_a_pack_waits_for_its_turn(submit, tmp_path):
    submit(tmp_path / "job.log")
    leave(tmp_path)
    for slurms, why in (("PENDING", "pending"), ("RUNNING", "in a running job")):
        found = state(tmp_path, asked(tmp_path, _7=slurms))
        assert (found.what, found.why) == ("queued", why)


def test_without_the_executor_no_pack_is_read(tmp_path, monkeypatch):
    assert packed_runs(tmp_path, {}) == ({}, {})
    (tmp_path / ".snakemake/submitit").mkdir(parents=True)
    monkeypatch.setitem(sys.modules, "snakemake_executor_plugin_submitit", None)
    monkeypatch.setitem(sys.modules, "snakemake_executor_plugin_submitit.holdings", None)
    assert packed_runs(tmp_path, {}) == ({}, {})


def test_a_run_that_is_starting_has_not_failed(tmp_path):
    log = leave(tmp_path) / "run.log"
    log.touch()
    assert state(tmp_path).what == "running"
    begin(tmp_path, 1, age_s=1000)
    assert state(tmp_path).what == "running", "it is the next attempt"
    os.utime(log, (time.time() - 1000,) * 2)
    assert (state(tmp_path).what, state(tmp_path).why) == ("failed", "killed")


def test_a_job_that_is_not_in_the_queue_is_over(tmp_path, monkeypatch):
    commands(tmp_path / "bin", monkeypatch, squeue="exit 0", sacct="exit 1")
    begin(tmp_path, 1, job="7", age_s=5)
    assert state(tmp_path, Slurm.ask(tmp_path)).what == "failed"


def test_a_log_cannot_write_to_the_terminal(tmp_path):
    leave(tmp_path, "\x1b[31merror\x1b[0m: \x1b[2Jgone\u202e\n")
    assert state(tmp_path).last_line == r"error: gone\u202e"


@pytest.mark.parametrize("text", [*TERMINALS, *SECRETS])
@pytest.mark.parametrize("place", ["log", "state"])
def test_what_a_run_left_is_shown_as_text_without_secrets(place, text, tmp_path):
    if place == "log":
        (leave(tmp_path) / "run.log").write_bytes(f"error: {text}.\n".encode("utf-8", "surrogatepass"))
    else:
        stop = run_state.Stop("error", text.encode("utf-8", "replace").decode())
        begin(tmp_path, 1, age_s=1000, stopped=stop)
    shown = state(tmp_path).last_line
    assert shown.isprintable()
    assert text not in SECRETS or SECRETS[text] not in shown


def test_no_other_file_is_shown_for_a_log(tmp_path):
    """Not behind a link, and a pipe is not waited for."""
    (tmp_path / "private").write_text("s3cret\n")
    log = leave(tmp_path) / "run.log"
    log.symlink_to(tmp_path / "private")
    assert state(tmp_path).last_line == ""
    log.unlink()
    os.mkfifo(log)
    assert state(tmp_path).last_line == ""


# --- the command ---------------------------------------------------------------------------------

CONFIG = """
studies:
  machines:
    title: Machines on digits
    kind: svm
    grid: [{dataset: digits, kernel: rbf, train_samples: [100, 200, 300]}]
    table: {rows: [train_samples], values: test_accuracy}
"""


def call(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    (folder / "my.yaml").write_text(CONFIG)
    command = [sys.executable, str(PROJECT / "scripts/status.py"), "--configfile", "my.yaml", *flags]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_a_person_reads_what_failed_and_how_to_resume(tmp_path):
    write_record(tmp_path / make_run().record, make_run(), make_record())
    leave(tmp_path, "error: no memory [bold]left[/]\n", run=make_run(train_samples=200))
    printed = call(tmp_path).stdout
    assert [line.split() for line in printed.splitlines()[:2]] == [
        ["study", "runs", "done", "running", "queued", "to", "do", "failed", "diverged", "why", "failed"],
        ["machines", "3", "1", "0", "0", "1", "1", "0", "1", "error"],
    ]
    assert "failed\n  svm/digits/svc/kernel=rbf+train_samples=200  error: no memory [bold]left[/]" in printed
    command = "snakemake --profile profiles/local --configfile my.yaml"
    assert f"finished runs are skipped: {command}" in printed
    assert "\x1b" not in printed


def test_a_script_reads_json(tmp_path):
    write_record(tmp_path / make_run().record, make_run(), make_record())
    found = json.loads(call(tmp_path, "--json").stdout)
    assert found["studies"]["machines"] == {
        "runs": 3, "done": 1, "running": 0, "queued": 0, "to do": 2, "failed": 0, "diverged": 0,
    }  # fmt: skip
    assert [run["state"] for run in found["runs"]] == ["to do", "to do"]


def test_before_anything_began_the_command_is_offered(tmp_path):
    assert (
        "nothing is running; to start or resume: snakemake --profile profiles/local" in call(tmp_path).stdout
    )


def test_while_a_call_lives_no_command_is_offered(tmp_path):
    """Also where nothing runs yet: its jobs may wait."""
    alive, _ = take_over(tmp_path)
    printed = call(tmp_path).stdout
    assert "a call of Snakemake is at work in this directory" in printed
    assert "nothing is running" not in printed
    alive.close()
    assert "nothing is running" in call(tmp_path).stdout


def test_a_job_that_waits_is_shown_with_its_reason(tmp_path, monkeypatch):
    comment = "rule_fit_svm_wildcards_digits_" + make_run().hyperparameters.canonical()
    commands(tmp_path / "bin", monkeypatch, squeue=f'echo "7|7|PENDING|Resources|{tmp_path}|{comment}"')
    printed = call(tmp_path).stdout
    assert "queued\n  1  pending: resources\n" in printed
    assert "nothing is running" not in printed


def test_where_slurm_has_only_its_commands_its_profile_is_not_offered(tmp_path, monkeypatch):
    commands(tmp_path / "bin", monkeypatch, squeue="echo no controller >&2; exit 1")
    assert "--profile profiles/local" in call(tmp_path).stdout
    (tmp_path / "logs/slurm").mkdir(parents=True)
    assert "--profile profiles/slurm " in call(tmp_path).stdout, "the last call used it"


def test_the_time_left_is_that_of_the_slots_that_are_busy(process_of, tmp_path):
    """One runs, one waits; a finished one of the same kernel took 0.8 + 0.0125 + 0.00325 s."""
    write_record(tmp_path / make_run().record, make_run(), make_record())
    run = make_run(train_samples=200)
    progress = run_state.Progress(epoch=1, epochs=1, step=1, steps=9, eta_s=60)
    # By a clock that is ahead, so that none of it has passed.
    begin(tmp_path, process_of(run).pid, platform.node(), run=run, progress=progress, age_s=-1000)
    left = json.loads(call(tmp_path, "--json").stdout)["seconds_left"]
    # Nothing is known of 300 images: 10 s for 10,000 squared down, and a start-up of 5 s.
    assert left == pytest.approx(60 + 10 * 0.03**2 + 5, abs=2)


def test_a_wrong_study_is_a_sentence(tmp_path):
    done = call(tmp_path, "--study", "machine")
    assert done.returncode == 1
    assert "there is no study 'machine'; did you mean 'machines'?" in done.stderr
    assert "Traceback" not in done.stderr


def test_whoever_has_seen_enough_may_close_the_pipe(tmp_path):
    text = CONFIG.replace("[100, 200, 300]", str(list(range(100, 1400))))
    (tmp_path / "many.yaml").write_text(text)
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} {PROJECT}/scripts/status.py --configfile many.yaml --json | head -1"],
        cwd=tmp_path, capture_output=True, text=True, check=True, env={**os.environ, "PATH": "/bin:/usr/bin"},
    )  # fmt: skip
    assert done.stdout == "{\n"
    assert done.stderr == ""
