"""The user's own models, and torchvision's classifiers, adapted to the channels and classes of a dataset."""

from typing import Any

from torch import nn

from ablations.errors import AblationsError, nearest
from ablations.kinds.architectures import TORCHVISION_CLASSIFIERS
from ablations.training.own_models import build_own_model
from ablations.training.probes import Probe


def build_model(
    name: str, image_shape: tuple[int, int, int], classes: int, code: str | None = None
) -> nn.Module:
    """torchvision's `name` with fresh weights for images (channels, height, width) and `classes`.

    With `code`, it is the user's own, as `own_models` builds it.

    If the images do not have three channels, the first convolution is replaced by one that takes them.
    Everything else, including strides and pooling, is torchvision's. The weights are drawn from torch's
    global generator.

    Raises AblationsError if torchvision has no such model, or if the model needs images of another size.
    """
    if code is not None:
        return build_own_model(code, image_shape, classes)
    if name not in TORCHVISION_CLASSIFIERS:
        raise AblationsError(f"torchvision has no model '{name}'{nearest(name, TORCHVISION_CLASSIFIERS)}")
    # Imported here, after a run has put the stub of `light_imports` in place.
    from torchvision.models import get_model

    channels, height, width = image_shape
    options: dict[str, object] = {"weights": None, "num_classes": classes}
    if name in ("googlenet", "inception_v3"):
        # The auxiliary heads would change the training loss, and need larger images.
        options |= {"aux_logits": False, "init_weights": True}
    if name.startswith("vit_"):
        options["image_size"] = height
    if name == "maxvit_t":
        options["input_size"] = (height, width)
    try:
        model = get_model(name, **options)
    except (ValueError, AssertionError, RuntimeError) as error:
        raise unfit_images(name, image_shape, error) from None
    if channels != 3:
        _replace_first_convolution(model, channels)
    return model


def _replace_first_convolution(model: nn.Module, channels: int) -> None:
    path, first = next((p, m) for p, m in model.named_modules() if isinstance(m, nn.Conv2d))
    parent = model.get_submodule(path.rpartition(".")[0])
    kept = ("kernel_size", "stride", "padding", "dilation", "padding_mode")
    options: dict[str, Any] = {name: getattr(first, name) for name in kept}
    fresh = nn.Conv2d(channels, first.out_channels, bias=first.bias is not None, **options)
    setattr(parent, path.rpartition(".")[2], fresh)


def set_dropout(model: nn.Module, probability: float) -> None:
    """Let every dropout layer of `model` drop with this probability. Raises AblationsError if it has none."""
    kinds = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
    layers = [module for module in model.modules() if isinstance(module, kinds)]
    if not layers:
        raise AblationsError(
            f"dropout is {probability}, and {type(model).__name__} has no layer such as torch.nn.Dropout; "
            "leave dropout out, or add such a layer"
        )
    for layer in layers:
        layer.p = probability


def check_batches(model: nn.Module, image_shape: tuple[int, int, int], samples: int, batch_size: int) -> None:
    """Raise AblationsError if training would fail, on images of this shape or on the last batch.

    Batch normalisation fails on a single image with a 1×1 map, because one value has no variance. If the
    last batch has a single image, a run would otherwise fail only at the end of its first epoch.
    """
    probe = Probe(model, image_shape)
    probe.model.train()
    # The size of a batch matters only if it is one.
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
            raise unfit_images(name, image_shape, error) from None


def unfit_images(name: str, image_shape: tuple[int, int, int], error: Exception) -> AblationsError:
    """The error for a model that cannot take images of this shape, with the first line of `error`."""
    shape = "×".join(map(str, image_shape))
    reason = str(error).splitlines()[0] if str(error) else "no reason was given"
    return AblationsError(
        f"{name} cannot take {shape} images ({reason}); choose another model or image_shape"
    )
