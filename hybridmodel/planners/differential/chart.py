"""Expansions in the tangent space of states with rotations.

    x = x̄ ⊞ ξ,    dx = T dξ,    dξ = E dx,    E T = 1

T and E are identities but for quaternions q, where dq = ½ q ⊗ (0, dξ): T = ½ L, E = 2 Lᵀ with the
last three columns L of the left multiplication by q. To second order q ⊗ exp ξ bends by
−|ξ|²/8 q, so a gradient g adds −¼ gᵀq to the Hessian, and ⊟ does not bend at all. Solà, A micro
Lie theory for state estimation in robotics, 2018, eq. 30 and example 4.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hybridmodel.planners.differential.riccati import Expansion


class Chart:
    """T and E along a trajectory x (H+1, nx).

    rows   where the quaternions begin in x
    """

    def __init__(self, rows: Sequence[int], x: np.ndarray) -> None:
        self.x, self.blocks = x, []
        parts, start, at = [], 0, 0  # in x, and in ξ
        for row in (*rows, x.shape[1]):
            parts.append(np.arange(start, row))
            at += row - start
            if row < x.shape[1]:
                self.blocks.append((row, at))
                start, at = row + 4, at + 3
        self.T = np.zeros((len(x), x.shape[1], at))
        plain = np.concatenate(parts)
        own = np.setdiff1d(np.arange(at), [j + i for _, j in self.blocks for i in range(3)])
        self.T[:, plain, own] = 1.0
        self.E = self.T.transpose(0, 2, 1).copy()
        for row, column in self.blocks:
            w, a, b, c = x[:, row : row + 4].T
            L = np.array([[-a, -b, -c], [w, -c, b], [c, w, -a], [-b, a, w]]).transpose(2, 0, 1)
            self.T[:, row : row + 4, column : column + 3] = 0.5 * L
            size = (w**2 + a**2 + b**2 + c**2)[:, None, None]  # of x₀, which may be anything
            self.E[:, column : column + 3, row : row + 4] = 2.0 * L.transpose(0, 2, 1) / size

    def expansion(self, raw: Expansion) -> Expansion:
        """Of an expansion in x, the one in ξ."""
        n, H = self.x.shape[1], len(raw.F)
        gradient, (last, curved) = raw.gradient, raw.last
        hessian, T, end = self.hessian(raw.hessian, gradient[:, :n]), self.T[:-1], self.T[-1]
        final = end.T @ curved @ end
        self._bend(final[None], last[None], self.x[-1:])
        F = np.concatenate([raw.F[:, :, :n] @ T, raw.F[:, :, n:]], axis=2)
        own = (gradient[:, None, :n] @ T)[:, 0]
        return Expansion(
            F=self.E[1 : H + 1] @ F,
            gradient=np.hstack([own, gradient[:, n:]]),
            hessian=hessian,
            last=(end.T @ last, final),
        )

    def hessian(self, hessian: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """In (ξ, u), of one in (x, u) with the gradient in x (H, nx)."""
        n, H = self.x.shape[1], len(hessian)
        T = self.T[:H]
        before = T.transpose(0, 2, 1)
        xx = before @ hessian[:, :n, :n] @ T
        self._bend(xx, gradient, self.x[:H])
        xu = before @ hessian[:, :n, n:]
        return np.block([[xx, xu], [xu.transpose(0, 2, 1), hessian[:, n:, n:]]])

    def costates(self, p: np.ndarray) -> np.ndarray:
        """The part of p (H+1, nx) that a rotation can meet."""
        return ((p[:, None] @ self.T) @ self.E)[:, 0]

    def _bend(self, xx: np.ndarray, gradient: np.ndarray, x: np.ndarray) -> None:
        for row, column in self.blocks:
            along = (gradient[:, row : row + 4] * x[:, row : row + 4]).sum(1)
            for i in range(3):
                xx[:, column + i, column + i] -= 0.25 * along
