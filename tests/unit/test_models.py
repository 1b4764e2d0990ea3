"""Models are adapted and counted as in the published study, and weights are loaded safely."""

import re
from pathlib import Path

import pytest
import torch
from ablations.data.weights import read_weights
from ablations.errors import AblationsError
from ablations.kinds.architectures import TORCHVISION_CLASSIFIERS, has_no_dropout, images_it_takes
from ablations.training.model_cost import model_cost
from ablations.training.models import build_model, check_batches
from ablations.training.pretrained import load_pretrained
from safetensors.torch import save_file
from torch import nn

SHAPE = (1, 28, 28)


@pytest.mark.parametrize(
    ("name", "gmacs", "params_m"),
    [("resnet18", "0.0332", "11.18"), ("resnet34", "0.0699", "21.28"), ("resnet50", "0.0788", "23.52")],
)
def test_the_published_counts_come_out(name, gmacs, params_m):
    counts = model_cost(build_model(name, SHAPE, 10), SHAPE)
    assert (f"{counts.macs / 1e9:.4f}", f"{counts.params / 1e6:.2f}") == (gmacs, params_m)
    assert abs(counts.flops / (2 * counts.macs) - 1) < 0.05, "two operations for each multiply-accumulate"


def test_profiling_leaves_the_model_as_it_was():
    model = build_model("resnet18", SHAPE, 10)
    before = list(model.state_dict())
    model_cost(model, SHAPE)
    assert list(model.state_dict()) == before


def test_the_first_layer_of_a_grey_resnet_is_the_published_one():
    first = build_model("resnet18", SHAPE, 10).conv1
    assert (first.in_channels, first.out_channels, first.kernel_size) == (1, 64, (7, 7))
    assert (first.stride, first.padding, first.bias) == ((2, 2), (3, 3), None)


@pytest.mark.parametrize("name", TORCHVISION_CLASSIFIERS)
def test_every_classifier_takes_one_channel_and_ten_classes(name, monkeypatch):
    """On the meta device, which computes shapes alone: the largest have 600 M parameters."""
    size = 299 if name == "inception_v3" else 224
    # regnet computes its widths with tensors, which have to be real; its weights need not be drawn.
    for draw in ("normal_", "uniform_"):
        monkeypatch.setattr(torch.Tensor, draw, lambda tensor, *_, **__: tensor)
    with torch.device("cpu" if name.startswith("regnet") else "meta"):
        model = build_model(name, (1, size, size), 10)
    assert model.to("meta").eval()(torch.empty(2, 1, size, size, device="meta")).shape == (2, 10)
    has_dropout = any(isinstance(module, nn.Dropout) for module in model.modules())
    assert has_dropout != has_no_dropout(name), "as planning takes it"


def test_three_channels_keep_torchvisions_first_layer():
    torch.manual_seed(0)
    ours = build_model("resnet18", (3, 32, 32), 10)
    torch.manual_seed(0)
    from torchvision.models import resnet18

    theirs = resnet18(num_classes=10)
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_a_transformer_that_cannot_cut_the_images_is_an_error():
    with pytest.raises(AblationsError, match="vit_b_16 cannot take 1×28×28 images"):
        build_model("vit_b_16", SHAPE, 10)


def test_a_densenet_is_loaded_from_the_names_it_was_published_under(tmp_path):
    model = build_model("densenet121", (3, 32, 32), 10)
    old = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", n): t for n, t in model.state_dict().items()
    }
    assert set(old) != set(model.state_dict())
    torch.save(old, tmp_path / "densenet.pth")
    assert load_pretrained(build_model("densenet121", (3, 32, 32), 10), tmp_path / "densenet.pth") == []


def test_an_unknown_model_is_named_with_the_nearest():
    with pytest.raises(AblationsError, match="no model 'resnet81'; did you mean 'resnet18'"):
        build_model("resnet81", SHAPE, 10)


def test_a_model_for_larger_images_is_refused_before_training():
    with pytest.raises(AblationsError, match="AlexNet cannot take 1×28×28 images"):
        check_batches(build_model("alexnet", SHAPE, 10), SHAPE, 100, 10)


def test_a_last_batch_of_one_is_refused_before_training():
    model = build_model("resnet18", SHAPE, 10)
    with pytest.raises(AblationsError, match="101 training images in batches of 10 leave a batch of one"):
        check_batches(model, SHAPE, 101, 10)
    check_batches(model, SHAPE, 102, 10)


