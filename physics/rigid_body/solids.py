"""Mass and inertia of uniform solids, alone and joined, in their own axes.

    I = Σᵢ Rᵢ Iᵢ Rᵢᵀ + mᵢ (dᵢᵀdᵢ 1 − dᵢ dᵢᵀ),    dᵢ = cᵢ − c,    c = Σ mᵢ cᵢ / Σ mᵢ

Lengths are half lengths [m], as in MJCF's `size`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from physics.rigid_body.description import ZERO, Matrix, Vector

SIZES = {"sphere": 1, "capsule": 2, "cylinder": 2, "ellipsoid": 3, "box": 3}


@dataclass(frozen=True)
class Body:
    """A mass [kg], its centre [m] and the inertia about the centre [kg·m²], in common axes."""

    mass: float
    center: Vector
    inertia: Matrix


def volume(kind: str, size: Sequence[float]) -> float:
    """V [m³] of a solid; `kind` is one of SIZES, which says how many numbers `size` has."""
    if kind == "sphere":
        return 4 / 3 * math.pi * size[0] ** 3
    if kind == "capsule":  # a cylinder between two half spheres
        return math.pi * size[0] ** 2 * (2 * size[1] + 4 / 3 * size[0])
    if kind == "cylinder":
        return math.pi * size[0] ** 2 * 2 * size[1]
    return (4 / 3 * math.pi if kind == "ellipsoid" else 8.0) * math.prod(size)


def moments(kind: str, size: Sequence[float]) -> Vector:
    """Principal moments per mass [m²] of a solid whose axis is z."""
    if kind in ("sphere", "ellipsoid", "box"):
        a, b, c = (x * x for x in (size[0],) * 3) if kind == "sphere" else (x * x for x in size)
        share = 3 if kind == "box" else 5
        return ((b + c) / share, (a + c) / share, (a + b) / share)
    r, h = size[0], size[1]
    cylinder = ((3 * r * r + 4 * h * h) / 12, r * r / 2)
    if kind == "cylinder":
        return (cylinder[0], cylinder[0], cylinder[1])
    ends = 2 * r / (2 * r + 3 * h)  # share of the two half spheres in the mass
    # their centres of mass lie 3r/8 beyond the cylinder's ends
    across = (1 - ends) * cylinder[0] + ends * (2 / 5 * r * r + h * h + 3 / 4 * h * r)
    along = (1 - ends) * cylinder[1] + ends * 2 / 5 * r * r
    return (across, across, along)


@np.errstate(over="ignore", invalid="ignore")
def join(bodies: Sequence[Body]) -> Body:
    """Several rigid bodies as one; entries that are zero but for rounding become zero.

    Numbers too large for a float give inf or nan.
    """
    mass = math.fsum(body.mass for body in bodies)
    if mass == 0:
        return Body(0.0, (0.0, 0.0, 0.0), ZERO)
    centers = np.array([body.center for body in bodies])  # (n, 3)
    center = np.array([body.mass for body in bodies]) @ centers / mass  # (3,)
    inertia = np.zeros((3, 3))
    for body, c in zip(bodies, centers, strict=True):
        d = c - center
        inertia += np.array(body.inertia) + body.mass * (d @ d * np.eye(3) - np.outer(d, d))
    center[np.abs(center) < 1e-15 * np.abs(centers).max()] = 0.0
    inertia[np.abs(inertia) < 1e-15 * np.abs(inertia).max()] = 0.0
    inertia = (inertia + inertia.T) / 2
    x, y, z = center.tolist()
    first, second, third = (tuple(row) for row in inertia.tolist())
    return Body(mass, (x, y, z), (first, second, third))
