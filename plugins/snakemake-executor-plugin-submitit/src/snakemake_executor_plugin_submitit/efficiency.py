"""The efficiency of a call: what the jobs of each rule asked for, what they used, and what to ask instead."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from snakemake_executor_plugin_submitit.resources import Request
from snakemake_executor_plugin_submitit.usage import Usage

# Fewer jobs than this say little about the next ones.
FEWEST_JOBS = 3
# What should be asked for: this many times what was used at most. Times differ more between nodes.
TIME_MARGIN, MEMORY_MARGIN = 2.0, 1.3
# Something is said where at most this part of the request would do.
WASTEFUL = 0.5
# A limit that is short already delays no job.
SHORT_MIN = 30
# The smallest request that is proposed, and the step of larger ones.
TIME_STEP_MIN, MEMORY_STEP_MB = 5, 500


@dataclass
class RuleUsage:
    """What the jobs of one rule asked for at least, and used at most; of CPUs, the time that they used."""

    jobs: int = 0
    asked_min: int = 0
    asked_mb: int | None = None
    asked_cpus: int = 0
    longest_s: float = 0.0
    largest_mb: float = 0.0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    # With lanes, most is used by a process that is no job's own, and with several nodes or tasks by processes
    # elsewhere: only the times are known.
    only_time: bool = False

    def add(self, request: Request, usage: Usage) -> None:
        """Take in a job that has succeeded."""
        # The first attempt asks for the least, and the profile is written for it.
        first = not self.jobs
        memory_mb = request.member_memory_mb()
        self.asked_min = request.runtime_min if first else min(self.asked_min, request.runtime_min)
        self.asked_cpus = request.cpus if first else min(self.asked_cpus, request.cpus)
        self.asked_mb = memory_mb if first else min(filter(None, (self.asked_mb, memory_mb)), default=None)
        self.jobs += 1
        self.only_time |= request.lanes > 1 or request.is_spread()
        self.longest_s = max(self.longest_s, usage.seconds)
        self.largest_mb = max(self.largest_mb, usage.memory_mb)
        self.seconds += usage.seconds
        self.cpu_seconds += usage.cpu_seconds

    def findings(self) -> Iterator[str]:
        """What was asked for and not used, each with the resource to write instead."""
        if self.jobs < FEWEST_JOBS:
            return
        minutes = _up(TIME_MARGIN * self.longest_s / 60, TIME_STEP_MIN)
        if self.asked_min > SHORT_MIN and minutes <= WASTEFUL * self.asked_min:
            used = math.ceil(self.longest_s / 60)
            yield f"runtime: {minutes}    # asked {self.asked_min} minutes, used at most {used}"
        if self.only_time:
            return
        memory_mb = _up(MEMORY_MARGIN * self.largest_mb, MEMORY_STEP_MB)
        if self.asked_mb and self.largest_mb and memory_mb <= WASTEFUL * self.asked_mb:
            used = math.ceil(self.largest_mb)
            yield f"mem_mb: {memory_mb}    # asked {self.asked_mb} MB, used at most {used}"
        busy = self.cpu_seconds / self.seconds if self.seconds else float(self.asked_cpus)
        cpus = max(1, math.ceil(busy))
        if cpus <= WASTEFUL * self.asked_cpus:
            yield f"cpus_per_task: {cpus}    # asked {self.asked_cpus} CPUs, used {busy:.1f} on average"


@dataclass
class Efficiency:
    """The usage of all rules of a call."""

    rules: dict[str, RuleUsage] = field(default_factory=dict)

    def add(self, rule: str, request: Request, usage: Usage | None) -> None:
        """Take in a job that has succeeded; None if it was not measured."""
        if usage is not None:
            self.rules.setdefault(rule, RuleUsage()).add(request, usage)

    def summary(self) -> str:
        """The lines of the profile to change, with the reason for each; empty if nothing was learned."""
        lines = []
        for rule, usage in sorted(self.rules.items()):
            if found := list(usage.findings()):
                lines += [f"  {rule}:    # {usage.jobs} jobs", *(f"    {line}" for line in found)]
        if not lines:
            return ""
        head = "Jobs asked for more than they used. With these lines in the profile they may start sooner:"
        return "\n".join([head, "set-resources:", *lines])


def _up(number: float, step: int) -> int:
    return step * max(1, math.ceil(number / step))
