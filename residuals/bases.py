"""Features ψ(x) of standardised inputs x for a residual that is linear in them."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from residuals.mlp import MLP


class Monomials(nn.Module):
    """ψ = all products of at most `degree` of the x, with the constant 1: (nz + degree choose nz).

    Raises ValueError for a degree < 0.
    """

    def __init__(self, nz: int, degree: int) -> None:
        super().__init__()
        if degree < 0:
            raise ValueError(f"degree must be at least 0, got {degree}")
        self.degree = degree
        places: dict[tuple[int, ...], int] = {(): 0}
        for d in range(1, degree + 1):  # each is one of the degree below times one of the x
            chosen = list(itertools.combinations_with_replacement(range(nz), d))
            below = torch.tensor([places[c[:-1]] for c in chosen])
            self.register_buffer(f"below{d}", below, persistent=False)
            last = torch.tensor([c[-1] for c in chosen])
            self.register_buffer(f"last{d}", last, persistent=False)
            places = {c: i for i, c in enumerate(chosen)}

    @property
    def steps(self) -> list[tuple[Tensor, Tensor]]:
        """Of each degree from 1: which of the degree below, and which of the x."""
        return [
            (self.get_buffer(f"below{d}"), self.get_buffer(f"last{d}"))
            for d in range(1, self.degree + 1)
        ]

    def forward(self, x: Tensor) -> Tensor:
        levels = [torch.ones_like(x[..., :1])]
        for below, last in self.steps:
            levels.append(levels[-1].index_select(-1, below) * x.index_select(-1, last))
        return torch.cat(levels, -1)


class Fourier(nn.Module):
    """ψ = (cos Ω x, sin Ω x)/√m, Ω (m, nz) with rows from 𝒩(0, I/ℓ²).

    ψ(x)ᵀψ(y) tends to exp(−‖x − y‖²/2ℓ²) with m (Rahimi & Recht 2007, theorem 1 and algorithm 1).

    Raises ValueError for frequencies < 1 or a length ≤ 0.
    """

    def __init__(self, nz: int, frequencies: int, length: float, seed: int) -> None:
        super().__init__()
        if frequencies < 1:
            raise ValueError(f"frequencies must be at least 1, got {frequencies}")
        if not length > 0:
            raise ValueError(f"length must be positive, got {length}")
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randn(frequencies, nz, generator=generator, dtype=torch.float64)
        self.frequencies: Tensor
        self.register_buffer("frequencies", drawn / length)
        self.gain = frequencies**-0.5

    def forward(self, x: Tensor) -> Tensor:
        phase = nn.functional.linear(x, self.frequencies)
        return self.gain * torch.cat((phase.cos(), phase.sin()), -1)


class HiddenLayers(nn.Module):
    """ψ = (h(x), 1), h the last hidden layer of an `MLP` of these widths."""

    def __init__(self, nz: int, hidden: Sequence[int], activation: str, seed: int) -> None:
        super().__init__()
        mlp = MLP(hidden, activation=activation, seed=seed, nz=nz, nr=1)
        self.chain = hidden_layers(mlp)

    def forward(self, x: Tensor) -> Tensor:
        h = self.chain(x)
        return torch.cat((h, torch.ones_like(h[..., :1])), -1)


def hidden_layers(mlp: MLP) -> nn.Sequential:
    """What stands between the standardised features of an MLP and its last layer."""
    return nn.Sequential(*list(mlp.chain)[1 : 1 + 2 * len(mlp.hidden)])


def last_layer(mlp: MLP) -> nn.Linear:
    """The layer after the last hidden one."""
    return cast(nn.Linear, mlp.chain[1 + 2 * len(mlp.hidden)])


Basis = str | Mapping[str, Any] | nn.Module


def features(
    basis: Basis, nz: int, *, degree: int, frequencies: int, length: float | None, seed: int
) -> nn.Module:
    """The module ψ of nz inputs that a basis stands for, its weights held.

    Raises ValueError for an unknown name, other keys, numbers out of range, or a module that does
    not map (…, nz) to (…, n).
    """
    match basis:
        case "identity":
            return nn.Identity()
        case "polynomial":
            return Monomials(nz, degree)
        case "fourier":
            return Fourier(nz, frequencies, nz**0.5 if length is None else length, seed)
        case {"hidden": hidden, "activation": activation, **others} if not others:
            return HiddenLayers(nz, hidden, activation, seed).requires_grad_(False)
        case nn.Module():
            return copy.deepcopy(basis).to(torch.float64).eval().requires_grad_(False)
    raise ValueError(
        "basis must be 'polynomial', 'fourier', 'identity', {'hidden': widths, 'activation': name} "
        f"or a module, got {basis!r}"
    )


def feature_count(basis: nn.Module, nz: int) -> int:
    """n of a module ψ; ValueError where it does not map (2, nz) to (2, n)."""
    with torch.no_grad():
        try:
            shape = tuple(basis(torch.zeros(2, nz, dtype=torch.float64)).shape)
        except RuntimeError as error:
            raise ValueError(f"basis: the module takes no (2, {nz}) input: {error}") from None
    if len(shape) != 2 or shape[0] != 2 or shape[1] < 1:
        raise ValueError(f"basis: wanted a map (2, {nz}) → (2, n), got shape {shape}")
    return shape[1]
