"""The call of Snakemake that reads the workflow: what it was told. Only here are Snakemake's settings read.

Their names are no part of Snakemake's public interface: a test compares what is read here with what the
pinned Snakemake was told.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ablations.tracking.profile import Profile, texts


class Call:
    """The settings of a call of Snakemake, of the `workflow` that a Snakefile sees.

    Most are read when they are asked for: some are known only while Snakemake builds its graph.
    `is_of_another_workflow` tells whether another workflow uses this one as a module, which is known only
    while Snakemake reads the Snakefile.
    """

    def __init__(self, workflow: Any) -> None:
        self._workflow = workflow
        self.is_of_another_workflow = workflow.modifier.parent_modifier is not None

    @property
    def is_controller(self) -> bool:
        """Whether it plans and runs jobs, and is not itself the job of another call."""
        return bool(self._workflow.is_main_process)

    @property
    def config_files(self) -> list[Path]:
        """The files of `--configfile`."""
        return list(map(Path, self._workflow.config_settings.configfiles))

    @property
    def config_values(self) -> Mapping[str, Any]:
        """The values of `--config`."""
        values: Mapping[str, Any] = self._workflow.config_settings.config
        return values

    @property
    def makes_environments(self) -> bool:
        """Whether each rule has an environment of its own, by Conda."""
        return any(each.name == "CONDA" for each in self._workflow.deployment_settings.deployment_method)

    @property
    def profile(self) -> Profile:
        """What the profile and the command line give to the runs."""
        settings = self._workflow.resource_settings
        return Profile(
            resources={rule: texts(values) for rule, values in settings.overwrite_resources.items()},
            threads=texts(settings.overwrite_threads),
            cores=settings.cores,
            nodes=settings.nodes,
            jobs_at_a_time=getattr(self._workflow.executor_settings, "array_parallelism", None),
        )

    @property
    def words_jobs(self) -> bool:
        """Whether Snakemake describes each job: in a dry run, and where commands are printed."""
        told = self._workflow.output_settings
        return bool(told.dryrun or told.printshellcmds or told.verbose)

    @property
    def runs_jobs(self) -> bool:
        """Whether it is about to run jobs; known while Snakemake builds its graph, not before."""
        idle = self._workflow.dryrun or self._workflow.touch or self._workflow.executor_plugin is None
        return self.is_controller and not idle

    @property
    def submits_jobs(self) -> bool:
        """Whether its jobs are submitted to a cluster; known while Snakemake builds its graph."""
        return not self._workflow.local_exec

    @property
    def locks_files(self) -> bool:
        """Whether Snakemake keeps its locks as files in `.snakemake/locks`."""
        backend: str = self._workflow.workflow_settings.persistence_backend.name
        return backend == "FILE"
