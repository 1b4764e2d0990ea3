"""torchvision's architectures, and torch's optimizers, without what a run does not use.

Both import `torch._dynamo`, the front end of torch's compiler: torchvision for one question asked
about regions of interest, the optimizers for two marks that mean something to the compiler alone. That
is about a second before a run's first step, and a sweep pays it once per run.
"""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from torch import nn

# What a model's name begins with -> the module of torchvision.models that builds it.
MODULES = {
    "alexnet": "alexnet",
    "convnext": "convnext",
    "densenet": "densenet",
    "efficientnet": "efficientnet",
    "googlenet": "googlenet",
    "inception": "inception",
    "maxvit": "maxvit",
    "mnasnet": "mnasnet",
    "mobilenet_v2": "mobilenetv2",
    "mobilenet_v3": "mobilenetv3",
    "regnet": "regnet",
    "resnet": "resnet",
    "resnext": "resnet",
    "shufflenet": "shufflenetv2",
    "squeezenet": "squeezenet",
    "swin": "swin_transformer",
    "vgg": "vgg",
    "vit": "vision_transformer",
    "wide_resnet": "resnet",
}
# Packages whose own code imports all of torchvision -> the names that an architecture asks of them.
PACKAGES: dict[str, dict[str, str]] = {
    "torchvision": {},
    "torchvision.models": {},
    "torchvision.ops": {"StochasticDepth": "torchvision.ops.stochastic_depth"},
    "torchvision.transforms": {"InterpolationMode": "torchvision.transforms.functional"},
}


def builder(name: str) -> Callable[..., nn.Module]:
    """torchvision's function that builds the model `name`, one of `TORCHVISION_CLASSIFIERS`.

    Where torchvision is imported already, it is that one's. Otherwise the modules that the function
    needs are loaded from torchvision's directory without its packages' own code, and are not left
    in `sys.modules`: a later import of torchvision gets the whole.
    """
    module = f"torchvision.models.{next(MODULES[p] for p in MODULES if name.startswith(p))}"
    if "torchvision" in sys.modules:
        return getattr(importlib.import_module(module), name)
    try:
        for package, names in PACKAGES.items():
            sys.modules[package] = _bare(package, names)
        return getattr(importlib.import_module(module), name)
    finally:
        for loaded in [m for m in sys.modules if m.partition(".")[0] == "torchvision"]:
            del sys.modules[loaded]


def _bare(package: str, names: dict[str, str]) -> ModuleType:
    """A package whose submodules can be imported, and whose own code is not run."""
    found = importlib.util.find_spec(package)
    assert found is not None
    bare = ModuleType(package)
    bare.__spec__ = found
    bare.__path__ = list(found.submodule_search_locations or ())

    def attribute(name: str) -> Any:
        if name in names:
            return getattr(importlib.import_module(names[name]), name)
        raise AttributeError(f"module '{package}' has no attribute '{name}'")

    bare.__getattr__ = attribute  # type: ignore[method-assign]
    return bare


def keep_the_compiler_out() -> None:
    """Put a stand-in in the place of `torch._dynamo`, for a process that compiles nothing.

    It answers what the optimizers ask: that a function is not to be compiled, and where a graph breaks.
    """
    import torch

    if "torch._dynamo" in sys.modules:
        return
    stand_in = ModuleType("torch._dynamo", "A stand-in: this process compiles nothing.")
    stand_in.disable = lambda fn, *args, **kwargs: fn  # type: ignore[attr-defined]
    stand_in.graph_break = lambda *args, **kwargs: None  # type: ignore[attr-defined]
    sys.modules["torch._dynamo"] = torch._dynamo = stand_in
