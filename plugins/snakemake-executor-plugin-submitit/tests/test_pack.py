"""Inside an allocation: members run side by side, are told to stop, are requeued, and never run twice."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path

import pytest
from queues import PATIENCE_S
from snakemake_executor_plugin_submitit.member import Member
from snakemake_executor_plugin_submitit.pack import Pack
from snakemake_executor_plugin_submitit.processes import family
from snakemake_executor_plugin_submitit.shell_job import ShellJob

# Calls a pack as submitit does: its handler calls `checkpoint` and saves what is to be requeued.
CALL = """
import pickle, signal, sys, threading
pack = pickle.load(open(sys.argv[1], "rb"))
def requeue(number, frame):
    again = pack.checkpoint()
    if again is not None:
        pickle.dump(again.function, open(sys.argv[1], "wb"))
    sys.exit(99 if again is not None else 98)
signal.signal(signal.SIGUSR2, requeue)
pack()
"""


# What a member that is carried out without Snakemake must not start.
SNAKEMAKE = f"{sys.executable} -P -m snakemake --version"
# Whether members are carried out without Snakemake, or by a command that is started for them.
both_ways = pytest.mark.parametrize("direct", [False, True], ids=["started", "direct"])


def described(command: str) -> str:
    return ShellJob("one", command, "/bin/bash", 1, None, [], [], [], 0, False, {}).to_json()


class Allocation:
    """A pack of shell commands, and the process that runs it."""

    def __init__(self, root: Path, *commands: str, places: int = 8, memory_mb: int | None = None,
                 direct: bool = False, **changes):  # fmt: skip
        self.root = root
        (root / "results").mkdir()
        members = [
            Member(SNAKEMAKE, str(root / f"{i}.log"), memory_mb, described(text))
            if direct
            else Member(text, str(root / f"{i}.log"), memory_mb)
            for i, text in enumerate(commands)
        ]
        plain = {"runtime_min": 10, "delay_s": 5, "requeues": 10, "environment": {}}
        pack = Pack(0, members, places, str(root / "results"), str(root), **plain | changes)
        (root / "pack.pkl").write_bytes(pickle.dumps(pack))

    def start(self, prefix: tuple[str, ...] = (), **environment: str) -> subprocess.Popen:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
        return subprocess.Popen(
            [*prefix, sys.executable, "-c", CALL, str(self.root / "pack.pkl")],
            env=kept | environment,
            stderr=(self.root / "err").open("ab"),
        )

    def run(self, prefix: tuple[str, ...] = (), **environment: str) -> int:
        return self.start(prefix, **environment).wait(PATIENCE_S)

    def results(self) -> dict[int, int]:
        paths = sorted((self.root / "results").glob("*.json"))
        return {int(path.stem.partition("-")[2]): json.loads(path.read_text())["exit"] for path in paths}

    def log(self, member: int) -> str:
        return (self.root / f"{member}.log").read_text()

    def lines(self, name: str) -> list[str]:
        return (self.root / name).read_text().splitlines()


def wait_for(happened: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def test_each_member_has_its_own_status_and_log(tmp_path):
    pack = Allocation(tmp_path, "echo one", "echo two >&2; exit 3", "kill -9 $$", "sleep 1; echo four")
    assert pack.run() == 0
    assert pack.results() == {0: 0, 1: 3, 2: -9, 3: 0}, "a failure does not affect the others"
    assert [pack.log(i).splitlines()[1:] for i in range(4)] == [["one"], ["two"], [], ["four"]]


def test_members_run_at_the_same_time_as_there_are_places(tmp_path):
    """None of the first three ends before all three have begun, and no other begins before one has ended."""
    three_have_begun = "[ $(grep -c begun turns) -ge 3 ]"
    command = (
        f"echo begun >> turns; until {three_have_begun}; do sleep 0.05; done; sleep 0.5; echo ended >> turns"
    )
    assert Allocation(tmp_path, *[command] * 6, places=3).run() == 0
    turns = [1 if turn == "begun" else -1 for turn in (tmp_path / "turns").read_text().split()]
    assert turns.count(1) == turns.count(-1) == 6
    assert max(accumulate(turns)) == 3


@pytest.mark.parametrize("places", [1, 3])
def test_a_member_learns_how_many_run_at_the_same_time(places, tmp_path):
    pack = Allocation(tmp_path, *['echo "shared by $SNAKEMAKE_SUBMITIT_PLACES"'] * 3, places=places)
    assert pack.run() == 0
    assert [pack.log(i).splitlines()[1:] for i in range(3)] == [[f"shared by {places}"]] * 3


@both_ways
def test_a_member_that_uses_too_much_memory_is_killed_alone(direct, tmp_path):
    eats = f'{sys.executable} -c "x = bytearray(400 * 2**20); import time; time.sleep(30)"'
    pack = Allocation(tmp_path, f"({eats}); true", "sleep 3; echo fine", memory_mb=200, direct=direct)
    assert pack.run() == 0
    assert pack.results() == {0: -9, 1: 0}
    assert "MB of memory, and its share is 200 MB" in pack.log(0)
    assert "fine" in pack.log(1)


def test_a_mapped_file_does_not_count_as_memory(tmp_path):
    """The kernel can free that memory when it needs it."""
    (tmp_path / "big").write_bytes(bytes(300 * 2**20))
    reads = "import mmap, time; f = open('big', 'rb'); m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ); "
    reads += "print(sum(m[i] for i in range(0, len(m), 4096))); time.sleep(2)"
    pack = Allocation(tmp_path, f'{sys.executable} -c "{reads}"', memory_mb=200)
    assert pack.run() == 0
    assert pack.results() == {0: 0}


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="NOT TESTED: one processor cannot be divided")
def test_processors_are_divided_if_slurm_bound_the_job(tmp_path):
    cpus = sorted(os.sched_getaffinity(0))[:2]
    show = f"{sys.executable} -c 'import os; print(sorted(os.sched_getaffinity(0)))'"
    pack = Allocation(tmp_path, show, show, places=2)
    bound = ("taskset", "-c", ",".join(map(str, cpus)))
    assert pack.run(bound, SLURM_CPUS_ON_NODE="2") == 0
    assert sorted(json.loads(pack.log(i).splitlines()[-1]) for i in (0, 1)) == [[cpus[0]], [cpus[1]]]


def test_processors_are_not_divided_if_slurm_did_not_bind_the_job(tmp_path):
    """Every allocation on the node would choose the same processors."""
    show = f"{sys.executable} -c 'import os; print(len(os.sched_getaffinity(0)))'"
    pack = Allocation(tmp_path, show, show, places=2)
    assert pack.run(SLURM_CPUS_ON_NODE="64") == 0
    assert int(pack.log(0).splitlines()[-1]) == len(os.sched_getaffinity(0))


# Runs until it is told to stop. When it is run again, it succeeds.
GOES_ON = (
    "trap 'echo saved > state{0}; exit 1' TERM; echo $$ >> began{0}; "
    "[ -e state{0} ] || while :; do sleep 0.1; done"
)


def test_a_process_that_ends_before_its_threads_are_listed_has_no_children(monkeypatch):
    process = subprocess.Popen(["sleep", "600"])
    listed = os.scandir

    def ended(path):
        if "/proc/" in str(path):
            process.kill()
            process.wait()
        return listed(path)

    monkeypatch.setattr(os, "scandir", ended)
    found = family(process.pid)
    assert process.returncode == -signal.SIGKILL
    assert [each.pid for each in found] == [process.pid]


@both_ways
def test_before_the_limit_members_are_told_to_stop_and_only_unfinished_ones_rerun(direct, tmp_path):
    pack = Allocation(tmp_path, "echo $$ >> began0", GOES_ON.format(1), GOES_ON.format(2), direct=direct)
    process = pack.start()
    wait_for(lambda: 0 in pack.results() and all((tmp_path / f"began{i}").exists() for i in (1, 2)))
    process.send_signal(signal.SIGUSR2)
    assert process.wait(PATIENCE_S) == 99, "it asks to be requeued"
    assert pack.results() == {0: 0}, "an interrupted member has not failed"
    assert pack.run() == 0
    assert pack.results() == {0: 0, 1: 0, 2: 0}
    assert [len(pack.lines(f"began{i}")) for i in range(3)] == [1, 2, 2]


@pytest.mark.parametrize(("known", "least_s", "most_s"), [("by SLURM", 1.5, 6.5), ("by its limit", 3, 17)])
def test_the_allocation_watches_its_own_end(tmp_path, known, least_s, most_s):
    """SLURM's signal can be a minute early. It comes too early here and is ignored; the clock is used.

    Before 23.02 SLURM does not report when a job's time is up.
    """
    pack = Allocation(tmp_path, GOES_ON.format(0), runtime_min=10 if known == "by SLURM" else 1 / 3)
    end = {"SLURM_JOB_END_TIME": str(int(time.time()) + 10)} if known == "by SLURM" else {"SLURM_JOB_ID": "7"}
    process = pack.start(**end)
    wait_for(lambda: (tmp_path / "began0").exists())
    began = time.monotonic()
    process.send_signal(signal.SIGUSR2)
    assert process.wait(PATIENCE_S) == 99
    assert least_s < time.monotonic() - began < most_s
    assert (tmp_path / "state0").exists()


# Takes two seconds to stop, as if it wrote a checkpoint.
SLOW_TO_STOP = """
import pathlib, signal, sys, time
def stop(number, frame):
    time.sleep(2)
    pathlib.Path("state").write_text("saved")
    sys.exit(1)
