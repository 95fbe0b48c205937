"""Constraints that hold with a probability, by tightening.

    P(g(xₖ) ≤ 0) ≥ 1 − δ    ⟸    g(x̂ₖ) + z σₖ ≤ 0,   σₖ² = ∇g Σₖ ∇gᵀ,   z = Φ⁻¹(1 − δ)

Each row and step for itself, x normally distributed and g straight over its spread: Blackmore &
Ono, Convex chance constrained predictive control, AIAA GNC 2009, eq. 17. Σₖ is that of
`propagate` in open loop, so it grows with k as the model's error and noise make it.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Literal

import casadi as ca
import numpy as np
import torch

from hybridmodel.problem.adaptive import Adaptive
from physics import tangent

if TYPE_CHECKING:
    from hybridmodel.problem.problem import OptimalControlProblem

_FREE = -1e6  # of rows that hold nothing: bounds of a state that is given


@dataclass(frozen=True)
class Chance(Adaptive):
    """Hard inequalities and state bounds hold with this probability, row by row and step by step.

    probability   1 − δ in [0.5, 1)
    method        of `propagate`: "moments", "tsinf" or "ts1"
    noise         whether the noise of the model counts, beside what its members disagree about
    particles     of the methods that draw
    covariance    of x₀ (tangent rows, tangent rows), None where it is `propagate`'s own

    Margins are those of the plan of the round before, within 1 %. Raises ValueError naming the
    argument.
    """

    probability: float = 0.95
    method: Literal["moments", "tsinf", "ts1"] = "moments"
    noise: bool = True
    particles: int = 50
    covariance: np.ndarray | None = None

    def __post_init__(self) -> None:
        if not 0.5 <= self.probability < 1:
            raise ValueError(f"probability must lie in [0.5, 1), got {self.probability!r}")
        if self.method not in ("moments", "tsinf", "ts1"):
            raise ValueError(f"method must be one of propagate's, got {self.method!r}")
        if self.particles < 2:
            raise ValueError(f"particles must be at least 2, got {self.particles!r}")

    def first(self, problem: OptimalControlProblem) -> np.ndarray:
        margins = np.zeros((problem.horizon + 1, problem.n_margins))
        margins[0, problem.bound_margins] = _FREE
        return margins

    def after(
        self,
        problem: OptimalControlProblem,
        x: np.ndarray,
        u: np.ndarray,
        pi: np.ndarray,
        before: np.ndarray | None,
    ) -> np.ndarray:
        from hybridmodel.uncertainty import propagate

        model, H = problem.model, problem.horizon
        d = pi[:H, : model.system.nd]
        given = None if self.covariance is None else torch.as_tensor(self.covariance)
        with torch.no_grad():
            spread = propagate(
                model,
                torch.tensor(x[0]),
                torch.tensor(u),
                torch.tensor(d) if d.size else None,
                method=self.method,
                particles=self.particles,
                noise=self.noise,
                initial_covariance=given,
            ).covariance.numpy()
        z = NormalDist().inv_cdf(self.probability)
        margins = self.first(problem)
        stage, end = problem.margin_slopes
        full = problem.problem_parameters(pi)
        for k in range(H + 1):
            J = (stage(x[k], u[k], full[k]) if k < H else end(x[k], full[k])).full()
            sigma = np.sqrt(np.maximum(np.einsum("ri,ij,rj->r", J, spread[k], J), 0))
            rows = min(len(sigma), problem.n_margins)  # behind them are rows that have no margin
            margins[k, :rows] += z * sigma[:rows]
        return margins


def slopes(problem: OptimalControlProblem) -> tuple[ca.Function, ca.Function]:
    """(x, u, π) ↦ ∂g/∂ξ and (x, π) ↦ ∂g_H/∂ξ (rows, tangent rows) of x ⊞ ξ at ξ = 0."""
    states, nx = problem.model.system.states, problem.model.nx
    x, u = ca.SX.sym("x", nx), ca.SX.sym("u", problem.model.system.nu)
    pi, xi = ca.SX.sym("pi", problem.n_parameters), ca.SX.sym("xi", len(tangent.signals(states)))
    n = len(states)
    moved = ca.vertcat(tangent.retract(states, x[:n, :], xi), x[n:, :])
    rows = problem.path_g(moved, u, pi), problem.end_g(moved, pi)
    at = [ca.densify(ca.substitute(ca.jacobian(g, xi), xi, ca.SX.zeros(xi.shape))) for g in rows]
    return ca.Function("stage", [x, u, pi], at[:1]), ca.Function("end", [x, pi], at[1:])
