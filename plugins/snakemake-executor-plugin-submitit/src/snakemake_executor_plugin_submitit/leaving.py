"""Leaving: this call ends while its jobs stay with the cluster, and the next call takes them over."""

import logging
import signal
import threading
from types import FrameType
from typing import Any

from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.logging import LoggerExecutorInterface

from snakemake_executor_plugin_submitit.submissions import Submissions

# A call that SIGHUP ended has this exit status, as a shell would report it. Scripts can tell it by that.
HANGUP_STATUS = 128 + signal.SIGHUP
# Snakemake hands over its ready jobs in parts. After this many looks without a new one, there are no more.
QUIET_LOOKS = 3


class Departure:
    """When this call leaves its jobs: at SIGHUP, or with `detach` as soon as all ready jobs are submitted.

    The main thread makes it and receives the signal, which only sets a flag. The watching thread calls
    `is_due` and `begin`; Snakemake then calls the executor's `shutdown` in the main thread, at a point where
    it has dealt with all that was reported to it.
    """

    def __init__(
        self, workflow: Any, submissions: Submissions, logger: LoggerExecutorInterface, detach: bool
    ) -> None:
        self._workflow, self._submissions, self._logger, self._detach = workflow, submissions, logger, detach
        self._hung_up = False
        self._seen: tuple[int, ...] = ()
        self._quiet = 0
        # The exit status of this call once it leaves.
        self.status: int | None = None
        main = threading.current_thread() is threading.main_thread()
        # nohup has the signal ignored, and so has whoever wants the call to outlive its terminal.
        if main and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            signal.signal(signal.SIGHUP, self._hang_up)

    def _hang_up(self, number: int, frame: FrameType | None) -> None:
        self._hung_up = True

    def is_due(self) -> bool:
        """Whether this call is to leave now; called at each look at the jobs."""
        if getattr(self._workflow, "scheduler", None) is None:
            # Snakemake makes its scheduler after the executor, whose first look may come before.
            return False
        if self._hung_up or not self._detach:
            return self._hung_up
        left = self._submissions.count()
        running, ready = len(self._workflow.scheduler.running), len(self._workflow.dag.ready_jobs)
        seen = (left.submitted, left.without_room, running, ready)
        # Other jobs that Snakemake counts as running are local, about to be submitted, or have just ended.
        complete = left.submitted > 0 and running == left.submitted + left.without_room
        self._quiet = self._quiet + 1 if complete and seen == self._seen else 0
        self._seen = seen
        return self._quiet >= QUIET_LOOKS

    def begin(self) -> None:
        """Say what is left, and have Snakemake end."""
        # Snakemake's own list: a job that it tries again has not failed.
        failed = len(self._workflow.scheduler.failed)
        self.status = HANGUP_STATUS if self._hung_up else min(failed, 1)
        submitted, rest = self._submissions.count().submitted, len(self._workflow.scheduler.remaining_jobs)
        rest += len(self._workflow.scheduler.running) - submitted
        self._logger.info(
            f"This call leaves {_jobs(submitted)} in the queue or running"
            + (f", and {_jobs(rest)} of the workflow that it has not submitted" if rest > 0 else "")
            + (f". {_jobs(failed)} failed before" if failed else "")
            + ". Run the same command again to take the jobs over and to continue. To cancel them, run it "
            "again and press Ctrl-C."
        )
        # Snakemake knows one way to end at the wish of an executor, and words it as a failure.
        logging.disable(logging.CRITICAL)
        self._workflow.scheduler.executor_error_callback(WorkflowError("left"))


def _jobs(count: int) -> str:
    return f"{count} job{'' if count == 1 else 's'}"
