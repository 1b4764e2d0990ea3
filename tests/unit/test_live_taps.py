"""Convolutions without dead taps: the same network, for every family of architectures and map size.

In double precision, where the two differ by rounding alone.
"""

import copy

import pytest
import torch
from ablations.training.live_taps import LiveConv2d, give_zero_gradients, trim
from ablations.training.models import build_model
from torch import nn
from torch.nn import functional as F
from torchvision.models import ConvNeXt, EfficientNet, ResNet, SwinTransformer

# The smallest of each family, and the smallest images that it takes of those that people use.
FAMILIES = [
    ("alexnet", 64),
    ("convnext_tiny", 32),
    ("densenet121", 32),
    ("efficientnet_b0", 28),
    ("efficientnet_v2_s", 28),
    ("googlenet", 28),
    ("inception_v3", 75),
    ("maxvit_t", 224),
    ("mnasnet0_5", 28),
    ("mobilenet_v2", 28),
    ("mobilenet_v3_small", 28),
    ("regnet_y_400mf", 28),
    ("resnet18", 8),
    ("resnet18", 28),
    ("resnet18", 32),
    ("resnet18", 64),
    ("resnet50", 28),
    ("resnext50_32x4d", 28),
    ("shufflenet_v2_x0_5", 28),
    ("squeezenet1_1", 28),
    ("swin_t", 32),
    ("vgg11", 32),
    ("vgg11_bn", 32),
    ("vit_b_32", 32),
    ("wide_resnet50_2", 8),
]


def steps(
    model: nn.Module, size: int, decay: bool, optimizer: str, count: int, batch: int = 4
) -> list[float]:
    """Train a few steps on random images; the losses."""
    torch.manual_seed(1)
    wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
    options = {"lr": 1e-3, "weight_decay": 0.1 if decay else 0.0}
    if optimizer == "sgd":
        stepper = torch.optim.SGD(wanted, momentum=0.9, **options)
    else:
        stepper = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[optimizer](wanted, **options)
    losses = []
    for _ in range(count):
        images = torch.randn(batch, 1, size, size, dtype=torch.float64)
        stepper.zero_grad()
        give_zero_gradients(model)
        loss = F.cross_entropy(model(images), torch.arange(batch))
        loss.backward()
        stepper.step()
        losses.append(loss.item())
    return losses


def still(model: nn.Module) -> nn.Module:
    """Without what draws random numbers, and with batch statistics that rounding cannot blow up.

    And without what takes most of the time and shows nothing more: the wide linear layers of AlexNet and VGG,
    all but the first of equal layers in MaxViT and in a vision transformer, and all but the first two blocks
    of each stage of a ResNet, a ConvNeXt, an EfficientNet and a Swin transformer, of which the first may
    have a stride.
    """
    if isinstance(model, ResNet):
        for stage in ("layer1", "layer2", "layer3", "layer4"):
            setattr(model, stage, getattr(model, stage)[:2])
    if isinstance(model, ConvNeXt | EfficientNet | SwinTransformer):
        for at, stage in enumerate(model.features):
            if type(stage) is nn.Sequential and len({type(block) for block in stage}) == 1:
                model.features[at] = stage[:2]
    for block in getattr(model, "blocks", ()):
        block.layers = block.layers[:1]
    if encoder := getattr(model, "encoder", None):
        encoder.layers = encoder.layers[:1]
    wide = [m for m in model.modules() if isinstance(m, nn.Linear) and m.out_features == 4096]
    if wide:
        model.classifier = nn.Linear(wide[0].in_features, 10)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if type(module).__name__ == "StochasticDepth":
            module.p = 0.0
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1.0
    return model.double().train()


def assert_equal_states(plain: nn.Module, trimmed: nn.Module) -> None:
    expected, found = plain.state_dict(), trimmed.state_dict()
    assert list(expected) == list(found)
    for name, tensor in expected.items():
        # Most are equal to the bit, and that is seen sooner.
        if not torch.equal(found[name], tensor):
            torch.testing.assert_close(
                found[name], tensor, rtol=1e-6, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}"
            )


