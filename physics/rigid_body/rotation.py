"""Rotation matrices as rows of floats, exact where the rotation is a multiple of a right angle."""

from __future__ import annotations

import math

from physics.rigid_body.description import Matrix, Pose, Vector

RIGHT_ANGLE = 1e-12  # [rad] an angle this close to a multiple of π/2 is taken as that multiple
_QUARTERS = ((0.0, 1.0), (1.0, 0.0), (0.0, -1.0), (-1.0, 0.0))  # (sin, cos) of k π/2


def sine_cosine(angle: float) -> tuple[float, float]:
    """(sin, cos) of an angle [rad]; exactly 0 and ±1 within 1e-12 rad of a multiple of π/2."""
    turns = round(angle / (math.pi / 2))
    if abs(angle - turns * (math.pi / 2)) <= RIGHT_ANGLE:
        return _QUARTERS[turns % 4]
    return math.sin(angle), math.cos(angle)


def about_axis(axis: int, angle: float) -> Matrix:
    """Rotation by an angle [rad] about axis 0 (x), 1 (y) or 2 (z)."""
    s, c = sine_cosine(angle)
    return (
        ((1.0, 0.0, 0.0), (0.0, c, -s), (0.0, s, c)),
        ((c, 0.0, s), (0.0, 1.0, 0.0), (-s, 0.0, c)),
        ((c, -s, 0.0), (s, c, 0.0), (0.0, 0.0, 1.0)),
    )[axis]


def about(axis: Vector, angle: float) -> Matrix:
    """R = c 1 + s [a]ₓ + (1 − c) a aᵀ for a unit vector a and an angle [rad] (Rodrigues)."""
    s, c = sine_cosine(angle)
    x, y, z = axis
    d = 1 - c
    return (
        (c + d * x * x, d * x * y - s * z, d * x * z + s * y),
        (d * x * y + s * z, c + d * y * y, d * y * z - s * x),
        (d * x * z - s * y, d * y * z + s * x, c + d * z * z),
    )


def from_quaternion(w: float, x: float, y: float, z: float) -> Matrix:
    """R of q = (w, x, y, z), which need not be of unit length; right angles are made exact."""
    norm = math.hypot(w, x, y, z)
    w, x, y, z = w / norm, x / norm, y / norm, z / norm
    return exact(
        (
            (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
            (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
            (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
        )
    )


def from_z_to(direction: Vector) -> Matrix:
    """The smallest rotation that takes (0, 0, 1) to this unit vector."""
    x, y, z = direction
    if z < -1 + 1e-12:
        return about_axis(0, math.pi)
    f = 1 / (1 + z)
    return exact(((1 - f * x * x, -f * x * y, x), (-f * x * y, 1 - f * y * y, y), (-x, -y, z)))


def exact(rotation: Matrix) -> Matrix:
    """The nearest matrix of 0 and ±1 where it is within 1e-12 in each entry, else the same."""
    (a, b, c), (d, e, f), (g, h, i) = rotation
    if any(abs(x - round(x)) > RIGHT_ANGLE for x in (a, b, c, d, e, f, g, h, i)):
        return rotation
    a, b, c, d, e, f, g, h, i = (float(round(x)) for x in (a, b, c, d, e, f, g, h, i))
    return ((a, b, c), (d, e, f), (g, h, i))


def apply(rotation: Matrix, vector: Vector) -> Vector:
    """R v."""

    def entry(row: Vector) -> float:
        return row[0] * vector[0] + row[1] * vector[1] + row[2] * vector[2] + 0.0  # no −0.0

    return (entry(rotation[0]), entry(rotation[1]), entry(rotation[2]))


def compose(outer: Pose, inner: Pose) -> Pose:
    """The pose of a frame that is `inner` in a frame that is `outer`."""
    x, y, z = apply(outer.rotation, inner.position)
    a, b, c = outer.position
    rotation = product(outer.rotation, inner.rotation)
    return Pose(rotation=rotation, position=(a + x, b + y, c + z))


def product(a: Matrix, b: Matrix) -> Matrix:
    """A B."""

    def entry(i: int, j: int) -> float:
        return a[i][0] * b[0][j] + a[i][1] * b[1][j] + a[i][2] * b[2][j] + 0.0  # no −0.0

    def row(i: int) -> tuple[float, float, float]:
        return (entry(i, 0), entry(i, 1), entry(i, 2))

    return (row(0), row(1), row(2))


def transpose(a: Matrix) -> Matrix:
    """Aᵀ."""
    (a00, a01, a02), (a10, a11, a12), (a20, a21, a22) = a
    return ((a00, a10, a20), (a01, a11, a21), (a02, a12, a22))


def from_rpy(roll: float, pitch: float, yaw: float) -> Matrix:
    """R = Rz(yaw) Ry(pitch) Rx(roll): angles [rad] about fixed axes, as in URDF."""
    return product(about_axis(2, yaw), product(about_axis(1, pitch), about_axis(0, roll)))


def rotate_inertia(rotation: Matrix, inertia: Matrix) -> Matrix:
    """R I Rᵀ, symmetric to the last bit."""
    (xx, xy, xz), (_, yy, yz), (_, _, zz) = product(product(rotation, inertia), transpose(rotation))
    return ((xx, xy, xz), (xy, yy, yz), (xz, yz, zz))
