"""A model's step with its derivatives at all nodes of a trajectory, as numpy arrays.

    Fₖ = F(xₖ, uₖ, p, dₖ),  its Jacobian in z = (x, u), and the Hessian of λₖᵀFₖ

by one call of the kernel, or of CasADi where there is no kernel for the model. Both read p and
the weights at each point, so that a model that was trained further needs no rebuild.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import TYPE_CHECKING

import casadi as ca
import numpy as np
import torch

from hybridmodel.model import HybridModel
from hybridmodel.planners.buffered import Buffered, at_nodes
from hybridmodel.rollouts import served, unavailable

if TYPE_CHECKING:
    from hybridmodel.kernel.steps import Steps


class Nodes(ABC):
    """F at N nodes, and steps of a few candidates beside each other."""

    @abstractmethod
    def at(self, z: np.ndarray, d: np.ndarray) -> None:
        """Goes to z (N, n) and d (N, nd), with the model as it is."""

    @abstractmethod
    def steady(self) -> AbstractContextManager[None]:
        """While the model does not change, which `at` otherwise makes sure of each time."""

    @abstractmethod
    def values(self) -> np.ndarray:
        """F (N, nx)."""

    @abstractmethod
    def jacobian(self) -> np.ndarray:
        """J (N, n, nx) by columns."""

    @abstractmethod
    def derivatives(self, multipliers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """J (N, n, nx) by columns, and the Hessian (N, n, n) of λᵀF for λ (N, nx)."""

    @abstractmethod
    def refresh(self) -> None:
        """Takes the model as it is now for `step`."""

    @abstractmethod
    def step(self, x: np.ndarray, u: np.ndarray, d: np.ndarray) -> np.ndarray:
        """x⁺ (side, nx) from x (side, nx), u (side, nu), d (nd,), until the next call."""


def nodes(model: HybridModel, count: int, side: int = 0) -> Nodes:
    """N nodes, and steps of `side` candidates (0: there will be none).

    By the kernel where it has code for the model, else by CasADi. Raises ValueError where the
    model insists on a kernel that it cannot have, or its network has no CasADi form.
    """
    reason = "its backend is 'torch'" if model.backend == "torch" else unavailable()
    if reason is None:
        from hybridmodel.kernel.scalars import NotLoweredError

        try:
            return KernelNodes(model, count, side)
        except NotLoweredError as why:
            reason = str(why)
    if model.backend == "kernel":
        raise ValueError(f"model: backend 'kernel' cannot derive its step: {reason}")
    return CasadiNodes(model, count, side)


class KernelNodes(Nodes):
    """Nodes by `hybridmodel.kernel.derivatives`, compiled when made.

    Raises NotLoweredError where the kernel has no code for the model.
    """

    def __init__(self, model: HybridModel, count: int, side: int = 0) -> None:
        from hybridmodel.kernel.derivatives import Derivatives

        self.model, self.side = model, side
        self._derivatives = Derivatives(model, count)
        self._steps: Steps | None = None
        nx, nu, nd = model.nx, model.system.nu, model.system.nd
        self.n = nx + nu
        self.at(np.zeros((count, self.n)), np.zeros((count, nd)))
        self.values()
        self.derivatives(np.zeros((count, nx)))
        if side:
            self.at(np.ones((count, self.n)), np.zeros((count, nd)))
            self.jacobian()
            self.refresh()
            self.step(np.zeros((side, nx)), np.zeros((side, nu)), np.zeros(nd))

    def at(self, z: np.ndarray, d: np.ndarray) -> None:
        parts = [z]
        if len(self._derivatives.spans) > 1:
            p = self.model.physical().detach().cpu().numpy()
            parts.append(np.hstack([np.broadcast_to(p, (len(z), p.size)), d]))
        self._derivatives.at(*parts)

    def steady(self) -> AbstractContextManager[None]:
        return self._derivatives.steady()

    def values(self) -> np.ndarray:
        return self._derivatives.values()

    def jacobian(self) -> np.ndarray:
        return self._derivatives.jacobian(every=False)[:, : self.n]

    def derivatives(self, multipliers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        hessian = self._derivatives.hessian(np.ascontiguousarray(multipliers), every=False)
        return self.jacobian(), hessian[:, : self.n, : self.n]

    def refresh(self) -> None:
        from hybridmodel.kernel.scalars import NotLoweredError
        from hybridmodel.kernel.steps import Steps

        found = served(self.model).kernel(torch.float64)
        if isinstance(found, str):
            raise NotLoweredError(found)
        kernel, weights = found
        if self._steps is None or self._steps.program is not kernel.program:
            self._steps = Steps(kernel.program, self.side)
        self._steps.take(self.model.physical().detach().cpu().numpy(), weights.detach())

    def step(self, x: np.ndarray, u: np.ndarray, d: np.ndarray) -> np.ndarray:
        if self._steps is None:
            raise ValueError("side must be at least 1 for steps, got 0")
        return self._steps(x, u, d)


class CasadiNodes(Nodes):
    """Nodes by CasADi's own derivatives of the step, mapped.

    Raises ValueError where the network has no CasADi form.
    """

    def __init__(self, model: HybridModel, count: int, side: int = 0) -> None:
        self.model, self.count, self.side = model, count, side
        nx, nu = model.nx, model.system.nu
        step = model.step_function(weights="parameters")
        z, d, given = (
            ca.MX.sym(name, size)
            for name, size in (("z", nx + nu), ("d", model.system.nd), ("multipliers", nx))
        )
        p, w = ca.MX.sym("p", step.size1_in(2)), ca.MX.sym("w", len(model.weights()))
        after = step(z[:nx], z[nx:], p, d, *([w] if model.residual is not None else []))
        inputs = [z, p, d, w]
        jacobian, hessian = ca.jacobian(after, z), ca.hessian(ca.dot(given, after), z)[0]
        self._function = ca.Function("value", inputs, [after])
        self._value = at_nodes(self._function, count, [1, 3])
        self._first = ca.Function("first", inputs, [jacobian])
        both = ca.Function("both", [*inputs, given], [jacobian, hessian])
        self._both = at_nodes(both, count, [1, 3])
        self.refresh()

    def at(self, z: np.ndarray, d: np.ndarray) -> None:
        self.refresh()
        p, w = self._numbers
        self._point = (z, p, d, w)

    def steady(self) -> AbstractContextManager[None]:
        return nullcontext()  # reading all numbers is no more work than looking at them

    def values(self) -> np.ndarray:
        return self._value(*self._point)[0]

    def jacobian(self) -> np.ndarray:
        return self._jacobian(*self._point)[0]

    def derivatives(self, multipliers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        jacobian, hessian = self._both(*self._point, multipliers)
        return jacobian, hessian

    def refresh(self) -> None:
        self._numbers = self.model.physical().detach().cpu().numpy(), self.model.weights()

    def step(self, x: np.ndarray, u: np.ndarray, d: np.ndarray) -> np.ndarray:
        p, w = self._numbers
        return self._steps(np.hstack([x, u]), p, np.broadcast_to(d, (len(x), d.size)), w)[0]

    @cached_property
    def _jacobian(self) -> Buffered:
        return at_nodes(self._first, self.count, [1, 3])

    @cached_property
    def _steps(self) -> Buffered:
        return at_nodes(self._function, self.side, [1, 3])
