"""A torch network as a short list of layers: the form that every other path reads.

    Affine      y = W x + b
    Scale       y = s ∘ x + c
    Activation  y = σ(x)

One table maps module classes to layers; a new module joins by one line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

import residuals


@dataclass(frozen=True)
class Affine:
    """y = W x + b: weight (m, n), bias (m,) or None."""

    weight: Tensor
    bias: Tensor | None

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return (self.weight,) if self.bias is None else (self.weight, self.bias)


@dataclass(frozen=True)
class Scale:
    """y = s ∘ x + c: scale (n,), shift (n,) or None."""

    scale: Tensor
    shift: Tensor | None = None

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return (self.scale,) if self.shift is None else (self.scale, self.shift)


@dataclass(frozen=True)
class Activation:
    """y = σ(x) elementwise, by name; `argument` is its one number where it has one."""

    name: str
    argument: float = 0.0
    tensors: tuple[Tensor, ...] = ()


Layer = Affine | Scale | Activation


def _softplus(m: nn.Softplus) -> tuple[Layer, ...]:
    if m.beta != 1:
        raise ValueError(f"Softplus(beta={m.beta}) has no layer form; beta must be 1")
    return (Activation("softplus", m.threshold),)


def _gelu(m: nn.GELU) -> tuple[Layer, ...]:
    return (Activation("gelu" if m.approximate == "none" else "gelu_tanh"),)


def _limit(m: residuals.Limit) -> tuple[Layer, ...]:
    return (Scale(1 / m.limit), Activation("tanh"), Scale(m.limit))


def _gated(m: residuals.Gated) -> tuple[Layer, ...]:
    return (*lower(m.input), *lower(m.module), Scale(m.gate), *lower(m.output))


_LAYERS: dict[type[nn.Module], Callable[[Any], tuple[Layer, ...]]] = {
    nn.Sequential: lambda m: tuple(layer for child in m for layer in lower(child)),
    nn.Linear: lambda m: (Affine(m.weight, m.bias),),
    nn.Identity: lambda m: (),
    nn.Tanh: lambda m: (Activation("tanh"),),
    nn.Sigmoid: lambda m: (Activation("sigmoid"),),
    nn.ReLU: lambda m: (Activation("relu"),),
    nn.LeakyReLU: lambda m: (Activation("leaky_relu", m.negative_slope),),
    nn.ELU: lambda m: (Activation("elu", m.alpha),),
    nn.SiLU: lambda m: (Activation("silu"),),
    nn.GELU: _gelu,
    nn.Softplus: _softplus,
    residuals.Standardize: lambda m: (Scale(1 / m.scale, -m.mean / m.scale),),
    residuals.Rescale: lambda m: (Scale(m.scale),),
    residuals.Limit: _limit,
    residuals.Gated: _gated,
    residuals.MLP: lambda m: lower(m.chain),
}
KNOWN = tuple(sorted(cls.__name__ for cls in _LAYERS))


def lower(module: nn.Module) -> tuple[Layer, ...]:
    """The layers of a module, in order; they share its tensors.

    Raises ValueError for a module class that is not in the table, naming it and the known ones.
    """
    if type(module) not in _LAYERS:
        raise ValueError(
            f"{type(module).__name__} has no CasADi form; known are {', '.join(KNOWN)}"
        )
    return _LAYERS[type(module)](module)


def pack_weights(module: nn.Module) -> np.ndarray:
    """All numbers of a network as one vector (nw,), in the order that `to_casadi` reads them."""
    tensors = [t for layer in lower(module) for t in layer.tensors]
    flat = [t.detach().cpu().double().numpy().ravel() for t in tensors]
    return np.concatenate([np.zeros(0), *flat])
