"""The settings of this executor, and what Snakemake has to know about it."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.settings import CommonSettings, ExecutorSettingsBase


@dataclass
class ExecutorSettings(ExecutorSettingsBase):
    """The settings `--submitit-…`. Raises WorkflowError for a value that is out of range."""

    cluster: str = field(
        default="slurm",
        metadata={
            "help": "Where jobs run: `slurm`, or `local` for this machine.",
            "choices": ["slurm", "local"],
        },
    )
    pack: int = field(
        default=1,
        metadata={
            "help": "How many jobs run at the same time in one allocation. It requests that many times "
            "their CPUs and memory, and their GPU once. The resource `pack` of a job takes precedence.",
            "type": int,
        },
    )
    waves: int = field(
        default=1,
        metadata={
            "help": "How many jobs an allocation runs in turn in each of its places, if there are more jobs "
            "than --submitit-array-parallelism allocations can run at a time. For runs of seconds.",
            "type": int,
        },
    )
    refill: float = field(
        default=0.0,
        metadata={
            "help": "Seconds for which an allocation without a running job waits for further jobs. Above 0, "
            "places that become free take jobs with the same request, as long as the time left in the "
            "allocation (--submitit-waves) suffices for the `runtime` of the job.",
            "type": float,
        },
    )
    direct: str = field(
        default="auto",
        metadata={
            "help": "Whether a job that is a plain shell command is carried out without a start of Snakemake "
            "in its allocation: `auto`, or `never`.",
            "choices": ["auto", "never"],
        },
    )
    detach: bool = field(
        default=False,
        metadata={
            "help": "Submit the jobs that are ready, and leave: the next call takes them over and continues."
        },
    )
    linger: float = field(
        default=1.0,
        metadata={"help": "Seconds to wait for more jobs to submit together.", "type": float},
    )
    gather: float = field(
        default=60.0,
        metadata={
            "help": "Seconds that jobs too few for a whole pack wait for more while allocations with the "
            "same request run. Without it, each job that ends could be followed by an allocation for one.",
            "type": float,
        },
    )
    array_size: int = field(
        default=1000,
        metadata={
            "help": "The largest number of allocations in one array; the cluster may allow fewer.",
            "type": int,
        },
    )
    array_parallelism: int = field(
        default=1000,
        metadata={
            "help": "The largest number of allocations of one array that run at a time.",
            "type": int,
        },
    )
    requeues: int = field(
        default=10,
        metadata={
            "help": "How often an allocation may be requeued at its time limit, or be submitted again after "
            "SLURM preempted it without requeueing it or its node failed.",
            "type": int,
        },
    )
    status_interval: int = field(
        default=30,
        metadata={
            "help": "The longest time in seconds between two queries of the queue, one for all jobs.",
            "type": int,
        },
    )
    latency: int = field(
        default=15,
        metadata={
            "help": "Seconds that the shared file system may take to show what a job wrote at its end.",
            "type": int,
        },
    )
    jobname_prefix: str = field(
        default="snakemake", metadata={"help": "The first part of the names of all jobs."}
    )
    logdir: Optional[Path] = field(
        default=None,
        metadata={"help": "The folder of the jobs' logs (default: .snakemake/submitit_logs).", "type": Path},
    )
    mps: bool = field(
        default=False,
        metadata={"help": "Start NVIDIA's multi-process service in each allocation that several jobs share."},
    )

    def __post_init__(self) -> None:
        for name in ("pack", "waves", "array_size", "array_parallelism", "status_interval"):
            if getattr(self, name) < 1:
                raise WorkflowError(
                    f"--submitit-{name.replace('_', '-')} is {getattr(self, name)}; it must be at least 1"
                )
        for name in ("refill", "linger", "gather", "requeues", "latency"):
            if getattr(self, name) < 0:
                raise WorkflowError(f"--submitit-{name} is {getattr(self, name)}; it must be at least 0")
        if not re.fullmatch(r"[A-Za-z0-9._+-]+", self.jobname_prefix):
            raise WorkflowError(
                f"--submitit-jobname-prefix is {self.jobname_prefix!r}; it may have letters, digits, and ._+-"
            )
        for name, expected in (("cluster", ("slurm", "local")), ("direct", ("auto", "never"))):
            if getattr(self, name) not in expected:
                raise WorkflowError(
                    f"--submitit-{name} is '{getattr(self, name)}'; expected {' or '.join(expected)}"
                )


common_settings = CommonSettings(
    non_local_exec=True,
    implies_no_shared_fs=False,
    job_deploy_sources=False,
    pass_group_args=True,
    # The executor sets the variables in the job's process and does not write them into a command.
    pass_envvar_declarations_to_cmd=False,
    auto_deploy_default_storage_provider=False,
    init_seconds_before_status_checks=0,
)
