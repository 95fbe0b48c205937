"""A torch network as layers and numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from hybridmodel.bridges.network import KNOWN, Activation, Affine, Scale, lower, pack_weights
from residuals import MLP, Gated, Limit, Rescale, Standardize


def apply(layers, x: torch.Tensor) -> torch.Tensor:
    """The layers by their documented equations."""
    activations = {
        "tanh": lambda x, _: torch.tanh(x),
        "relu": lambda x, _: x.clamp(min=0),
        "leaky_relu": lambda x, a: torch.where(x > 0, x, a * x),
    }
    for layer in layers:
        match layer:
            case Affine(weight, bias):
                x = x @ weight.T + (0 if bias is None else bias)
            case Scale(scale, shift):
                x = scale * x + (0 if shift is None else shift)
            case Activation(name, argument):
                x = activations[name](x, argument)
    return x


def test_layers_do_what_the_module_does() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Linear(3, 4), nn.LeakyReLU(0.3), nn.Identity(), nn.Sequential(nn.ReLU(), nn.Tanh()),
        nn.Linear(4, 2, bias=False), Limit([1.0, 2.0]),
    ).double()  # fmt: skip
    x = torch.randn(7, 3).double()
    assert torch.allclose(apply(lower(network), x), network(x), rtol=1e-14)


def test_residuals_are_lowered_with_their_scales() -> None:
    residual = MLP((5,), limit=2.0).sized(3, 2)
    gated = Gated(nn.Sequential(nn.Linear(3, 2), nn.Tanh()), nz=3, nr=2)
    generator = torch.Generator().manual_seed(0)
    for module in (residual, gated):
        for weight in module.parameters():
            weight.data.copy_(torch.randn(weight.shape, generator=generator))
        ones = torch.ones(3).double()
        module.standardize(0.3 * ones, 2 * ones, 3 * ones[:2])
        x = torch.randn(7, 3, generator=generator).double()
        assert torch.allclose(apply(lower(module), x), module(x), rtol=1e-13)


def test_layers_share_the_modules_tensors() -> None:
    linear = nn.Linear(2, 3)
    (layer,) = lower(linear)
    assert isinstance(layer, Affine)
    assert layer.weight is linear.weight
    assert layer.bias is linear.bias


def test_weights_are_packed_in_order_as_float64() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1, bias=False))
    packed = pack_weights(network)
    parts = [network[0].weight, network[0].bias, network[2].weight]
    assert packed.dtype == np.float64
    assert np.array_equal(packed, np.concatenate([p.detach().numpy().ravel() for p in parts]))
    assert pack_weights(nn.Sequential()).shape == (0,)


def test_an_unknown_module_is_refused_with_the_known_ones() -> None:
    class Surprise(nn.Tanh):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    for module in (nn.Conv1d(1, 1, 1), nn.Sequential(nn.Dropout()), Surprise()):
        with pytest.raises(ValueError, match=r"has no CasADi form; known are ELU, GELU, .*, Tanh"):
            lower(module)
    assert {"Linear", "MLP", "Gated", Rescale.__name__, Standardize.__name__} <= set(KNOWN)


def test_softplus_with_another_slope_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Softplus\(beta=2.* has no layer form; beta must be 1"):
        lower(nn.Softplus(beta=2))
