"""Studies on a real SLURM, watched while they run."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
from checkout import PATIENCE_S, Checkout
from cluster import ACCOUNT, Cluster

AT_A_RUN = re.compile(r"scripts/(train_cnn|fit_svm|run_command)\.py$")
# Every executor that the project supports, and the profile that uses it.
EXECUTORS = {"slurm": "profiles/slurm", "submitit": "profiles/slurm-packed"}


def command_line(number: int) -> str:
    """The words of a process's command, each with a zero byte after it. Raises OSError if it has ended."""
    return Path(f"/proc/{number}/cmdline").read_text(errors="replace")


class NotEnded(AssertionError):
    """A call that should have ended and has not."""


class Study:
    """One Snakemake call in a checkout, on a cluster: running, watched, and at last finished."""

    def __init__(
        self, checkout: Checkout, cluster: Cluster, executor: str, targets: tuple[str, ...] = ()
    ) -> None:
        """`targets` are what each call asks for; without any it asks for all."""
        self.checkout, self.cluster, self.executor, self.targets = checkout, cluster, executor, targets
        self.root = checkout.root
        self.process: subprocess.Popen[bytes] | None = None
        self.calls = 0
        # Record -> the largest number of processes seen at it at the same time.
        self.writers: dict[str, int] = {}
        self._watching = True
        threading.Thread(target=self._watch, daemon=True).start()

    def start(self, *arguments: str) -> None:
        """Call Snakemake as a user does; what it prints is in `printed`."""
        self.calls += 1
        with self._output.open("wb") as out:
            self.process = subprocess.Popen(
                [
                    sys.executable, "-m", "snakemake", "--profile", EXECUTORS[self.executor],
                    "--configfile", "my.yaml", *arguments, "--", *self.targets,
                ],
                cwd=self.root,
                env={**os.environ, **self.cluster.environment, "CLUSTER_QUERIES": str(self._queries)},
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # Ctrl-C works in a user's shell; a shell that starts tests in the background ignores it.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )  # fmt: skip

    def submit(self) -> None:
        """Call Snakemake in a job of its own, whose number is then in `controller`."""
        self.calls += 1
        script = self.root / EXECUTORS[self.executor] / "controller.sh"
        search = f"PATH={Path(sys.executable).parent}:{self.cluster.environment['PATH']}"
        self.controller = self.cluster.call(
            "sbatch", "--parsable", f"--account={ACCOUNT}", "--partition=cpu", "--mem=1000", "--time=30",
            f"--chdir={self.root}", f"--output={self._output}", f"--export=ALL,{search}",
            str(script), "--configfile", "my.yaml", "--", *self.targets,
        ).strip()  # fmt: skip

    @property
    def _output(self) -> Path:
        return self.root / f"call{self.calls}.out"

    @property
    def _queries(self) -> Path:
        return self.root / f"call{self.calls}.queries"

    @property
    def printed(self) -> str:
        """What the last call has printed so far."""
        return self._output.read_text(errors="replace")

    def finish(self, looks: int | None = None) -> int:
        """
        Wait for the end of the call and return its exit status.

        A call that waits for what will never come only asks for the state of its jobs any more: it counts
        as not ended when it has done so `looks` times without printing a line, or after `PATIENCE_S`.
        """
        end = time.monotonic() + PATIENCE_S
        size, asked = -1, 0
        while self.process.poll() is None:
            queries = self._queries.read_text().count("squeue") if self._queries.exists() else 0
            if (printed := self._output.stat().st_size) != size:
                size, asked = printed, queries
            if time.monotonic() > end or (looks is not None and queries - asked >= looks):
                raise NotEnded(f"Snakemake did not end:\n{self.printed[-4000:]}")
            time.sleep(0.1)
        return self.process.returncode

    def wait_for(self, what: str, happened: Callable[[], object], interval_s: float = 0.5) -> object:
        """Wait until `happened` answers something, and return that.

        To ask SLURM takes a process each time, and looking at all processes takes time too: what asks more
        often slows down what it waits for.
        """
        end = time.monotonic() + PATIENCE_S
        while not (answer := happened()):
            assert time.monotonic() < end, f"{what} did not happen:\n{self.printed[-4000:]}"
            time.sleep(interval_s)
        return answer

    def status(self) -> dict[str, dict[str, str]]:
        """What `scripts/status.py` says of each run that is not done, by its record."""
        done = subprocess.run(
            [sys.executable, "scripts/status.py", "--configfile", "my.yaml", "--json"],
            cwd=self.root,
            env={**os.environ, **self.cluster.environment},
            stdout=subprocess.PIPE,
            check=True,
        )
        found = json.loads(done.stdout)
        assert found["problem"] is None
        return {run["record"]: run for run in found["runs"]}

    def jobs(self) -> dict[str, str]:
        """The SLURM jobs that wait or run, and their states."""
        lines = self.cluster.call("squeue", "-h", "-o", "%i %T").splitlines()
        return dict(line.split() for line in lines)

    def state(self, job: str) -> str:
        """What SLURM says of a job, ended ones included."""
        return self.cluster.call("squeue", "-h", "--states=all", "-j", job, "-o", "%T").strip()

    def runs(self) -> Iterator[tuple[psutil.Process, Path]]:
        """The processes that are at runs of this study, each with the run's record."""
        for number in psutil.pids():
            # psutil takes ten times as long for the command line of a process.
            with suppress(OSError, psutil.Error):
                command = command_line(number)
                words = command.split("\0")
                if not any(map(AT_A_RUN.search, words[1:3])) or "--record" not in words:
                    continue
                process = psutil.Process(number)
                # A child that a run has forked, to call git, shows its parent's command until it is git.
                if process.cwd() == str(self.root) and command_line(process.ppid()) != command:
                    yield process, self.root / words[words.index("--record") + 1]

    def freeze_a_network(self) -> "FrozenRun":
        """Stop a network's run with SIGSTOP in the middle of its training, as on a node that hangs."""

        def trains(log: Path) -> bool:
            return log.exists() and re.search(r"epoch \d+/", log.read_text()) is not None

        def caught() -> FrozenRun | None:
            assert self.process is None or self.process.poll() is None, f"it ended:\n{self.printed[-4000:]}"
            # Logs are few. To look at all processes takes a hundred times as long.
            if not any(map(trains, self.root.glob("results/runs/**/run.log"))):
                return None
            for process, record in self.runs():
                if process.status() == psutil.STATUS_STOPPED:
                    continue
                if trains(record.with_name("run.log")):
                    process.suspend()
                    return FrozenRun(process, record, process.environ()["SLURM_JOB_ID"])
            return None

        return self.wait_for("training", caught, interval_s=0.05)

    def _watch(self) -> None:
        while self._watching:
            seen: dict[str, int] = {}
            for _, record in self.runs():
                name = str(record.relative_to(self.root))
                seen[name] = seen.get(name, 0) + 1
            for record, count in seen.items():
                self.writers[record] = max(count, self.writers.get(record, 0))
            # A second writer would live for seconds: it has to import torch.
            time.sleep(0.5)

    def end(self) -> None:
        """Leave nothing running: the call, its jobs."""
        self._watching = False
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        self.cluster.call("scancel", "--me", "--signal=KILL", "--full")
        self.cluster.call("scancel", "--me")
        self.wait_for("an empty queue", lambda: not self.jobs())


class FrozenRun:
    """A run that stands still until it is thawed."""

    def __init__(self, process: psutil.Process, record: Path, job: str) -> None:
        self.process, self.record, self.job = process, record, job

    def thaw(self) -> None:
        self.process.resume()

    def columns(self) -> dict[str, str]:
        """Its record, once it is there."""
        header, row = self.record.read_text().splitlines()
        return dict(zip(header.split("\t"), row.split("\t"), strict=True))


# What differs between two runs of the same hyperparameters: when, where, and how long.
TIMES = re.compile(
    r"_ms(_sd|_ci_low|_ci_high)?$|_seconds$|^seconds$|images_per_s|^peak_memory|_peak_mb$|^host$|^started_at$|^attempts$|^(runs_per_job|shares_process)$"
)


def content(checkout: Checkout) -> dict[str, list[list[str]]]:
    """All that a study has to say: tables, records and histories, times aside."""
    tables = checkout.root.glob("results/tables/*.tsv")
    files = [
        # Tables of compute have times alone.
        *(table for table in tables if not table.stem.endswith("_compute")),
        *checkout.root.glob("results/runs/**/*.tsv"),
        checkout.root / "results/records.tsv",
    ]
    found = {}
    for file in files:
        rows = [line.split("\t") for line in file.read_text().splitlines()]
        kept = [i for i, name in enumerate(rows[0]) if not TIMES.search(name)]
        if "metric" in rows[0]:  # in tables with a row for each metric
            at = rows[0].index("metric")
            rows = [row for row in rows if not TIMES.search(row[at])]
        found[str(file.relative_to(checkout.root))] = [[row[i] for i in kept] for row in rows]
    return found


def edit_profile(checkout: Checkout, *lines: tuple[str, str]) -> None:
    """Edit the profiles as a user does: the first occurrence of each line becomes the other.

    What one profile has not, another has.
    """
    paths = [checkout.root / profile / "config.yaml" for profile in EXECUTORS.values()]
    for old, new in lines:
        having = [path for path in paths if old in path.read_text()]
        assert having, f"no profile has '{old}'"
        for path in having:
            path.write_text(path.read_text().replace(old, new, 1))
