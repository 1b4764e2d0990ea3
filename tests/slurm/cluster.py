"""A real SLURM of two nodes with accounting, on one machine, for tests, benchmarks and developers.

Everything it needs lies in one temporary directory: configuration, key, sockets, database, state. A
supervisor process starts the daemons, starts and kills them when told so, and ends them by their
process ids, with every job they ran, when it is told to, or when whoever launched it is gone.
"""

import argparse
import ctypes
import getpass
import json
import os
import random
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path

import cgroups
import psutil
from variants import VARIANT

# The names are Debian's; elsewhere SLURM's own packages bring the same programs.
DAEMONS = ["munged", "mungekey", "mariadbd", "mariadb-install-db", "slurmdbd", "slurmctld", "slurmd"]
COMMANDS = ["sacct", "sacctmgr", "sbatch", "scancel", "scontrol", "sinfo", "squeue", "srun", "sshare"]
PACKAGES = "slurm-wlm slurmdbd munge mariadb-server"
NODES = ("n1", "n2")
ACCOUNT = "research"
PLAYGROUND = Path(tempfile.gettempdir()) / f"ablation-tables-slurm-{os.getuid()}"
# How long a daemon may take to start or to end, however slow the machine; nothing is measured by it.
PATIENCE_S = 600
# The path of a socket has 107 bytes; the longest here is spool.n1/n1_99999.4294967292.
ROOT_BYTES = 78
PR_SET_CHILD_SUBREAPER, PR_SET_PDEATHSIG = 36, 1
# Debian keeps daemons where the PATH of an ordinary user does not look.
SEARCH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"


def missing_programs() -> list[str]:
    """The programs of a cluster that this machine does not have."""
    return [name for name in (*DAEMONS, *COMMANDS) if shutil.which(name, path=SEARCH) is None]


# --- configuration -------------------------------------------------------------------------------

SLURM_CONF = """\
ClusterName=tables
SlurmctldHost=localhost
SlurmctldPort={slurmctld}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
# A requeued job becomes eligible again after the lifetime of its credential: two minutes by default.
AuthInfo=socket={root}/munge.socket,cred_expire=5
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool.%n
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.%n.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd.%n.log
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
# A node may claim more processors and memory than the machine has.
SlurmdParameters=config_overrides
ReturnToService=2
SchedulerParameters=batch_sched_delay=0,bf_interval=2,sched_min_interval=200000
# Short, so that tests wait for events and not for defaults: 30 and 300 seconds are usual.
KillWait=10
SlurmdTimeout=5
SlurmctldTimeout=10
MinJobAge=300
PreemptType=preempt/partition_prio
PreemptMode={preempt}
{limits}
{accounting}
{nodes}
PartitionName=gpu Nodes=n[1-2] Default=YES PriorityTier=1 MaxTime=1-0
PartitionName=cpu Nodes=n[1-2] PriorityTier=1 MaxTime=1-0
PartitionName=whole Nodes=n[1-2] PriorityTier=1 MaxTime=1-0 OverSubscribe=EXCLUSIVE
# Tells what it preempts, and leaves it this many seconds.
PartitionName=graceful Nodes=n[1-2] PriorityTier=1 MaxTime=1-0 GraceTime=20
PartitionName=scavenger Nodes=n[1-2] PriorityTier=1 MaxTime=1-0 PreemptMode=CANCEL
# What preempts all others: its jobs take the place of theirs.
PartitionName=urgent Nodes=n[1-2] PriorityTier=10 PreemptMode=off MaxTime=1-0
"""

WITHOUT_CGROUPS = """\
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
# Kills a step that holds more memory than it asked for; looks every second.
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
"""