signal.signal(signal.SIGTERM, stop)
pathlib.Path("began").touch()
while True:
    time.sleep(0.1)
"""


@both_ways
@pytest.mark.parametrize("asked", [signal.SIGUSR2, signal.SIGTERM])
@pytest.mark.parametrize("shell", ["python slow.py 2>> log; true", "python slow.py | tee log"])
def test_programs_in_a_shell_keep_their_time_to_stop(direct, tmp_path, shell, asked):
    """The shell itself dies of SIGTERM at once."""
    (tmp_path / "slow.py").write_text(SLOW_TO_STOP)
    pack = Allocation(tmp_path, shell.replace("python", sys.executable), delay_s=30, direct=direct)
    process = pack.start()
    wait_for(lambda: (tmp_path / "began").exists())
    process.send_signal(asked)
    assert process.wait(PATIENCE_S) == (99 if asked == signal.SIGUSR2 else 0)
    assert (tmp_path / "state").read_text() == "saved"
    assert pack.results() == {}


@both_ways
def test_a_member_that_does_not_stop_in_time_is_killed_and_rerun(direct, tmp_path):
    pack = Allocation(
        tmp_path,
        "echo $$ >> began0; trap '' TERM; [ $(wc -l < began0) = 2 ] || sleep 600",
        delay_s=7,
        direct=direct,
    )
    process = pack.start()
    wait_for(lambda: (tmp_path / "began0").exists())
    process.send_signal(signal.SIGUSR2)
    assert process.wait(PATIENCE_S) == 99
    assert pack.run() == 0
    assert pack.results() == {0: 0}


def test_requeues_have_a_limit(tmp_path):
    pack = Allocation(tmp_path, "echo $$ >> began0; sleep 600", requeues=1)
    for attempt, status in ((1, 99), (2, 98)):
        process = pack.start()
        began = tmp_path / "began0"
        wait_for(lambda n=attempt, path=began: path.exists() and len(path.read_text().split()) == n)
        process.send_signal(signal.SIGUSR2)
        assert process.wait(PATIENCE_S) == status
    assert pickle.loads((tmp_path / "pack.pkl").read_bytes()).requeued == 1
    (path,) = (tmp_path / "results").iterdir()
    assert "it has been requeued 1 times, which is the limit" in json.loads(path.read_text())["why"]


@both_ways
def test_preempted_members_write_their_checkpoints_and_have_not_failed(direct, tmp_path):
    pack = Allocation(tmp_path, GOES_ON.format(0), GOES_ON.format(1), direct=direct)
    process = pack.start()
    wait_for(lambda: (tmp_path / "began0").exists() and (tmp_path / "began1").exists())
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 0
    assert pack.results() == {}
    assert (tmp_path / "state0").exists()
    assert (tmp_path / "state1").exists()


def test_an_allocation_preempted_with_grace_asks_to_be_requeued(tmp_path):
    """SLURM would not requeue it if it just ended within its grace time. A cancelled allocation just ends."""
    (tmp_path / "bin").mkdir()
    scontrol = tmp_path / "bin/scontrol"
    found = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "SLURM_JOB_ID": "7"}
    for said, status in (
        ("JobState=RUNNING PreemptTime=2026-01-01T00:00:00", 99),
        ("JobState=COMPLETING PreemptTime=None", 0),
        ("JobState=RUNNING PreemptTime=None", 0),
    ):
        scontrol.write_text(f"#!/bin/sh\necho '{said}'\n")
        scontrol.chmod(0o755)
        for path in (tmp_path / "results", tmp_path / "pack.pkl", tmp_path / "began0", tmp_path / "state0"):
            path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
        pack = Allocation(tmp_path, GOES_ON.format(0))
        process = pack.start(**found)
        wait_for(lambda: (tmp_path / "began0").exists())
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == status, said
        assert (tmp_path / "state0").exists()
        assert pack.results() == {}


def test_a_result_that_cannot_be_written_is_tried_again(tmp_path):
    """Its folder is missing for a moment, as on a file system that is full or hangs."""
    pack = Allocation(tmp_path, "sleep 1", "sleep 2")
    results = (tmp_path / "results").rename(tmp_path / "away")
    process = pack.start()
    wait_for(lambda: "cannot be written" in (tmp_path / "err").read_text())
    results.rename(tmp_path / "results")
    assert process.wait(PATIENCE_S) == 0
    assert pack.results() == {0: 0, 1: 0}


@both_ways
def test_nothing_outlives_its_member(direct, tmp_path):
    pack = Allocation(tmp_path, "sleep 600 & echo $! > child", direct=direct)
    assert pack.run() == 0
    child = int((tmp_path / "child").read_text())
    wait_for(lambda: not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text())


@both_ways
def test_members_have_the_environment_they_were_given(direct, tmp_path):
    given = {"GIVEN": "it's $HOME", "TAKEN": None}
    pack = Allocation(tmp_path, 'echo "$GIVEN ${TAKEN-unset}"', environment=given, direct=direct)
    assert pack.run(TAKEN="something", SUBMITIT_X="1") == 0
    assert pack.log(0).splitlines()[-1] == "it's $HOME unset"


def stub_of_a_driver(folder: Path, answer: int) -> None:
    """A module that Python imports at its start, and by which every call of the CUDA driver gets `answer`."""
    (folder / "sitecustomize.py").write_text(
        "import ctypes\n"
        "class Driver:\n"
        "    def __init__(self, name): assert name == 'libcuda.so.1'\n"
        f"    cuInit = cuDeviceGet = cuDevicePrimaryCtxRetain = lambda self, *arguments: {answer}\n"
        "ctypes.CDLL = Driver\n"
    )


@pytest.mark.parametrize("answer", [0, 805])
def test_the_multi_process_service_is_started_for_a_pack_and_ended(answer, tmp_path):
    """Its control program and the driver are stubs: the test needs no GPU."""
    (tmp_path / "bin").mkdir()
    stub_of_a_driver(tmp_path / "bin", answer)
    control = tmp_path / "bin/nvidia-cuda-mps-control"
    control.write_text(f'#!/bin/sh\necho "$1 $(cat) $CUDA_MPS_PIPE_DIRECTORY" >> {tmp_path}/mps\n')
    control.chmod(0o755)
    shown = "echo $CUDA_VISIBLE_DEVICES $CUDA_MPS_PIPE_DIRECTORY"
    pack = Allocation(tmp_path, *[shown] * 2, places=2, mps=True)
    path = os.pathsep.join([f"{tmp_path}/bin", os.environ.get("PYTHONPATH", "")])
    search = f"{tmp_path}/bin:{os.environ['PATH']}"
    assert pack.run(PATH=search, PYTHONPATH=path, CUDA_VISIBLE_DEVICES="2,5") == 0
    started, ended = (line.split() for line in pack.lines("mps"))
    assert (started[0], ended[0]) == ("-d", "quit")
    seen = pack.log(0).splitlines()[-1].split()
    if answer == 0:
        # The service counts its GPUs from 0.
        assert seen == ["0,1", started[1]]
        assert started[1].endswith("/pipe")
    else:
        assert seen == ["2,5"]
        said = (tmp_path / "err").read_text()
        assert "no CUDA MPS (a client cannot use the GPU: CUDA error 805)" in said


@pytest.mark.parametrize("gpus", ["0", ""])
def test_members_run_without_that_service(gpus, tmp_path):
    pack = Allocation(tmp_path, "true", "true", places=2, mps=True)
    assert pack.run(CUDA_VISIBLE_DEVICES=gpus) == 0
    assert pack.results() == {0: 0, 1: 0}
    # A pack without a GPU has nothing to say of it.
    assert ("no CUDA MPS" in (tmp_path / "err").read_text()) == bool(gpus)


# Each says what it is told of lanes, and whether it may write there.
TELLS = 'echo "$SNAKEMAKE_SUBMITIT_LANES $(stat -c %a "$SNAKEMAKE_SUBMITIT_LANES_FOLDER" 2> /dev/null)"'


@pytest.mark.parametrize(("lanes", "places", "told"), [(2, 3, "2 700"), (8, 1, " "), (1, 3, " ")])
def test_members_learn_how_many_may_share_a_process_and_where(tmp_path, lanes, places, told):
    pack = Allocation(tmp_path, TELLS, places=places, lanes=lanes)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    # As they are in the allocation of a controller that is a member of a pack itself.
    inherited = {"SNAKEMAKE_SUBMITIT_LANES": "9", "SNAKEMAKE_SUBMITIT_LANES_FOLDER": "/"}
    assert pack.run(TMPDIR=str(scratch), **inherited) == 0
    assert pack.log(0).splitlines()[1] == told
    assert not list(scratch.iterdir()), "the folder is gone with the pack"
