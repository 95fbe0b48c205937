"""Vectors and matrices written out by component, so that what is zero costs nothing.

Entries are floats or CasADi scalars. Products with an exact 0 or ±1 vanish from a graph, and work
on floats alone never enters it: dense matrices of CasADi would hide both.

    turn(k, c, s)  the rotation by the angle with cosine c and sine s about axis k (0 x, 1 y, 2 z)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Scalar = Any  # float or casadi.SX (1, 1)
Vector = tuple[Scalar, Scalar, Scalar]
Rows = tuple[Vector, Vector, Vector]

ORIGIN: Vector = (0.0, 0.0, 0.0)
NOTHING: Rows = (ORIGIN, ORIGIN, ORIGIN)


def add(a: Vector, b: Vector) -> Vector:
    return (a[0] + b[0], a[1] + b[1], a[2] + b[2])


def scale(a: Vector, s: Scalar) -> Vector:
    return (a[0] * s, a[1] * s, a[2] * s)


def dot(a: Vector, b: Vector) -> Scalar:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def cross(a: Vector, b: Vector) -> Vector:
    return (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])


def apply(A: Rows, x: Vector) -> Vector:
    """A x."""
    return (dot(A[0], x), dot(A[1], x), dot(A[2], x))


def plus(A: Rows, B: Rows) -> Rows:
    return (add(A[0], B[0]), add(A[1], B[1]), add(A[2], B[2]))


def transpose(A: Rows) -> Rows:
    return ((A[0][0], A[1][0], A[2][0]), (A[0][1], A[1][1], A[2][1]), (A[0][2], A[1][2], A[2][2]))


def mirrored(xx: Scalar, xy: Scalar, xz: Scalar, yy: Scalar, yz: Scalar, zz: Scalar) -> Rows:
    """The symmetric matrix with this upper triangle."""
    return ((xx, xy, xz), (xy, yy, yz), (xz, yz, zz))


def turn(k: int, c: Scalar, s: Scalar, x: Vector) -> Vector:
    """R x."""
    i, j = (k + 1) % 3, (k + 2) % 3
    y = list(x)
    y[i], y[j] = c * x[i] - s * x[j], s * x[i] + c * x[j]
    return (y[0], y[1], y[2])


def turn_matrix(k: int, c: Scalar, s: Scalar, A: Rows, *, symmetric: bool) -> Rows:
    """R A Rᵀ, with c² + s² = 1 used: 10 operations for a symmetric A, 23 for any other."""
    i, j = (k + 1) % 3, (k + 2) % 3
    (a, b), (f, d) = (A[i][i], A[i][j]), (A[j][i], A[j][j])
    if isinstance(c, float) and c * s == 0:  # a multiple of a quarter turn only permutes
        if s != 0:
            a, b, f, d = d, -f, -b, a
    else:
        w = c * (a - d) - s * (2 * b if symmetric else b + f)
        a, d = d + c * w, a - c * w
        b, f = b + s * w, f + s * w
    e, g = c * A[i][k] - s * A[j][k], s * A[i][k] + c * A[j][k]
    if symmetric:
        f, h, m = b, e, g
    else:
        h, m = c * A[k][i] - s * A[k][j], s * A[k][i] + c * A[k][j]
    rows: list[list[Scalar]] = [[0.0] * 3 for _ in range(3)]
    rows[i][i], rows[i][j], rows[j][i], rows[j][j] = a, b, f, d
    rows[i][k], rows[j][k], rows[k][i], rows[k][j] = e, g, h, m
    rows[k][k] = A[k][k]
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = rows
    return ((xx, xy, xz), (yx, yy, yz), (zx, zy, zz))


@dataclass(frozen=True)
class Frame:
    """An inner frame in an outer one: x_outer = R x_inner + r, R a product of plane turns.

    turns     (k, c, s), outermost first
    position  r in the outer frame [m]
    """

    turns: tuple[tuple[int, Scalar, Scalar], ...]
    position: Vector

    def outward(self, x: Vector) -> Vector:
        """R x."""
        for k, c, s in reversed(self.turns):
            x = turn(k, c, s, x)
        return x

    def inward(self, x: Vector) -> Vector:
        """Rᵀ x."""
        for k, c, s in self.turns:
            x = turn(k, c, -s, x)
        return x

    def outward_matrix(self, A: Rows, *, symmetric: bool = False) -> Rows:
        """R A Rᵀ."""
        for k, c, s in reversed(self.turns):
            A = turn_matrix(k, c, s, A, symmetric=symmetric)
        return A
