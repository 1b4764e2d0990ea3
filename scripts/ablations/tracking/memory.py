"""The memory that a run needs, of its GPU or of its node, from the records of finished ones."""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from ablations.kinds import KINDS, Kind
from ablations.kinds.hyperparameters import spell
from ablations.runs.run import Run
from ablations.tracking.plan import settings_of

# Megabytes in a record, which another may have written.
PLAIN = re.compile(r"[0-9]{1,9}(\.[0-9]*)?")


def _on_the_gpu(record: Mapping[str, str]) -> str:
    """That of a command is in a column of its own: a metric of the user's may have the other name."""
    if record.get("device") != "cuda":
        return ""
    return record.get("gpu_peak_mb") or record.get("peak_memory_mb") or ""


def _on_the_node(record: Mapping[str, str]) -> str:
    of_process = record.get("peak_memory_mb") if record.get("device") == "cpu" else ""
    return record.get("host_peak_mb") or of_process or ""


@dataclass(frozen=True)
class Memory:
    """One of a run's memories: where a record has it, and what is added to the most that was measured.

    Sizes are multiples of `step_mb`: runs that need about the same can share a job.
    """

    measured: Callable[[Mapping[str, str]], str]
    margin: float
    extra_mb: int
    step_mb: int


# A record has what torch gave out at most. What torch keeps beyond that, and what the driver needs for a
# process, is not in it.
GPU = Memory(_on_the_gpu, margin=1.2, extra_mb=700, step_mb=100)
# A run that exceeds its share is ended, and tried again with more.
NODE = Memory(_on_the_node, margin=1.5, extra_mb=0, step_mb=500)


class Needs:
    """What runs need of a memory, in MB: the most of the same settings, or else of the same model and data.

    Records are given as text by column; only those that have it count.
    """

    def __init__(
        self, memory: Memory, records: Iterable[Mapping[str, str]], kinds: Mapping[str, Kind] = KINDS
    ) -> None:
        self._memory, self._most = memory, dict[tuple[str, ...], float]()
        for record in records:
            measured = memory.measured(record)
            if record["kind"] not in kinds or not PLAIN.fullmatch(measured):
                continue
            for key in settings_of(kinds[record["kind"]], record):
                self._most[key] = max(float(measured), self._most.get(key, 0.0))

    def of(self, run: Run) -> int:
        """What `run` needs, with a margin; 0 if nothing like it was measured."""
        values = {name: spell(value) for name, value in run.values().items()}
        found = next((self._most[key] for key in settings_of(run.kind, values) if self._most.get(key)), None)
        if found is None:
            return 0
        needed, step_mb = self._memory.margin * found + self._memory.extra_mb, self._memory.step_mb
        return step_mb * math.ceil(needed / step_mb)


def memory_limit_mb(planned: Mapping[str, str] | None, attempt: int, least: int, most: int) -> int:
    """What a job requests of its node's memory, from the row of its run in the plan, if it has one.

    It grows with the attempt. A run of whose like nothing was measured gets the most.
    """
    needed_mb = int(planned["mem_mb"]) * attempt if planned else 0
    return min(most, max(least, needed_mb)) if needed_mb else most
