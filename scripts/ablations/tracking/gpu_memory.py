"""The memory of a GPU that a run needs, from the records of finished ones."""

import math
import re
from collections.abc import Iterable, Mapping

from ablations.kinds import KINDS, Kind
from ablations.kinds.hyperparameters import spell
from ablations.runs.run import Run
from ablations.tracking.plan import settings_of

# A record has what torch gave out at most. What torch keeps beyond that, and what the driver needs for a
# process, is not in it.
MARGIN, DRIVER_MB = 1.2, 700
# Runs that need about the same can share a GPU.
STEP_MB = 100
MEASURED = "peak_memory_mb"
# Megabytes in a record, which another may have written.
PLAIN = re.compile(r"[0-9]{1,9}(\.[0-9]*)?")


class GpuMemory:
    """What runs need of a GPU, in MB: the most of the same settings, or else of the same model and dataset.

    Records are given as text by column; only those of runs on a GPU count.
    """

    def __init__(self, records: Iterable[Mapping[str, str]], kinds: Mapping[str, Kind] = KINDS) -> None:
        self._most: dict[tuple[str, ...], float] = {}
        for record in records:
            measured = record.get(MEASURED) or ""
            if record.get("device") != "cuda" or record["kind"] not in kinds or not PLAIN.fullmatch(measured):
                continue
            for key in settings_of(kinds[record["kind"]], record):
                self._most[key] = max(float(measured), self._most.get(key, 0.0))

    def of(self, run: Run) -> int:
        """What `run` needs, with a margin; 0 if nothing like it was measured."""
        values = {name: spell(value) for name, value in run.values().items()}
        keys = settings_of(run.kind, values)
        found = next((self._most[key] for key in keys if key in self._most), None)
        return 0 if found is None else STEP_MB * math.ceil((MARGIN * found + DRIVER_MB) / STEP_MB)
