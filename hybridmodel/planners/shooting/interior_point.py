"""A primal-dual interior point method for quadratic programs in stages.

    t (λ − λ_low) = μ,  s (λ_high − λ) = μ,  μ → 0      rows  C z + c = s − t

Predictor and corrector after Mehrotra, SIAM J. Optim. 2 (1992); Nocedal & Wright, Numerical
Optimization, 2006, algorithm 16.4. A factorisation is one Riccati recursion of H + CᵀΣC, with
Σ⁻¹ = t/(λ − λ_low) + s/(λ_high − λ).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hybridmodel.planners.shooting.quadratic import (
    Convex,
    RiccatiSolver,
    Solution,
    StageQP,
    scale,
    shifted,
)

_BOUNDARY = 0.995  # share of the way to the boundary that a step may go
_LEAST = 1e-10  # slack at the start
_FLOOR = 1e-300
_AWAY = 1e3  # how much worse than the best an iterate may be and still be kept
_Step = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # of z, π⁺, λ, t, s


def solve_interior(
    solver: RiccatiSolver,
    qp: StageQP,
    *,
    rows: np.ndarray,
    centre: float,
    tolerance: float,
    shift: float = 0.0,
    last_shift: float = 0.0,
    iterations: int = 50,
) -> Solution:
    """From multipliers λ (N+1, m), which need not be near.

    centre      complementarity μ to start from
    tolerance   of the largest KKT residual
    shift       δ to begin with; last_shift the one that worked before, 0 if none was needed
    """
    if shift:
        qp = replace(qp, H=shifted(qp.H, shift))
    at = _begin(qp, rows, centre)
    gains = np.zeros((solver.N, solver.nu, solver.nx))
    best = Solution(at.z, at.dynamics, at.rows, gains, shift, np.inf, 0)
    for step in range(iterations + 1):
        error = at.error(qp)
        if step and (not np.isfinite(best.error) or error <= _AWAY * best.error):
            best = Solution(at.z, at.dynamics, at.acting(qp), gains, shift, error, step)
        if not np.isfinite(error) or (step and error <= tolerance) or step == iterations:
            break
        convex = solver.convex(qp, at.barrier(qp), shift, last_shift)
        if convex is None:
            return replace(best, error=np.inf)
        qp, shift, gains = convex.qp, convex.shift, convex.factors[1].transpose(0, 2, 1)
        at = at.moved(solver, convex, tolerance)
    return replace(best, gains=gains)


@dataclass(frozen=True, eq=False)
class _Interior:
    """An iterate: z, π, λ and slacks t > 0, s > 0 (0 where λ_high = ∞) of rows that are live."""

    z: np.ndarray
    dynamics: np.ndarray
    rows: np.ndarray
    t: np.ndarray
    s: np.ndarray
    live: np.ndarray
    soft: np.ndarray

    def gaps(self, qp: StageQP) -> tuple[np.ndarray, np.ndarray]:
        """λ − λ_low and λ_high − λ, positive both."""
        return np.where(self.live, self.rows - qp.least, 1.0), qp.most - self.rows

    def pairs(self, qp: StageQP) -> tuple[np.ndarray, np.ndarray]:
        """t (λ − λ_low) and s (λ_high − λ)."""
        above, below = self.gaps(qp)
        room = np.where(self.soft, below, 0.0)
        return np.where(self.live, self.t * above, 0.0), self.s * room

    def acting(self, qp: StageQP) -> np.ndarray:
        """λ, but 0 where the slack is larger and μ alone keeps λ from it."""
        return np.where((qp.least == 0) & (self.rows < self.t), 0.0, self.rows)

    def error(self, qp: StageQP) -> float:
        """The largest KKT residual."""
        size = scale(self.dynamics, self.rows)
        dual = qp.dual(self.z, self.dynamics, self.rows)
        primal = np.where(self.live, qp.rows(self.z) - self.s + self.t, 0.0)
        parts = dual / size, qp.ahead(self.z), primal, *(p / size for p in self.pairs(qp))
        return float(np.max([np.abs(part).max(initial=0) for part in parts]))  # NaN stays NaN

    def weights(self, qp: StageQP) -> np.ndarray:
        """Σ (N+1, m)."""
        above, below = self.gaps(qp)
        return np.where(self.live, 1 / np.maximum(self.t / above + self.s / below, _FLOOR), 0.0)

    def barrier(self, qp: StageQP) -> np.ndarray:
        """CᵀΣC (N+1, n, n)."""
        return (qp.C.transpose(0, 2, 1) * self.weights(qp)[:, None, :]) @ qp.C

    def moved(self, solver: RiccatiSolver, convex: Convex, tolerance: float) -> _Interior:
        """After a predictor and a corrector step."""
        qp = convex.qp
        newton = _Newton(self, solver, convex)
        step = newton.direction(0.0, 0.0)
        first, second = self.pairs(qp)
        count = max(1, int(self.live.sum() + self.soft.sum()))
        mu = float(first.sum() + second.sum()) / count
        if self.live.any() and mu > 0.01 * tolerance:
            hoped = self.along(step, newton.longest(step)).pairs(qp)
            share = max(float(hoped[0].sum() + hoped[1].sum()) / count / mu, 0.0)
            aim = max(mu * min(1.0, share) ** 3, 0.01 * tolerance)
            _, _, change, dt, ds = step
            step = newton.direction(aim - dt * change, aim + ds * change)
        reach = newton.longest(step)
        return self.along(step, min(1.0, _BOUNDARY * reach) if self.live.any() else 1.0)

    def along(self, step: _Step, far: float) -> _Interior:
        """A share of a step further."""
        dz, pi, change, dt, ds = step
        return replace(
            self,
            z=self.z + far * dz,
            dynamics=self.dynamics + far * (pi - self.dynamics),
            rows=self.rows + far * change,
            t=self.t + far * dt,
            s=self.s + far * ds,
        )


class _Newton:
    """Steps from an iterate with one factorisation."""

    def __init__(self, at: _Interior, solver: RiccatiSolver, convex: Convex) -> None:
        qp = convex.qp
        self.at, self.solver, self.qp, self.factors = at, solver, qp, convex.factors
        self.above, self.below = at.gaps(qp)
        self.weight, self.v = at.weights(qp), qp.rows(at.z)
        self.dual, self.ahead = qp.without_dynamics(at.z, at.rows), qp.ahead(at.z)

    def direction(self, first: np.ndarray | float, second: np.ndarray | float) -> _Step:
        """To t (λ − λ_low) = first and s (λ_high − λ) = second, to first order."""
        at, qp, above, below = self.at, self.qp, self.above, self.below
        q = np.where(at.live, self.v + first / above - second / below, 0.0)
        grad = self.dual + (qp.C.transpose(0, 2, 1) @ (self.weight * q)[..., None])[..., 0]
        start = np.zeros(self.solver.nx)
        dz, pi = self.solver.step(qp.J, self.factors, start, grad, self.ahead)
        change = self.weight * ((qp.C @ dz[..., None])[..., 0] + q)
        dt = np.where(at.live, first / above - at.t - at.t / above * change, 0.0)
        ds = np.where(at.soft, second / below - at.s + at.s / below * change, 0.0)
        return dz, pi, change, dt, ds

    def longest(self, step: _Step) -> float:
        """The largest share of a step that keeps all slacks and gaps positive, 1 at most."""
        _, _, change, dt, ds = step
        s = np.where(self.at.soft, self.at.s, 1.0)
        ratios = -dt / self.at.t, -ds / s, -change / self.above, change / self.below
        return min(1.0, 1 / max(*(float(r.max(initial=0)) for r in ratios), _FLOOR))


def _begin(qp: StageQP, rows: np.ndarray, centre: float) -> _Interior:
    live = np.asarray(qp.C.any(-1))
    soft = live & np.isfinite(qp.most)
    z = np.zeros_like(qp.g)
    z[0, : len(qp.x0)] = qp.x0
    v, width = qp.rows(z), np.sqrt(centre)
    t = np.where(soft, (np.sqrt(v**2 + 4 * width**2) - v) / 2, np.maximum(-v, width))
    t = np.where(live, np.maximum(t, _LEAST), 1.0)
    s = np.where(soft, np.maximum(v + t, _LEAST), 0.0)
    inequality = qp.least == 0
    wanted = np.where(inequality, np.maximum(rows, centre / t), rows)
    low, top = np.where(inequality, 0.0, 0.9 * qp.least), np.where(soft, 0.9 * qp.most, np.inf)
    multipliers = np.where(live, np.clip(wanted, low, top), 0.0)
    return _Interior(z, np.zeros_like(qp.b), multipliers, t, s, live, soft)
