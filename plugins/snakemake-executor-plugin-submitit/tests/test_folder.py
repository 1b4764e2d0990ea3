"""The folder of the pickles, which are code: it is private, or it is refused."""

import errno
import fcntl
import json
import os
import platform
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
from snakemake_executor_plugin_submitit.clusters.slurm import call
from snakemake_executor_plugin_submitit.folder import Submission
from snakemake_executor_plugin_submitit.listing import Listing, NewResults
from snakemake_executor_plugin_submitit.private_folder import make_private, open_log, opened_private
from snakemake_executor_plugin_submitit.results import Result, write_result
from snakemake_interface_common.exceptions import WorkflowError


def submission(folder, members: int = 2) -> Submission:
    make_private(folder)
    members = [{"key": str(i), "outputs": [f"out{i}"], "log": f"log{i}"} for i in range(members)]
    made = Submission.create(folder, "prefix", "slurm", [members])
    made.save()
    return made


def test_the_folder_is_created_for_its_owner_alone(tmp_path):
    os.umask(0)
    try:
        made = submission(tmp_path / "submitit")
    finally:
        os.umask(0o022)
    for folder in (tmp_path / "submitit", made.folder, made.folder / "jobs"):
        assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o750, 0o701, 0o777, 0o770])
def test_a_folder_that_others_can_enter_is_refused(mode, tmp_path):
    make_private(tmp_path / "submitit")
    (tmp_path / "submitit").chmod(mode)
    with pytest.raises(WorkflowError, match=f"open to others .mode {mode:o}.*chmod 700"):
        make_private(tmp_path / "submitit")


def test_a_link_is_refused(tmp_path):
    make_private(tmp_path / "real")
    (tmp_path / "submitit").symlink_to(tmp_path / "real")
    with pytest.raises(WorkflowError, match="is not a folder in which jobs can be kept"):
        make_private(tmp_path / "submitit")


@pytest.mark.skipif(os.getuid() != 0, reason="NOT TESTED: only root can give a folder to another user")
def test_a_folder_of_another_user_is_refused(tmp_path):
    make_private(tmp_path / "submitit")
    os.chown(tmp_path / "submitit", 65534, 65534)
    with pytest.raises(WorkflowError, match="belongs to user 65534, but you are user 0"):
        make_private(tmp_path / "submitit")


def test_a_job_unpickles_nothing_from_an_open_folder(tmp_path):
    """The pickle would create a file."""
    made = submission(tmp_path / "submitit")
    jobs = made.folder / "jobs"
    evil = b"cos\nsystem\n(S'touch " + str(tmp_path / "pwned").encode() + b"'\ntR."
    (jobs / "7_submitted.pkl").write_bytes(evil)
    command = [sys.executable, "-m", "snakemake_executor_plugin_submitit.job", str(jobs)]
    environment = {**os.environ, "SUBMITIT_EXECUTOR": "slurm", "SLURM_JOB_ID": "7"}
    jobs.chmod(0o777)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "open to others" in done.stderr
    assert not (tmp_path / "pwned").exists()


def test_an_opened_folder_stays_the_same_when_its_name_is_taken(tmp_path):
    make_private(tmp_path / "submitit")
    (tmp_path / "submitit/mine").touch()
    with opened_private(tmp_path / "submitit") as folder:
        (tmp_path / "submitit").rename(tmp_path / "moved")
        (tmp_path / "submitit").mkdir()
        assert [path.name for path in folder.iterdir()] == ["mine"]


def test_a_manifest_is_read_as_it_was_written(tmp_path):
    made = submission(tmp_path / "submitit")
    made.jobs = ["12_0"]
    made.save()
    assert Submission.load(made.folder) == made


@pytest.mark.parametrize("text", ["", "{", "[]", '{"id": 1}'])
def test_a_damaged_manifest_is_not_a_submission(text, tmp_path):
    made = submission(tmp_path / "submitit")
    (made.folder / "manifest.json").write_text(text)
    assert Submission.load(made.folder) is None


@pytest.mark.parametrize(
    "change",
    [
        {"id": ""}, {"id": "0123456789ab"}, {"name": "my-jupyter"}, {"name": None}, {"cluster": 1},
        {"more": 1}, {"jobs": [5]}, {"jobs": ["5; touch x"]}, {"jobs": ["--me"]}, {"jobs": ["1", "2", "3"]},
        {"packs": {}}, {"packs": [["a"]]}, {"packs": [[{"key": "a", "outputs": "b", "log": "c"}]]},
    ],
)  # fmt: skip
def test_a_planted_manifest_is_not_a_submission(change, tmp_path):
    made = submission(tmp_path / "submitit")
    manifest = made.folder / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | change))
    assert Submission.load(made.folder) is None