# --- pretrained weights --------------------------------------------------------------------------


@pytest.fixture
def imagenet(tmp_path: Path) -> tuple[nn.Module, Path]:
    """A three-channel resnet18 of 1,000 classes, as torchvision publishes it, and its file."""
    model = build_model("resnet18", (3, 224, 224), 1000)
    torch.save(model.state_dict(), tmp_path / "resnet18.pth")
    return model, tmp_path / "resnet18.pth"


def test_the_body_is_loaded_and_the_head_starts_fresh(imagenet):
    source, file = imagenet
    model = build_model("resnet18", SHAPE, 10)
    head = model.fc.weight.clone()
    assert load_pretrained(model, file) == ["fc.weight", "fc.bias"]
    assert torch.equal(model.layer4[1].conv2.weight, source.layer4[1].conv2.weight)
    assert torch.equal(model.fc.weight, head)


def test_a_grey_first_layer_responds_to_grey_as_the_three_channels_did(imagenet):
    source, file = imagenet
    model = build_model("resnet18", SHAPE, 10)
    load_pretrained(model, file)
    grey = torch.rand(2, 1, 28, 28)
    torch.testing.assert_close(model.conv1(grey), source.conv1(grey.expand(2, 3, 28, 28)))


def test_weights_of_the_same_shape_are_all_loaded(tmp_path):
    torch.manual_seed(1)
    source = build_model("resnet18", SHAPE, 10)
    save_file(source.state_dict(), tmp_path / "own.safetensors")
    model = build_model("resnet18", SHAPE, 10)
    assert load_pretrained(model, tmp_path / "own.safetensors") == []
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), source.parameters(), strict=True))


def test_weights_of_another_architecture_are_refused(imagenet):
    with pytest.raises(AblationsError, match="is not of ResNet"):
        load_pretrained(build_model("resnet50", SHAPE, 10), imagenet[1])
    with pytest.raises(AblationsError, match="is not of ResNet: it has no layer1.2.conv1.weight"):
        load_pretrained(build_model("resnet34", SHAPE, 10), imagenet[1])


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("evil-was-here"),))


@pytest.mark.parametrize("payload", [Evil(), {"a": 1}, [1, 2]])
def test_a_file_of_anything_but_tensors_is_refused(payload, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(payload, tmp_path / "evil.pth")
    with pytest.raises(AblationsError, match=r"evil.pth (cannot be read as weights|is not a mapping)"):
        load_pretrained(build_model("resnet18", SHAPE, 10), tmp_path / "evil.pth")
    assert not Path("evil-was-here").exists()


@pytest.mark.parametrize(
    "around",
    [
        lambda state: {"model": state, "optimizer": {"lr": 0.1}, "epoch": 3},
        lambda state: {"state_dict": state},
        lambda state: {"model_state_dict": state, "model": 3},
        lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
        lambda state: {"net": {f"module._orig_mod.{name}": tensor for name, tensor in state.items()}},
        lambda state: {"state_dict": {f"model.{name}": tensor for name, tensor in state.items()}},
    ],
)
def test_what_training_scripts_put_around_weights_is_seen_through(around, imagenet, tmp_path):
    state = imagenet[0].state_dict()
    torch.save(around(state), tmp_path / "own.pt")
    assert read_weights(tmp_path / "own.pt").keys() == state.keys()


def test_a_whole_model_is_refused_without_advice_to_execute_it(imagenet, tmp_path):
    torch.save(imagenet[0], tmp_path / "whole.pt")
    with pytest.raises(AblationsError) as error:
        read_weights(tmp_path / "whole.pt")
    assert "contains a whole model" in str(error.value)
    assert "save `model.state_dict()` instead" in str(error.value)
    assert "weights_only" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "height", "width"),
    [
        ("vit_b_16", 32, 32),
        ("vit_b_16", 28, 28),
        ("vit_b_16", 32, 48),
        ("vit_h_14", 28, 28),
        ("vit_b_32", 48, 48),
        ("maxvit_t", 224, 224),
        ("maxvit_t", 112, 112),
        ("maxvit_t", 224, 448),
    ],
)
def test_planning_knows_which_images_a_transformer_takes(name, height, width):
    shape = (3, height, width)
    try:
        with torch.device("meta"):
            build_model(name, shape, 10)(torch.zeros(2, *shape))
    except (AblationsError, AssertionError, RuntimeError):
        is_fit = False
    else:
        is_fit = True
    assert (images_it_takes(name, height, width) is None) == is_fit
