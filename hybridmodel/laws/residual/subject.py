"""A module under check, and what its laws need of it, made once."""

from __future__ import annotations

import itertools
from collections.abc import Callable
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
from residuals import (
    Distribution,
    Doubt,
    Epistemic,
    Gated,
    Probabilistic,
    Recurrent,
    Regressed,
    Residual,
    Supported,
)


@dataclass
class Subject:
    """A module, and what laws need of it, made once.

    Laws about a map are about v ↦ y, which holds all that the module takes and says:
    of a Probabilistic y = (r, members, log-variances, epistemic variances), of a Recurrent
    v = (z, m) and y = (r, m⁺), of any other v = z and y = r.
    """

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
    def sizes(self) -> tuple[int, ...]:
        """Of the arguments: (nz,), or (nz, nm) with memory."""
        residual = self.awake
        return (self.nz, residual.nm) if isinstance(residual, Recurrent) else (self.nz,)

    def call(self, residual: Residual) -> Callable[[Tensor], Tensor]:
        """The map v (…, nv) ↦ y (…, ny) of a residual."""
        parts = _parts(residual)

        def everything(v: Tensor) -> Tensor:
            arguments = v.split(self.sizes, -1)
            said = [part(*arguments) for part in parts]
            return torch.cat([y for ys in said for y in (ys if type(ys) is tuple else (ys,))], -1)

        return everything

    def correction(self, residual: Residual, v: Tensor) -> Tensor:
        """r (…, nr) at v (…, nv)."""
        found = residual(*v.split(self.sizes, -1))
        return found[0] if isinstance(residual, Recurrent) else found

    @cached_property
    def functions(self) -> dict[Weights, ca.Function] | str:
        """The CasADi forms of v ↦ y, or why there are none."""
        kinds: tuple[Weights, ...] = ("baked", "parameters")
        try:
            return {kind: self._function(kind) for kind in kinds}
        except ValueError as error:
            return told(error)

    def _function(self, weights: Weights) -> ca.Function:
        parts = [to_casadi(p, nz=self.sizes, weights=weights) for p in _parts(self.awake)]
        v = ca.MX.sym("v", sum(self.sizes))
        w = [ca.MX.sym("w", f.size_in(f.n_in() - 1)) for f in parts[:1] if weights == "parameters"]
        arguments = ca.vertsplit(v, [0, *itertools.accumulate(self.sizes)])
        said = [y for function in parts for y in function.call([*arguments, *w])]
        return ca.Function("everything", [v, *w], [ca.vertcat(*said)])

    def function(self, weights: Weights) -> ca.Function:
        if isinstance(self.functions, str):
            raise UncheckedError("there is no CasADi form, see the law 'bridge'")
        return self.functions[weights]

    @cached_property
    def z(self) -> Tensor:
        return self._drawn(self.nz, 0)

    @cached_property
    def v(self) -> Tensor:
        memory = [self._drawn(nm, 2) for nm in self.sizes[1:]]
        return torch.cat([self.z, *memory], -1)

    @cached_property
    def w(self) -> Tensor:
        with torch.no_grad():
            return self._drawn(self.call(self.awake)(self.v).shape[-1], 1)

    def _drawn(self, size: int, stream: int) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed + stream)
        return torch.randn(self.points, size, generator=generator, dtype=torch.float64)

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
    if isinstance(residual, Regressed):
        residual.solve(*regression(residual, generator))
    if isinstance(residual, Supported):  # so that some points lie outside
        residual.cover(0.5 * regression(residual, generator)[0])
    return residual.eval()


def regression(residual: Residual, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Data z (N, nz) and r (N, nr) of a linear law with a little noise."""
    nz, nr = residual.nz or 0, residual.nr or 0
    n = 20 + 4 * nz
    z, slopes, noise = (
        torch.randn(*shape, generator=generator, dtype=torch.float64)
        for shape in ((n, nz), (nz, nr), (n, nr))
    )
    return z, z @ slopes / nz**0.5 + 0.05 * noise


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


def _parts(residual: Residual) -> tuple[nn.Module, ...]:
    """Modules of the same arguments that say all that a residual says."""
    if isinstance(residual, Probabilistic):
        return residual, Distribution(residual), Epistemic(residual), Doubt(residual)
    return (residual,)