@pytest.mark.parametrize(
    ("change", "valid"),
    [
        ({"made_at": 1.5, "work": "a"}, True), ({"made_at": 1}, True), ({"made_at": True}, False),
        ({"made_at": "1"}, False), ({"made_at": None}, False), ({"work": 1}, False), ({"work": None}, False),
    ],
)  # fmt: skip
def test_what_a_manifest_says_of_a_member_is_checked(change, valid, tmp_path):
    made = submission(tmp_path / "submitit")
    made.packs[0][1] |= change
    made.save()
    assert (Submission.load(made.folder) is not None) == valid


@pytest.mark.parametrize("name", ["manifest.json", "results", "reported", "cancelled", "jobs"])
def test_a_submission_with_links_is_not_loaded_and_writes_through_none(name, tmp_path):
    made = submission(tmp_path / "submitit")
    victim = tmp_path / "victim"
    (made.folder / name).rename(victim) if (made.folder / name).exists() else victim.touch()
    before = victim.read_bytes() if victim.is_file() else b""
    (made.folder / name).symlink_to(victim)
    assert Submission.load(made.folder) is None
    made.note_reported(0, 0)
    made.note_cancelled(["7"])
    assert not victim.is_file() or victim.read_bytes() == before


def test_the_folder_around_is_closed_to_others(tmp_path):
    (tmp_path / ".snakemake").mkdir()
    (tmp_path / ".snakemake").chmod(0o775)
    make_private(tmp_path / ".snakemake/submitit")
    assert (tmp_path / ".snakemake").stat().st_mode & 0o777 == 0o755


def test_the_folder_around_may_be_a_link_of_ones_own(tmp_path):
    (tmp_path / "scratch").mkdir()
    (tmp_path / ".snakemake").symlink_to(tmp_path / "scratch")
    make_private(tmp_path / ".snakemake/submitit")
    assert (tmp_path / "scratch/submitit").is_dir()


