"""Chaos: studies on a real SLURM under random faults, in random order and at the same time.

    python tests/slurm/chaos.py [--minutes 20] [--seed 1] [--episode N] [--faults LOG] [--out FOLDER]

Each episode is a study with an executor, settings and a schedule of faults that the seed and the episode's
number alone determine. What must hold is checked while the faults strike and after them: no run has two
writers, no finished run is trained again, the same command finishes the study, its tables, records and
histories are those of an undisturbed one, and no job and no process is left. A violation is printed with the
command that replays its episode. --faults replays the faults of a log, of which lines may have been removed.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from base64 import urlsafe_b64decode
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parent.parent))

from chaos_faults import Fault, World, draw, wrapped
from checkout import Checkout
from cluster import ACCOUNT, Cluster
from studies import Study, content, edit_profile

TRAINEE = Path(__file__).with_name("chaos_trainee.py")
# A kind of a user's own, and runs of ours.
COUNTS = f"""
device: cpu
kinds:
  count:
    command: {sys.executable} {TRAINEE} {{hyperparameters}} --seed {{seed}} {{checkpoints}} ../ledger
    hyperparameters: {{steps: int}}
    metrics: {{score: {{decimals: 4}}}}
studies:
  counts:
    title: Counts
    kind: count
    grid: [{{steps: [10, 60]}}]
    seeds: [0, 1, 2]
    table: {{rows: [steps], values: score}}
"""
MACHINES = """
  machines:
    title: Support vector machines on digits
    kind: svm
    grid: [{dataset: digits, kernel: [rbf, poly], train_samples: [500, 1000]}]
    table: {rows: [kernel, train_samples], values: test_accuracy}
"""
CPUS = 8
# How long a call may take after the last fault, and what it leaves to end.
CALL_S, SETTLE_S = 300.0, 60.0
# How often administrators look after the cluster.
ADMINISTRATORS_S = 5.0
# How often the same command may be called after the last fault. The first of these calls may have begun
# before, and its runs may have failed as often as they may.
CALLS = 3
LOOK_S = 0.3
# The size of the file system of a study whose disk may be full.
DISK = "96m"
SETTINGS = """
submitit-latency: 3
submitit-gather: 3
submitit-status-interval: 5
"""


@dataclass
class Episode:
    """A study under a schedule of faults."""

    seed: int
    number: int
    executor: str
    pack: int
    direct: str
    faults: list[Fault] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    struck: Counter[str] = field(default_factory=Counter)

    @classmethod
    def drawn(cls, seed: int, number: int, executors: list[str]) -> tuple["Episode", random.Random]:
        """The episode that a seed and a number determine, and the generator that draws its faults."""
        rng = random.Random(f"{seed}:{number}")
        executor = rng.choice(executors)
        return cls(seed, number, executor, rng.choice([1, 4]), rng.choice(["auto", "auto", "never"])), rng


class Watcher:
    """Looks at a study's records all the time: one that Snakemake took for finished stays as it is."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.changed: dict[str, str] = {}
        self._finished: dict[str, bytes] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while not self._over.wait(LOOK_S):
            self.look()

    def look(self) -> None:
        """Note what has become finished, and what was and has changed."""
        for name, known in self._finished.items():
            try:
                now = (self.root / name).read_bytes()
            except OSError as error:
                self.changed.setdefault(name, f"was finished and is gone ({error.strerror})")
                continue
            if now != known:
                self.changed.setdefault(name, "was finished and was written again")
        marked = set(self._named("incomplete"))
        for name in self._named("metadata"):
            if name.endswith("/record.tsv") and name not in marked and name not in self._finished:
                with suppress(OSError):
                    if written := (self.root / name).read_bytes():
                        self._finished[name] = written

    def _named(self, kind: str) -> Iterator[str]:
        """The files of which Snakemake keeps something: their names are in those of its files."""
        folder = self.root / ".snakemake" / kind
        for path in list(folder.rglob("*")) if folder.exists() else []:
            with suppress(ValueError, OSError):
                if path.is_file():
                    parts = path.relative_to(folder).parts
                    yield urlsafe_b64decode("".join(part.removeprefix("@") for part in parts)).decode()

    def end(self) -> dict[str, str]:
        """What has changed, by record."""
        self._over.set()
        self._thread.join()
        return self.changed


def make_reference(folder: Path, config: str = COUNTS + MACHINES) -> Checkout:
    """The study as nothing happens to it, without SLURM."""
    (folder / "ledger").mkdir(parents=True)
    checkout = Checkout(folder / "project")
    checkout.config(config)
    done = checkout.snakemake("--configfile", "my.yaml", "--", *tables_of(checkout))
    if done.returncode:
        raise RuntimeError(f"the undisturbed study failed:\n{done.stdout}{done.stderr}")
    return checkout


def tables_of(checkout: Checkout) -> tuple[str, ...]:
    """The tables that need all its runs."""
    written = (checkout.root / "my.yaml").read_text()
    return tuple(
        f"results/tables/{study}.tsv" for study in ("counts", "machines") if f"  {study}:" in written
    )


