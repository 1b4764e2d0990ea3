"""Adaptive average pooling, with the values and gradients of torch's, and sums in a fixed order."""

import pytest
import torch
from ablations.training.exact_pooling import ExactAdaptiveAvgPool2d, pool_exactly
from torch import nn
from torchvision.models import get_model


@pytest.mark.parametrize("to", [2, 6, 7])
@pytest.mark.parametrize("of", [1, 2, 3, 6, 7, 10, 14])
def test_it_pools_as_torch_does(of, to):
    maps = torch.randn(3, 4, of, of + 1, generator=torch.Generator().manual_seed(of))
    own, plain = maps.clone().requires_grad_(), maps.clone().requires_grad_()
    pooled, expected = ExactAdaptiveAvgPool2d((to, to))(own), nn.AdaptiveAvgPool2d(to)(plain)
    torch.testing.assert_close(pooled, expected)
    gradient = torch.randn_like(expected)
    pooled.backward(gradient)
    expected.backward(gradient)
    torch.testing.assert_close(own.grad, plain.grad)


@pytest.mark.parametrize(("name", "replaced"), [("vgg11", 1), ("alexnet", 1), ("resnet18", 0)])
def test_the_pooling_of_torchvisions_models_is_replaced_where_it_is_not_exact(name, replaced):
    with torch.device("meta"):
        model = get_model(name)
    names = list(model.state_dict())
    pool_exactly(model)
    assert sum(isinstance(module, ExactAdaptiveAvgPool2d) for module in model.modules()) == replaced
    assert list(model.state_dict()) == names