def test_the_folder_of_somebody_else_is_refused(tmp_path, monkeypatch):
    (tmp_path / ".snakemake").mkdir()
    monkeypatch.setattr(os, "getuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(WorkflowError, match=r"\.snakemake belongs to user"):
        make_private(tmp_path / ".snakemake/submitit")


def test_a_log_is_not_written_through_a_link(tmp_path, monkeypatch):
    (tmp_path / "project/logs/slurm").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    (tmp_path / "project/logs/link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "project/logs/slurm/one.log").symlink_to(tmp_path / "elsewhere/one.log")
    for log in ("logs/link/one.log", "logs/link/new/one.log", "logs/slurm/one.log"):
        with pytest.raises(OSError, match="link|symbolic"):
            open_log(tmp_path / "project" / log)
    assert not list((tmp_path / "elsewhere").iterdir())
    (tmp_path / "project/top").symlink_to(tmp_path / "elsewhere")
    os.close(open_log(tmp_path / "project/top/one.log"))


def test_results_are_read_once(tmp_path):
    made = submission(tmp_path / "submitit")
    write_result(made.results, 0, 1, Result(3, "why"))
    (made.results / "0-0.json").write_text('{"exi')
    (made.results / ".0-0.json.tmp").write_text("{}")
    new = NewResults(made.results)
    assert new.read() == {(0, 1): Result(3, "why")}
    assert new.read() == {}
    write_result(made.results, 0, 0, Result(0))
    assert new.read() == {(0, 0): Result(0)}
    assert NewResults(made.results).read() == {(0, 0): Result(0), (0, 1): Result(3, "why")}


def test_a_folder_is_listed_again_only_if_it_may_have_changed(tmp_path, monkeypatch):
    """Not at once after a change: a file system may keep its times in steps of seconds."""
    now, listing = [100.0], Listing(tmp_path)
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    looks = {}
    for now[0] in (100, 104, 106, 107, 133, 135, 136):
        looks[now[0]] = listing.names()
    assert [at for at, names in looks.items() if names is not None] == [100, 104, 106, 136]
    (tmp_path / "new").touch()
    assert listing.names() == ["new"]


def keep_time(folder, change):
    """Change a folder and not its time, as within one step of a file system's clock."""
    before = folder.stat().st_mtime_ns
    change()
    os.utime(folder, ns=(before, before))


@pytest.mark.parametrize("fails", [False, True], ids=["", "and the first one fails"])
def test_a_change_that_leaves_the_time_is_seen_however_far_apart_the_looks_are(fails, tmp_path, monkeypatch):
    """A query of the queue may take longer than the time of a folder needs to settle."""
    now, listing = [100.0], Listing(tmp_path)
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with monkeypatch.context() as patched:
        if fails:
            patched.setattr(os, "listdir", failing)
        with pytest.raises(OSError, match="stale") if fails else nullcontext():
            listing.names()
    keep_time(tmp_path, (tmp_path / "new").touch)
    now[0] += 20
    assert listing.names() == ["new"]


def failing(path):
    raise OSError(errno.ESTALE, "stale")


def test_a_folder_is_listed_anyway_where_a_run_would_otherwise_count_as_lost(tmp_path, monkeypatch):
    now, new = [100.0], NewResults(tmp_path)
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    for now[0] in (100, 106, 107):
        assert new.read() == {}
    keep_time(tmp_path, lambda: write_result(tmp_path, 0, 0, Result(0)))
    assert new.read() == {}
    assert new.read(anyway=True) == {(0, 0): Result(0)}


def test_a_result_that_cannot_be_read_yet_is_read_later(tmp_path, monkeypatch):
    """Its folder does not change when the file server answers again."""
    write_result(tmp_path, 0, 0, Result(0))
    new = NewResults(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr("snakemake_executor_plugin_submitit.listing.read_result", lambda path: None)
        assert new.read() == {}
    monkeypatch.setattr(new._listing, "names", lambda anyway: None)
    assert new.read() == {(0, 0): Result(0)}


def test_a_submission_that_others_may_have_written_is_not_loaded(tmp_path):
    made = submission(tmp_path / "submitit")
    made.folder.chmod(0o770)
    assert Submission.load(made.folder) is None
    made.folder.chmod(0o700)
    assert Submission.load(made.folder) == made


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path):
    made = submission(tmp_path / "submitit")
    (tmp_path / "precious").write_text("mine")
    (made.folder / "controller").unlink()
    (made.folder / "controller").symlink_to(tmp_path / "precious")
    other = Submission(made.folder, f"not-{made.id}", "another", "slurm", made.packs)
    assert not other.hold()
    assert (tmp_path / "precious").read_text() == "mine"


@pytest.mark.parametrize(
    ("holder", "free"),
    [
        ("process {dead} on {here}", True),
        ("process {alive} on {here}", False),
        ("process {dead} on elsewhere", False),
        ("", True),
    ],
)
def test_without_locks_a_submission_is_taken_only_from_a_dead_controller(holder, free, tmp_path, monkeypatch):
    made = submission(tmp_path / "submitit")
    with subprocess.Popen(["true"]) as process:
        process.wait()
    said = holder.format(dead=process.pid, alive=os.getppid(), here=platform.node())
    (made.folder / "controller").write_text(said)

    def refuse(handle: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    other = Submission(made.folder, f"not-{made.id}", "another", "slurm", made.packs)
    assert other.hold() is free
    if not free:
        assert (made.folder / "controller").read_text() == said


HOLDER = """
import sys, time
from pathlib import Path
from snakemake_executor_plugin_submitit.clusters.slurm import call
from snakemake_executor_plugin_submitit.folder import Submission
made = Submission.create(Path(sys.argv[1]), "one", "slurm", [])
made.save()
print(made.id, flush=True)
time.sleep(1000)
"""


def test_another_call_takes_a_submission_only_after_the_end_of_its_own(tmp_path):
    """A call holds one lock, whatever it has submitted."""
    make_private(tmp_path / "submitit")
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "submitit")], stdout=subprocess.PIPE, text=True
    )
    found = Submission.load(tmp_path / "submitit" / process.stdout.readline().strip())
    assert found.holder() == f"process {process.pid} on {platform.node()}"
    assert not found.hold()
    process.kill()
    process.wait()
    process.stdout.close()
    assert found.hold()
    assert found.holder() == f"process {os.getpid()} on {platform.node()}"
    assert len(list((tmp_path / "submitit/calls").iterdir())) == 1, "that of the dead call is removed"


def test_descriptors_do_not_grow_with_submissions(tmp_path):
    make_private(tmp_path / "submitit")
    Submission.create(tmp_path / "submitit", "one", "slurm", []).save()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        Submission.create(tmp_path / "submitit", "one", "slurm", []).save()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_running_out_of_descriptors_has_a_name(tmp_path, monkeypatch):
    make_private(tmp_path / "submitit")
    made = Submission.create(tmp_path / "submitit", "one", "slurm", [])
    made.save()

    def none_left(*arguments, **options):
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", none_left)
        with pytest.raises(WorkflowError, match="no more files can be opened .Too many open files"):
            NewResults(made.results).read()
    with monkeypatch.context() as patched:
        patched.setattr(subprocess, "run", none_left)
        with pytest.raises(WorkflowError, match="no more files can be opened"):
            call("squeue")
