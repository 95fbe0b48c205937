"""Quadratic programs with bounds, small and dense, by projected Newton steps.

    min over a of  ½ aᵀH a + qᵀa,   low ≤ a ≤ high

Bertsekas, SIAM J. Control 20 (1982) 221; the form for inputs of Tassa, Mansard & Todorov,
Control-limited differential dynamic programming, ICRA 2014, section III-C.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotrs

_ITERATIONS = 50
_ARMIJO = 0.1


def box_qp(
    H: np.ndarray, q: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """The minimiser a (n,) and which of its rows are free (n,); None where H is not positive.

    H (n, n); q, low and high (n,). "Not positive" is said of the free rows alone.
    """
    a, free = np.clip(0.0, low, high), np.ones(len(q), bool)
    for _ in range(_ITERATIONS):
        gradient = H @ a + q
        free = ~(((a <= low) & (gradient > 0)) | ((a >= high) & (gradient < 0)))
        if not free.any():
            return a, free
        factor, failed = dpotrf(H[np.ix_(free, free)], lower=1)
        if failed:
            return None
        if np.abs(gradient[free]).max() <= 1e-12 * (1 + np.abs(q).max()):
            return a, free
        newton = np.zeros_like(a)
        newton[free], _ = dpotrs(factor, -gradient[free], lower=1)
        step, value = 1.0, a @ (0.5 * (H @ a) + q)
        while True:
            moved = np.clip(a + step * newton, low, high)
            change = moved @ (0.5 * (H @ moved) + q) - value
            if change <= _ARMIJO * gradient @ (moved - a) or step < 1e-10:
                break
            step *= 0.5
        if np.array_equal(moved, a) or step < 1e-10:  # rounding is all that is left
            return a, free
        a = moved
    return a, free
