"""The backward pass of differential dynamic programming: a Riccati recursion with input bounds.

In ỹ = (δx, 1) the value is ½ ỹᵀSỹ, and the cost-to-go of a step is ½ wᵀQw in w = (δx, 1, δu):

    Q = L + GᵀS'G,    G = [A 0 B; 0 1 0]
    M = argmin over δu = M ỹ inside the bounds,    S = Q_yy + MᵀQ_uu M + MᵀQ_uy + Q_yu M

M = [K k] has the gain K (nu, n) and the step k (nu,); rows of K at a bound are zero. Tassa,
Mansard & Todorov, ICRA 2014, eq. 5-11; the regularisation μ is that of states, Q_uu + μ BᵀB and
Q_ux + μ BᵀA, with the value update that it asks for: Tassa, Erez & Todorov, IROS 2012, eq. 10-11.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotrs

from hybridmodel.planners.differential.box import box_qp


@dataclass(frozen=True, eq=False)
class Expansion:
    """Second-order expansion of a trajectory's costs and first-order one of its steps.

    F         (H, n, n + nu)           ∂x⁺/∂(x, u)
    gradient  (H, n + nu)              of the stage costs
    hessian   (H, n + nu, n + nu)      of the stage costs, and of λᵀF where it is wanted
    last      ((n,), (n, n))           gradient and Hessian of the terminal cost
    """

    F: np.ndarray
    gradient: np.ndarray
    hessian: np.ndarray
    last: tuple[np.ndarray, np.ndarray]

    def costates(self) -> np.ndarray:
        """pₖ = ∂J/∂xₖ (H+1, n):  pₖ = ℓₓ + Aᵀpₖ₊₁."""
        H, n = self.F.shape[:2]
        p = np.empty((H + 1, n))
        p[H] = self.last[0]
        for k in range(H - 1, -1, -1):
            p[k] = self.gradient[k, :n] + p[k + 1] @ self.F[k, :, :n]
        return p


@dataclass(frozen=True, eq=False)
class Policy:
    """δu = α k + K δx with k (H, nu), K (H, nu, n); change of cost α·slope + α²/2·bend."""

    k: np.ndarray
    K: np.ndarray
    slope: float
    bend: float


def backward(
    at: Expansion, low: np.ndarray, high: np.ndarray, regularisation: float = 0.0
) -> Policy | None:
    """The policy inside low ≤ k ≤ high (H, nu), low ≤ 0 ≤ high.

    None where some Q_uu is not positive definite.

    regularisation  μ
    """
    H, n, wide = at.F.shape
    nu, m = wide - n, n + 1
    order = np.r_[0:n, m + np.arange(nu)]  # of (x, u) in w
    G, L = np.zeros((H, m, m + nu)), np.zeros((H, m + nu, m + nu))
    G[:, :n, order], G[:, n, n] = at.F, 1.0
    L[:, order[:, None], order] = at.hessian
    L[:, n, order] = L[:, order, n] = at.gradient
    S = np.zeros((m, m))
    S[:n, :n], S[n, :n], S[:n, n] = at.last[1], at.last[0], at.last[0]
    extra = regularisation * (at.F[:, :, n:].transpose(0, 2, 1) @ G[:, :n]) if regularisation else L
    M = np.zeros((H, nu, m))
    slope = bend = 0.0
    for k in range(H - 1, -1, -1):
        Gk = G[k]
        Q = L[k] + Gk.T @ S @ Gk
        rows = Q[m:]
        tilted = rows + extra[k] if regularisation else rows
        found = _minimiser(tilted, n, low[k], high[k])
        if found is None:
            return None
        M[k] = found
        step, Quu = found[:, n], rows[:, m:]
        curved = Quu @ found
        slope += float(step @ rows[:, n])
        bend += float(step @ curved[:, n])
        S = Q[:m, :m] + found.T @ (curved + rows[:, :m]) + Q[:m, m:] @ found
        S = 0.5 * (S + S.T)
    return Policy(M[:, :, n], M[:, :, :n], slope, bend)


def _minimiser(rows: np.ndarray, n: int, low: np.ndarray, high: np.ndarray) -> np.ndarray | None:
    """M (nu, n + 1) from the rows (nu, n + 1 + nu) of Q that belong to u."""
    m = n + 1
    if len(rows) == 1:  # most systems that are planned for have one input
        slope, curve = rows[0, n], rows[0, m]
        if (low[0] >= 0 and slope > 0) or (high[0] <= 0 and slope < 0):
            return np.zeros((1, m))  # stays at its bound, whatever the curvature
        if not 0 < curve < np.inf:
            return None
        M = rows[:, :m] / -curve
        k = M[0, n]
        if not low[0] <= k <= high[0]:
            M[:] = 0.0
            M[0, n] = min(max(k, low[0]), high[0])
        return M
    Quu = rows[:, m:]
    factor, failed = dpotrf(Quu, lower=1)
    if not failed:
        M = -dpotrs(factor, rows[:, :m], lower=1)[0]
        k = M[:, n]
        if ((low <= k) & (k <= high)).all():
            return M
    found = box_qp(Quu, rows[:, n], low, high)
    if found is None:
        return None
    k, free = found
    M = np.zeros((len(rows), m))
    if free.any():
        factor, _ = dpotrf(Quu[np.ix_(free, free)], lower=1)
        M[free, :n] = -dpotrs(factor, rows[free, :n], lower=1)[0]
    M[:, n] = k
    return M
