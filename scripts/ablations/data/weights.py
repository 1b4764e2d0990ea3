"""Published weights: fetched, verified, and stored once as plain tensors with torchvision's names.

`WeightsEnum.get_state_dict(check_hash=True)` is not used: its download has no time limit, and it does not
verify a file that is already there.
"""

import logging
import pickle
import re
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from ablations.config.weights import FetchedWeights
from ablations.data.imagenet import DIGESTS, without_digest
from ablations.data.sources import (
    LARGEST_WEIGHTS,
    Fetch,
    SourceError,
    download,
    from_directory,
    public_source,
    verified_copy,
)
from ablations.errors import AblationsError, nearest
from ablations.files import atomic_path, open_regular

log = logging.getLogger(__name__)

# The keys under which training scripts keep the weights in a checkpoint, and what DistributedDataParallel,
# torch.compile and Lightning put before all names.
AROUND = ("state_dict", "model_state_dict", "model", "net", "weights")
PREFIXES = ("module.", "_orig_mod.", "model.")


@dataclass(frozen=True)
class PublishedWeights:
    """A published weights file of `model`, with its SHA-256 and its sources.

    Where `in_order` names parts of the model, the tensors of the file are theirs, in the same order.
    """

    model: str
    name: str
    sha256: str
    sources: Sequence[tuple[str, Fetch]]
    in_order: Sequence[str] = ()


def imagenet_weights(model: str, sha256: str | None = None) -> PublishedWeights:
    """torchvision's ImageNet weights of `model`: IMAGENET1K_V1, or its first ones if there are none.

    Raises AblationsError if torchvision has no weights of this model, or nobody has said their SHA-256.
    """
    from torchvision import models

    try:
        weights = models.get_model_weights(model)
    except ValueError as error:
        raise AblationsError(f"torchvision has no ImageNet weights for '{model}' ({error})") from None
    names = [weight.name for weight in weights]
    url = weights["IMAGENET1K_V1" if "IMAGENET1K_V1" in names else names[0]].url
    whole = sha256 or DIGESTS.get(model)
    if whole is None:
        raise AblationsError(without_digest(model, url))
    return weights_at(url, model, whole)


def weights_at(url: str, model: str, sha256: str) -> PublishedWeights:
    """The weights at `url`, whose name ends with the first digits of their SHA-256: `resnet18-f37072fd.pth`.

    Raises AblationsError if `sha256` begins with others.
    """
    name = url.rpartition("/")[2]
    match = re.search(r"-([0-9a-f]{8,64})\.pth$", name)
    if match is None or not sha256.startswith(match[1]):
        raise AblationsError(
            f"{url} is another file than the one with the SHA-256 {sha256}, whose first digits would end its "
            f"name; correct imagenet_sha256.{model} in the config"
        )

    def fetch(name: str, folder: Path, deadline: float) -> Path:
        return download(url, folder / Path(name).name, deadline)

    return PublishedWeights(model, name, sha256, [("torchvision's server", fetch)])


def weights_of_config(weights: FetchedWeights) -> PublishedWeights:
    """The weights that an entry of the config's `weights` describes."""
    sources = [public_source(source) for source in weights.sources]
    return PublishedWeights(
        weights.model, weights.file.name, str(weights.file.sha256), sources, weights.in_order
    )


def stage_weights(
    published: PublishedWeights, output: Path, source_dir: Path | None = None, timeout_s: float = 120
) -> None:
    """Write the weights to `output` (.safetensors), verified and atomically.

    The file is taken from `source_dir`/weights/ if it is there, else from the first source that has it.

    Raises AblationsError, and writes no `output`, if no source provides a verified file, or if its tensors
    are not those that `in_order` says.
    """
    sources = list(published.sources)
    if source_dir is not None:
        sources.insert(0, (f"directory {source_dir}", from_directory([source_dir / "weights"])))
    output.parent.mkdir(parents=True, exist_ok=True)
    problems = []
    with FileLock(output.parent / f".{output.name}.lock"):
        for label, fetch in sources:
            with tempfile.TemporaryDirectory(prefix="staging-") as folder:
                try:
                    file = fetch(published.name, Path(folder), time.monotonic() + timeout_s)
                    copy = Path(folder, f"verified{Path(published.name).suffix}")
                    verified_copy(file, copy, published.sha256)
                except SourceError as error:
                    problems.append(f"  {label}: {error}")
                    continue
                _store(copy, published, output)
                log.info("staged %s from %s as %s", published.name, label, output)
                return
    where = source_dir or Path("FOLDER")
    raise AblationsError(
        f"no source has {published.name}:\n" + "\n".join(problems) + f"\nput the file into "
        f"{where}/weights/ and set source_dir: {where} in the config"
    )


