"""Which jobs are carried out without Snakemake in their allocation, and how they are described to it.

The rule of such a job is a plain shell command, for which `shell_job` does all that Snakemake would do in the
allocation. Every other job starts Snakemake there, and so does one about which this module is not certain.
"""

import inspect
import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import FunctionType
from typing import Any

import snakemake
import snakemake.utils
from snakemake.shell import MAX_ARG_LEN, shell
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface
from snakemake_interface_executor_plugins.settings import DeploymentMethod, SharedFSUsage
from snakemake_interface_executor_plugins.workflow import WorkflowExecutorInterface

from snakemake_executor_plugin_submitit.member import is_plain
from snakemake_executor_plugin_submitit.shell_job import Output, ShellJob

# Snakemake loads this module before it reads the Snakefile, which may change the environment.
_AT_START = dict(os.environ)
# The Snakemake whose jobs `shell_job` reproduces.
MAJOR_VERSION = "9"
# What the rule may say of an output, and what it may not say of an input or a log.
OUTPUT_FLAGS = {"directory", "temp", "touch", "protected", "ensure", "report", "multiext"}
OTHER_FLAGS = {"pipe", "service", "storage_object", "nodelocal", "local", "update", "before_update"}
# Variables that belong to an allocation, or tell what it was given. The controller may be in one of its own.
OF_ALLOCATIONS = re.compile(r"SLURM_(?!CONF$|CLUSTERS$|JWT$)|SUBMITIT_|CUDA_MPS_|CUDA_VISIBLE_DEVICES$")
# Snakemake's name for what it knows only in the allocation.
NOT_YET_KNOWN = "<TBD>"


class NotDirectError(Exception):
    """Why Snakemake must run a job in its allocation."""


class Unknown:
    """What is known in the allocation only. A command that contains it is not formatted here."""

    def __format__(self, spec: str) -> str:
        raise NotDirectError("its command contains what only Snakemake knows in the allocation")

    __str__ = __repr__ = lambda self: self.__format__("")


def changed_environment() -> dict[str, str | None]:
    """What the Snakefile has changed in the environment, as it would in the allocation; None if removed."""
    changed: dict[str, str | None] = dict.fromkeys(_AT_START.keys() - os.environ.keys())
    changed |= {name: value for name, value in os.environ.items() if _AT_START.get(name) != value}
    return {name: value for name, value in changed.items() if not OF_ALLOCATIONS.match(name)}


def describe(
    job: JobExecutorInterface,
    command: str,
    workflow: WorkflowExecutorInterface,
    environment: Mapping[str, str | None],
) -> ShellJob:
    """Describe a job, for which `command` would start Snakemake. Raises NotDirectError.

    Whatever the Snakefile computes for it is computed here, and not once more in the allocation.
    """
    if reason := _obstacle(job, command, workflow):
        raise NotDirectError(reason)
    executable = job.resources.get("shell_exec") or shell.get_executable()
    return ShellJob(
        rule=job.rule.name,
        command=_command(job, executable),
        executable=executable,
        threads=job.threads,
        tmpdir=_tmpdir(job),
        inputs=list(map(str, job.input)),
        outputs=[_output(job, path, workflow.persistence) for path in job.output],
        logs=list(map(str, job.log)),
        latency_s=workflow.execution_settings.latency_wait,
        keep_incomplete=workflow.execution_settings.keep_incomplete,
        environment=dict(environment),
    )