def prepare(reference: Checkout, episode: Episode, root: Path) -> Checkout:
    """A copy with its data and without its runs, and with the settings of an episode."""
    checkout = Checkout(root, like=reference)
    for gone in ("results/runs", "results/tables", "results/records.tsv", ".snakemake"):
        subprocess.run(["rm", "-r", root / gone], check=True)
    own = (
        f"  run_count:\n    pack: {episode.pack}\n    mem_mb: 400 * attempt\n"
        "    min_runtime: 1\n    max_runtime: 5\n  profile_model:"
    )
    edit_profile(
        checkout,
        ('"my_account"', f'"{ACCOUNT}"'),
        ("status-checks: 10", "status-checks: 3"),
        ("latency-wait: 60", "latency-wait: 5"),
        ("max_runtime: 120", "max_runtime: 10"),
        ("    pack: 4", f"    pack: {episode.pack}"),
        ("  profile_model:", own),
    )
    with (root / "profiles/slurm-packed/config.yaml").open("a") as profile:
        profile.write(f"{SETTINGS}submitit-direct: {episode.direct}\n")
    return checkout


@contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """Mount a small file system on `folder`; False where that is not allowed. It never stays mounted."""
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", folder]
    mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", folder], check=True)


def processes_at(root: Path) -> list[psutil.Process]:
    """Every process of a study: in its directory, or started with its paths."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                words = " ".join(process.cmdline())
                if str(root) in words or Path(process.cwd()).is_relative_to(root):
                    found.append(process)
    return found


def play(episode: Episode, cluster: Cluster, reference: Checkout, folder: Path) -> None:
    """Carry out an episode in `folder`, which must not exist; its log is beside it."""
    log = folder.with_suffix(".jsonl")
    log.parent.mkdir(parents=True, exist_ok=True)
    with small_disk(folder) as mounted:
        # Outside of the disk that may be full.
        ledger = folder.with_suffix(".ledger")
        ledger.mkdir()
        (folder / "ledger").symlink_to(ledger)
        study = Study(
            prepare(reference, episode, folder / "project"),
            wrapped(cluster, folder.with_suffix(".commands")),
            episode.executor,
            tables_of(reference),
        )
        world = World(study, folder.with_suffix(".commands") / "flags", ledger, mounted)
        watcher = Watcher(study.root)
        try:
            with log.open("a") as file:
                _disturb(episode, world, file)
                _finish(episode, world, reference, file)
        finally:
            changed = watcher.end()
            with suppress(RuntimeError):
                world.calm()
            _clean(study)
        if (ledger / "violations").exists():
            episode.violations += (ledger / "violations").read_text().splitlines()
        for record, what in changed.items():
            # The documented exception: the stock executor submits the runs of a killed call again.
            if not (episode.executor == "slurm" and world.controller_killed):
                episode.violations.append(f"{record} {what}")
        if episode.violations:
            _keep(study, folder.with_suffix(".kept"))


def _disturb(episode: Episode, world: World, file) -> None:
    """Let the faults strike, and call the same command again whenever it has ended."""
    study, start = world.study, time.monotonic()
    # What to do when, by the seconds since the start.
    agenda = [(fault.at, False, fault) for fault in episode.faults]
    agenda += [(fault.at + fault.hold, True, fault) for fault in episode.faults]
    study.start()
    for at, is_end, fault in sorted(agenda, key=lambda each: each[:2]):
        while time.monotonic() < start + at:
            if study.process.poll() == 0:
                return
            if study.process.poll() is not None:
                study.start()
            time.sleep(0.1)
        if is_end:
            world.undo(fault.kind)
            continue
        hit = world.strike(fault)
        episode.struck[fault.kind] += not hit.startswith("missed")
        json.dump({**fault.record(), "hit": hit, "call": study.calls}, file)
        file.write("\n")
        file.flush()


def _finish(episode: Episode, world: World, reference: Checkout, file) -> None:
    """After the last fault, the same command finishes the study and leaves nothing behind."""
    study = world.study
    world.calm()
    for _ in range(CALLS):
        end = time.monotonic() + CALL_S
        while study.process.poll() is None and time.monotonic() < end:
            world.administer()
            with suppress(subprocess.TimeoutExpired):
                study.process.wait(ADMINISTRATORS_S)
        if study.process.poll() is None:
            # Documented for the stock executor: it may wait forever for a job that ended unseen.
            if episode.executor != "slurm":
                episode.violations.append(f"a call waits forever after the last fault (call {study.calls})")
                return
            study.process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                study.process.wait(SETTLE_S)
            if study.process.poll() is None:
                study.process.kill()
                study.process.wait()
        if study.process.returncode == 0:
            break
        study.start()
    json.dump({"calls": study.calls, "status": study.process.poll()}, file)
    file.write("\n")
    if study.process.poll() != 0:
        episode.violations.append(f"{CALLS} calls after the last fault do not finish the study")
        return
    left = _left(world)
    episode.violations += left
    found, expected = content(study.checkout), content(reference)
    if found != expected:
        different = sorted(name for name in found.keys() | expected if found.get(name) != expected.get(name))
        episode.violations.append(f"other than undisturbed: {', '.join(different)}")
    files = {path.name for path in study.root.glob("results/runs/**/*") if path.is_file()}
    if extra := files - {"record.tsv", "history.tsv", "run.log", "run.lock"}:
        episode.violations.append(f"left beside records: {', '.join(sorted(extra))}")


def _left(world: World) -> list[str]:
    """The jobs and processes that are still there a while after the last call."""
    end = time.monotonic() + SETTLE_S
    while True:
        jobs, processes = (
            world.slurm("squeue", "-h", "-o", "%i_%T_%j").split(),
            processes_at(world.study.root),
        )
        if not jobs and not processes:
            return []
        if time.monotonic() > end:
            break
        time.sleep(0.5)
    found = [f"job {job} is left" for job in jobs]
    for process in processes:
        with suppress(psutil.Error):
            found.append(f"process {process.pid} is left: {' '.join(process.cmdline())[:200]}")
    return found


def _clean(study: Study) -> None:
    """End the call, its jobs and its processes, whatever state they are in."""
    with suppress(subprocess.SubprocessError, AssertionError):
        study.end()
    for process in processes_at(study.root):
        with suppress(psutil.Error):
            process.kill()


def _keep(study: Study, folder: Path) -> None:
    """Keep what tells why: what was printed, logs, and the executor's files."""
    for path in study.root.rglob("*"):
        name = path.relative_to(study.root)
        told = name.parts[0] in ("logs", "results") or name.suffix in (".out", ".log", ".json", ".err")
        if path.is_file() and told and "data" not in name.parts and path.stat().st_size < 2**20:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            with suppress(OSError):
                shutil.copy2(path, folder / name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--episode", type=int, help="play this episode alone")
    parser.add_argument("--faults", type=Path, help="play the faults of this log")
    parser.add_argument("--kinds", nargs="+", help="draw from these kinds of faults alone")
    parser.add_argument("--executors", nargs="+", default=["submitit", "submitit", "slurm"])
    parser.add_argument("--count", type=int, help="how many faults an episode has; 3 to 12 by default")
    parser.add_argument("--out", type=Path, help="where logs are kept (default: a new directory)")
    options = parser.parse_args()
    out = (options.out or Path(tempfile.mkdtemp(prefix="chaos-"))).absolute()
    # A signal ends the cluster, the mount and all processes too.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
    end = time.monotonic() + 60 * options.minutes
    struck, violated, number = Counter(), 0, options.episode or 0
    print(f"Chaos with seed {options.seed}; logs are in {out}", flush=True)
    cluster = Cluster.launch(cpus=CPUS)
    try:
        reference = make_reference(out / "reference")
        while True:
            episode = carry_out(options, number, cluster, reference, out)
            struck += episode.struck
            violated += bool(episode.violations)
            number += 1
            if options.episode is not None or options.faults or time.monotonic() > end:
                break
    finally:
        cluster.down()
        shutil.rmtree(out / "reference", ignore_errors=True)
    print(
        f"{number - (options.episode or 0)} episodes with {sum(struck.values())} faults; "
        f"{violated} with violations"
    )
    print("  ".join(f"{kind} {count}" for kind, count in sorted(struck.items())))
    sys.exit(min(violated, 1))


def carry_out(
    options: argparse.Namespace, number: int, cluster: Cluster, reference: Checkout, out: Path
) -> Episode:
    """Draw an episode and play it; print how it went, and for a violation how to see it again."""
    episode, rng = Episode.drawn(options.seed, number, options.executors)
    if options.faults:
        lines = map(json.loads, options.faults.read_text().splitlines())
        names = Fault.__dataclass_fields__
        episode.faults = [Fault(**{name: line[name] for name in names}) for line in lines if "at" in line]
    else:
        kinds = options.kinds or World.kinds_of(episode.executor)
        episode.faults = draw(rng, kinds, options.count or rng.randint(3, 12))
    start = time.monotonic()
    folder = out / f"e{number}"
    try:
        play(episode, cluster, reference, folder)
    except Exception as error:
        episode.violations.append(f"the episode could not be played: {type(error).__name__}: {error}")
    took = time.monotonic() - start
    said = f"{episode.executor}, pack {episode.pack}, direct {episode.direct}"
    print(f"episode {number} ({said}): {sum(episode.struck.values())} faults, {took:.0f} s", flush=True)
    for violation in episode.violations:
        print(f"  VIOLATION: {violation}")
    if episode.violations:
        print(
            f"  again: make chaos SEED={options.seed} ARGS='--episode {number}'\n"
            f"  the same faults: make chaos SEED={options.seed} "
            f"ARGS='--episode {number} --faults {folder.with_suffix('.jsonl')}'",
            flush=True,
        )
    shutil.rmtree(folder, ignore_errors=True)
    for name in (".ledger", ".commands"):
        shutil.rmtree(folder.with_suffix(name), ignore_errors=True)
    return episode


if __name__ == "__main__":
    main()
