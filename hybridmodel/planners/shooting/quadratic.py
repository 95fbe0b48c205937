"""Quadratic programs in stages, with rows of which some may be left unmet at a price.

    min  Σ_{k≤N} ½ zₖᵀHₖzₖ + gₖᵀzₖ + Σ ρ sₖ       zₖ = (xₖ, uₖ), no u at N
    s.t. xₖ₊₁ = Jₖzₖ + bₖ,  x₀ given
         Cₖzₖ + cₖ = sₖ − tₖ,  t ≥ 0, s ≥ 0

Rows whose multiplier λ may lie in [0, ρ] are inequalities with an ℓ₁ penalty, in [0, ∞) strict
ones (s = 0), in [−ρ, ρ] equalities with an ℓ₁ penalty: such a program always has a solution.
Where the Riccati recursion meets a pivot that is not positive, δI is added to H, and δ grows as
in Wächter & Biegler, Math. Program. 106 (2006), algorithm IC.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hybridmodel.planners.shooting.riccati import factorisation, substitution

_FIRST, _LEAST, _MOST = 1e-4, 1e-10, 1e12  # δ₀, δ_min, δ_max
_FASTER, _FAST, _SLOWER = 100.0, 8.0, 1 / 3  # κ̄₊, κ₊, κ₋


@dataclass(frozen=True, eq=False)
class StageQP:
    """H (N+1, n, n), g (N+1, n), J (N, n, nx) by columns, b (N, nx), C (N+1, m, n), c (N+1, m),
    least and most (N+1, m) of λ, x0 (nx,)."""

    H: np.ndarray
    g: np.ndarray
    J: np.ndarray
    b: np.ndarray
    C: np.ndarray
    c: np.ndarray
    least: np.ndarray
    most: np.ndarray
    x0: np.ndarray

    def rows(self, z: np.ndarray) -> np.ndarray:
        """C z + c (N+1, m)."""
        return (self.C @ z[..., None])[..., 0] + self.c

    def dual(self, z: np.ndarray, dynamics: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """∇L (N+1, n), zero where x₀ is given."""
        nx = self.b.shape[1]
        found = self.without_dynamics(z, rows)
        found[:-1] -= (self.J @ dynamics[..., None])[..., 0]
        found[1:, :nx] += dynamics
        found[0, :nx] = 0
        return found

    def without_dynamics(self, z: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """H z + g + Cᵀλ (N+1, n)."""
        return (
            (self.H @ z[..., None])[..., 0]
            + self.g
            + (self.C.transpose(0, 2, 1) @ rows[..., None])[..., 0]
        )

    def ahead(self, z: np.ndarray) -> np.ndarray:
        """J z + b − x⁺ (N, nx)."""
        return (z[:-1, None, :] @ self.J)[:, 0] + self.b - z[1:, : self.b.shape[1]]


def scale(dynamics: np.ndarray, rows: np.ndarray) -> float:
    """What dual residuals are measured by."""
    return 1 + max(np.abs(rows).max(initial=0), np.abs(dynamics).max(initial=0)) / 100


@dataclass(frozen=True, eq=False)
class Solution:
    """z (N+1, n), multipliers π (N, nx) of xₖ₊₁ − Jz − b and λ (N+1, m), gains K (N, nu, nx) of
    the last factorisation, δ that was added to H, error (the largest KKT residual, which is
    checked here), iterations."""

    z: np.ndarray
    dynamics: np.ndarray
    rows: np.ndarray
    gains: np.ndarray
    shift: float
    error: float
    iterations: int

    @property
    def usable(self) -> bool:
        """Whether every number is finite."""
        return bool(
            np.isfinite(self.error) and np.isfinite(self.z).all() and np.isfinite(self.rows).all()
        )


@dataclass(frozen=True, eq=False)
class Convex:
    """A program whose H holds δ, and the factors of the recursion."""

    qp: StageQP
    shift: float
    factors: list[np.ndarray]


class RiccatiSolver:
    """Factorises and solves programs of one size, without their rows.

    nx, nu, horizon   sizes of x and u, N
    """

    def __init__(self, nx: int, nu: int, horizon: int) -> None:
        self.nx, self.nu, self.N = nx, nu, horizon
        self._factor = factorisation(nx, nu, horizon)
        self._substitute = substitution(nx, nu, horizon)

    def convex(
        self, qp: StageQP, added: np.ndarray, shift: float, last_shift: float
    ) -> Convex | None:
        """Factors of H + δI + added, with the smallest δ ≥ shift tried that makes it convex."""
        nx = self.nx
        while True:
            M = qp.H + added
            *factors, pivots = self._factor(M[:-1], qp.J, M[-1, :nx, :nx])
            if pivots.min() > 0 and np.isfinite(factors[0][0]).all():
                return Convex(qp, shift, factors)
            more = _next_shift(shift, last_shift)
            if not more <= _MOST:
                return None
            qp, shift = replace(qp, H=shifted(qp.H, more - shift)), more

    def is_convex(self, H: np.ndarray, J: np.ndarray) -> bool:
        """Whether H (N+1, n, n) is positive definite where zₖ₊₁ follows from zₖ by J."""
        *_, pivots = self._factor(H[:-1], J, H[-1, : self.nx, : self.nx])
        return bool(pivots.min() > 0)

    def step(
        self,
        J: np.ndarray,
        factors: list[np.ndarray],
        x0: np.ndarray,
        g: np.ndarray,
        b: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """z (N+1, n) and π (N, nx) of the program without rows that was factorised."""
        head, last, pi = self._substitute(x0, g[:-1], b, g[-1, : self.nx], J, *factors)
        return np.vstack([head, np.append(last, np.zeros(self.nu))]), pi


def shifted(H: np.ndarray, added: float) -> np.ndarray:
    """H + δI."""
    return H + added * np.eye(H.shape[-1]) if added else H


def _next_shift(shift: float, last: float) -> float:
    """The next δ to try after one that was too small (0: none was added)."""
    if shift == 0:
        return _FIRST if last == 0 else max(_LEAST, _SLOWER * last)
    return shift * (_FASTER if last == 0 else _FAST)
