"""The faults of chaos: each does to a study on a cluster what happens there, and most are undone again.

A fault is drawn as numbers alone, so that the same seed draws the same faults: `pick` chooses among what is
there when the fault strikes.
"""

import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from cluster import ACCOUNT, NODES, Cluster
from studies import Study

# How long one of SLURM's commands may take here; its controller may be stopped.
COMMAND_S = 30
# Between two faults on average, and until one is undone.
PAUSE_S, HOLD_S = 2.5, (2.0, 12.0)
# A job's least time limit; SLURM looks for those that exceed theirs twice a minute.
LIMIT_S = 95.0
# What a hungry step takes: more than the share of a first attempt, less than that of a second.
HUNGER_MB = 600
# A wrapper of a command: it is slow, fails, or fails after it has succeeded, while such a file is there.
WRAPPER = """\
#!/bin/sh
[ ! -e {flags}/{name}-slow ] || sleep 8
[ ! -e {flags}/{name}-fails ] || exit 1
if mv {flags}/{name}-lies {flags}/lied 2>/dev/null; then
    {real}/{name} "$@" > /dev/null
    echo "{name}: error: Batch job submission failed: Socket timed out on send/recv operation" >&2
    exit 1
fi
exec {real}/{name} "$@"
"""
Undo = Callable[[], object]


@dataclass(frozen=True)
class Fault:
    """A fault of a schedule: when it strikes, in seconds from the start, and how long it lasts."""

    at: float
    kind: str
    pick: float
    hold: float

    def record(self) -> dict[str, object]:
        return asdict(self)


def draw(rng: random.Random, kinds: Sequence[str], count: int) -> list[Fault]:
    """A schedule of `count` faults, several of which may last at the same time."""
    faults, at = [], 6.0
    for _ in range(count):
        at += rng.expovariate(1 / PAUSE_S)
        kind, pick, hold = rng.choice(kinds), rng.random(), rng.uniform(*HOLD_S)
        hold += LIMIT_S if kind == "time-limit" else 0
        faults.append(Fault(round(at, 2), kind, pick, round(hold, 2)))
    return faults


def wrapped(cluster: Cluster, folder: Path) -> Cluster:
    """The cluster as a study sees it: its commands may be slow, fail, or lie."""
    (folder / "bin").mkdir(parents=True)
    (folder / "flags").mkdir()
    for name in ("sbatch", "squeue", "scancel", "sacct"):
        path = folder / "bin" / name
        path.write_text(WRAPPER.format(flags=folder / "flags", name=name, real=cluster.root / "bin"))
        path.chmod(0o755)
    seen = Cluster(cluster.root, cluster.supervisor)
    seen.environment = {"PATH": f"{folder}/bin:{cluster.environment['PATH']}"}
    return seen


class World:
    """What faults strike: a study, its cluster, and the folders of both."""

    def __init__(self, study: Study, flags: Path, ledger: Path, mounted: bool) -> None:
        self.study, self.cluster, self.flags, self.ledger = study, study.cluster, flags, ledger
        self.mounted = mounted
        # What is to be undone, by the name of what it undoes.
        self.pending: dict[str, Undo] = {}
        # Whether a controller was killed: the stock executor then trains finished runs again.
        self.controller_killed = False
        self.signalled: set[int] = set()

    @staticmethod
    def kinds_of(executor: str) -> list[str]:
        """The names of the faults for an executor."""
        return [name for name in FAULTS if executor == "submitit" or name not in OURS_ALONE]

    def strike(self, fault: Fault) -> str:
        """Do what the fault does; say what it hit."""
        try:
            return FAULTS[fault.kind](self, fault.pick)
        except (subprocess.SubprocessError, psutil.Error, OSError, RuntimeError) as error:
            return f"missed ({type(error).__name__})"

    def undo(self, fault_kind: str) -> None:
        """End a fault, if it lasts."""
        for name in [name for name in self.pending if name.partition(" ")[0] == fault_kind]:
            with suppress(subprocess.SubprocessError, psutil.Error, OSError, RuntimeError):
                self.pending.pop(name)()

    def calm(self) -> None:
        """End all faults, and wait until both nodes work again."""
        # Daemons that stand still first, as the others wait for them.
        for name in sorted(self.pending, key=lambda name: ("stop" not in name, "slurmctld" not in name)):
            self.undo(name.partition(" ")[0])
        end = time.monotonic() + 120
        while self.slurm("sinfo", "-h", "-p", "gpu", "-t", "idle,mixed,allocated", "-o", "%D").strip() != "2":
            self.administer()
            if time.monotonic() > end:
                raise RuntimeError(f"the nodes do not come back: {self.slurm('sinfo', '-N')}")
            time.sleep(0.5)

    def administer(self) -> None:
        """What administrators do: let nodes work again that SLURM drained, and release jobs that it holds.

        SLURM does both where a job cannot be started, for example on a full disk.
        """
        if "drain" in self.slurm("sinfo", "-h", "-o", "%T"):
            self.slurm("scontrol", "update", f"NodeName={','.join(NODES)}", "State=RESUME")
        for row in self.slurm("squeue", "-h", "--array", "-o", "%i %r").splitlines():
            job, _, reason = row.partition(" ")
            if "held" in reason:
                self.slurm("scontrol", "release", job)

    # --- what is there -----------------------------------------------------------------------

    def slurm(self, *command: str) -> str:
        """What one of SLURM's commands prints, whether or not it fails."""
        path = str(self.cluster.root / "bin" / command[0])
        with suppress(subprocess.TimeoutExpired):
            done = subprocess.run(
                [path, *command[1:]], capture_output=True, text=True, timeout=COMMAND_S, check=False
            )
            return done.stdout
        return ""

    def daemon(self, name: str) -> psutil.Process:
        """The process of one of the cluster's daemons."""
        words = ["-N", name] if name in NODES else [name]
        for process in psutil.Process(self.cluster.supervisor.pid).children():
            line = process.cmdline()
            if line and all(word in (Path(line[0]).name, *line) for word in words):
                return process
        raise psutil.NoSuchProcess(0, name)

    def of_jobs(self) -> list[psutil.Process]:
        """The processes that jobs consist of, apart from the runs: packs, and Snakemake in allocations."""
        found = []
        for process in psutil.Process(self.cluster.supervisor.pid).children(recursive=True):
            with suppress(psutil.Error):
                line = " ".join(process.cmdline())
                if "snakemake" in line and process.cwd() == str(self.study.root):
                    found.append(process)
        return found


