"""A quadratic program in stages by a guess of its active rows, corrected a few times.

Primal-dual active sets after Hintermüller, Ito & Kunisch, SIAM J. Optim. 13 (2002), algorithm 1.
Active rows are held by an augmented Lagrangian, one factorisation and a few substitutions (the
method of multipliers, Nocedal & Wright, Numerical Optimization, 2006, section 17.3).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hybridmodel.planners.shooting.quadratic import RiccatiSolver, Solution, StageQP, scale, shifted

STIFFNESS = 1e6  # of active rows, against the largest number of H
_REFINEMENTS = 4
_NONE = 1e-7  # multipliers up to this come from rows that do not act


def solve_active(
    solver: RiccatiSolver,
    qp: StageQP,
    *,
    rows: np.ndarray,
    tolerance: float,
    shift: float = 0.0,
    last_shift: float = 0.0,
    tries: int = 10,
) -> Solution | None:
    """The solution where the rows that are active with multipliers λ (N+1, m) lead to it, checked
    to the tolerance; None where they do not, which is for the interior point method to solve."""
    live, equality = qp.C.any(-1), qp.least < 0
    if shift:
        qp = replace(qp, H=shifted(qp.H, shift))
    active = live & (equality | (rows > _NONE) | (qp.c > 0))
    transposed, rest = qp.C.transpose(0, 2, 1), np.zeros_like(qp.x0)
    stiffness = STIFFNESS * max(1.0, float(np.abs(qp.H).max()))
    for attempt in range(1, tries + 1):
        multipliers = np.where(active, rows, 0.0)
        weight = np.where(active, stiffness, 0.0)
        added = (transposed * weight[:, None, :]) @ qp.C if active.any() else np.zeros(1)
        convex = solver.convex(qp, added, shift, last_shift)
        if convex is None:
            return None
        qp, shift, factors = convex.qp, convex.shift, convex.factors
        z, v, error = np.zeros_like(qp.g), qp.c, np.inf
        z[0, : len(qp.x0)] = qp.x0
        dynamics = np.zeros_like(qp.b)
        for _ in range(_REFINEMENTS):
            pull = (transposed @ (weight * qp.rows(z))[..., None])[..., 0]
            grad = qp.without_dynamics(z, multipliers) + pull
            dz, dynamics = solver.step(qp.J, factors, rest, grad, qp.ahead(z))
            z = z + dz
            v = qp.rows(z)
            multipliers = multipliers + weight * v
            size = scale(dynamics, multipliers)
            parts = qp.dual(z, dynamics, multipliers) / size, qp.ahead(z), v[active]
            error = float(np.max([np.abs(part).max(initial=0) for part in parts]))
            if error <= 0.1 * tolerance:
                break
        violated = live & ~active & (v > tolerance)
        pulling = active & ~equality & (multipliers < 0)
        if violated.any() or pulling.any():
            active = (active & ~pulling) | violated
            continue
        if (np.abs(multipliers) > 0.9 * qp.most).any():
            return None
        if not error <= tolerance:
            return None
        gains = factors[1].transpose(0, 2, 1)
        return Solution(z, dynamics, multipliers, gains, shift, error, attempt)
    return None
