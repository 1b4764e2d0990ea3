"""A job without Snakemake: what precedes its command, and what becomes of its outputs."""

import errno
import hashlib
import os
import signal
import stat
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from snakemake_executor_plugin_submitit.shell_job import Output, ShellJob

SHA = f"sha256:{hashlib.sha256(b'x').hexdigest()}"


@pytest.fixture
def job(tmp_path, monkeypatch):
    """A job with the output `out/a` and the log `logs/a`, in its own directory."""
    monkeypatch.chdir(tmp_path)
    # A job looks for the temporary folder anew, which is for the process of a job alone.
    monkeypatch.setattr(tempfile, "tempdir", None)
    (tmp_path / "mark").touch()
    before = signal.getsignal(signal.SIGTERM)
    yield ShellJob(
        "one",
        "printf x > out/a",
        "/bin/bash",
        1,
        None,
        [],
        [Output("out/a", "mark")],
        ["logs/a"],
        0,
        False,
        {},
    )
    signal.signal(signal.SIGTERM, before)


def of(job: ShellJob, command: str | None = None, **says) -> ShellJob:
    """The job with another command, and with an output of which its rule says more."""
    return replace(job, command=command or job.command, outputs=[replace(job.outputs[0], **says)])


def test_text_gives_the_same_job(job):
    assert ShellJob.from_json(job.to_json()) == job


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"rule": "one"}', '{"outputs": [{}]}'])
def test_a_description_of_another_version_is_none(text):
    assert ShellJob.from_json(text) is None


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("printf x > out/a", {}),
        ("printf x > out/a", {"non_empty": True}),
        ("printf x > out/a", {"checksum": SHA}),
        ("mkdir out/a", {"directory": True}),
        ("true", {"touch": True}),
        ("true", {"touch": True, "directory": True}),
        ("printf x > out/a", {"protected": True}),
        ("printf x > b; ln -s ../b out/a", {}),
    ],
)
def test_a_job_that_succeeds_leaves_its_output_and_an_empty_log(job, command, says):
    assert of(job, command, **says).run() == 0
    output = Path("out/a")
    assert output.exists()
    assert Path("logs/a").read_text() == ""
    assert not Path("mark").exists()
    assert (output / ".snakemake_timestamp").exists() == says.get("directory", False)
    assert bool(output.stat().st_mode & stat.S_IWUSR) != says.get("protected", False)


@pytest.mark.parametrize(
    ("command", "says", "reason"),
    [
        ("printf x > out/a; exit 7", {}, "exit status 7: printf x"),
        ("printf x > out/a; kill -9 $$", {}, "by signal 9"),
        ("true", {}, "missing files after 0 seconds: out/a"),
        ("mkdir out/a", {}, "is not a file"),
        ("printf x > out/a", {"directory": True}, "is not a folder"),
        ("touch out/a", {"non_empty": True}, "is empty"),
        ("printf y > out/a", {"checksum": SHA}, "its rule ensures sha256:"),
    ],
)
def test_a_job_that_fails_leaves_no_output(job, command, says, reason, capfd):
    assert of(job, command, **says).run() == 1
    assert not Path("out/a").exists()
    assert Path("logs/a").exists()
    assert not Path("mark").exists()
    assert reason in capfd.readouterr().out


def test_incomplete_outputs_are_kept_on_demand(job):
    assert replace(of(job, "printf x > out/a; exit 1"), keep_incomplete=True).run() == 1
    assert Path("out/a").exists()


@pytest.mark.parametrize("directory", [False, True])
def test_old_outputs_and_logs_are_removed_first(job, directory):
    Path("logs").mkdir()
    Path("logs/a").touch()
    Path("out/a" if directory else "out").mkdir(parents=True)
    (Path("out/a/old") if directory else Path("out/a")).touch()
    made = "mkdir out/a" if directory else "touch out/a"
    command = f"[ ! -e out/a ] && [ ! -e logs/a ] && {made}"
    assert of(job, command, directory=directory).run() == 0


def test_a_folder_in_the_place_of_a_file_is_left_if_it_has_content(job):
    Path("out/a").mkdir(parents=True)
    Path("out/a/kept").touch()
    assert job.run() == 1
    assert Path("out/a/kept").exists()


def test_a_write_protected_output_is_left_alone(job, monkeypatch):
    """The user who runs the tests may be one whom no protection stops."""
    Path("out").mkdir()
    Path("out/a").write_text("kept")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert job.run() == 1
    assert Path("out/a").read_text() == "kept"


def test_a_job_waits_for_its_inputs_and_removes_nothing_before(job, capfd):
    Path("out").mkdir()
    Path("out/a").write_text("kept")
    assert replace(job, inputs=["missing"]).run() == 1
    assert "missing files after 0 seconds: missing" in capfd.readouterr().out
    assert Path("out/a").read_text() == "kept"


@pytest.mark.parametrize("tmpdir", ["", "own"])
def test_libraries_learn_their_threads_and_the_temporary_folder(job, tmpdir, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    job = of(job, "echo $OMP_NUM_THREADS $NUMEXPR_NUM_THREADS $TMPDIR $TEMP > out/a")
    assert replace(job, threads=3, tmpdir=tmpdir).run() == 0
    folder = tmpdir or str(tmp_path)
    assert Path("out/a").read_text().split() == ["3", "3", folder, folder]
    assert Path(folder).is_dir()


def test_no_temporary_folder_leaves_the_variables(job, monkeypatch):
    monkeypatch.delenv("TEMPDIR", raising=False)
    assert of(job, "echo ${TEMPDIR-unset} > out/a").run() == 0
    assert Path("out/a").read_text() == "unset\n"


def test_snakemake_is_needed_where_threads_or_the_shell_are_missing(job):
    here = len(os.sched_getaffinity(0))
    assert replace(job, threads=here).obstacle() is None
    assert f"it has {here + 1} threads" in replace(job, threads=here + 1).obstacle()
    assert replace(job, executable="/no/shell").obstacle() == "/no/shell is not here"


def test_an_output_is_marked_as_incomplete_while_a_requeued_job_works(job):
    Path("mark").unlink()
    assert replace(job, command="cp mark copy; printf x > out/a").run() == 0
    assert Path("copy").read_text() == '{"external_jobid": null}', "as Snakemake writes and reads it"
    assert not Path("mark").exists()


def test_a_file_that_a_file_system_cannot_tell_yet_is_waited_for(job, monkeypatch):
    real = Path.stat

    def stale(path: Path, **how: bool) -> os.stat_result:
        if path.name in ("mark", "a"):
            raise OSError(errno.ESTALE, "Stale file handle")
        return real(path, **how)

    monkeypatch.setattr(Path, "stat", stale)
    assert replace(job, inputs=["mark"]).run() == 0