def choose(things: Sequence, pick: float):
    """One of `things`; raises OSError if there is none."""
    if not things:
        raise OSError("nothing to strike")
    return things[int(pick * len(things))]


def _stop(world: World, fault: str, process: psutil.Process) -> str:
    process.send_signal(signal.SIGSTOP)
    world.pending[f"{fault} {process.pid}"] = lambda: process.send_signal(signal.SIGCONT)
    return f"process {process.pid}"


def _kill_run(world: World, pick: float) -> str:
    process, record = choose(list(world.study.runs()), pick)
    process.kill()
    return str(record.parent.name)


def _stop_run(world: World, pick: float) -> str:
    process, record = choose(list(world.study.runs()), pick)
    return f"{_stop(world, 'run-stop', process)} of {record.parent.name}"


def _kill_pack(world: World, pick: float) -> str:
    process = choose(world.of_jobs(), pick)
    process.kill()
    return f"process {process.pid}"


def _stop_pack(world: World, pick: float) -> str:
    return _stop(world, "pack-stop", choose(world.of_jobs(), pick))


def _signal_controller(number: signal.Signals) -> Callable[[World, float], str]:
    def strike(world: World, pick: float) -> str:
        process = psutil.Process(world.study.process.pid)
        process.send_signal(number)
        # A second signal ends the stock executor before it has cancelled its jobs.
        world.controller_killed |= number == signal.SIGKILL or process.pid in world.signalled
        world.signalled.add(process.pid)
        return f"process {process.pid}"

    return strike


def _stop_controller(world: World, pick: float) -> str:
    return _stop(world, "controller-stop", psutil.Process(world.study.process.pid))


def _kill_daemon(world: World, pick: float) -> str:
    """Kill a slurmd alone, without its jobs."""
    node = choose(NODES, pick)
    world.daemon(node).kill()
    world.pending[f"slurmd-kill {node}"] = lambda: world.cluster.tell(f"begin {node}")
    return node


def _stop_slurmd(world: World, pick: float) -> str:
    return _stop(world, "slurmd-stop", world.daemon(choose(NODES, pick)))


def _node_down(world: World, pick: float) -> str:
    node = choose(NODES, pick)
    world.daemon(node)
    world.cluster.tell(f"kill {node}")
    world.pending[f"node-down {node}"] = lambda: world.cluster.tell(f"begin {node}")
    return node


def _kill_slurmctld(world: World, pick: float) -> str:
    world.daemon("slurmctld").kill()
    world.pending["slurmctld-kill it"] = lambda: world.cluster.tell("begin slurmctld")
    return "slurmctld"


def _stop_slurmctld(world: World, pick: float) -> str:
    return _stop(world, "slurmctld-stop", world.daemon("slurmctld"))


def _kill_slurmdbd(world: World, pick: float) -> str:
    world.daemon("slurmdbd").kill()
    world.pending["slurmdbd-kill it"] = lambda: world.cluster.tell("begin slurmdbd")
    return "slurmdbd"


def _job(world: World, pick: float) -> str:
    """A job of the study, and not one of the partition that preempts."""
    rows = [row.split() for row in world.slurm("squeue", "-h", "--array", "-o", "%i %P").splitlines()]
    return choose(sorted(job for job, partition in rows if partition != "urgent"), pick)


