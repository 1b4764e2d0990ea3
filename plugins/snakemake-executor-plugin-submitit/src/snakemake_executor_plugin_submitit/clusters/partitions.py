"""The limits of partitions: how many jobs they allow on a node, and in which of several a request fits."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from snakemake_executor_plugin_submitit.clusters.nodes import Nodes, is_understood
from snakemake_executor_plugin_submitit.resources import Request

# Limits of a partition, as `scontrol` prints them: a number, or UNLIMITED.
LIMIT = re.compile(r"\b(MaxCPUsPerNode|MaxMemPerNode|MaxMemPerCPU)=(\d+)")


@dataclass(frozen=True)
class Limits:
    """What a partition allows a job, besides its time; None means no limit."""

    is_up: bool = True
    cpus: int | None = None
    memory_mb: int | None = None
    memory_per_cpu_mb: int | None = None


@dataclass(frozen=True)
class Choice:
    """The request with one partition, unless none fits; and why those before it do not, by partition."""

    request: Request
    fits: bool
    reasons: Mapping[str, str]

    def sentence(self) -> str:
        """What a user should know; empty if the first partition fits."""
        why = "; ".join(f"'{name}': {reason}" for name, reason in self.reasons.items())
        if not self.fits:
            return (
                f"No partition in slurm_partition fits jobs with {_worded(self.request)} ({why}). They are "
                "submitted nevertheless, and SLURM may refuse them or let them wait forever. Ask for less "
                "in the profile, or add a partition that has it."
            )
        name = dict(self.request.options)["partition"]
        return f"Jobs with {_worded(self.request)} go to the partition '{name}' ({why})." if why else ""


def parse_limits(printed: str) -> dict[str, Limits]:
    """The limits in the output of `scontrol --oneliner show partition`, by partition."""
    found = {}
    for line in printed.splitlines():
        name, state = re.search(r"\bPartitionName=(\S+)", line), re.search(r"\bState=(\S+)", line)
        if name is None:
            continue
        limits = {option: int(number) for option, number in LIMIT.findall(line)}
        # A job may wait in a partition that is DOWN, and is refused by others that are not UP.
        found[name[1]] = Limits(
            state is None or state[1] in ("UP", "DOWN"),
            limits.get("MaxCPUsPerNode"),
            limits.get("MaxMemPerNode"),
            limits.get("MaxMemPerCPU"),
        )
    return found


def choose(request: Request, nodes: Sequence[Nodes], limits: Mapping[str, Limits]) -> Choice | None:
    """The first partition in which one job fits; None if the request does not leave a choice.

    None, too, for a request whose nodes cannot be compared, or that spans several of them: SLURM decides.
    """
    options = dict(request.options)
    names = [name.strip() for name in str(options.get("partition", "")).split(",") if name.strip()]
    if len(names) < 2 or not nodes or request.is_spread() or not is_understood(request):
        return None
    reasons: dict[str, str] = {}
    for name in names:
        options["partition"] = name
        alone = replace(request, options=tuple(sorted(options.items())))
        if reason := _obstacle(name, alone, nodes, limits.get(name, Limits())):
            reasons[name] = reason
        else:
            return Choice(alone, True, reasons)
    return Choice(request, False, reasons)


def room_within(nodes: Nodes, limits: Mapping[str, Limits], request: Request) -> int:
    """How many such jobs fit on one of these nodes, in the limits of their partition."""
    own = limits.get(nodes.partition.rstrip("*"), Limits())
    if own.cpus is not None and own.cpus < int(_digits(nodes.cpus)):
        # All jobs of the partition share them, as they share a node.
        nodes = replace(nodes, cpus=str(own.cpus))
    room, memory_mb = nodes.room(request), request.member_memory_mb()
    return room if own.memory_mb is None or not memory_mb else min(room, own.memory_mb // memory_mb)


def _obstacle(name: str, request: Request, nodes: Sequence[Nodes], limits: Limits) -> str:
    """Why one job with this request does not fit in a partition; empty if it fits."""
    own = [each for each in nodes if each.partition.rstrip("*") == name]
    if not own:
        return "it does not exist here"
    if not limits.is_up:
        return "it takes no jobs now"
    times = [limit for each in own if (limit := each.limit_min()) is not None]
    if times and max(times) < request.runtime_min:
        return f"its time limit is {max(times)} minutes"
    suitable = [each for each in own if each.suit(request)]
    if not suitable:
        return "none of its nodes has that GPU or feature"
    if limits.cpus is not None and limits.cpus < request.cpus:
        return f"it gives a job {limits.cpus} CPUs of a node"
    memory_mb = request.member_memory_mb() or 0
    # With a limit for each CPU only, SLURM gives a job more CPUs for its memory.
    if limits.memory_mb is not None and limits.memory_mb < memory_mb:
        return f"it gives a job {limits.memory_mb} MB of a node"
    if limits.memory_per_cpu_mb is not None and limits.memory_per_cpu_mb < (request.memory_per_cpu_mb or 0):
        return f"it gives a job {limits.memory_per_cpu_mb} MB for each CPU"
    if not any(each.room(request) for each in suitable):
        most = max(
            suitable, key=lambda each: (each.room(replace(request, cpus=1)) > 0, int(_digits(each.cpus)))
        )
        return f"its nodes have {_digits(most.cpus)} CPUs and {_digits(most.memory_mb)} MB"
    return ""


def _digits(text: str) -> str:
    return text.rstrip("+") or "0"


def _worded(request: Request) -> str:
    options = dict(request.options)
    gpus = options.get("gres") or (f"{options['gpus']} GPU" if options.get("gpus") else "")
    memory_mb = request.member_memory_mb()
    parts = [
        f"{request.cpus} CPU{'s' * (request.cpus > 1)}",
        f"{memory_mb} MB" if memory_mb else "",
        f"{request.runtime_min} minutes",
        str(gpus),
    ]
    return ", ".join(part for part in parts if part)
