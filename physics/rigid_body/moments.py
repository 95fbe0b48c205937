"""Moments of mass, and which of them a robot's motion can tell apart.

    m = ∫ dm,    h = ∫ r dm,    Σ = ∫ r rᵀ dm        (I = tr(Σ) 1 − Σ)

What lies on a revolute joint's axis moves with either of its bodies, so the part (m, h_z, Σ_zz)
of a body may be given to its parent; turned by no prismatic joint, Σ may be given whole. The
robot's dynamics stay exactly the same and more entries become 0.
Gautier, Khalil, Direct calculation of minimum set of inertial parameters of serial robots, IEEE
Trans. Robotics and Automation, 1990, eq. 23 and 24, said there of I.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from physics.rigid_body.spatial import (
    NOTHING,
    ORIGIN,
    Frame,
    Rows,
    Scalar,
    Vector,
    add,
    mirrored,
    plus,
    scale,
)
from physics.rigid_body.tree import Body

_ROUNDING = 1e-15  # of the largest entry: sums of rotated constants leave this of a 0


@dataclass(frozen=True)
class Moments:
    """m [kg], h [kg·m] and Σ (3, 3) [kg·m²] about the origin of a frame, in its axes."""

    mass: Scalar = 0.0
    first: Vector = ORIGIN
    second: Rows = NOTHING

    def seen_from(self, frame: Frame) -> Moments:
        """The same masses about the origin of the frame that `frame` is given in."""
        h, r = frame.outward(self.first), frame.position
        rotated = frame.outward_matrix(self.second, symmetric=True)

        def shift(i: int, j: int) -> Scalar:
            return h[i] * r[j] + r[i] * h[j] + self.mass * (r[i] * r[j])

        shifts = (shift(0, 0), shift(0, 1), shift(0, 2), shift(1, 1), shift(1, 2), shift(2, 2))
        return Moments(self.mass, add(h, scale(r, self.mass)), plus(rotated, mirrored(*shifts)))

    def joined(self, other: Moments) -> Moments:
        """Of both together."""
        return Moments(
            self.mass + other.mass, add(self.first, other.first), plus(self.second, other.second)
        )

    @property
    def inertia(self) -> Rows:
        """I = tr(Σ) 1 − Σ about the origin."""
        (xx, xy, xz), (_, yy, yz), (_, _, zz) = self.second
        return mirrored(yy + zz, -xy, -xz, xx + zz, -yz, xx + yy)


def regroup(bodies: Sequence[Body], moments: Sequence[Moments]) -> tuple[Moments, ...]:
    """The moments with as many zeros as the same dynamics allow; the base gets what is left."""
    found = list(moments)
    for i in range(len(bodies) - 1, 0, -1):
        given, kept = _split(_without_rounding(found[i]), slides=bodies[i].slides)
        parent = bodies[i].parent
        found[i] = kept
        found[parent] = found[parent].joined(given.seen_from(bodies[i].frame(0.0)))
    return tuple(found)


def _split(of: Moments, *, slides: bool) -> tuple[Moments, Moments]:
    """What the parent may carry, and the rest."""
    if slides:
        return Moments(second=of.second), Moments(of.mass, of.first)
    (xx, xy, xz), (_, yy, yz), (_, _, zz) = of.second
    x, y, z = of.first
    on_axis = Moments(of.mass, (0.0, 0.0, z), mirrored(0.0, 0.0, 0.0, 0.0, 0.0, zz))
    return on_axis, Moments(0.0, (x, y, 0.0), mirrored(xx, xy, xz, yy, yz, 0.0))


def _without_rounding(of: Moments) -> Moments:
    def largest(values: Sequence[Scalar]) -> float:
        return _ROUNDING * max((abs(v) for v in values if isinstance(v, float)), default=0.0)

    def clean(value: Scalar, limit: float) -> Scalar:
        return 0.0 if isinstance(value, float) and abs(value) < limit else value

    first, second = largest(of.first), largest([v for row in of.second for v in row])
    (xx, xy, xz), (_, yy, yz), (_, _, zz) = of.second
    entries = (clean(v, second) for v in (xx, xy, xz, yy, yz, zz))
    x, y, z = (clean(v, first) for v in of.first)
    return Moments(of.mass, (x, y, z), mirrored(*entries))
