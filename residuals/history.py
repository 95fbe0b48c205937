"""Residuals with memory: the last rows of the features, or a recurrent state.

    x = (z − μ)/ς  features in standard units  (…, nz)      m  memory  (…, nm)

    Window   m = (x₋ₙ, …, x₋₁)     r = head(x, m)     m⁺ = (x₋ₙ₊₁, …, x₋₁, x)
    GRU      m = h                 r = head(x, h)     h⁺ = GRUCell(x, h)

Memory is in standard units and advances once a step; r reads the memory of what came before.

At the start: where there is a history, m comes from its last `memory_steps` rows; where there
is none, the present features are taken to have held for `memory_steps` steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from residuals.mlp import MLP
from residuals.residual import Recurrent, Standardize
from residuals.sizing import resized


class Window(Recurrent):
    """r = head(x, m) with the last n rows of the features, m = (x₋ₙ, …, x₋₁), oldest first.

    hidden, activation, limit, seed   of the head, an MLP whose last layer starts at zero
    steps   n ≥ 1, rows that are remembered

    Raises ValueError for steps < 1 and for what the head does not take.
    """

    def __init__(
        self,
        hidden: Sequence[int] = (64, 64),
        *,
        steps: int = 5,
        activation: str = "tanh",
        limit: float | Sequence[float] | None = None,
        seed: int = 0,
        nz: int | None = None,
        nr: int | None = None,
    ) -> None:
        super().__init__()
        self.memory_steps = _at_least_one("steps", steps)
        self.nz, self.nr, self.nm = nz, nr, steps * (nz or 0)
        self.head = MLP(hidden, activation=activation, limit=limit, seed=seed)
        if nz is not None and nr is not None:
            self.input = Standardize(nz)
            self.head = self.head.sized(nz + self.nm, nr)

    def forward(self, z: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        x = self.input(z)
        rows = torch.cat((m, x), -1)
        return self.head(rows), rows[..., x.shape[-1] :]

    def initial_memory(self, past_z: Tensor) -> Tensor:
        return self.input(_history(self, past_z)).flatten(-2)

    def sized(self, nz: int, nr: int) -> Self:
        return resized(self, self.config(), nz, nr)

    def standardize(self, mean: Tensor, scale: Tensor, output_scale: Tensor) -> None:
        _standardize(self.input, self.head, mean, scale, output_scale)

    def config(self) -> dict[str, Any]:
        sizes = {"nz": self.nz, "nr": self.nr}
        return self.head.config() | {"steps": self.memory_steps} | sizes


class GRU(Recurrent):
    """r = head(x, h), h⁺ = (1 − u) ∘ n + u ∘ h, a gated recurrent unit in the form of nn.GRUCell.

        ρ = σ(W_ρ x + b_ρ + V_ρ h + c_ρ)            u likewise
        n = tanh(W_n x + b_n + ρ ∘ (V_n h + c_n))   (Cho et al. 2014, eq. 5–8, has V_n (ρ ∘ h))

    hidden_size   nm, numbers of the state h, each in (−1, 1)
    hidden, activation, limit   of the head, an MLP whose last layer starts at zero
    warmup        memory_steps ≥ 1, rows that h is run over from h = 0 before the first step
    seed          of the initial weights, the cell's uniform in ±1/√hidden_size

    Raises ValueError for hidden_size or warmup < 1 and for what the head does not take.
    """

    def __init__(
        self,
        hidden_size: int = 32,
        *,
        hidden: Sequence[int] = (64,),
        warmup: int = 20,
        activation: str = "tanh",
        limit: float | Sequence[float] | None = None,
        seed: int = 0,
        nz: int | None = None,
        nr: int | None = None,
    ) -> None:
        super().__init__()
        self.nm = _at_least_one("hidden_size", hidden_size)
        self.memory_steps = _at_least_one("warmup", warmup)
        self.nz, self.nr = nz, nr
        self.head = MLP(hidden, activation=activation, limit=limit, seed=seed)
        if nz is not None and nr is not None:
            self.input = Standardize(nz)
            self.cell = _cell(nz, self.nm, seed)
            self.head = self.head.sized(nz + self.nm, nr)

    def forward(self, z: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        x = self.input(z)
        return self.head(torch.cat((x, m), -1)), self._advance(x, m)

    def _advance(self, x: Tensor, h: Tensor) -> Tensor:
        """h⁺, written out: torch's own cell has no batching rule under vmap."""
        cell = self.cell
        ours = functional.linear(x, cell.weight_ih, cell.bias_ih).chunk(3, -1)
        past = functional.linear(h, cell.weight_hh, cell.bias_hh).chunk(3, -1)
        reset, update = torch.sigmoid(ours[0] + past[0]), torch.sigmoid(ours[1] + past[1])
        new = torch.tanh(ours[2] + reset * past[2])
        return (h - new) * update + new

    def initial_memory(self, past_z: Tensor) -> Tensor:
        x = self.input(_history(self, past_z))
        h = x.new_zeros(*x.shape[:-2], self.nm)
        for row in x.unbind(-2):
            h = self._advance(row, h)
        return h

    def sized(self, nz: int, nr: int) -> Self:
        return resized(self, self.config(), nz, nr)

    def standardize(self, mean: Tensor, scale: Tensor, output_scale: Tensor) -> None:
        _standardize(self.input, self.head, mean, scale, output_scale)

    def config(self) -> dict[str, Any]:
        own = {"hidden_size": self.nm, "warmup": self.memory_steps, "nz": self.nz, "nr": self.nr}
        return self.head.config() | own


def _at_least_one(name: str, value: int) -> int:
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")
    return value


def _history(residual: Recurrent, past_z: Tensor) -> Tensor:
    """The rows themselves; ValueError for another number of them or of features."""
    wanted = (residual.memory_steps, residual.nz)
    if tuple(past_z.shape[-2:]) != wanted:
        raise ValueError(f"past_z must be (…, {wanted[0]}, {wanted[1]}), got {(*past_z.shape,)}")
    return past_z


def _standardize(
    features: Standardize, head: MLP, mean: Tensor, scale: Tensor, output_scale: Tensor
) -> None:
    """The head takes x and m in standard units already: only its outputs are scaled."""
    features.mean.copy_(mean)
    features.scale.copy_(scale)
    size = cast(int, head.nz)
    head.standardize(scale.new_zeros(size), scale.new_ones(size), output_scale)


def _cell(nz: int, size: int, seed: int) -> nn.GRUCell:
    generator = torch.Generator().manual_seed(seed)
    cell = cast(nn.GRUCell, nn.utils.skip_init(nn.GRUCell, nz, size, dtype=torch.float64))
    with torch.no_grad():
        for tensor in cell.parameters():
            tensor.uniform_(-(size**-0.5), size**-0.5, generator=generator)
    return cell