def _cancel_task(world: World, pick: float) -> str:
    job = _job(world, pick)
    world.slurm("scancel", job)
    return job


def _cancel_array(world: World, pick: float) -> str:
    job = _job(world, pick).partition("_")[0]
    world.slurm("scancel", job)
    return job


def _cancel_all(world: World, pick: float) -> str:
    world.slurm("scancel", "--me")
    return "all jobs"


def _preempt(world: World, pick: float) -> str:
    node = choose(NODES, pick)
    world.slurm(
        "sbatch", f"--account={ACCOUNT}", "--partition=urgent", f"--nodelist={node}", "--exclusive",
        "--output=/dev/null", "--wrap=sleep 2",
    )  # fmt: skip
    return node


def _limit_time(world: World, pick: float) -> str:
    """Give a job the least limit, and stop its runs, so that it is reached."""
    job = _job(world, pick)
    world.slurm("scontrol", "update", f"JobId={job}", "TimeLimit=1")
    for process, _ in world.study.runs():
        theirs = process.environ()
        array = f"{theirs.get('SLURM_ARRAY_JOB_ID')}_{theirs.get('SLURM_ARRAY_TASK_ID')}"
        if job in (array, theirs.get("SLURM_JOB_ID")):
            _stop(world, "time-limit", process)
    return job


def _out_of_memory(world: World, pick: float) -> str:
    (world.ledger / "hunger").write_text(str(HUNGER_MB))
    return f"{HUNGER_MB} MB"


def _fill_disk(world: World, pick: float) -> str:
    """Have a file take all room, also what others make of it meanwhile."""
    if not world.mounted:
        raise OSError("its file system is not its own")
    if "disk-full it" in world.pending:
        raise OSError("it is full already")
    file, over = world.study.root.parent / "fill", threading.Event()

    def fill() -> None:
        with file.open("ab", buffering=0) as taken:
            while not over.is_set():
                try:
                    taken.write(bytes(65536))
                except OSError:
                    with suppress(OSError):
                        taken.write(bytes(4096))
                    over.wait(0.05)

    thread = threading.Thread(target=fill)
    thread.start()

    def end() -> None:
        over.set()
        thread.join()
        file.unlink()

    world.pending["disk-full it"] = end
    return str(file.parent)


def _set_time(world: World, pick: float) -> str:
    """Give a file a time of an hour ago or ahead, as a file server does whose clock is wrong.

    An hour ahead alone for what a run or a table is made of: an older record counts as outdated, as in every
    workflow, and so does one whose data is newer.
    """
    places = ("results/runs", "logs", ".snakemake/submitit", ".snakemake/incomplete", ".snakemake/metadata")
    files = sorted(
        path for place in places for path in world.study.root.joinpath(place).rglob("*") if path.is_file()
    )
    path = choose(files, pick)
    ahead = path.name in ("record.tsv", "history.tsv") or int(pick * 1e6) % 2
    moment = time.time() + (3600 if ahead else -3600)
    os.utime(path, (moment, moment))
    return f"{path.relative_to(world.study.root)} {'+' if ahead else '-'}1 h"


def _flag(name: str) -> Callable[[World, float], str]:
    def strike(world: World, pick: float) -> str:
        (world.flags / name).touch()
        world.pending[f"{name} it"] = lambda: (world.flags / name).unlink(missing_ok=True)
        return name.partition("-")[0]

    return strike


FAULTS: dict[str, Callable[[World, float], str]] = {
    "run-kill": _kill_run,
    "run-stop": _stop_run,
    "pack-kill": _kill_pack,
    "pack-stop": _stop_pack,
    "controller-kill": _signal_controller(signal.SIGKILL),
    "controller-interrupt": _signal_controller(signal.SIGINT),
    "controller-terminate": _signal_controller(signal.SIGTERM),
    "controller-stop": _stop_controller,
    "slurmd-kill": _kill_daemon,
    "slurmd-stop": _stop_slurmd,
    "node-down": _node_down,
    "slurmctld-kill": _kill_slurmctld,
    "slurmctld-stop": _stop_slurmctld,
    "slurmdbd-kill": _kill_slurmdbd,
    "cancel-task": _cancel_task,
    "cancel-array": _cancel_array,
    "cancel-all": _cancel_all,
    "preempt": _preempt,
    "time-limit": _limit_time,
    "memory": _out_of_memory,
    "disk-full": _fill_disk,
    "file-time": _set_time,
    "squeue-slow": _flag("squeue-slow"),
    "squeue-fails": _flag("squeue-fails"),
    "scancel-fails": _flag("scancel-fails"),
    "sbatch-fails": _flag("sbatch-fails"),
    "sbatch-lies": _flag("sbatch-lies"),
}
# The stock executor forgets the job of an sbatch that failed after it had succeeded.
OURS_ALONE = ("sbatch-lies", "sbatch-fails", "scancel-fails")
