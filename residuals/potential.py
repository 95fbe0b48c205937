"""A residual that is the slope of a learned energy."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from residuals.residual import Residual, Standardize
from residuals.sizing import resized

ACTIVATIONS = ("tanh", "softplus")


class Potential(Residual):
    """r = ∂U_θ/∂z, the gradient of an energy U with one output for each feature (nr = nz).

        a₁ = W₁ (z − μ)/ς + b₁,  aᵢ₊₁ = Wᵢ₊₁ σ(aᵢ) + bᵢ₊₁     U = c wᵀσ(a_n)
        δ_n = c w ∘ σ′(a_n),  δᵢ = (Wᵢ₊₁ᵀ δᵢ₊₁) ∘ σ′(aᵢ)      r = (W₁ᵀ δ₁)/ς

    Written out as layers, so that nothing needs autograd. ∂r/∂z is symmetric, and r does no work
    along a closed path of z. U has no constant: w = 0 at the start gives U = 0 and r = 0.

    hidden      widths of the hidden layers, at least one
    activation  σ, "tanh" or "softplus", which are smooth
    seed        of the initial weights
    c           the one scale that keeps r a gradient, root mean square of ς ∘ (scale of r)

    Raises ValueError for another activation, no widths or widths < 1, or sizes with nr ≠ nz.
    """

    def __init__(
        self,
        hidden: Sequence[int] = (64, 64),
        *,
        activation: str = "tanh",
        seed: int = 0,
        nz: int | None = None,
        nr: int | None = None,
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {list(ACTIVATIONS)}, got {activation!r}")
        if not hidden or any(width < 1 for width in hidden):
            raise ValueError(
                f"hidden must hold one or more widths of at least 1, got {tuple(hidden)}"
            )
        if nz != nr:
            raise ValueError(
                f"nr must be nz, a gradient has one row for each feature: got nz = {nz}, nr = {nr}"
            )
        self.hidden, self.activation, self.seed = tuple(hidden), activation, seed
        self.nz, self.nr = nz, nr
        if nz is None:
            return
        self.input = Standardize(nz)
        generator = torch.Generator().manual_seed(seed)
        self.layers = nn.ModuleList()
        for n, m in itertools.pairwise((nz, *self.hidden)):
            layer = nn.utils.skip_init(nn.Linear, n, m, dtype=torch.float64)
            bound = (6 / (n + m)) ** 0.5  # Glorot's uniform, as in MLP
            with torch.no_grad():
                cast(Tensor, layer.weight).uniform_(-bound, bound, generator=generator)
                cast(Tensor, layer.bias).zero_()
            self.layers.append(layer)
        self.last = nn.Parameter(torch.zeros(1, self.hidden[-1], dtype=torch.float64))
        self.energy_scale: Tensor
        self.register_buffer("energy_scale", torch.ones((), dtype=torch.float64))

    def forward(self, z: Tensor) -> Tensor:
        layers = [cast(nn.Linear, layer) for layer in self.layers]
        slopes: list[Tensor] = []
        h = self.input(z)
        for layer in layers:
            h, slope = self._activated(layer(h))
            slopes.append(slope)
        delta = self.energy_scale * self.last[0]
        for layer, slope in zip(reversed(layers), reversed(slopes), strict=True):
            delta = nn.functional.linear(delta * slope, layer.weight.T)
        return delta / self.input.scale

    def energy(self, z: Tensor) -> Tensor:
        """U (…,) of z (…, nz)."""
        h = self.input(z)
        for layer in self.layers:
            h, _ = self._activated(layer(h))
        return self.energy_scale * (h * self.last[0]).sum(-1)

    def _activated(self, a: Tensor) -> tuple[Tensor, Tensor]:
        """σ(a) and σ′(a); torch's own softplus switches to a, and its slope is not exact there."""
        if self.activation == "tanh":
            h = torch.tanh(a)
            return h, 1 - h.square()
        return -nn.functional.logsigmoid(-a), torch.sigmoid(a)

    def sized(self, nz: int, nr: int) -> Self:
        return resized(self, self.config(), nz, nr)

    def standardize(self, mean: Tensor, scale: Tensor, output_scale: Tensor) -> None:
        self.input.mean.copy_(mean)
        self.input.scale.copy_(scale)
        self.energy_scale.copy_((scale * output_scale).square().mean().sqrt())

    def config(self) -> dict[str, Any]:
        return {
            "hidden": self.hidden,
            "activation": self.activation,
            "seed": self.seed,
            "nz": self.nz,
            "nr": self.nr,
        }