def _store(file: Path, published: PublishedWeights, output: Path) -> None:
    from safetensors.torch import save_file

    tensors = read_weights(file)
    if published.in_order:
        tensors = _in_order(tensors, published)
    # A tensor can repeat one number as often as its shape says.
    if (size := sum(each.numel() * each.element_size() for each in tensors.values())) > LARGEST_WEIGHTS:
        raise AblationsError(f"{published.name} holds tensors of {size:,} bytes; at most {LARGEST_WEIGHTS:,}")
    tensors = {name: tensor.contiguous().clone() for name, tensor in tensors.items()}
    with atomic_path(output) as temporary:
        save_file(tensors, temporary)


def _in_order(tensors: Mapping[str, torch.Tensor], published: PublishedWeights) -> dict[str, torch.Tensor]:
    """The tensors under the names that those of the model's parts have, one after the other.

    Raises AblationsError where their number, what a name ends in, or a shape differs.
    """
    from torchvision.models import get_model

    every = get_model(published.model, weights=None).state_dict()
    parts = list(dict.fromkeys(name.partition(".")[0] for name in every))
    for part in published.in_order:
        if not any(name.startswith(f"{part}.") for name in every):
            raise AblationsError(
                f"in_order: {published.model} has no part '{part}'{nearest(part, parts)} "
                f"(there are {', '.join(parts)})"
            )
    own = {n: t for part in published.in_order for n, t in every.items() if n.startswith(f"{part}.")}
    advice = "change `model` or `in_order` to those of the file"
    if len(tensors) != len(own):
        raise AblationsError(
            f"{published.name} has {len(tensors)} tensors, expected {len(own)}: those of "
            f"{', '.join(published.in_order)} in {published.model}; {advice}"
        )
    for i, ((found, theirs), (name, ours)) in enumerate(zip(tensors.items(), own.items(), strict=True), 1):
        if found.rpartition(".")[2] != name.rpartition(".")[2] or theirs.shape != ours.shape:
            raise AblationsError(
                f"tensor {i} of {published.name} is {found} with the shape {tuple(theirs.shape)}, expected "
                f"{name} of {published.model} with the shape {tuple(ours.shape)}; {advice}"
            )
    return dict(zip(own, tensors.values(), strict=True))


def read_weights(path: Path) -> Mapping[str, torch.Tensor]:
    """The tensors of a weights file (.safetensors, .pt or .pth), by their names.

    Nothing but tensors is unpickled. What training scripts put around them is seen through: a mapping such as
    `{"model": …}`, and a prefix of all names. Raises AblationsError if the file contains anything else.
    """
    try:
        # Its readers would wait for the writer of a pipe.
        open_regular(path).close()
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        # Not torch's own sentence, which advises to unset what keeps code in the file from being executed.
        raise AblationsError(
            f"{path} cannot be read as weights: it is damaged, or contains a whole model or other objects, "
            "which could execute code; save `model.state_dict()` instead"
        ) from None
    except Exception as error:  # the readers raise many types; all mean that the file is unusable
        raise AblationsError(f"{path} cannot be read as weights ({error})") from None
    if isinstance(state, Mapping):
        state = next((state[key] for key in AROUND if isinstance(state.get(key), Mapping)), state)
    if not isinstance(state, Mapping) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise AblationsError(f"{path} is not a mapping of names to tensors")
    # torchvision's DenseNets were published with names that it has since changed: norm.1 is now norm1.
    old = re.compile(r"(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..*)")
    state = {old.sub(r"\1\2", str(name)): tensor for name, tensor in state.items()}
    while prefix := next((each for each in PREFIXES if state and all(n.startswith(each) for n in state)), ""):
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state