def _obstacle(job: JobExecutorInterface, command: str, workflow: WorkflowExecutorInterface) -> str | None:
    """Why Snakemake must run this job, as far as its rule and the settings tell."""
    if snakemake.__version__.partition(".")[0] != MAJOR_VERSION:
        return f"Snakemake {snakemake.__version__} may do more for a job than is known here"
    if job.is_group() or not job.is_shell:
        return "it is not a single shell command"
    methods = workflow.deployment_settings.deployment_method
    if (
        (DeploymentMethod.CONDA in methods and job.rule.conda_env)
        or (DeploymentMethod.APPTAINER in methods and job.container_img_url)
        or (DeploymentMethod.ENV_MODULES in methods and job.env_modules)
    ):
        return "its software is deployed by Snakemake"
    if job.is_shadow or job.benchmark is not None or job.rule.is_handover:
        return "it has a shadow folder or a benchmark, or is handed over"
    if job.rule._restart_times:
        return "its rule has retries of its own, which Snakemake also makes in the allocation"
    if job.rule.cache and workflow.workflow_settings.cache is not None:
        return "its outputs are shared between workflows"
    if workflow.storage_settings.shared_fs_usage != SharedFSUsage.all():
        return "not everything is on a shared file system"
    others = {flag for path in job.output for flag in path.flags} - OUTPUT_FLAGS
    others |= {flag for path in (*job.input, *job.log) for flag in path.flags} & OTHER_FLAGS
    if others:
        return f"only Snakemake can heed {', '.join(sorted(others))}"
    if not is_plain(command):
        return "something must run before Snakemake"
    for name, limit in workflow.global_resources.items():
        if not name.startswith("_") and limit.value is not None and limit.value == job.resources.get(name):
            return f"--resources may have reduced its resource {name}"
    return None


def _command(job: JobExecutorInterface, executable: str | None) -> str:
    """The command of a job, formatted as in Snakemake's own job, with the prefix and suffix of all commands.

    The function that Snakemake has made of the rule is called, with a recorder in the place of `shell`.
    """
    found = []

    def record(text: str, *args: Any, **variables: Any) -> None:
        found.append(snakemake.utils.format(text, *args, stepout=2, **variables))

    made = job.rule.run_func
    if made.__globals__.get("shell") is not shell:
        raise NotDirectError("the Snakefile has a shell() of its own")
    known = made.__globals__ | {"shell": record}
    run = FunctionType(made.__code__, known, argdefs=made.__defaults__, closure=made.__closure__)
    parameters = inspect.signature(made).parameters.values()
    needed = {each.name: Unknown() for each in parameters if each.default is each.empty}
    try:
        run(**needed | _known(job))
        (text,) = found
    except Exception as error:
        raise NotDirectError(f"its command cannot be formatted here ({error})") from error
    if NOT_YET_KNOWN in text:
        raise NotDirectError("its command contains what is known in the allocation only")
    whole = " ".join((shell._get_process_prefix(executable), text, shell._process_suffix)).strip()
    if len(whole.replace("'", r"'\''")) + 2 > MAX_ARG_LEN:
        raise NotDirectError("its command is too long for one argument")
    return whole


def _known(job: JobExecutorInterface) -> dict[str, Any]:
    """What a rule's function is given and the controller knows."""
    # The controller keeps the params of the first attempt, which may depend on its resources.
    params = job.params
    if job.attempt > 1:
        params, _ = job.rule.expand_params(job.wildcards_dict, job.input, job.output, job)
    return {
        "input": job.input._plainstrings(),
        "output": job.output._plainstrings(),
        "params": params,
        "wildcards": job.wildcards,
        "threads": job.threads,
        "resources": job.resources,
        "log": job.log._plainstrings(),
        "rule": job.rule.name,
    }


def _tmpdir(job: JobExecutorInterface) -> str | None:
    """Its temporary folder: None for none, and nothing for that of the node."""
    resource = job.rule.resources.get("tmpdir")
    if resource is None or (not resource.is_evaluable() and not resource.value):
        return None
    if not resource.is_evaluable():
        return str(resource.value)
    if resource.raw == "system_tmpdir":
        return ""
    raise NotDirectError("its tmpdir is chosen in the allocation")


def _output(job: JobExecutorInterface, path: Any, persistence: Any) -> Output:
    """Describe an output. Its mark is a file, unless Snakemake keeps its records in a database."""
    if not hasattr(persistence, "_incomplete_path"):
        raise NotDirectError("Snakemake keeps its records in a database")
    ensured = path.flags.get("ensure", {})
    checksum, algorithm = ensured.get("checksum"), ensured.get("checksum_algorithm")
    try:
        checksum = checksum(job.wildcards) if callable(checksum) else checksum
    except Exception as error:
        raise NotDirectError(f"a checksum cannot be computed here ({error})") from error
    return Output(
        str(path),
        str(Path(persistence._record_path(persistence._incomplete_path, str(path))).absolute()),
        **{flag: flag in path.flags for flag in ("directory", "touch", "protected")},
        non_empty=bool(ensured.get("non_empty")),
        checksum=f"{algorithm}:{checksum}" if algorithm else "",
    )
