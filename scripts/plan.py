"""Rule plan: what the runs that are not there yet will take, and how wrong earlier plans were."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from ablations.config.own_kinds import read_kinds
from ablations.config.studies.study import parse_study
from ablations.data.staged import count_images
from ablations.errors import run_script
from ablations.runs.records import quick_record, read_profile, write_table
from ablations.runs.run import Run
from ablations.tracking.memory import GPU, NODE, Needs
from ablations.tracking.plan import (
    BASES,
    COLUMNS,
    PLAN,
    Costs,
    TimeEstimate,
    clock,
    makespan,
    read_plan,
    seconds_taken,
)


def plan(
    studies: Mapping[str, Mapping[str, Any]],
    profiles: Mapping[tuple[str, str], str],
    datasets: Mapping[str, str],
    slots: Mapping[str, int],
    gpu_shares: Mapping[str, float],
    kinds: Mapping[str, Any],
    packed_by_executor: Sequence[str] = (),
) -> None:
    """Print the plan of each study, and write every estimate to results/plan.tsv.

    `slots` are how many runs of a kind there are at a time, `gpu_shares` the GPUs that each holds.
    `kinds` are the config's own kinds as they are written, `packed_by_executor` those with `pack: auto`.
    """
    own = read_kinds(kinds)
    parsed = {name: parse_study(written, own) for name, written in studies.items()}
    runs = {name: study.runs() for name, study in parsed.items() if study.records is None}
    every = list(dict.fromkeys(run for of_study in runs.values() for run in of_study))
    records = {run: record for run in every if (record := quick_record(Path(run.record)))}
    macs = {key: read_profile(Path(path))["macs"] for key, path in profiles.items()}
    images = {name: count for name, path in datasets.items() if (count := count_images(Path(path)))}
    costs = Costs(records.values(), macs, images, own)
    present = {run.kind.name: run.kind for run in records}
    of_gpu, of_node = (Needs(memory, records.values(), present) for memory in (GPU, NODE))
    estimates = {run: costs.of(run) for run in every if run not in records}
    for line in _lines(runs, records, estimates, slots, gpu_shares):
        print(line)
    for kind in dict.fromkeys(run.kind for run in estimates):
        if kind.name in costs.devices:
            print(f"{kind.noun} are estimated from runs on {costs.devices[kind.name]}")
    for noun in dict.fromkeys(run.kind.noun for run in estimates if run.kind.name in packed_by_executor):
        print(f"{noun} are counted as one per job: how many share it is chosen later (pack: auto)")
    for dataset in sorted({run.dataset for run in estimates if run.kind.reads_staged_datasets} - set(images)):
        print(f"{dataset} is not staged yet, and is taken for 60,000 training images")
    earlier = read_plan()
    if looked_back := _how_wrong(earlier, records):
        print(looked_back)
    today = date.today().isoformat()
    # Estimates of other studies are kept: they are the time limits of their runs.
    kept = earlier | {
        run.record: {
            "run": run.record,
            "seconds": f"{estimate.seconds:.1f}",
            "basis": estimate.basis,
            "planned_on": today,
            "gpu_mb": str(of_gpu.of(run)),
            "mem_mb": str(of_node.of(run)),
        }
        for run, estimate in estimates.items()
    }
    write_table(PLAN, COLUMNS, kept.values())
    logging.info("wrote %s", PLAN)


def _lines(
    runs: Mapping[str, Sequence[Run]],
    records: Mapping[Run, Mapping[str, str]],
    estimates: Mapping[Run, TimeEstimate],
    slots: Mapping[str, int],
    gpu_shares: Mapping[str, float],
) -> list[str]:
    head = ["study", "runs", "to do", "run time in all", "GPU-hours", "makespan", "longest run"]
    rows = [[*head, "estimated from"]]
    whole = {"all studies": list(dict.fromkeys(run for of_study in runs.values() for run in of_study))}
    for name, of_study in (runs | whole if len(runs) > 1 else runs).items():
        todo = {run: estimates[run] for run in of_study if run in estimates}
        seconds = [each.seconds for each in todo.values()]
        gpu_seconds = sum(gpu_shares.get(run.kind.name, 0) * each.seconds for run, each in todo.items())
        bases = Counter(each.basis for each in todo.values())
        rows.append(
            [
                name,
                str(len(of_study)),
                str(len(todo)),
                clock(sum(seconds)),
                _hours(gpu_seconds),
                _makespan(todo, slots),
                clock(max(seconds, default=0)),
                ", ".join(f"{basis} ({bases[basis]})" for basis in BASES if basis in bases)
                or "nothing to do",
            ]
        )
    if not gpu_shares:  # this machine's, or of a profile that asks for none
        for row in rows:
            del row[head.index("GPU-hours")]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def _makespan(todo: Mapping[Run, TimeEstimate], slots: Mapping[str, int]) -> str:
    """How long these take, and how many at a time: one kind after the other, where there are two."""
    kinds: dict[str, list[float]] = {}
    for run, estimate in todo.items():
        kinds.setdefault(run.kind.name, []).append(estimate.seconds)
    whole = sum(makespan(seconds, slots[kind]) for kind, seconds in kinds.items())
    at_a_time = " and ".join(f"{slots[kind]}" for kind in kinds)
    return f"{clock(whole)}, {at_a_time} at a time" if kinds else clock(whole)


def _hours(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours:.{2 if hours < 1 else 1 if hours < 100 else 0}f}"


def _how_wrong(
    earlier: Mapping[str, Mapping[str, str]], records: Mapping[Run, Mapping[str, str]]
) -> str | None:
    """What the runs that were planned and are finished took, as multiples of their estimates."""
    taken = [
        (seconds_taken(run.kind, record), float(earlier[run.record]["seconds"]))
        for run, record in records.items()
        if run.record in earlier and record["status"] == "ok"
    ]
    if not taken:
        return None
    ratios = [actual / estimated for actual, estimated in taken]
    whole = sum(actual for actual, _ in taken) / sum(estimated for _, estimated in taken)
    spread = ""
    if len(ratios) > 3:
        low, _, high = quantiles(ratios, n=4)
        spread = f" (half of them {low:.2f} to {high:.2f})"
    noun = "run that was" if len(taken) == 1 else "runs that were"
    return (
        f"{len(taken)} {noun} planned earlier took {whole:.2f} times as long as planned in all; "
        f"the median run {median(ratios):.2f} times{spread}"
    )


if __name__ == "__main__":
    run_script(
        lambda: plan(
            snakemake.params.studies,
            snakemake.params.profiles,
            snakemake.params.datasets,
            snakemake.params.slots,
            snakemake.params.gpu_shares,
            snakemake.params.kinds,
            snakemake.params.packed_by_executor,
        ),
        log=snakemake.log[0],
    )
