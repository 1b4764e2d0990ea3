"""Torchvision's classifiers, adapted to a dataset's channels and classes, and what they cost."""

import copy
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ablations.errors import AblationsError, nearest
from ablations.kinds.architectures import TORCHVISION_CLASSIFIERS
from ablations.training import light_imports
from ablations.training.probes import Probe


def build_model(name: str, image_shape: tuple[int, int, int], classes: int) -> nn.Module:
    """torchvision's `name` with fresh weights for images (channels, height, width) and `classes`.

    The first convolution is replaced by one with the dataset's channels where that is not three;
    all else, the strides and pooling included, is torchvision's. The weights are drawn from torch's
    global generator.

    Raises AblationsError for a name that torchvision does not have, or a fixed input size that the
    images do not have.
    """
    if name not in TORCHVISION_CLASSIFIERS:
        raise AblationsError(f"torchvision has no model '{name}'{nearest(name, TORCHVISION_CLASSIFIERS)}")
    channels, height, width = image_shape
    options: dict[str, object] = {"weights": None, "num_classes": classes}
    if name in ("googlenet", "inception_v3"):
        # The auxiliary heads would change the loss that is trained, and need larger images.
        options |= {"aux_logits": False, "init_weights": True}
    if name.startswith("vit_"):
        options["image_size"] = height
    if name == "maxvit_t":
        options["input_size"] = (height, width)
    try:
        model = light_imports.builder(name)(**options)
    except (ValueError, AssertionError, RuntimeError) as error:
        raise AblationsError(_unfit(name, image_shape, error)) from None
    if channels != 3:
        _replace_first_convolution(model, channels)
    return model


def _replace_first_convolution(model: nn.Module, channels: int) -> None:
    path, first = next((p, m) for p, m in model.named_modules() if isinstance(m, nn.Conv2d))
    parent = model.get_submodule(path.rpartition(".")[0])
    fresh = nn.Conv2d(
        channels,
        first.out_channels,
        kernel_size=first.kernel_size,
        stride=first.stride,
        padding=first.padding,
        dilation=first.dilation,
        bias=first.bias is not None,
        padding_mode=first.padding_mode,
    )
    setattr(parent, path.rpartition(".")[2], fresh)


def check_batches(model: nn.Module, image_shape: tuple[int, int, int], samples: int, batch_size: int) -> None:
    """Raise AblationsError if training would fail on its way: on the images, or on the last batch.

    Batch normalisation of one image with a 1×1 map has nothing to take a variance of; that a last
    batch holds a single image would otherwise show only at the end of the first epoch.
    """
    probe = Probe(model, image_shape)
    probe.model.train()
    # How many images a batch holds matters where it is one.
    sizes = {min(2, size) for size in (batch_size, samples, samples % batch_size or 2)}
    for size in sorted(sizes, reverse=True):
        try:
            probe.look(size)
        except (ValueError, RuntimeError, AssertionError) as error:
            name = type(model).__name__
            if size == 1:
                raise AblationsError(
                    f"{samples} training images in batches of {batch_size} leave a batch of one, "
                    f"which {name} cannot normalise ({error}); change batch_size or train_samples"
                ) from None
            raise AblationsError(_unfit(name, image_shape, error)) from None


def _unfit(name: str, image_shape: tuple[int, int, int], error: Exception) -> str:
    shape = "×".join(map(str, image_shape))
    reason = str(error).splitlines()[0] if str(error) else "no reason was given"
    return f"{name} cannot take {shape} images ({reason}); choose another model or image_shape"


# --- pretrained weights --------------------------------------------------------------------------


def load_pretrained(model: nn.Module, weights: Path) -> list[str]:
    """Load what fits of a weights file (.safetensors, or .pt/.pth with tensors only) into `model`.

    The classifier starts fresh where its shape differs, and a first layer for one channel takes
    the sum over three channels, which gives grey images the response that the three-channel layer
    has. Returns the names of the parameters that were not loaded.

    Raises AblationsError if the file cannot be read, or is not of this architecture.
    """
    state = read_weights(weights)
    own = model.state_dict()
    missing = [name for name in own if name not in state]
    head = _head(model)
    if strange := [n for n in missing if not n.startswith(head) and not n.endswith("batches_tracked")]:
        raise AblationsError(
            f"{weights} is not of {type(model).__name__}: it has no {strange[0]}"
            + (f" and {len(strange) - 1} more" if len(strange) > 1 else "")
        )
    first = next(f"{p}.weight" for p, m in model.named_modules() if isinstance(m, nn.Conv2d))
    left_out = []
    for name, tensor in own.items():
        found = state.get(name)
        if found is None:
            left_out.append(name)
        elif found.shape == tensor.shape:
            own[name] = found
        elif (
            name == first
            and found.shape[1] == 3
            and tensor.shape[1] == 1
            and (found.shape[0] == tensor.shape[0] and found.shape[2:] == tensor.shape[2:])
        ):
            own[name] = found.sum(dim=1, keepdim=True)
        elif name == first or name.startswith(head):
            left_out.append(name)
        else:
            raise AblationsError(
                f"{weights} is not of {type(model).__name__}: its {name} has the shape "
                f"{tuple(found.shape)}, expected {tuple(tensor.shape)}"
            )
    model.load_state_dict(own)
    return left_out


def _head(model: nn.Module) -> str:
    """The name of the last linear or convolution layer, which torchvision's classifiers end in."""
    layers = [p for p, m in model.named_modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
    return layers[-1] + "."


def read_weights(path: Path) -> Mapping[str, torch.Tensor]:
    """The tensors of a weights file. Nothing but tensors is ever unpickled."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the readers raise many kinds; all mean that the file is no good
        raise AblationsError(f"{path} cannot be read as weights ({error})") from None
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise AblationsError(f"{path} holds no mapping of names to tensors")
    # torchvision's DenseNets were published under names that are no longer theirs: norm.1 is norm1.
    old = re.compile(r"(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..*)")
    return {old.sub(r"\1\2", name): tensor for name, tensor in state.items()}


# --- profile -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Profile:
    """What one forward pass of one image costs.

    `macs` are thop's multiply-accumulates, `flops` torch's count of floating-point operations, two
    for each multiply-accumulate, and `params` the parameters.
    """

    macs: int
    flops: int
    params: int


def profile(model: nn.Module, image_shape: tuple[int, int, int]) -> Profile:
    """Count on a copy of `model`: thop leaves buffers in what it counts.

    Raises AblationsError if the model cannot take the images.
    """
    with warnings.catch_warnings():
        # thop compares versions with the deprecated distutils.
        warnings.simplefilter("ignore")
        import thop
    # It imports torch's compiler, which no run needs.
    from torch.utils.flop_counter import FlopCounterMode

    image = torch.zeros(1, *image_shape)
    model = model.eval()
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(image)
        macs, _ = thop.profile(copy.deepcopy(model), inputs=(image,), verbose=False)
    except (ValueError, RuntimeError, AssertionError) as error:
        raise AblationsError(_unfit(type(model).__name__, image_shape, error)) from None
    return Profile(
        macs=int(macs),
        flops=int(counter.get_total_flops()),
        params=sum(parameter.numel() for parameter in model.parameters()),
    )
