"""Values and derivatives at all nodes of a multiple-shooting problem, as numpy arrays.

    Fₖ = F(xₖ, uₖ, p, dₖ),  its Jacobian in z = (x, u), and the Hessian of λₖᵀFₖ

by one call of the kernel, or of CasADi where the model has no kernel.
"""

from __future__ import annotations

from typing import Protocol

import casadi as ca
import numpy as np

from hybridmodel.model import HybridModel
from hybridmodel.planners.shooting.riccati import Buffered
from hybridmodel.rollouts import unavailable


class Nodes(Protocol):
    """F at N nodes, for the model as it is."""

    def at(self, z: np.ndarray, d: np.ndarray) -> None:
        """Goes to z (N, n) and d (N, nd)."""

    def values(self) -> np.ndarray:
        """F (N, nx)."""
        ...

    def derivatives(self, multipliers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """J (N, n, nx) by columns, and the Hessian (N, n, n) of λᵀF for λ (N, nx)."""
        ...


def nodes(model: HybridModel, count: int) -> Nodes:
    """N nodes by the kernel where it has code for the model, else by CasADi."""
    if model.backend != "torch" and unavailable() is None:
        from hybridmodel.kernel.scalars import NotLoweredError

        try:
            return KernelNodes(model, count)
        except NotLoweredError:
            pass
    return CasadiNodes(model, count)


class KernelNodes:
    """Nodes by `hybridmodel.kernel.derivatives`, compiled when made.

    Raises NotLoweredError where the kernel has no code for the model.
    """

    def __init__(self, model: HybridModel, count: int) -> None:
        from hybridmodel.kernel.derivatives import Derivatives

        self.model, self._derivatives = model, Derivatives(model, count)
        self.n = model.nx + model.system.nu
        self.at(np.zeros((count, self.n)), np.zeros((count, model.system.nd)))
        self.values()
        self.derivatives(np.zeros((count, model.nx)))

    def at(self, z: np.ndarray, d: np.ndarray) -> None:
        parts = [z]
        if len(self._derivatives.spans) > 1:
            p = self.model.physical().detach().cpu().numpy()
            parts.append(np.hstack([np.broadcast_to(p, (len(z), p.size)), d]))
        self._derivatives.at(*parts)

    def values(self) -> np.ndarray:
        return self._derivatives.values()

    def derivatives(self, multipliers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        hessian = self._derivatives.hessian(np.ascontiguousarray(multipliers), every=False)
        jacobian = self._derivatives.jacobian(every=False)
        return jacobian[:, : self.n], hessian[:, : self.n, : self.n]


class CasadiNodes:
    """Nodes by the model's CasADi step, mapped."""

    def __init__(self, model: HybridModel, count: int) -> None:
        self.model, nx, nu = model, model.nx, model.system.nu
        n, nd, N = nx + nu, model.system.nd, count
        step = model.step_function(weights="parameters")
        z, d, given = ca.MX.sym("z", n), ca.MX.sym("d", nd), ca.MX.sym("multipliers", nx)
        p, w = ca.MX.sym("p", step.size1_in(2)), ca.MX.sym("w", len(model.weights()))
        after = step(z[:nx], z[nx:], p, d, *([w] if model.residual is not None else []))
        inputs = [z, p, d, w]
        jacobian = ca.densify(ca.jacobian(after, z))
        hessian = ca.densify(ca.hessian(ca.dot(given, after), z)[0])
        value = ca.Function("value", inputs, [after])
        both = ca.Function("both", [*inputs, given], [jacobian, hessian])
        self._value = Buffered(value.map("values", "serial", N, [1, 3], []), [(N, nx)])
        self._both = Buffered(
            both.map("derivatives", "serial", N, [1, 3], []), [(N, n, nx), (N, n, n)]
        )

    def at(self, z: np.ndarray, d: np.ndarray) -> None:
        p = self.model.physical().detach().cpu().numpy()
        self._point = (z, p, d, self.model.weights())

    def values(self) -> np.ndarray:
        return self._value(*self._point)[0]

    def derivatives(self, multipliers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        jacobian, hessian = self._both(*self._point, multipliers)
        return jacobian, hessian
