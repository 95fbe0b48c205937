"""The cost of balancing for ever, as what a short horizon ends in."""

from __future__ import annotations

from collections.abc import Sequence

import casadi as ca
import numpy as np
import torch
from scipy.linalg import solve_discrete_are

from hybridmodel.costs.cost import Cost
from hybridmodel.costs.quadratic import Quadratic
from hybridmodel.model import HybridModel
from physics import Paced, tangent

_DRAWN = 2000  # motions of a regression


class CostToGo(Cost):
    """ℓ of a Quadratic cost, and V of keeping its target for ever.

        V = Σᵢ Pᵢᵢ eᵢ² + Σ_{i≠j} Pᵢⱼ sᵢ sⱼ
        P = Q + γ Aᵀ P A − γ² Aᵀ P B (R + γ Bᵀ P B)⁻¹ Bᵀ P A

    model   whose A, B at the target are taken, as it is now; P is not made anew when it learns
    cost    Q, R and the target, which should be an equilibrium; its own terminal cost is left out
    motion  (nx + nu,) deviations of (x, u), over which A, B are those of a regression; None for the
            tangent, which of learned friction and dead zones knows the step at rest alone
    discount   γ of the problem

    e = x ⊟ target, s = e, of an angle s = sin e and e² = 2 (1 − cos e) as in `Quadratic`: periodic,
    and eᵀ P e to second order. Raises ValueError for states that are rotations or memory, and where
    the target cannot be stabilised.
    """

    def __init__(
        self,
        model: HybridModel,
        cost: Quadratic,
        *,
        motion: Sequence[float] | None = None,
        discount: float = 1.0,
    ) -> None:
        if not 0 < discount <= 1:
            raise ValueError(f"discount must lie in (0, 1], got {discount}")
        system = model.system
        if isinstance(system, Paced):
            raise ValueError("model: of a free-time model nothing is kept for ever, take the model")
        if system.quaternion_rows or model.nx != len(system.states):
            raise ValueError("model: its states are not all plain: rotations or memory among them")
        self.cost, self.signals = cost, tangent.signals(system.states)
        goal = (cost.target, cost.input_target, (0.0,) * system.nd)
        x, u, d = (torch.tensor(part, dtype=torch.float64) for part in goal)
        if motion is None:
            A, B = (matrix.detach().cpu().numpy() for matrix in model.linearize(x, u, d))
        else:
            A, B = _regressed(model, x, u, d, motion)
        try:
            A, B = np.sqrt(discount) * A, np.sqrt(discount) * B
            self.P = solve_discrete_are(A, B, np.diag(cost.state), np.diag(cost.input))
        except (np.linalg.LinAlgError, ValueError) as error:
            raise ValueError(
                f"cost: the target cannot be kept under these weights, which Riccati's equation "
                f"needs (state weights that see it, input weights above 0): {error}"
            ) from error

    def stage(self, x: ca.SX, u: ca.SX, k: ca.SX, pi: ca.SX) -> ca.SX:
        return self.cost.stage(x, u, k, pi)

    def terminal(self, x: ca.SX, pi: ca.SX) -> ca.SX:
        e, P = x - ca.DM(self.cost.target), ca.DM(self.P)
        angle = [s.angle for s in self.signals]
        s = ca.vertcat(*(ca.sin(e[i]) if a else e[i] for i, a in enumerate(angle)))
        squares = (2 * (1 - ca.cos(e[i])) if a else e[i] ** 2 for i, a in enumerate(angle))
        own = ca.diag(P)
        return ca.dot(own, ca.vertcat(*squares)) + s.T @ (P - ca.diag(own)) @ s


def _regressed(
    model: HybridModel, x: torch.Tensor, u: torch.Tensor, d: torch.Tensor, motion: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """A (nx, nx) and B (nx, nu) of least squares over normal deviations from (x, u)."""
    size, n = np.asarray(motion, dtype=float), len(x)
    if size.shape != (n + len(u),) or not (size > 0).all():
        raise ValueError(
            f"motion must be {n + len(u)} positive deviations of states and inputs, got {motion!r}"
        )
    z = np.random.default_rng(0).standard_normal((_DRAWN, len(size))) * size
    off = torch.from_numpy(z)
    with torch.no_grad():
        ahead = model(x + off[:, :n], u + off[:, n:], d.expand(len(z), -1)).numpy()
    slopes = np.linalg.lstsq(np.column_stack([z, np.ones(len(z))]), ahead, rcond=None)[0].T
    return slopes[:, :n], slopes[:, n:-1]