ACCOUNTING = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort={slurmdbd}
# The socket of munge, for what is said to slurmdbd.
AccountingStoragePass={root}/munge.socket
AccountingStorageEnforce=associations
AccountingStorageTRES=gres/gpu
AccountingStoreFlags=job_comment
"""

SLURMDBD_CONF = """\
DbdHost=localhost
DbdPort={slurmdbd}
SlurmUser={user}
AuthType=auth/munge
AuthInfo=socket={root}/munge.socket
PidFile={root}/slurmdbd.pid
LogFile={root}/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser={user}
StorageLoc=slurm
"""


def free_ports(count: int) -> list[int]:
    """Ports that are free, and that the kernel gives to no client: a node that is down keeps its own."""
    client_range = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii")
    below = max(20_000, int(client_range.split()[0]))
    found: list[int] = []
    with ExitStack() as held:
        while len(found) < count:
            port = random.randrange(10_000, below)
            with suppress(OSError):
                held.enter_context(socket.create_server(("127.0.0.1", port)))
                found.append(port)
    return found


def write_configuration(root: Path, cpus: int, accounting: bool, gpus: int) -> None:
    """Write slurm.conf and what it needs to `root`, with free ports, for the variant of this process."""
    names = ["slurmctld", "slurmdbd", *NODES]
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    values = {"root": root, "user": getpass.getuser(), **ports}
    gres = f"Gres=gpu:{gpus}" if gpus else ""
    nodes = "\n".join(
        f"NodeName={node} NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[node]} "
        f"CPUs={cpus} RealMemory=64000 {gres}"
        for node in NODES
    )
    if gpus:
        # Any device file serves as a GPU that jobs are given and cannot use.
        nodes = f"GresTypes=gpu\n{nodes}"
        lines = [f"NodeName={node} Name=gpu File=/dev/tty[1-{gpus}]\n" for node in NODES]
        (root / "gres.conf").write_text("".join(lines))
    store = ACCOUNTING.format(**values) if accounting else "AccountingStorageType=accounting_storage/none"
    values |= {"accounting": store, "nodes": nodes, "preempt": "REQUEUE" if VARIANT.requeue else "CANCEL"}
    limits = (cgroups.SLURM_CONF if VARIANT.cgroups else WITHOUT_CGROUPS).format(**values)
    (root / "slurm.conf").write_text(SLURM_CONF.format(limits=limits, **values))
    if VARIANT.cgroups:
        cgroups.write_configuration(root, cpus)
    # SLURM_CONF would do, if executors did not strip SLURM's variables from the environment of their jobs.
    # Tests see in the file CLUSTER_QUERIES, where that is set, how often each command was called.
    (root / "bin").mkdir()
    for name in COMMANDS:
        wrapper = root / "bin" / name
        wrapper.write_text(
            f'#!/bin/sh\n[ -z "$CLUSTER_QUERIES" ] || echo {name} >> "$CLUSTER_QUERIES"\n'
            f'SLURM_CONF={root}/slurm.conf exec {shutil.which(name, path=SEARCH)} "$@"\n'
        )
        wrapper.chmod(0o755)
    dbd = root / "slurmdbd.conf"
    dbd.touch(mode=0o600)
    dbd.write_text(SLURMDBD_CONF.format(**values))


# --- the supervisor ------------------------------------------------------------------------------


class Supervisor:
    """Holds the daemons of one cluster as its children, and adopts whatever they leave behind."""

    def __init__(self, root: Path, cpus: int, accounting: bool, gpus: int) -> None:
        self.root, self.accounting = root, accounting
        self.daemons: dict[str, psutil.Popen] = {}
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        write_configuration(root, cpus, accounting, gpus)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("SLURM_")},
            "SLURM_CONF": str(root / "slurm.conf"),
            "MYSQL_UNIX_PORT": str(root / "db.socket"),
            "PATH": SEARCH,
        }

    def start_all(self) -> None:
        """Bring the cluster up; raises RuntimeError with the end of the log of what did not come."""
        if len(os.fsencode(self.root)) > ROOT_BYTES:
            raise RuntimeError(
                f"the path of its directory is too long for the sockets in it: {self.root} has more than "
                f"{ROOT_BYTES} bytes; set TMPDIR to a shorter one"
            )
        self.call("mungekey", "--create", f"--keyfile={self.root}/munge.key")
        self.start("munged")
        if self.accounting:
            (self.root / "tmp").mkdir()
            self.call(
                "mariadb-install-db", *self.database(), "--skip-test-db",
                "--auth-root-authentication-method=socket", f"--auth-root-socket-user={getpass.getuser()}",
            )  # fmt: skip
            self.start("mariadbd")
            self.start("slurmdbd")
            self.call("sacctmgr", "-i", "add", "cluster", "tables")
            self.call("sacctmgr", "-i", "add", "account", ACCOUNT, "cluster=tables")
            self.call("sacctmgr", "-i", "add", "user", getpass.getuser(), f"account={ACCOUNT}")
        for name in ("slurmctld", *NODES):
            self.start(name, wait=False)
        self.wait("the nodes", self.nodes_are_idle, "slurmctld")

    def database(self) -> list[str]:
        """What the database and its installation share.

        A server that starts removes the temporary tables that it finds: in a directory that several
        share, those of the others.
        """
        directories = [f"--datadir={self.root}/db", f"--tmpdir={self.root}/tmp"]
        return ["--no-defaults", *directories, f"--user={getpass.getuser()}"]

    def command(self, name: str) -> list[str]:
        root = self.root
        if name in NODES:
            return ["slurmd", "-D", "-N", name, "-f", f"{root}/slurm.conf"]
        return {
            "munged": [
                "munged", "--foreground", "--force", f"--key-file={root}/munge.key",
                f"--socket={root}/munge.socket", f"--pid-file={root}/munged.pid",
                f"--log-file={root}/munged.log", f"--seed-file={root}/munged.seed",
            ],
            "mariadbd": [
                "mariadbd", *self.database(), f"--socket={root}/db.socket",
                f"--pid-file={root}/mariadbd.pid", "--skip-networking",
                f"--log-error={root}/mariadbd.log", "--innodb-flush-log-at-trx-commit=0",
                "--innodb-buffer-pool-size=32M", "--innodb-log-file-size=16M",
            ],
            "slurmdbd": ["slurmdbd", "-D"],
            "slurmctld": ["slurmctld", "-D", "-f", f"{root}/slurm.conf"],
        }[name]  # fmt: skip

    def start(self, name: str, wait: bool = True) -> None:
        """Start a daemon, and wait until it answers."""
        self.daemons[name] = psutil.Popen(
            self.command(name),
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=(self.root / f"{name}.out").open("ab"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )
        answers: dict[str, Callable[[], bool]] = {
            "munged": lambda: (self.root / "munge.socket").is_socket(),
            "mariadbd": lambda: self.answers("mariadb-admin", "--no-defaults", "ping"),
            "slurmdbd": lambda: self.answers("sacctmgr", "-n", "list", "cluster"),
            "slurmctld": lambda: self.answers("scontrol", "ping"),
        }
        if wait:
            self.wait(name, answers.get(name, lambda: name in self.idle_nodes()), name)

    def wait(self, what: str, ready: Callable[[], bool], log: str) -> None:
        end = time.monotonic() + PATIENCE_S
        while not ready():
            if time.monotonic() > end or self.daemons[log].poll() is not None:
                logs = [*self.root.glob(f"*{log}*.log"), self.root / f"{log}.out"]
                tails = "\n".join(file.read_text(errors="replace")[-2000:] for file in logs if file.exists())
                raise RuntimeError(f"{what} did not come up:\n{tails}")
            time.sleep(0.05)

    def idle_nodes(self) -> set[str]:
        done = self.call("sinfo", "-h", "-N", "-o", "%N %T", check=False)
        fine = ("idle", "mixed", "allocated")
        return {line.split()[0] for line in done.stdout.splitlines() if line.split()[1] in fine}

    def nodes_are_idle(self) -> bool:
        return self.idle_nodes() == set(NODES)

    def answers(self, *command: str) -> bool:
        return self.call(*command, check=False).returncode == 0

    def call(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        if check and done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
        return done

    def stop(self, name: str, number: signal.Signals = signal.SIGTERM) -> None:
        """Send a daemon a signal and wait for its end; SIGKILL takes the jobs of a node with it."""
        daemon = self.daemons[name]
        family = self.family(name) if number == signal.SIGKILL else []
        for process in [daemon, *family]:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
                cgroups.thaw(process.pid)
        psutil.wait_procs([daemon, *family], timeout=PATIENCE_S)

    def family(self, node: str) -> list[psutil.Process]:
        """The step managers and jobs of a node, which outlive their slurmd."""
        found = []
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                theirs = process.environ()
                if theirs.get("SLURMD_NODENAME") == node or process.name() == "slurmstepd":
                    # A step manager holds open its socket in the spool directory of its node.
                    if process.name() == "slurmstepd" and not any(
                        f"spool.{node}/" in connection.laddr for connection in process.net_connections("unix")
                    ):
                        continue
                    found.append(process)
        return found

    def stop_all(self) -> None:
        """End everything, jobs included, and remove the directory."""
        for _ in range(50):
            everything = psutil.Process().children(recursive=True)
            if not everything:
                break
            for process in everything:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
                    cgroups.thaw(process.pid)
            psutil.wait_procs(everything, timeout=1)
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
        shutil.rmtree(self.root, ignore_errors=True)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def serve(root: Path, cpus: int, accounting: bool, gpus: int, with_parent: bool) -> None:
    """Run a cluster until told to stop, or until stdin ends where `with_parent` is set.

    Prints one line when the cluster is up. Commands come over the socket `root`/control, a line each.
    """
    root.mkdir(mode=0o755, parents=True, exist_ok=True)
    endings = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    for number in endings:
        signal.signal(number, lambda number, frame: sys.exit(0))
    supervisor = Supervisor(root, cpus, accounting, gpus)
    try:
        supervisor.start_all()
        with socket.socket(socket.AF_UNIX) as control:
            control.bind(str(root / "control"))
            control.listen()
            print(json.dumps({"root": str(root), "pid": os.getpid()}), flush=True)
            while True:
                sources = [control, sys.stdin] if with_parent else [control]
                ready, _, _ = select.select(sources, [], [], 0.5)
                with suppress(ChildProcessError):
                    _reap(supervisor)
                if sys.stdin in ready:
                    break  # nothing is ever written there: whoever launched this is gone
                if control in ready and _obey(supervisor, control):
                    break
    except RuntimeError as error:
        print(json.dumps({"error": str(error)}), flush=True)
        sys.exit(1)
    finally:
        for number in endings:
            signal.signal(number, signal.SIG_IGN)
        supervisor.stop_all()


def _reap(supervisor: Supervisor) -> None:
    """Collect adopted processes that have ended, and no daemon: its exit status is still asked for."""
    own = {daemon.pid for daemon in supervisor.daemons.values()}
    for child in psutil.Process().children():
        if child.pid not in own and child.status() == psutil.STATUS_ZOMBIE:
            os.waitpid(child.pid, os.WNOHANG)


def _obey(supervisor: Supervisor, control: socket.socket) -> bool:
    """Carry out one command of a client; True when it was the one to go down."""
    connection, _ = control.accept()
    with connection, connection.makefile("rw") as stream:
        verb, *names = stream.readline().split()
        answer = {}
        try:
            if verb in ("start", "begin"):
                supervisor.start(names[0], wait=verb == "start")
            elif verb in ("stop", "kill"):
                supervisor.stop(names[0], signal.SIGKILL if verb == "kill" else signal.SIGTERM)
            elif verb != "down":
                answer = {"error": f"no command '{verb}'"}
        except (RuntimeError, KeyError, IndexError) as error:
            answer = {"error": str(error)}
        with suppress(BrokenPipeError):
            stream.write(json.dumps(answer) + "\n")
            stream.flush()
    return verb == "down"


# --- the client ----------------------------------------------------------------------------------


class Cluster:
    """A running cluster, as tests and benchmarks use it."""

    def __init__(self, root: Path, supervisor: subprocess.Popen[str] | None = None) -> None:
        self.root = root
        self.supervisor = supervisor
        #: For the processes that talk to the cluster.
        self.environment = {"PATH": f"{root}/bin:{os.environ['PATH']}"}

    @classmethod
    def launch(
        cls,
        cpus: int = 2,
        accounting: bool = VARIANT.accounting,
        gpus: int = 2,
        root: Path | None = None,
    ) -> "Cluster":
        """Start a cluster of the variant of this process. Without `root` it lives in a new directory, and no
        longer than the caller.

        `cpus` and `gpus` are counts per node. Raises RuntimeError for one that does not come up.
        """
        directory = root or Path(tempfile.mkdtemp(prefix="slurm-"))
        command = [sys.executable, __file__, "serve", str(directory), f"--cpus={cpus}", f"--gpus={gpus}"]
        command += [] if accounting else ["--no-accounting"]
        command += [] if root else ["--with-parent"]
        supervisor = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL if root else subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Whoever reads the launcher's output would wait for the end of a cluster that outlives it.
            stderr=subprocess.DEVNULL if root else None,
            text=True,
            start_new_session=True,
        )
        line = supervisor.stdout.readline()
        said = json.loads(line) if line else {"error": "its supervisor ended"}
        if "error" in said:
            # It says so before it has removed what it made.
            supervisor.wait()
            raise RuntimeError(f"the cluster did not start: {said['error']}")
        return cls(directory, supervisor)

    def tell(self, command: str) -> None:
        """Have the supervisor `start`, `stop` or `kill` a daemon (`slurmctld`, `n1`, …), or go `down`.

        `begin` starts one without waiting for it, as another may be down that it needs.
        """
        with socket.socket(socket.AF_UNIX) as control:
            control.connect(str(self.root / "control"))
            with control.makefile("rw") as stream:
                stream.write(command + "\n")
                stream.flush()
                answer = json.loads(stream.readline())
        if "error" in answer:
            raise RuntimeError(f"{command}: {answer['error']}")

    def down(self) -> None:
        """End the cluster and wait until nothing of it is left."""
        self.tell("down")
        if self.supervisor is not None:
            self.supervisor.wait(timeout=PATIENCE_S)
            return
        end = time.monotonic() + PATIENCE_S
        while self.root.exists() and time.monotonic() < end:
            time.sleep(0.1)

    def call(self, *command: str) -> str:
        """What a SLURM command prints; raises CalledProcessError where it fails."""
        environment = {**os.environ, **self.environment}
        command = (str(self.root / "bin" / command[0]), *command[1:])
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def wait_until(happened: Callable[[], object]) -> None:
    """Wait until `happened` answers something; raises TimeoutError where it never does."""
    end = time.monotonic() + PATIENCE_S
    while not happened():
        if time.monotonic() > end:
            raise TimeoutError(f"it did not happen in {PATIENCE_S} s")
        time.sleep(0.2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("up", help="start a cluster to play on")
    verbs.add_parser("down", help="end it")
    tell = verbs.add_parser("tell", help="start, stop or kill one daemon of it")
    tell.add_argument("what", choices=["start", "stop", "kill"])
    tell.add_argument("daemon", choices=["slurmctld", "slurmdbd", *NODES])
    server = verbs.add_parser("serve", help="run one in the foreground")
    server.add_argument("root", type=Path)
    server.add_argument("--cpus", type=int, default=2)
    server.add_argument("--gpus", type=int, default=2)
    server.add_argument("--no-accounting", dest="accounting", action="store_false")
    server.add_argument("--with-parent", action="store_true")
    options = parser.parse_args()
    if options.verb == "serve":
        with cgroups.groups_of(NODES) if VARIANT.cgroups else nullcontext():
            serve(options.root, options.cpus, options.accounting, options.gpus, options.with_parent)
        return
    up = (PLAYGROUND / "control").exists()
    if options.verb == "up":
        if lacking := missing_programs():
            sys.exit(f"error: {', '.join(lacking)} not found; as root: apt-get install {PACKAGES}")
        if not up:
            shutil.rmtree(PLAYGROUND, ignore_errors=True)
            try:
                Cluster.launch(root=PLAYGROUND)
            except RuntimeError as error:
                sys.exit(f"error: {error}")
        print(
            f"A SLURM of two nodes runs here, with the account {ACCOUNT}; sinfo lists its partitions.\n"
            f"In the shell that is to use it:  export PATH={PLAYGROUND}/bin:$PATH\n"
            f"Its logs are in {PLAYGROUND}; make slurm-down ends it."
        )
    elif not up:
        sys.exit("error: no cluster is up; make slurm-up starts one")
    elif options.verb == "down":
        Cluster(PLAYGROUND).down()
    else:
        Cluster(PLAYGROUND).tell(f"{options.what} {options.daemon}")


if __name__ == "__main__":
    main()
