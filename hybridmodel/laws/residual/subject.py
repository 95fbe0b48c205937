"""A module under check, and what its laws need of it, made once."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import casadi as ca
import torch
from torch import Tensor, nn

from hybridmodel.bridges.torch_to_casadi import Weights, to_casadi
from hybridmodel.laws.report import UncheckedError, told
from hybridmodel.model import HybridModel
from hybridmodel.placement import derivative
from physics import Signal, Trivial
from physics.integrators import euler
from residuals import Gated, Residual


@dataclass
class Subject:
    """A module, and what laws need of it, made once."""

    module: nn.Module
    nz: int
    nr: int
    points: int
    seed: int
    before: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.before = state_of(self.module)

    def build(self) -> Residual:
        if isinstance(self.module, Residual):
            return self.module.sized(self.nz, self.nr)
        return Gated(self.module, nz=self.nz, nr=self.nr)

    def fresh(self) -> Residual:
        try:
            return self.build()
        except Exception as error:
            raise UncheckedError("there is no module to check, see the law 'builds'") from error

    @cached_property
    def awake(self) -> Residual:
        """A fresh module with random weights and scales, in evaluation mode."""
        return awakened(self.fresh(), self.seed)

    @cached_property
    def functions(self) -> dict[Weights, ca.Function] | str:
        """Its CasADi forms, or why there are none."""
        kinds: tuple[Weights, ...] = ("baked", "parameters")
        try:
            return {kind: to_casadi(self.awake, nz=self.nz, weights=kind) for kind in kinds}
        except ValueError as error:
            return told(error)

    def function(self, weights: Weights) -> ca.Function:
        if isinstance(self.functions, str):
            raise UncheckedError("there is no CasADi form, see the law 'bridge'")
        return self.functions[weights]

    @cached_property
    def z(self) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        return torch.randn(self.points, self.nz, generator=generator, dtype=torch.float64)

    @cached_property
    def w(self) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed + 1)
        return torch.randn(self.points, self.nr, generator=generator, dtype=torch.float64)

    def host(self, residual: nn.Module) -> HybridModel:
        """The smallest model that holds it: ẋ = r(x)."""
        names = [f"s{i}" for i in range(max(self.nz, self.nr))]
        system = Trivial(states=tuple(map(Signal, names)), inputs=(Signal("u"),))
        rows = derivative.on(*names[: self.nr])
        return HybridModel(
            system, residual, dt=1.0, placement=rows, integrator=euler, features=names[: self.nz]
        )


def awakened(residual: Residual, seed: int) -> Residual:
    """With random weights and scales, in place and in evaluation mode; sums stay near 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in residual.parameters():
            size = weight[0].numel() ** -0.5 if weight.dim() > 1 and len(weight) else 0.4
            noise = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
            weight.copy_(size * noise)
        standardize(residual, generator)
    return residual.eval()


def standardize(residual: Residual, generator: torch.Generator) -> None:
    """Scales as data would give them, in place."""
    sizes = (residual.nz or 0, residual.nz or 0, residual.nr or 0)
    mean, spread, scale = (torch.rand(n, generator=generator, dtype=torch.float64) for n in sizes)
    residual.standardize(mean - 0.5, spread + 0.5, scale + 0.5)


def state_of(module: nn.Module) -> dict[str, Any]:
    """All that a caller could find changed: tensors, training modes, requires_grad."""
    tensors = {name: t.detach().clone() for name, t in module.state_dict().items()}
    modes = {f"{name} training": m.training for name, m in module.named_modules()}
    grads = {f"{name} requires_grad": p.requires_grad for name, p in module.named_parameters()}
    return tensors | modes | grads
