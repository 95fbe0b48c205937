"""A model's step and its exact derivatives along a trajectory, by the path that suits the model.

    x⁺ = F(x, u, p, d),    J = ∂F/∂(x, u),    C = ∂²(λᵀF)/∂(x, u)²

A model with a network takes the kernel, all nodes in one call, unless its backend is "torch" or
there is no code for it; the others take CasADi. Both read p and the weights when `refresh` is
called, so that a model that was trained further needs no rebuild.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import casadi as ca
import numpy as np
import torch

from hybridmodel.model import HybridModel
from hybridmodel.planners.differential.mapped import Mapped
from hybridmodel.rollouts import served, unavailable


class Steps(ABC):
    """F of `side` candidates at one time, and J and C at all H nodes of a trajectory."""

    @abstractmethod
    def refresh(self) -> None:
        """Takes the model's p and weights as they are now."""

    @abstractmethod
    def step(self, x: np.ndarray, u: np.ndarray, d: np.ndarray) -> np.ndarray:
        """x⁺ (side, nx) from x (side, nx), u (side, nu), d (nd,)."""

    @abstractmethod
    def jacobian(self, x: np.ndarray, u: np.ndarray, d: np.ndarray) -> np.ndarray:
        """J (H, nx, nx + nu) at x (H, nx), u (H, nu), d (H, nd)."""

    @abstractmethod
    def curvature(self, multipliers: np.ndarray) -> np.ndarray:
        """C (H, nx + nu, nx + nu) for λ (H, nx), where `jacobian` was asked last."""


def steps_of(model: HybridModel, count: int, side: int) -> Steps:
    """Steps of a model at `count` nodes, `side` candidates at a time.

    Raises ValueError where the model insists on a path that cannot take it, or has neither a
    kernel nor a CasADi form.
    """
    wanted = model.backend == "kernel" or (model.backend == "auto" and model.residual is not None)
    reason = "its backend is 'torch'" if model.backend == "torch" else "it has no network"
    if wanted:
        reason = unavailable()
        if reason is None:
            from hybridmodel.kernel.scalars import NotLoweredError

            try:
                return KernelSteps(model, count, side)
            except NotLoweredError as why:
                reason = str(why)
        if model.backend == "kernel":
            raise ValueError(f"model: backend 'kernel' cannot derive its step: {reason}")
    return CasadiSteps(model, count, side)


class KernelSteps(Steps):
    """By the compiled kernel; raises NotLoweredError where there is no code for the model."""

    def __init__(self, model: HybridModel, count: int, side: int) -> None:
        from hybridmodel.kernel.derivatives import Derivatives

        self.model, self.side = model, side
        self._derivatives = Derivatives(model, count)
        self._p = np.zeros(0)
        self.refresh()

    def refresh(self) -> None:
        self._derivatives.current()
        found = served(self.model).kernel(torch.float64)
        if isinstance(found, str):
            from hybridmodel.kernel.scalars import NotLoweredError

            raise NotLoweredError(found)
        kernel, weights = found
        self._kernel, self._weights = kernel, weights.detach()
        self._physical = self.model.physical().detach().reshape(1, -1)
        self._p = self._physical.numpy()

    def step(self, x: np.ndarray, u: np.ndarray, d: np.ndarray) -> np.ndarray:
        forces = torch.from_numpy(u)[:, None]
        signals = torch.from_numpy(d).reshape(1, 1, -1)
        given = (torch.from_numpy(x), forces, self._physical, signals, self._weights)
        return self._kernel.forward(*given)[0].numpy()[:, 1]

    def jacobian(self, x: np.ndarray, u: np.ndarray, d: np.ndarray) -> np.ndarray:
        rows = len(x)
        fixed = np.hstack([np.broadcast_to(self._p, (rows, self._p.shape[1])), d])
        parts = [np.hstack([x, u]).ravel(), fixed.ravel()]
        with self._derivatives.lock:
            self._derivatives.at(*parts[: len(self._derivatives.spans)])
            found = self._derivatives.jacobian(every=False)
        return found[:, : x.shape[1] + u.shape[1]].transpose(0, 2, 1)

    def curvature(self, multipliers: np.ndarray) -> np.ndarray:
        n = self._derivatives.n_varied
        with self._derivatives.lock:
            return self._derivatives.hessian(np.ascontiguousarray(multipliers), every=False)[
                :, :n, :n
            ]


class CasadiSteps(Steps):
    """By CasADi's own derivatives of the step, mapped over the nodes.

    Raises ValueError where the network has no CasADi form.
    """

    def __init__(self, model: HybridModel, count: int, side: int) -> None:
        self.model = model
        step = model.step_function(weights="parameters")
        symbols = step.mx_in()
        x, u, *others = symbols
        z = ca.MX.sym("z", x.numel() + u.numel())
        after = step(z[: x.numel()], z[x.numel() :], *others)
        dual = ca.MX.sym("dual", x.numel())
        shared = [2, *([4] if step.n_in() == 5 else [])]  # p, and the weights
        jacobian = ca.jacobian(after, z)
        curved = ca.jacobian(ca.jtimes(after, z, dual, True), z)
        moved = [1 + i - 2 for i in shared]
        self._step = Mapped(step, side, shared)
        self._jacobian = Mapped(ca.Function("J", [z, *others], [jacobian.T]), count, moved)
        self._curvature = Mapped(ca.Function("C", [z, *others, dual], [curved]), count, moved)
        self._at: tuple[np.ndarray, ...] = ()
        self.refresh()

    def refresh(self) -> None:
        self._p = self.model.physical().detach().cpu().numpy()
        self._weights = [self.model.weights()] if self.model.residual is not None else []

    def step(self, x: np.ndarray, u: np.ndarray, d: np.ndarray) -> np.ndarray:
        return self._step(x, u, self._p, d, *self._weights)[0].copy()

    def jacobian(self, x: np.ndarray, u: np.ndarray, d: np.ndarray) -> np.ndarray:
        self._at = (np.hstack([x, u]), self._p, d, *self._weights)
        return self._jacobian(*self._at)[0].reshape(len(x), x.shape[1], -1).copy()

    def curvature(self, multipliers: np.ndarray) -> np.ndarray:
        found = self._curvature(*self._at, multipliers)[0]
        return found.reshape(len(found), *[self._at[0].shape[1]] * 2).copy()
