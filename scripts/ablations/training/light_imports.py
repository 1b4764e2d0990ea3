"""A stub of torch's compiler, for a process that compiles nothing.

torchvision and torch's optimizers import `torch._dynamo`, the front end of the compiler, and ask only a
few names of it. The import takes about a second, which every run of a sweep would pay. The stub answers
these names. Anything else that is asked of it loads the real compiler in its place.
"""

import importlib
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import torch

COMPILER = "torch._dynamo"


def keep_the_compiler_out() -> None:
    """Put the stub in place of `torch._dynamo`, unless the real one is loaded already.

    Call it before the first import of torchvision and before the first optimizer is made.
    """
    if COMPILER in sys.modules:
        return
    package, utils = _Stub(COMPILER), _Stub(f"{COMPILER}.utils")
    # A package, so that its modules can be imported; `_Importer` finds them.
    package.__path__ = []
    package.disable = _disable  # type: ignore[attr-defined]
    package.graph_break = lambda *args, **kwargs: None  # type: ignore[attr-defined]
    package.utils = utils  # type: ignore[attr-defined]
    utils.is_compile_supported = _is_compile_supported  # type: ignore[attr-defined]
    sys.modules.update({package.__name__: package, utils.__name__: utils})
    torch._dynamo = package
    sys.meta_path.insert(0, _Importer())


class _Stub(ModuleType):
    """A module that knows a few names, and loads the real one when it is asked for another."""

    def __getattr__(self, name: str) -> Any:
        # Python and its tools ask every module for names such as `__file__` or `__wrapped__`.
        if name.startswith("__"):
            raise AttributeError(f"module '{self.__name__}' has no attribute '{name}'")
        _load()
        return getattr(importlib.import_module(self.__name__), name)


class _Importer(MetaPathFinder, Loader):
    """Imports a module of the compiler, which no stub stands for, after loading the compiler."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname.startswith(f"{COMPILER}.") else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        # Loading the compiler imports most of its modules. Executing one again would make a second copy.
        _load()
        module = importlib.import_module(spec.name)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # The import system has replaced the module's own spec. torch's config modules refuse `setattr`.
        vars(module)["__spec__"] = self._spec


def _load() -> ModuleType:
    """Remove the stubs, and import the real compiler."""
    for name, module in list(sys.modules.items()):
        if isinstance(module, _Stub):
            del sys.modules[name]
            vars(torch).pop(name.removeprefix("torch."), None)
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Importer)]
    return importlib.import_module(COMPILER)


def _is_compile_supported(device_type: str) -> bool:
    """The real answer: torchvision imports this function, and calls it for regions of interest alone."""
    return bool(_load().utils.is_compile_supported(device_type))


def _disable(fn: Callable[..., Any] | None = None, *args: Any, **kwargs: Any) -> Callable[..., Any]:
    """`torch._dynamo.disable`: nothing is compiled, so that every function is as it should be."""
    return (lambda decorated: decorated) if fn is None else fn
