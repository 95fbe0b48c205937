"""Time-varying LQR around a plan.

    u = uₖ* + Kₖ (x − xₖ*),   K = −(R + BᵀPB)⁻¹BᵀPA,   P = Q + Aᵀ P' (A + B K)

A, B = ∂F/∂(x, u) along the plan. Anderson & Moore, Optimal Control, 1990, eq. 2.4-8 and 2.4-9.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hybridmodel.planners.differential.chart import Chart
from hybridmodel.planners.nodes import nodes
from hybridmodel.planners.planner import Plan
from hybridmodel.problem import OptimalControlProblem


def tvlqr(
    problem: OptimalControlProblem,
    plan: Plan,
    Q: np.ndarray,
    R: np.ndarray,
    *,
    final: np.ndarray | None = None,
    parameters: np.ndarray | None = None,
) -> Plan:
    """The plan with gains (H, nu, nx).

    Q (nx, nx) and R (nu, nu) weigh deviations, `final` (nx, nx) the last one, Q unless given;
    `parameters` are the plan's π. Raises ValueError naming the argument.
    """
    model, H = problem.model, problem.horizon
    if plan.u.shape != (H, model.system.nu) or not np.isfinite([*plan.u.flat, *plan.x.flat]).all():
        raise ValueError(f"plan must be finite with u {(H, model.system.nu)}, got {plan.u.shape}")
    sizes = {"Q": (Q, model.nx), "R": (R, model.system.nu), "final": (final, model.nx)}
    for name, (matrix, n) in sizes.items():
        if matrix is not None and np.shape(matrix) != (n, n):
            raise ValueError(f"{name} must have shape {(n, n)}, got {np.shape(matrix)}")
    signals = problem.problem_parameters(parameters)[:H, : model.system.nd]
    at, n = nodes(model, H), model.nx
    at.at(np.hstack([plan.x[:-1], plan.u]), signals)
    F = at.jacobian().transpose(0, 2, 1)
    chart = Chart(model.system.quaternion_rows, plan.x)
    T, E = chart.T, chart.E
    P, gains = T[H].T @ np.asarray(Q if final is None else final, dtype=float) @ T[H], []
    for k in range(H - 1, -1, -1):
        A, B = E[k + 1] @ F[k, :, :n] @ T[k], E[k + 1] @ F[k, :, n:]
        K = -np.linalg.solve(R + B.T @ P @ B, B.T @ P @ A)
        P = T[k].T @ Q @ T[k] + A.T @ P @ (A + B @ K)
        P = 0.5 * (P + P.T)
        gains.append(K @ E[k])
    return replace(plan, gains=np.array(gains[::-1]))
