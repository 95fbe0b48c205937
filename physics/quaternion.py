"""Unit quaternions (w, x, y, z) as CasADi columns, from the body's frame to the world's.

    a_world = R(q) a_body,    q̇ = ½ q ⊗ (0, ω),  ω in the body frame

Solà, A micro Lie theory for state estimation in robotics, 2018, example 4 and eq. 170–177.
"""

from __future__ import annotations

import casadi as ca

_SMALL = 1e-6  # squared angle below which series replace sin t/t: their error is under 1e-18


def multiply(a: ca.SX, b: ca.SX) -> ca.SX:
    """a ⊗ b (4,)."""
    w, v = a[0], a[1:4]
    s, t = b[0], b[1:4]
    return ca.vertcat(w * s - ca.dot(v, t), w * t + s * v + ca.cross(v, t))


def conjugate(q: ca.SX) -> ca.SX:
    """q⁻¹ (4,) of a unit quaternion."""
    return ca.vertcat(q[0], -q[1:4])


def rotation_matrix(q: ca.SX) -> ca.SX:
    """R(q) (3, 3)."""
    w, x, y, z = ca.vertsplit(q)
    return ca.blockcat(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def rate(q: ca.SX, omega: ca.SX) -> ca.SX:
    """q̇ (4,) = ½ q ⊗ (0, ω)."""
    return multiply(q, ca.vertcat(0, omega)) / 2


def normalise(q: ca.SX) -> ca.SX:
    """q / |q| (4,)."""
    return q / ca.sqrt(ca.sumsqr(q))


def exp(rotation: ca.SX) -> ca.SX:
    """The turn by |ξ| [rad] about ξ, (3,) ↦ (4,); smooth at 0."""
    t2 = ca.sumsqr(rotation)
    small = t2 < _SMALL
    half = ca.sqrt(ca.if_else(small, 1, t2)) / 2  # the root's slope at 0 must not be met
    sine = ca.if_else(small, 0.5 - t2 / 48 + t2**2 / 3840, ca.sin(half) / (2 * half))
    cosine = ca.if_else(small, 1 - t2 / 8 + t2**2 / 384, ca.cos(half))
    return ca.vertcat(cosine, sine * rotation)


def log(q: ca.SX) -> ca.SX:
    """The shortest turn ξ (3,) [rad] with exp ξ = ± q; |ξ| ≤ π is the geodesic angle."""
    n2 = ca.sumsqr(q[1:4])
    small = n2 < _SMALL
    w = ca.if_else(q[0] < 0, -q[0], q[0])  # q and −q are one rotation
    sign = ca.if_else(q[0] < 0, -1, 1)
    n, safe = ca.sqrt(ca.if_else(small, 1, n2)), ca.if_else(small, w, 1)
    series = 2 / safe * (1 - n2 / (3 * safe**2) + n2**2 / (5 * safe**4))
    return sign * ca.if_else(small, series, 2 * ca.atan2(n, w) / n) * q[1:4]
