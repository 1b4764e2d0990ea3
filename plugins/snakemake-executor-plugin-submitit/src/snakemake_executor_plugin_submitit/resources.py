"""From the resources of a job to what its allocation asks of SLURM."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from snakemake_interface_common.exceptions import WorkflowError

# Options of sbatch that this executor sets itself.
OWN = {
    "array", "chdir", "clusters", "comment", "error", "job-name", "no-requeue", "open-mode", "output",
    "parsable", "quiet", "requeue", "signal", "test-only", "wait", "wrap",
}  # fmt: skip
# And those that it multiplies for a pack, by the resource that stands for them.
RESOURCES = {
    "cpus-per-task": "cpus_per_task",
    "mem": "mem_mb",
    "mem-per-cpu": "mem_mb_per_cpu",
    "nodes": "nodes",
    "ntasks": "tasks",
    "time": "runtime",
}
# Of a job without a limit; SLURM itself takes the partition's, and a requeue has to know one.
USUAL_RUNTIME_MIN = 60


@dataclass(frozen=True)
class Request:
    """What one job asks for. Jobs with equal requests can share a pack and an array.

    `options` are those of sbatch that do not grow with a pack; `memory_mb` is None where nothing was said,
    and then no member is ended for it.
    """

    runtime_min: int
    cpus: int
    memory_mb: int | None
    memory_per_cpu_mb: int | None
    options: tuple[tuple[str, str | bool], ...]
    pack: int

    def of_pack(self, size: int) -> dict[str, str | bool | int]:
        """sbatch's options for `size` members at a time: one GPU, and size times the rest."""
        options: dict[str, str | bool | int] = dict(self.options)
        options["cpus-per-task"] = self.cpus * size
        if self.memory_per_cpu_mb:
            options["mem-per-cpu"] = f"{self.memory_per_cpu_mb}M"
        elif self.memory_mb:
            options["mem"] = f"{self.memory_mb * size}M"
        return options

    def member_memory_mb(self) -> int | None:
        """What one member may use on a node: with several tasks at most, if all are on one."""
        tasks = int(dict(self.options).get("ntasks", 1))
        return self.memory_per_cpu_mb * self.cpus * tasks if self.memory_per_cpu_mb else self.memory_mb


def request_of(resources: Mapping[str, Any], threads: int, pack: int) -> Request:
    """Read a job's resources, under the names that the stock executor uses.

    Raises WorkflowError, naming the resource, for a value that SLURM could not take.
    """
    options: dict[str, str | bool] = {}
    for resource, option in (
        ("slurm_account", "account"),
        ("slurm_partition", "partition"),
        ("qos", "qos"),
        ("constraint", "constraint"),
        ("gres", "gres"),
    ):
        value = resources.get(resource)
        if value not in (None, ""):
            options[option] = _line(resource, value)
    gpus, model = resources.get("gpu"), resources.get("gpu_model")
    gpus = 1 if gpus is None and model else gpus
    if gpus not in (None, "", 0, "0"):
        if "gres" in options:
            raise WorkflowError("a job has both gres and gpu: give one of them")
        name = f"{_line('gpu_model', model)}:" if model else ""
        options["gpus"] = f"{name}{_count('gpu', gpus)}"
    nodes, tasks = (_count(name, resources.get(name) or 1) for name in ("nodes", "tasks"))
    if nodes > 1 or tasks > 1:
        # One program over several places fills an allocation by itself.
        pack = 1
    options["nodes"], options["ntasks"] = str(nodes), str(tasks)
    options |= _extra(str(resources.get("slurm_extra") or ""))
    memory, per_cpu = resources.get("mem_mb"), resources.get("mem_mb_per_cpu")
    return Request(
        runtime_min=_count("runtime", resources.get("runtime") or USUAL_RUNTIME_MIN),
        cpus=_count("cpus_per_task", resources.get("cpus_per_task") or threads or 1),
        memory_mb=None if memory in (None, "") else _count("mem_mb", memory),
        memory_per_cpu_mb=None if per_cpu in (None, "") else _count("mem_mb_per_cpu", per_cpu),
        options=tuple(sorted(options.items())),
        pack=_count("pack", resources.get("pack") or pack) if nodes == tasks == 1 else 1,
    )


def _count(name: str, value: Any) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        number = 0
    if number < 1 or (isinstance(value, float) and number != value) or isinstance(value, bool):
        raise WorkflowError(f"the resource {name} is {value!r}; it may be a whole number of at least 1")
    return number


def _line(name: str, value: Any) -> str:
    text = str(value)
    # A line break would end the option and begin a command of the job's script.
    if not text.isprintable():
        raise WorkflowError(f"the resource {name} is {text!r}; it has line breaks or control characters")
    return text


def _extra(text: str) -> dict[str, str | bool]:
    """The options of `slurm_extra`: `--name`, `--name=value` or `--name value`, quoted as in a shell."""
    _line("slurm_extra", text)
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise WorkflowError(f"the resource slurm_extra is {text!r}, and cannot be read ({error})") from None
    options: dict[str, str | bool] = {}
    last = None
    for word in words:
        if word.startswith("--") and len(word) > 2:
            name, equals, value = word[2:].partition("=")
            # sbatch takes the beginning of a name for the whole.
            if any(own.startswith(name) for own in OWN):
                raise WorkflowError(
                    f"slurm_extra has --{name}, which this executor sets itself; leave it out"
                )
            for own, resource in RESOURCES.items():
                if own.startswith(name):
                    raise WorkflowError(f"slurm_extra has --{name}; give the resource {resource} instead")
            if not all(letter.isalnum() or letter == "-" for letter in name):
                raise WorkflowError(f"slurm_extra has '{word}', which is no option of sbatch")
            options[name] = value if equals else True
            last = None if equals else name
        elif last is not None and not word.startswith("-"):
            options[last] = word
            last = None
        else:
            raise WorkflowError(
                f"slurm_extra has '{word}'; options are written in long form here, as in --nice=100"
            )
    return options


def signal_delay_s(runtime_min: int) -> int:
    """How long before its time limit an allocation is told: two minutes, or a third of a short one.

    A run that watches its own limit (by SLURM_JOB_END_TIME) may keep 90 seconds or a quarter of it; it is
    told before that, so that its end counts as a requeue and not as a failure.
    """
    return min(120, runtime_min * 60 // 3)
