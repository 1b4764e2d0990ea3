"""Pretrained weights, loaded into a model that may have other channels and classes."""

from pathlib import Path

from torch import nn

from ablations.data.weights import read_weights
from ablations.errors import AblationsError


def load_pretrained(model: nn.Module, weights: Path) -> list[str]:
    """Load the weights of a file (.safetensors, or .pt/.pth with tensors only) that fit into `model`.

    The classifier keeps its fresh weights if its shape differs. A first layer for one channel takes the
    sum over three channels, so that it responds to grey images as the three-channel layer does. Returns
    the names of the parameters that were not loaded.

    Raises AblationsError if the file cannot be read, or is of another architecture.
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
    """The name of the last linear or convolution layer: torchvision's classifiers end with it."""
    layers = [p for p, m in model.named_modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
    return layers[-1] + "."
