"""Pretrained weights of torchvision: fetched, verified, and stored once as plain tensors.

`WeightsEnum.get_state_dict(check_hash=True)` is not used: its download has no time limit, and it does not
verify a file that is already there.
"""

import logging
import re
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from filelock import FileLock

from ablations.data.sources import SourceError, download
from ablations.errors import AblationsError
from ablations.files import atomic_path, digest

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Published:
    """A published weights file, whose name ends with the first digits of its SHA-256."""

    url: str

    @property
    def name(self) -> str:
        """The file's name, such as `resnet18-f37072fd.pth`."""
        return self.url.rpartition("/")[2]

    @property
    def sha256_prefix(self) -> str:
        """The first digits of the file's SHA-256, which its name contains.

        Raises AblationsError if the name contains none.
        """
        match = re.search(r"-([0-9a-f]{8,64})\.pth$", self.name)
        if match is None:
            raise AblationsError(f"{self.url} does not contain a digest, so the file cannot be verified")
        return match[1]


def published_weights(model: str) -> Published:
    """torchvision's ImageNet weights of `model`: IMAGENET1K_V1, or its first ones if there are none.

    Raises AblationsError if torchvision has no weights of this model.
    """
    from torchvision import models

    try:
        weights = models.get_model_weights(model)
    except ValueError as error:
        raise AblationsError(f"torchvision has no ImageNet weights for '{model}' ({error})") from None
    names = [weight.name for weight in weights]
    return Published(weights["IMAGENET1K_V1" if "IMAGENET1K_V1" in names else names[0]].url)


def stage_weights(
    published: Published, output: Path, source_dir: Path | None = None, timeout_s: float = 120
) -> None:
    """Write the weights to `output` (.safetensors), verified and atomically.

    The file is taken from `source_dir`/weights/ if it is there, else from torchvision's server.

    Raises AblationsError, and writes no `output`, if no source provides a verified file.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(output.parent / f".{output.name}.lock"), tempfile.TemporaryDirectory() as folder:
        problems = []
        if source_dir is not None:
            local = source_dir / "weights" / published.name
            if not local.is_file():
                problems.append(f"  directory {source_dir}: it has no weights/{published.name}")
            elif problem := _mismatch(local, published):
                problems.append(f"  directory {source_dir}: {problem}")
            else:
                _store(local, output)
                return
        try:
            deadline = time.monotonic() + timeout_s
            file = download(published.url, Path(folder) / published.name, deadline)
            if problem := _mismatch(file, published):
                raise SourceError(problem)
        except SourceError as error:
            problems.append(f"  torchvision's server: {error}")
            where = source_dir or Path("FOLDER")
            raise AblationsError(
                f"no source has {published.name}:\n" + "\n".join(problems) + f"\nput the file into "
                f"{where}/weights/ and set source_dir: {where} in the config"
            ) from None
        _store(file, output)


def _mismatch(file: Path, published: Published) -> str | None:
    found = digest(file, "sha256")
    if found.startswith(published.sha256_prefix):
        return None
    return (
        f"{file} is not the published file: its SHA-256 is {found}, expected one that begins with "
        f"{published.sha256_prefix}; the file is not used"
    )


def read_weights(path: Path) -> Mapping[str, torch.Tensor]:
    """The tensors of a weights file (.safetensors, .pt or .pth), by their names.

    Nothing but tensors is unpickled. Raises AblationsError if the file contains anything else.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the readers raise many types; all mean that the file is unusable
        raise AblationsError(f"{path} cannot be read as weights ({error})") from None
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise AblationsError(f"{path} is not a mapping of names to tensors")
    # torchvision's DenseNets were published with names that it has since changed: norm.1 is now norm1.
    old = re.compile(r"(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..*)")
    return {old.sub(r"\1\2", name): tensor for name, tensor in state.items()}


def _store(file: Path, output: Path) -> None:
    from safetensors.torch import save_file

    tensors = {name: tensor.contiguous().clone() for name, tensor in read_weights(file).items()}
    with atomic_path(output) as temporary:
        save_file(tensors, temporary)
    log.info("staged %s as %s", file.name, output)
