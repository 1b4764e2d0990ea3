"""Models of the user's own: a function in a file of theirs builds each."""

import hashlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from ablations.errors import AblationsError
from ablations.files import digest
from ablations.training.probes import Probe


def build_own_model(code: str, image_shape: tuple[int, int, int], classes: int) -> nn.Module:
    """What the function of `code`, written `FILE.py:FUNCTION`, builds for images of this shape.

    It is called as `function(image_shape, classes)`, with (channels, height, width), and returns a module
    that turns images into logits (images, classes). The file may import from beside itself. Its weights are
    drawn from torch's global generator.

    Raises AblationsError if the file cannot be executed, or gives something else.
    """
    file, _, name = code.rpartition(":")
    try:
        build = getattr(_load(Path(file)), name, None)
        model = build(image_shape, classes) if callable(build) else None
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except (Exception, SystemExit) as error:
        raise _broken(file, error) from error
    if not callable(build):
        raise AblationsError(f"{file} has no function '{name}' that builds a model")
    if not isinstance(model, nn.Module):
        raise AblationsError(
            f"{name} of {file} returned {type(model).__name__!r}; it must return a torch.nn.Module"
        )
    trial = f"two images of {'×'.join(map(str, image_shape))}"
    try:
        _give_shapes(model, image_shape)
        made = _logits(model, image_shape)
    except Exception as error:
        raise AblationsError(
            f"the model of {code} failed on {trial}: {type(error).__name__}: {error}"
        ) from error
    for logits in made:
        shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else None
        if shape != (2, classes):
            gave = f"a tensor of the shape {shape}" if shape is not None else repr(type(logits).__name__)
            raise AblationsError(
                f"the model of {code} returned {gave} for {trial}; it must return logits of the shape "
                f"(2, {classes})"
            )
    return model.to(torch.float32)


def digest_of_imports(code: str) -> str | None:
    """The digest of the modules beside the file of `code` that are imported by now; None if there are none.

    It is that of their digests with their paths within the folder. Data that the model reads is not in it.
    """
    # Python may know one file by several paths, through links.
    folder = Path(code.rpartition(":")[0]).absolute().parent.resolve()
    found = {}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__dict__", {}).get("__file__")
        # This workflow is no part of a model that lies beside it.
        if not isinstance(file, str) or name.partition(".")[0] == "ablations":
            continue
        # Not the last part: a module that is a link lies where the link does.
        resolved = Path(file).parent.resolve() / Path(file).name
        if not resolved.is_relative_to(folder):
            continue
        path = resolved.relative_to(folder)
        # An environment may lie in the folder, too, but its modules are not imported from there.
        if path.parts and path.parts[0].partition(".")[0] == name.partition(".")[0] and Path(file).is_file():
            found[path.as_posix()] = digest(Path(file), "sha256")
    lines = "".join(f"{found[path]} {path}\n" for path in sorted(found))
    return hashlib.sha256(lines.encode()).hexdigest() if found else None


def _load(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("model_of_the_user", file)
    assert spec is not None, "the name ends in .py"
    assert spec.loader is not None, "it is that of files"
    module = importlib.util.module_from_spec(spec)
    # Where a class of the file is defined is asked of this list.
    sys.modules[spec.name] = module
    sys.path.append(str(file.parent.absolute()))
    # Nothing is written beside the file.
    sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
    try:
        spec.loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    return module


def _broken(file: str, error: BaseException) -> AblationsError:
    """The error with the line of the file that it passed through last, if it passed through it."""
    path = str(Path(file).absolute())
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename in (file, path)]
    if isinstance(error, SyntaxError) and error.filename in (file, path):
        lines = [error.lineno]
    line = f", line {lines[-1]}" if lines else ""
    return AblationsError(f"{file}{line}: {type(error).__name__}: {error}")


def _give_shapes(model: nn.Module, image_shape: tuple[int, int, int]) -> None:
    """Let lazy layers draw their weights, which they do when they see their first input."""
    if any(map(is_lazy, [*model.parameters(), *model.buffers()])):
        with torch.no_grad():
            model.eval()(torch.zeros(2, *image_shape))
        model.train()


def _logits(model: nn.Module, image_shape: tuple[int, int, int]) -> list[object]:
    """What it makes of two blank images in training, and in evaluation."""
    probe = Probe(model, image_shape)
    made = []
    for training in (True, False):
        probe.model.train(training)
        made.append(probe.look(2))
    return made
