"""The nodes of a SLURM cluster, and which requests they can satisfy."""

import re
from dataclasses import dataclass

from snakemake_executor_plugin_submitit.resources import Request

# One feature, or several that a node must all have.
FEATURES = re.compile(r"[\w.:/-]+(&[\w.:/-]+)*")
# `gpu:4`, `gpu:a100:4(S:0-1)`: the model, if it is given, and the number of GPUs.
GPUS = re.compile(r"(?:^|,)gpu(?::([^:,()]*[^:,()0-9][^:,()]*))?(?::([0-9]+))?(?=$|[,(])")
# What `sinfo` prints of each kind of node, in the order of the fields of `Nodes`.
SINFO_FORMAT = "%P|%c|%m|%G|%f|%l"


def is_understood(request: Request) -> bool:
    """Whether everything that a request says about its nodes can be compared with sinfo's output."""
    options = dict(request.options)
    constraint = str(options.get("constraint", ""))
    return not {"nodelist", "exclude", "nodefile"} & options.keys() and (
        not constraint or FEATURES.fullmatch(constraint) is not None
    )


@dataclass(frozen=True)
class Nodes:
    """Nodes of one kind as sinfo prints them.

    A star marks the default partition; a plus marks a number that differs between nodes.
    """

    partition: str
    cpus: str
    memory_mb: str
    gres: str
    features: str
    limit: str

    def suit(self, request: Request) -> bool:
        """Whether a request can run on these nodes, as far as sinfo's output shows."""
        options = dict(request.options)
        partitions = str(options.get("partition", "")).split(",")
        default = partitions == [""] and self.partition.endswith("*")
        if not default and self.partition.rstrip("*") not in partitions:
            return False
        available = [(model.lower(), int(count or 1)) for model, count in GPUS.findall(self.gres)]
        if options.get("gpus"):
            asked = GPUS.findall(f"gpu:{options['gpus']}")
        else:
            asked = GPUS.findall(str(options.get("gres", "")))
        for model, count in asked:
            found = sum(number for name, number in available if not model or name == model.lower())
            if found < int(count or 1):
                return False
        wanted = str(options.get("constraint", ""))
        return not FEATURES.fullmatch(wanted) or set(wanted.split("&")) <= set(self.features.split(","))

    def room(self, request: Request) -> int:
        """How many such jobs fit on one node by processors and memory."""
        cpus, memory_mb = (int(text.rstrip("+") or 0) for text in (self.cpus, self.memory_mb))
        asked_mb = request.member_memory_mb()
        room = min(cpus // request.cpus, memory_mb // asked_mb if asked_mb else cpus)
        # Of the model that is asked for, which these nodes have: see `suit`.
        gpus = sum(int(count or 1) for _, count in GPUS.findall(self.gres))
        if request.per_gpu:
            return min(room, gpus * request.per_gpu)
        # A pack that chose its size leaves the other GPUs of the node their share.
        return max(min(room, 1), room // max(1, gpus // _gpus_of(request))) if request.auto else room

    def limit_min(self) -> int | None:
        """The partition's time limit (`30:00`, `12:00:00`, `2-00:00:00`); None if there is no limit."""
        found = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", self.limit)
        days, hours, minutes = (int(part or 0) for part in found.groups()[:3]) if found else (0, 0, 0)
        return 1440 * days + 60 * hours + minutes if found else None


def _gpus_of(request: Request) -> int:
    """How many GPUs a request asks for, at least 1."""
    options = dict(request.options)
    asked = GPUS.findall(f"gpu:{options['gpus']}" if options.get("gpus") else str(options.get("gres", "")))
    return max(1, sum(int(number or 1) for _, number in asked))