@pytest.mark.parametrize(("name", "size"), FAMILIES)
def test_a_trimmed_network_trains_as_the_plain_one(name, size):
    torch.manual_seed(0)
    # Of large images, one has values enough to normalise a batch.
    batch = 1 if size > 100 else 2
    plain = still(build_model(name, (1, size, size), 10))
    trimmed = trim(copy.deepcopy(plain), (1, size, size), decay=True)
    assert_equal_states(plain, trimmed)
    if any(isinstance(module, LiveConv2d) for module in trimmed.modules()):
        losses = steps(plain, size, True, "sgd", 2, batch)
        assert steps(trimmed, size, True, "sgd", 2, batch) == pytest.approx(losses, rel=1e-9)
        assert_equal_states(plain, trimmed)
    else:
        assert repr(trimmed) == repr(plain), "it is left alone"
    images = torch.randn(batch, 1, size, size, dtype=torch.float64)
    torch.testing.assert_close(trimmed.eval()(images), plain.eval()(images), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("decay", [False, True])
def test_dead_taps_become_what_they_would_have_become(optimizer, decay):
    torch.manual_seed(0)
    plain = still(build_model("resnet18", (1, 28, 28), 10))
    trimmed = trim(copy.deepcopy(plain), (1, 28, 28), decay)
    assert steps(trimmed, 28, decay, optimizer, 3) == pytest.approx(
        steps(plain, 28, decay, optimizer, 3), rel=1e-9
    )
    assert_equal_states(plain, trimmed)


def test_what_is_trimmed_of_resnet18_on_28_by_28():
    model = trim(build_model("resnet18", (1, 28, 28), 10), (1, 28, 28))
    kernels = {
        path: ((m.rows.out, m.rows.count), m.way)
        for path, m in model.named_modules()
        if isinstance(m, LiveConv2d)
    }
    # 1×1 maps keep one tap of nine, 2×2 maps are products of all nine, and so are the steps from 4×4 to 2×2.
    assert kernels["layer4.1.conv1"] == ((1, 1), "of all")
    assert kernels["layer4.0.conv1"] == ((1, 2), "of all")
    assert kernels["layer3.1.conv2"] == ((2, 3), "by tap")
    assert kernels["layer3.0.conv1"] == ((2, 3), "by tap")
    assert kernels["layer2.0.downsample.0"] == ((4, 1), "of places")
    assert not any(path.startswith(("conv1", "layer1", "layer2.0.conv", "layer2.1")) for path in kernels)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trained < 0.4 * sum(p.numel() for p in build_model("resnet18", (1, 28, 28), 10).parameters())


def test_a_state_of_the_plain_model_is_loaded_and_given_back():
    torch.manual_seed(0)
    plain = build_model("resnet18", (1, 28, 28), 10)
    other = trim(build_model("resnet18", (1, 28, 28), 10), (1, 28, 28))
    other.load_state_dict(plain.state_dict())
    given = other.state_dict()
    for name, tensor in plain.state_dict().items():
        assert torch.equal(given[name], tensor), name


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7])
@pytest.mark.parametrize("options", [
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": 3, "padding": 1, "stride": 2},
    {"kernel_size": 3, "padding": 2, "dilation": 2},
    {"kernel_size": 5, "padding": 2, "groups": 2},
    {"kernel_size": 7, "padding": 3, "stride": 2, "bias": True},
    {"kernel_size": (1, 7), "padding": (0, 3)},
    {"kernel_size": 1, "stride": 2},
    {"kernel_size": 1, "stride": 2, "padding": 1},
    {"kernel_size": 1, "stride": 3, "padding": 1},
    {"kernel_size": 2, "stride": 4, "padding": 2},
    {"kernel_size": 3, "stride": 4, "padding": 3},
    {"kernel_size": (1, 2), "stride": 2, "padding": (0, 2)},
    {"kernel_size": 3, "padding": 2, "stride": 2},
    {"kernel_size": 3, "padding": "same"},
])  # fmt: skip
def test_any_convolution_on_any_small_map(size, options):
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(4, 6, **{"bias": False} | options)).double()
    trimmed = trim(copy.deepcopy(plain), (4, size, size))
    one = torch.randn(3, 4, size, size, dtype=torch.float64, requires_grad=True)
    two = one.detach().clone().requires_grad_()
    expected, found = plain(one), trimmed(two)
    torch.testing.assert_close(found, expected)
    weights = torch.randn_like(expected)
    (expected * weights).sum().backward()
    (found * weights).sum().backward()
    torch.testing.assert_close(two.grad, one.grad)
    # A gradient of the plain model, seen through the trimmed one: dead taps have none.
    if isinstance(trimmed[0], LiveConv2d):
        live, dead = trimmed[0]._split(plain[0].weight.grad)
        torch.testing.assert_close(trimmed[0].weight.grad, live)
        assert dead.abs().max() == 0 if dead.numel() else True
    else:
        torch.testing.assert_close(trimmed[0].weight.grad, plain[0].weight.grad)


def test_products_hand_on_the_memory_format_that_the_next_product_reads():
    model = trim(build_model("resnet18", (1, 28, 28), 10), (1, 28, 28))
    seen = []
    for path in ("layer3.0.bn2", "layer3.1.relu", "layer2.0.downsample"):
        model.get_submodule(path).register_forward_hook(lambda module, given, y: seen.append(y))
    model(torch.randn(3, 1, 28, 28))
    assert all(y.is_contiguous(memory_format=torch.channels_last) for y in seen)


@pytest.mark.parametrize("conv", [
    {"kernel_size": 3, "padding": 1}, {"kernel_size": 1}, {"kernel_size": 3, "padding": 1, "stride": 2},
], ids=str)  # fmt: skip
def test_a_network_of_ones_own_may_take_another_view_of_a_map(conv):
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 8, **conv)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(F.avg_pool2d(x, 14)).relu().view(len(x), -1)

    plain, x = Own(), torch.randn(2, 1, 28, 28)
    trimmed = trim(copy.deepcopy(plain), (1, 28, 28))
    assert isinstance(trimmed.conv, LiveConv2d)
    torch.testing.assert_close(trimmed(x), plain(x))


def test_a_convolution_that_a_network_calls_by_another_name_is_left_alone():
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(1, 8, 1), nn.Conv2d(8, 8, 1)
            self.path = [self.second]

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.path[0](self.first(x)).mean((2, 3))

    model = trim(Own(), (1, 4, 4))
    assert isinstance(model.first, LiveConv2d)
    model(torch.randn(2, 1, 4, 4)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters() if parameter.requires_grad)


def test_a_convolution_that_sees_two_map_sizes_is_left_alone():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(F.max_pool2d(self.conv(x), 2))

    assert type(trim(Twice(), (1, 2, 2)).conv) is nn.Conv2d


def test_autocast_computes_the_same_products():
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1))
    trimmed = trim(copy.deepcopy(plain), (8, 2, 2))
    x = torch.randn(4, 8, 2, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(trimmed(x), plain(x))
