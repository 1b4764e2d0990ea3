"""What a request becomes on the nodes that are there: its partition, and how many jobs fit in a pack."""

from dataclasses import replace

from snakemake_interface_executor_plugins.logging import LoggerExecutorInterface

from snakemake_executor_plugin_submitit.auto_pack import WITHOUT_GPU
from snakemake_executor_plugin_submitit.clusters.base import Cluster
from snakemake_executor_plugin_submitit.resources import Request


class Fitting:
    """Fits requests to a cluster, and tells the user once what it changed."""

    def __init__(self, cluster: Cluster, logger: LoggerExecutorInterface) -> None:
        self.cluster, self.logger = cluster, logger
        # Requests about which the user was told that no node has room for a whole pack.
        self._too_large: set[Request] = set()
        # What the user was told about partitions and chosen packs.
        self._said: set[str] = set()

    def fit(self, request: Request) -> Request:
        """The request with one partition of several, and a smaller pack if a whole one fits on no node."""
        if choice := self.cluster.choose_partition(request):
            request, said = choice.request, choice.sentence()
            if said and said not in self._said:
                self._said.add(said)
                (self.logger.info if choice.fits else self.logger.warning)(said)
        room = self.cluster.room(request) if request.pack > 1 else None
        if request.auto:
            if room is None and request.auto == WITHOUT_GPU:
                why = f"{WITHOUT_GPU}, and what a node has room for is not known"
                request = replace(request, pack=1, auto=why)
            fewer = room is not None and room < request.pack
            request = replace(request, pack=max(1, room or 1)) if fewer else request
            said = f"pack: auto chooses {request.per_gpu or request.pack}: {request.auto}"
            where = "in all" if request.per_gpu or request.auto == WITHOUT_GPU else "on each GPU"
            said += f"; a node has CPUs and memory for {request.pack} {where}." if fewer else "."
            if said not in self._said:
                self._said.add(said)
                self.logger.info(said)
            return request
        if room is None or room >= request.pack:
            return request
        fitted = replace(request, pack=max(1, room))
        if request not in self._too_large:
            self._too_large.add(request)
            self.logger.info(
                f"No node has room, in the limits of its partition, for a pack of {request.pack} (a job "
                f"needs {request.cpus} CPUs and {request.member_memory_mb()} MB). Packs of {fitted.pack} are "
                "submitted instead."
            )
        return fitted
