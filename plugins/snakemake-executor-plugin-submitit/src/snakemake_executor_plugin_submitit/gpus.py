"""The shares that the places of a pack have of its allocation: a GPU, and the processors near it."""

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from snakemake_executor_plugin_submitit.member import GPUS, PLACES
from snakemake_executor_plugin_submitit.packing import share_cpus
from snakemake_executor_plugin_submitit.processes import bound_cpus

DEVICES = "CUDA_VISIBLE_DEVICES"
QUERY_TIMEOUT_S = 20
PCI = Path("/sys/bus/pci/devices")


@dataclass(frozen=True)
class Share:
    """What a place may use: its processors (all if empty), and the environment of its members."""

    cpus: set[int]
    environment: dict[str, str | None]


def shares_of(places: int, per_gpu: int, environment: Mapping[str, str | None]) -> list[Share]:
    """The share of each place; with `per_gpu`, places are spread over the GPUs of the allocation.

    `environment` is that of the members. It names the GPUs, if it changes what SLURM says.
    """
    named = environment.get(DEVICES, os.environ.get(DEVICES)) or ""
    devices = named.split(",") if per_gpu and named else []
    # nvidia-smi numbers GPUs as SLURM does; NVIDIA's service counts those of the allocation from 0.
    given = os.environ.get(DEVICES) or named
    if len(devices) < 2:
        own: dict[str, str | None] = {**environment, PLACES: str(places), GPUS: given or None}
        return [Share(cpus, own) for cpus in share_cpus(bound_cpus(), places)]
    at = [i % len(devices) for i in range(places)]
    numbers = given.split(",")
    near = near_cpus(numbers)
    cpus_of = share_near(bound_cpus(), at, near)
    return [
        Share(
            cpus,
            {**environment, DEVICES: devices[gpu], PLACES: str(at.count(gpu)), GPUS: numbers[gpu]},
        )
        for gpu, cpus in zip(at, cpus_of, strict=True)
    ]


def share_near(cpus: Sequence[int], at: Sequence[int], near: Sequence[set[int]]) -> list[set[int]]:
    """Divide processors among places, each of which uses the GPU `at` its index.

    `near` has the processors near each GPU. Where they do not suffice, or are not known, nearness is ignored.
    """
    shares: list[set[int]] = [set()] * len(at)
    pools = [frozenset(near[gpu]) & set(cpus) if near else frozenset(cpus) for gpu in at]
    for pool in set(pools):
        places = sorted((i for i, each in enumerate(pools) if each == pool), key=lambda i: at[i])
        overlaps = any(pool & other for other in pools if other != pool)
        if overlaps or len(pool) < len(places):
            return share_cpus(cpus, len(at))
        parts = share_cpus([cpu for cpu in cpus if cpu in pool], len(places))
        for place, part in zip(places, parts, strict=True):
            shares[place] = part
    return shares


def near_cpus(devices: Sequence[str]) -> list[set[int]]:
    """The processors near each of these GPUs, as the node tells; an empty list if it does not."""
    command = ["nvidia-smi", "--query-gpu=index,uuid,pci.bus_id", "--format=csv,noheader"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=True, timeout=QUERY_TIMEOUT_S
        ).stdout
        rows = [[word.strip() for word in line.split(",")] for line in done.splitlines()]
        buses = {name: bus for index, uuid, bus in rows for name in (index, uuid)}
        # nvidia-smi writes 00000000:3B:00.0, and the kernel 0000:3b:00.0.
        lists = [(PCI / buses[each][-12:].lower() / "local_cpulist").read_text() for each in devices]
    except (OSError, subprocess.SubprocessError, KeyError, ValueError):
        return []
    return [parse_cpus(text) for text in lists]


def parse_cpus(text: str) -> set[int]:
    """The processors in a list of the kernel: `0-3,8`."""
    return {
        cpu
        for first, last in re.findall(r"(\d+)(?:-(\d+))?", text)
        for cpu in range(int(first), int(last or first) + 1)
    }
