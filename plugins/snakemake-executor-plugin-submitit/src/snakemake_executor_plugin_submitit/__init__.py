"""A Snakemake executor on submitit: job arrays, packs, requeue with checkpoint, and re-attach after a crash.

Snakemake's plugin registry reads the three attributes below. They are loaded at first use, so that an import
of one light module, such as `holdings`, does not import Snakemake or submitit.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from snakemake_executor_plugin_submitit.executor import Executor
    from snakemake_executor_plugin_submitit.settings import ExecutorSettings, common_settings

__all__ = ["Executor", "ExecutorSettings", "common_settings"]

_MODULES = {"Executor": "executor", "ExecutorSettings": "settings", "common_settings": "settings"}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value
