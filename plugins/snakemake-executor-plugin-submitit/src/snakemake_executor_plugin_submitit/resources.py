"""The request of a job: what its resources ask of SLURM."""

import hashlib
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from snakemake_interface_common.exceptions import WorkflowError

from snakemake_executor_plugin_submitit.auto_pack import auto_pack

# Options of sbatch that this executor sets itself.
OWN = {
    "array", "chdir", "clusters", "comment", "error", "job-name", "no-requeue", "open-mode", "output",
    "parsable", "quiet", "requeue", "signal", "test-only", "wait", "wrap",
}  # fmt: skip
# Options that it multiplies for a pack, with the resource to use instead.
RESOURCES = {
    "cpus-per-task": "cpus_per_task",
    "mem": "mem_mb",
    "mem-per-cpu": "mem_mb_per_cpu",
    "nodes": "nodes",
    "ntasks": "tasks",
    "time": "runtime",
}
# A request of one GPU, of any model or of one.
ONE_GPU = re.compile(r"((?:^|(?<=,))gpu(?::[^:,]*[^:,0-9][^:,]*)?)(?::1)?(?=$|,)")
# For a job without a time limit. SLURM would use the partition's, but a requeue must know the limit.
USUAL_RUNTIME_MIN = 60


@dataclass(frozen=True)
class Request:
    """What one job requests. Jobs with equal requests can share a pack and an array.

    `options` are the options of sbatch that do not grow with a pack. `memory_mb` is None if the job has no
    memory limit; then no member is killed for the memory it uses. `auto` is why the size of the pack was
    chosen, with `pack: auto`. Up to `lanes` jobs of a pack may share a process.
    """

    runtime_min: int
    cpus: int
    memory_mb: int | None
    memory_per_cpu_mb: int | None
    options: tuple[tuple[str, str | bool], ...]
    pack: int
    # How many members share a GPU if a pack has several GPUs; 0 if it has those of one job.
    per_gpu: int = 0
    auto: str = field(default="", compare=False)
    lanes: int = 1

    def of_pack(self, size: int) -> dict[str, str | bool | int]:
        """sbatch's options for `size` members at a time: the GPUs of one, and `size` times the rest.

        With `per_gpu`, there are as many GPUs as that takes.
        """
        options: dict[str, str | bool | int] = dict(self.options)
        for name in ("gres", "gpus") if self.per_gpu else ():
            if name in options:
                options[name] = with_gpus(str(options[name]), -(-size // self.per_gpu))
        options["cpus-per-task"] = self.cpus * size
        if self.memory_per_cpu_mb:
            options["mem-per-cpu"] = f"{self.memory_per_cpu_mb}M"
        elif self.memory_mb:
            options["mem"] = f"{self.memory_mb * size}M"
        return options

    def is_spread(self) -> bool:
        """Whether one job has several nodes or tasks."""
        options = dict(self.options)
        return {options.get("nodes", "1"), options.get("ntasks", "1")} != {"1"}

    def member_memory_mb(self) -> int | None:
        """The most memory that one member may use on a node: with several tasks, if all run on that node."""
        tasks = int(dict(self.options).get("ntasks", 1))
        return self.memory_per_cpu_mb * self.cpus * tasks if self.memory_per_cpu_mb else self.memory_mb


@lru_cache(maxsize=1000)
def kind_of(request: Request) -> str:
    """A digest of what a request asks for, apart from its time limit: a pack takes jobs of one kind."""
    return hashlib.sha256(repr(replace(request, runtime_min=0, auto="")).encode()).hexdigest()[:16]


def request_of(resources: Mapping[str, Any], threads: int, pack: int) -> Request:
    """Read a job's resources, which have the names that the stock executor uses.

    The values are evaluated: plain numbers and text, as Snakemake hands them to executors. Raises
    WorkflowError, which names the resource, for a value that SLURM would not accept.
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
        # A program that runs on several nodes or tasks fills an allocation by itself.
        pack = 1
    options["nodes"], options["ntasks"] = str(nodes), str(tasks)
    options |= _extra(str(resources.get("slurm_extra") or ""))
    wanted, auto = resources.get("pack") or pack, ""
    if wanted == "auto":
        needed_mb, gpu_mb = (
            0 if resources.get(name) in (None, "", 0, "0") else _count(name, resources[name])
            for name in ("gpu_mem_mb", "gpu_total_mb")
        )
        wanted, auto = auto_pack(needed_mb, gpu_mb, options)
    gpus_per_job = _count("gpus_per_job", resources.get("gpus_per_job") or 1) if nodes == tasks == 1 else 1
    asked = f"gpu:{options['gpus']}" if "gpus" in options else str(options.get("gres", ""))
    if gpus_per_job > 1 and not re.search(ONE_GPU, asked):
        raise WorkflowError(
            f"the resource gpus_per_job is {gpus_per_job}, and a job asks for '{asked}'; give the one GPU of "
            'each job, as gres: "gpu:1" or gpu: 1'
        )
    size = _count("pack", wanted) if nodes == tasks == 1 else 1
    memory, per_cpu = resources.get("mem_mb"), resources.get("mem_mb_per_cpu")
    return Request(
        runtime_min=_count("runtime", resources.get("runtime") or USUAL_RUNTIME_MIN),
        cpus=_count("cpus_per_task", resources.get("cpus_per_task") or threads or 1),
        # As for the stock executor, zero means that nothing is requested.
        memory_mb=None if memory in (None, "", 0, "0") else _count("mem_mb", memory),
        memory_per_cpu_mb=None if per_cpu in (None, "", 0, "0") else _count("mem_mb_per_cpu", per_cpu),
        options=tuple(sorted(options.items())),
        pack=size * gpus_per_job,
        per_gpu=size if gpus_per_job > 1 else 0,
        auto=auto,
        lanes=_count("lanes", resources.get("lanes") or 1),
    )


def with_gpus(asked: str, count: int) -> str:
    """A request of one GPU, `gpu:a100:1` or `1`, as one of `count`."""
    if asked.isdigit():
        return str(count)
    return re.sub(ONE_GPU if "gpu" in asked else r"(\w)(:1)?$", rf"\g<1>:{count}", asked)


def _count(name: str, value: Any) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        number = 0
    if number < 1 or (isinstance(value, float) and number != value) or isinstance(value, bool):
        raise WorkflowError(f"the resource {name} is {value!r}; expected a whole number of at least 1")
    return number


def _line(name: str, value: Any) -> str:
    text = str(value)
    # A line break would end the option and start a command in the job's script.
    if not text.isprintable():
        raise WorkflowError(f"the resource {name} is {text!r}; remove its line breaks or control characters")
    return text


def _extra(text: str) -> dict[str, str | bool]:
    """The options of `slurm_extra`: `--name`, `--name=value` or `--name value`, quoted as in a shell."""
    _line("slurm_extra", text)
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise WorkflowError(f"the resource slurm_extra is {text!r}; it cannot be read ({error})") from None
    options: dict[str, str | bool] = {}
    last = None
    for word in words:
        if word.startswith("--") and len(word) > 2:
            name, equals, value = word[2:].partition("=")
            # sbatch accepts abbreviated names.
            if any(own.startswith(name) for own in OWN):
                raise WorkflowError(
                    f"slurm_extra has --{name}, which this executor sets itself; leave it out"
                )
            for own, resource in RESOURCES.items():
                if own.startswith(name):
                    raise WorkflowError(f"slurm_extra has --{name}; give the resource {resource} instead")
            if not all(letter.isalnum() or letter == "-" for letter in name):
                raise WorkflowError(f"slurm_extra has '{word}', which is not an option of sbatch")
            options[name] = value if equals else True
            last = None if equals else name
        elif last is not None and not word.startswith("-"):
            options[last] = word
            last = None
        else:
            raise WorkflowError(
                f"slurm_extra has '{word}'; write options in their long form, for example --nice=100"
            )
    return options


def signal_delay_s(runtime_min: int) -> int:
    """How long before its time limit an allocation is signalled: two minutes, or a third of a short limit.

    A run may watch its own limit (SLURM_JOB_END_TIME) and stop 90 seconds, or a quarter of the limit, before
    it. The signal comes earlier, so that the end of such a run counts as a requeue and not as a failure.
    """
    return min(120, runtime_min * 60 // 3)
