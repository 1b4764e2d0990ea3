"""The compute table of a study: what its runs took on each device, with a statement for an appendix."""

from collections.abc import Mapping

import pandas as pd

from ablations.analysis.compute import Compute, compute
from ablations.analysis.measurements import Records
from ablations.config.studies.study import Study
from ablations.kinds.metrics import PEAK_MEMORY
from ablations.presentation.compute_statement import amount, device_text, in_unit, statement, unit_of
from ablations.presentation.document import Table
from ablations.runs.run import Run
from ablations.runs.state import RunState

# Columns for readers that are left out where they are empty.
PARTS = {
    "in final attempts": "final_s",
    "in earlier attempts": "earlier_s",
    "in diverged runs": "diverged_s",
    "in unfinished runs": "unfinished_s",
}
MEASURED = (PEAK_MEMORY.heading, "Energy (kWh)")


def compute_table(name: str, study: Study, records: Records, begun: Mapping[Run, RunState]) -> Table:
    """A row for each device, and one for all; `begun` are the states of runs that have no record."""
    found = compute(study, records, begun)
    whole = Compute("all")
    for each in found:
        whole.add(each)
    rows = found if len(found) == 1 else [*found, whole]
    unit = unit_of(whole)
    data = pd.DataFrame([_fields(each) for each in rows])
    display = pd.DataFrame([_texts(each, unit, is_whole=each is whole) for each in rows])
    empty = [column for column in (*PARTS, *MEASURED) if not any(display[column])]
    return Table(
        f"{study.title}: compute",
        f"{name}_compute",
        data,
        display.drop(columns=empty),
        text=statement(study, records, found, whole),
    )


def _fields(each: Compute) -> dict[str, str]:
    seconds = {"": each.seconds} | {
        f"_{part.removeprefix('in ').replace(' ', '_')}": getattr(each, name) for part, name in PARTS.items()
    }
    return {
        "device_name": each.device,
        "threads": ";".join(map(str, sorted(each.threads))),
        "runs_per_job": ";".join(map(str, sorted(each.shared))),
        "runs": str(each.runs),
        "diverged": str(each.diverged),
        "unfinished": str(each.unfinished),
        "attempts": str(each.attempts),
        **{f"hours{part}": f"{value / 3600:.6f}" for part, value in seconds.items()},
        PEAK_MEMORY.column: "" if each.memory_mb is None else f"{each.memory_mb:.0f}",
        "energy_kwh": "" if each.energy_kwh is None else f"{each.energy_kwh:.6g}",
    }


def _texts(each: Compute, unit: str, is_whole: bool) -> dict[str, str]:
    parts = {part: getattr(each, name) for part, name in PARTS.items()}
    return {
        "Device": "All" if is_whole else device_text(each),
        "Runs": f"{each.runs:,}",
        "Attempts": f"{each.attempts:,}",
        f"{unit.capitalize()} in all": amount(in_unit(each.seconds, unit)),
        **{part: amount(in_unit(seconds, unit)) if seconds else "" for part, seconds in parts.items()},
        MEASURED[0]: "" if each.memory_mb is None else f"{each.memory_mb:,.0f}",
        MEASURED[1]: "" if each.energy_kwh is None else amount(each.energy_kwh),
    }
