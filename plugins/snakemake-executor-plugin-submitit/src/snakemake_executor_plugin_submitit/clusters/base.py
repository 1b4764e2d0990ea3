"""The interface of a cluster: what the executor submits to it, asks it and cancels there."""

import re
import shlex
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from snakemake_executor_plugin_submitit.clusters.partitions import Choice
from snakemake_executor_plugin_submitit.folder import Submission
from snakemake_executor_plugin_submitit.pack import Pack
from snakemake_executor_plugin_submitit.resources import Request

# What a submitted job runs.
PACK_PROGRAM = "snakemake_executor_plugin_submitit.job"


class Phase(Enum):
    """Whether a job is still in the queue or running, has ended, or is not known to the cluster."""

    ALIVE = "alive"
    ENDED = "ended"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class State:
    """A job's phase, the cluster's word for it, and the reason why it waits."""

    phase: Phase
    word: str = ""
    reason: str = ""


UNKNOWN = State(Phase.UNKNOWN)
# A job in these states is alive but about to end: SLURM's word, and this plugin's own for a process.
PROCESS_ENDING = "ENDING"
ENDING = ("COMPLETING", PROCESS_ENDING)
# squeue's reasons for a job that may never start unless somebody acts.
HELD = re.compile(
    r"held|JobHold|SPECIAL_EXIT|REQUEUE_HOLD|BadConstraints|Partition(TimeLimit|NodeLimit|Inactive|Down)"
    r"|Invalid(Account|QOS)|(Account|QOS)NotAllowed|DependencyNeverSatisfied|Max\w+Per(Job|Node)"
    # No node is up for it.
    r"|Nodes required for job are|ReqNodeNotAvail|NodeDown|FrontEndDown|Reservation(Deleted|Invalid)"
    # A budget that is used up, and not a number of jobs that others free again.
    r"|(Assoc|QOS)\w*(Minutes|RunMin|Billing)\w*|QOSUsageThreshold",
    re.I,
)


class Cluster(ABC):
    """A place that runs jobs.

    The main thread calls it while the executor starts and when it cancels; the watching thread calls it in
    between. A subclass keeps no state that both threads change.
    """

    name: str
    # How many packs one submission may hold.
    most_packs: int

    @abstractmethod
    def room(self, request: Request) -> int | None:
        """How many such jobs fit on one node by processors and memory; None if that is not known."""

    @abstractmethod
    def longest_min(self, request: Request) -> int | None:
        """The longest time limit, in minutes, that such a job may have; None if that is not known."""

    def choose_partition(self, request: Request) -> Choice | None:
        """The first of the request's partitions in which a job fits; None if there is nothing to choose."""
        return None

    @abstractmethod
    def submit(
        self, submission: Submission, packs: Sequence[Pack], options: dict[str, Any], parallel: int
    ) -> list[str]:
        """Submit packs with equal requests and return one job id for each.

        Raises WorkflowError or OSError when the cluster reports an error. It may have accepted the jobs
        nevertheless: see `find`.
        """

    @abstractmethod
    def states(self, submissions: Iterable[Submission]) -> dict[str, State] | None:
        """The state of each job of these submissions, by id; None if the cluster does not answer."""

    @abstractmethod
    def find(self, submission: Submission) -> list[str] | None:
        """The jobs of a submission whose ids were not recorded; None if the cluster does not answer."""

    @abstractmethod
    def cancel(self, jobs: Mapping[str, str]) -> list[str]:
        """Cancel these jobs, given with the names of their submissions, and no others.

        A job with another name is not of this plugin, whatever a manifest says, and is left alone. Returns
        those that could not be cancelled.
        """


def pack_command(folder: Path) -> str:
    """The shell command that runs a pack whose pickle submitit keeps in `folder`."""
    # -P: in the working directory, somebody may have planted a module `submitit`.
    return shlex.join([sys.executable, "-u", "-P", "-m", PACK_PROGRAM, str(folder)])
