"""Which combinations of parameters are known, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Direction:
    """A unit move of ϑ (np,) and its standard error, relative; infinite where nothing sees it."""

    names: tuple[str, ...]
    move: Array
    standard_error: float

    def __str__(self) -> str:
        parts = [
            f"{'+' if m > 0 else '−'}{abs(m):.2f} {name}"
            for name, m in zip(self.names, self.move, strict=True)
            if abs(m) >= 0.01
        ]
        known = (
            "nothing in the log sees it"
            if not np.isfinite(self.standard_error)
            else f"known to ± {100 * self.standard_error:.3g} %"
        )
        return f"{' '.join(parts)} ({known})"


def sparse_basis(null: Array) -> Array:
    """Rows (k, n) that span the same space as the rows given, each with many zeros, length 1.

    Reduced row echelon form with complete pivoting; for one row it is that row.
    """
    rows = np.array(null, dtype=float)
    pivots: list[int] = []
    for k in range(len(rows)):
        free = [j for j in range(rows.shape[1]) if j not in pivots]
        i, j = divmod(int(np.argmax(np.abs(rows[k:][:, free]))), len(free))
        rows[[k, k + i]], column = rows[[k + i, k]], free[j]
        pivots.append(column)
        rows[k] /= rows[k, column]
        for other in range(len(rows)):
            if other != k:
                rows[other] -= rows[other, column] * rows[k]
    rows[np.abs(rows) < 1e-6] = 0.0
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def directions(
    names: Sequence[str], matrix: Array, rank: int, order: Array, vectors: Array, at_least: float
) -> tuple[Direction, ...]:
    """The worst-known moves of ϑ, worst first: those nothing sees, then those ≥ `at_least`.

    order (n,) ascending eigenvalues and vectors (n, n) of the information matrix (n, n).
    """
    n = len(order)
    found = [
        Direction(tuple(names), row, float("inf")) for row in sparse_basis(vectors[:, : n - rank].T)
    ]
    for k in range(n - rank, n):
        error = float(1 / np.sqrt(order[k]))
        if error >= at_least:
            v = vectors[:, k]
            v = v * np.sign(v[np.argmax(np.abs(v))])
            found.append(Direction(tuple(names), v, error))
    return tuple(found)
