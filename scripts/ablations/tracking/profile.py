"""What a Snakemake profile gives to the runs: resources, threads, and how many run at the same time."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ablations.errors import AblationsError
from ablations.kinds import Kind

NATURAL = re.compile(r"[1-9][0-9]*")
# `gpu`, `gpu:2`, `gpu:a100:2(S:0-1)`, and other resources separated by commas.
GPUS = re.compile(r"(?:^|,)gpu(?::[^:,()]*[^:,()0-9][^:,()]*)?(?::([0-9]+))?(?=$|[,(])")


def texts(values: Mapping[str, object]) -> dict[str, str]:
    """What Snakemake was given for resources or threads, as it was written."""
    return {name: str(getattr(value, "raw", value)) for name, value in values.items()}


@dataclass(frozen=True)
class Profile:
    """The settings of one call of Snakemake, as text.

    `resources` and `threads` are what `set-resources` and `set-threads` give, by rule. `cores` limits a
    single machine, `nodes` (Snakemake's `jobs`) a cluster, and `jobs_at_a_time` the jobs of an array.
    """

    resources: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    threads: Mapping[str, str] = field(default_factory=dict)
    cores: int | None = None
    nodes: int | None = None
    jobs_at_a_time: int | None = None

    def resource(self, rule: str, name: str) -> str:
        """A resource of a rule; empty where the profile does not set it."""
        return self.resources.get(rule, {}).get(name, "")

    def time_bounds(self, rule: str) -> tuple[int, int] | None:
        """The least and the greatest time limit of a rule's jobs in minutes; None without limits.

        Raises AblationsError for bounds that are incomplete, or in the wrong order or unit.
        """
        return self._bounds(rule, "runtime", "minutes")

    def memory_bounds(self, rule: str) -> tuple[int, int] | None:
        """The least and the greatest request of memory of a rule's jobs in MB; None without bounds.

        Raises AblationsError as `time_bounds`, and where `mem_mb`, which takes precedence, is given too.
        """
        bounds = self._bounds(rule, "mem_mb", "MB")
        if bounds and self.resource(rule, "mem_mb"):
            raise AblationsError(
                f"set-resources of {rule}: mem_mb is given beside min_mem_mb and max_mem_mb; remove it, or "
                "the two"
            )
        return bounds

    def _bounds(self, rule: str, of: str, unit: str) -> tuple[int, int] | None:
        names = (f"min_{of}", f"max_{of}")
        bounds = [bound for name in names if (bound := self.resource(rule, name))]
        if not bounds:
            return None
        if len(bounds) < 2 or not all(map(NATURAL.fullmatch, bounds)) or int(bounds[0]) > int(bounds[1]):
            raise AblationsError(
                f"set-resources of {rule}: {' and '.join(names)} are given together, in whole {unit}, "
                f"the smaller first; found: {', '.join(bounds)}"
            )
        return int(bounds[0]), int(bounds[1])

    def runs_per_job(self, rule: str) -> int:
        """How many runs share a job and its GPU (`pack`, of executor `submitit`)."""
        pack = self.resource(rule, "pack")
        return int(pack) if NATURAL.fullmatch(pack) else 1

    def packs_itself(self, rule: str) -> bool:
        """Whether the executor chooses how many runs share a GPU."""
        return self.resource(rule, "pack").strip("'\"") == "auto"

    def slots(self, kind: Kind) -> int:
        """How many runs of a kind can run at the same time."""
        if not self.nodes:
            given = self.threads.get(kind.rule, "")
            threads = int(given) if NATURAL.fullmatch(given) else kind.threads
            return max(1, (self.cores or 1) // threads)
        if self.jobs_at_a_time:
            gpus = self.resource(kind.rule, "gpus_per_job")
            gpus_per_job = int(gpus) if NATURAL.fullmatch(gpus) else 1
            return min(self.nodes, self.jobs_at_a_time * gpus_per_job * self.runs_per_job(kind.rule))
        return self.nodes

    def gpu_shares(self, kinds: Iterable[Kind]) -> dict[str, float]:
        """How many GPUs a run of each kind holds, by the kind's name; a share where runs share one."""
        shares = {}
        for kind in kinds:
            gres = self.resource(kind.rule, "gres").strip("'\"")
            count = sum(int(number or 1) for number in GPUS.findall(gres))
            if self.resource(kind.rule, "gpu").isdigit():
                count = int(self.resource(kind.rule, "gpu"))
            if count:
                shares[kind.name] = count / self.runs_per_job(kind.rule)
        return shares
