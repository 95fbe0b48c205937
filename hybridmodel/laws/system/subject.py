"""A System under check, and what its laws need of it, made once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

import casadi as ca
import numpy as np
import torch
from torch import Tensor

from hybridmodel.laws.report import UncheckedError
from hybridmodel.model import HybridModel
from hybridmodel.paths import draw
from physics import System
from physics.binding import of_class

DIFFERENCES = ("ForwardDiff", "BackwardDiff", "CentralDiff", "Smoothing")  # classes of CasADi
PIECES = ("derivative", "output")  # ẋ (x⁺ of a discrete system) and y, functions of x, u, p, d


@dataclass
class Subject:
    """A system, and the model of it alone in which every parameter is declared."""

    system: System
    points: int
    seed: int

    @property
    def dt(self) -> float:
        return 0.01 if self.system.dt is None else self.system.dt

    def build(self, system: System, declared: tuple[str, ...] | None = None) -> HybridModel:
        """A model of a system like this one; all parameters are declared unless given."""
        names = tuple(system.parameters) if declared is None else declared
        model = HybridModel(system, dt=self.dt, fit_parameters=names)
        model.physical()  # the torch forms are made when they are first used
        return model

    @cached_property
    def model(self) -> HybridModel:
        try:
            return self.build(self.system)
        except Exception as error:
            raise UncheckedError("there is no model to check, see the law 'builds'") from error

    @cached_property
    def v(self) -> Tensor:
        """Points (N, n), columns (x, u, p, d)."""
        return draw(self.model, self.points, seed=self.seed)

    @cached_property
    def sizes(self) -> list[int]:
        return [self.system.nx, self.system.nu, len(self.model.fit_parameters), self.system.nd]

    @cached_property
    def arguments(self) -> list[str]:
        system = self.system
        before = [s.name for s in (*system.states, *system.memory, *system.inputs)]
        return [*before, *self.model.fit_parameters, *(s.name for s in system.exogenous)]

    @cached_property
    def approximate(self) -> list[str]:
        """Functions inside whose slopes CasADi takes by finite differences."""
        found = []
        for piece in PIECES:
            derived = getattr(self.model.equations, piece).jacobian()
            found += [re.sub(r"^fwd\d+_", "", name) for name in of_class(derived, DIFFERENCES)]
        return list(dict.fromkeys(found))

    def rows(self, piece: str) -> list[str]:
        system = self.system
        signals = (*system.states, *system.memory) if piece == "derivative" else system.outputs
        return [s.name for s in signals]

    def call(self, piece: str, v: np.ndarray) -> np.ndarray:
        """A piece in CasADi at points (K, n)."""
        parts = np.split(v.T, np.cumsum(self.sizes)[:-1])
        return getattr(self.model.equations, piece)(*parts).full().T

    def slopes(self, piece: str) -> ca.Function:
        """v ↦ (y, ∂y/∂v) of a piece in CasADi."""
        v = ca.MX.sym("v", sum(self.sizes))
        parts = ca.vertsplit(v, [0, *np.cumsum(self.sizes).tolist()])
        y = getattr(self.model.equations, piece)(*parts)
        return ca.Function("slopes", [v], [y, ca.jacobian(y, v)])

    def torch(self, piece: str, v: Tensor) -> Tensor:
        """A piece in torch at points (…, n)."""
        with torch.no_grad():
            return getattr(self.model.torch_equations, piece)(*v.split(self.sizes, -1))

    def at(self, v: np.ndarray) -> str:
        pairs = zip(self.arguments, v.tolist(), strict=True)
        return "at " + ", ".join(f"{name} = {value:.4g}" for name, value in pairs)
