"""The one noun of this package: a Residual, r_θ(z), a torch module that starts at exactly zero.

z  features  (…, nz)      r  correction  (…, nr)      … any leading batch dims
m  memory    (…, nm)      E  members of an ensemble, the leading axis

    Residual        r = r_θ(z)
    Probabilistic   also how far r may be off
    Regressed       Probabilistic, and solved for in closed form instead of trained
    Recurrent       (r, m⁺) = r_θ(z, m), with memory that advances once a step
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn


class Standardize(nn.Module):
    """z ↦ (z − mean) / scale, fixed numbers taken from data; identity at first."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.mean: Tensor
        self.scale: Tensor
        self.register_buffer("mean", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(size, dtype=torch.float64))

    def forward(self, z: Tensor) -> Tensor:
        return (z - self.mean) / self.scale


class Rescale(nn.Module):
    """r ↦ scale ∘ r: outputs are scaled and never shifted, so that zero stays zero."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.scale: Tensor
        self.register_buffer("scale", torch.ones(size, dtype=torch.float64))

    def forward(self, r: Tensor) -> Tensor:
        return r * self.scale


class Limit(nn.Module):
    """r ↦ ℓ tanh(r / ℓ): a hard bound |r_i| < ℓ_i with slope 1 at zero."""

    def __init__(self, limit: Sequence[float]) -> None:
        super().__init__()
        self.limit: Tensor
        self.register_buffer("limit", torch.tensor(limit, dtype=torch.float64))

    def forward(self, r: Tensor) -> Tensor:
        return self.limit * torch.tanh(r / self.limit)


class Residual(nn.Module, ABC):
    """A correction r_θ(z) that is exactly 0 before training.

    Made without sizes, it is a recipe: the model that uses it knows nz from its features and
    nr from its placement and takes `residual.sized(nz, nr)`, leaving the recipe untouched.
    """

    nz: int | None
    nr: int | None

    @abstractmethod
    def forward(self, z: Tensor) -> Tensor:
        """r (…, nr) from z (…, nz)."""

    @abstractmethod
    def sized(self, nz: int, nr: int) -> Self:
        """A fresh module with weights for these sizes; ValueError where it has others."""

    @abstractmethod
    def standardize(self, mean: Tensor, scale: Tensor, output_scale: Tensor) -> None:
        """Take input mean and scale (nz,) and output scale (nr,) from training data."""

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """The constructor's arguments as JSON data: `type(self)(**config)` has equal shape."""


class Probabilistic(Residual):
    """A residual that says how far it may be off; `forward` is the mean of its members.

    count   E, members that may disagree; 1 where the spread has a closed form
    """

    count: int

    @abstractmethod
    def members(self, z: Tensor) -> Tensor:
        """(E, …, nr), the mean of each member at its own z (E or 1, …, nz)."""

    @abstractmethod
    def distribution(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of r (E, …, nr) each, of each member at its own z (E or 1, …, nz).

        The variance is aleatoric: what would stay if there were ever more data.
        """

    @abstractmethod
    def epistemic(self, z: Tensor) -> Tensor:
        """(…, nr) variance of r from want of data, at z (…, nz)."""


class Regressed(Probabilistic):
    """A residual whose weights are the solution of a regression."""

    @abstractmethod
    def solve(self, z: Tensor, r: Tensor) -> None:
        """Take the weights that map z (N, nz) to r (N, nr) best."""


class Recurrent(Residual):
    """A residual with memory m of what came before, advanced once a step.

    nm            numbers of memory
    memory_steps  how many past rows of z say all that m can hold, or enough of it
    """

    nm: int
    memory_steps: int

    @abstractmethod
    def forward(self, z: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """r (…, nr) and m⁺ (…, nm) from z (…, nz) and m (…, nm)."""

    @abstractmethod
    def initial_memory(self, past_z: Tensor) -> Tensor:
        """m (…, nm) after the features past_z (…, memory_steps, nz), the most recent last."""


class Gated(Residual):
    """Any module of the user's behind a gate that starts at zero: r = g ∘ module(z).

    Raises ValueError where the module does not map (…, nz) to (…, nr).
    """

    def __init__(self, module: nn.Module, *, nz: int, nr: int) -> None:
        super().__init__()
        self.nz, self.nr = nz, nr
        self.input = Standardize(nz)
        self.module = copy.deepcopy(module).to(torch.float64).eval()
        self.gate = nn.Parameter(torch.zeros(nr, dtype=torch.float64))
        self.output = Rescale(nr)
        with torch.no_grad():
            try:
                shape = tuple(self.module(torch.zeros(2, nz, dtype=torch.float64)).shape)
            except RuntimeError as error:
                raise ValueError(
                    f"residual: the module takes no (2, {nz}) input: {error}"
                ) from None
        if shape != (2, nr):
            raise ValueError(f"residual: wanted a map (2, {nz}) → (2, {nr}), got shape {shape}")

    def forward(self, z: Tensor) -> Tensor:
        return self.output(self.gate * self.module(self.input(z)))

    def sized(self, nz: int, nr: int) -> Self:
        if (self.nz, self.nr) != (nz, nr):
            raise ValueError(
                f"residual maps {self.nz} features to {self.nr} outputs; "
                f"features and placement want {nz} → {nr}"
            )
        fresh = type(self)(self.module, nz=nz, nr=nr)
        fresh.load_state_dict(self.state_dict())
        return fresh

    def standardize(self, mean: Tensor, scale: Tensor, output_scale: Tensor) -> None:
        self.input.mean.copy_(mean)
        self.input.scale.copy_(scale)
        self.output.scale.copy_(output_scale)

    def config(self) -> dict[str, Any]:
        return {"nz": self.nz, "nr": self.nr}
