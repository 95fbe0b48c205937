"""Recursive Newton–Euler and composite bodies, in accelerations that gravity is part of.

    F = m a + U h,    N = ε(U Σ) + h × a,    U = [ω̇]× + [ω]×[ω]×,    ε(A) = vee(A − Aᵀ)

ω, ω̇ a body's angular velocity and acceleration, a the acceleration of its origin less that of
free fall, all in the body's axes; F, N the force on it and the moment about its origin. Linear
velocities never enter.
Luh, Walker, Paul, On-line computational scheme for mechanical manipulators, 1980, table 1;
Featherstone, Rigid Body Dynamics Algorithms, 2008, sec. 5.3 and 6.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from physics.rigid_body.moments import Moments
from physics.rigid_body.spatial import (
    ORIGIN,
    Frame,
    Rows,
    Scalar,
    Vector,
    add,
    apply,
    cross,
    scale,
)
from physics.rigid_body.tree import Body


@dataclass(frozen=True)
class Motion:
    """ω [rad/s], ω̇ [rad/s²] and a [m/s²] of a body, in its axes."""

    omega: Vector = ORIGIN
    omega_rate: Vector = ORIGIN
    acceleration: Vector = ORIGIN


@dataclass(frozen=True)
class Wrench:
    """Moment N [N·m] about a body's origin and force F [N], in its axes."""

    moment: Vector = ORIGIN
    force: Vector = ORIGIN

    def plus(self, other: Wrench) -> Wrench:
        return Wrench(add(self.moment, other.moment), add(self.force, other.force))

    def seen_from(self, frame: Frame) -> Wrench:
        """The same wrench about the origin of the frame that `frame` is given in."""
        force = frame.outward(self.force)
        moment = add(frame.outward(self.moment), cross(frame.position, force))
        return Wrench(moment, force)

    def along(self, body: Body) -> Scalar:
        """Its component along the joint's axis."""
        return self.force[2] if body.slides else self.moment[2]


def gyration(omega: Vector, omega_rate: Vector) -> Rows:
    """U = [ω̇]× + [ω]×[ω]×."""
    (x, y, z), (a, b, c) = omega, omega_rate
    xx, yy, zz = x * x, y * y, z * z
    xy, xz, yz = x * y, x * z, y * z
    return (
        (-(yy + zz), xy - c, xz + b),
        (xy + c, -(xx + zz), yz - a),
        (xz - b, yz + a, -(xx + yy)),
    )


def wrench(U: Rows, acceleration: Vector, of: Moments) -> Wrench:
    """What keeps these masses moving with U and a."""
    (ux, uxy, uxz), (uyx, uy, uyz), (uzx, uzy, uz) = U
    (xx, xy, xz), (_, yy, yz), (_, _, zz) = of.second
    turning = (
        uzx * xy - uyx * xz + yz * (uz - uy) + uzy * yy - uyz * zz,
        uxy * yz - uzy * xy + xz * (ux - uz) + uxz * zz - uzx * xx,
        uyz * xz - uxz * yz + xy * (uy - ux) + uyx * xx - uxy * yy,
    )
    force = add(scale(acceleration, of.mass), apply(U, of.first))
    return Wrench(add(turning, cross(of.first, acceleration)), force)


def inverse(
    bodies: Sequence[Body],
    moments: Sequence[Moments],
    base: Motion,
    q: Sequence[Scalar],
    v: Sequence[Scalar],
    a: Sequence[Scalar],
) -> tuple[Wrench, list[Scalar]]:
    """The wrench on the base, and each joint's generalised force, for joint accelerations a."""
    frames = [Frame((), ORIGIN), *(body.frame(q[body.row]) for body in bodies[1:])]
    motions, gyrations, wrenches = [], [], []
    for i, body in enumerate(bodies):
        motion = base
        if i > 0:
            outer, U = motions[body.parent], gyrations[body.parent]
            motion = carried(body, frames[i], outer, U, v[body.row], a[body.row])
        motions.append(motion)
        gyrations.append(gyration(motion.omega, motion.omega_rate))
        wrenches.append(wrench(gyrations[i], motion.acceleration, moments[i]))
    tau: list[Scalar] = [0.0] * (len(bodies) - 1)
    for i in range(len(bodies) - 1, 0, -1):
        body = bodies[i]
        tau[body.row] = wrenches[i].along(body)
        wrenches[body.parent] = wrenches[body.parent].plus(wrenches[i].seen_from(frames[i]))
    return wrenches[0], tau


def carried(body: Body, frame: Frame, outer: Motion, U: Rows, v: Scalar, a: Scalar) -> Motion:
    """A body's motion from its parent's (`outer`, `U`), its joint moving with v and a."""
    x, y, z = frame.inward(outer.omega)
    b, c, d = frame.inward(outer.omega_rate)
    e, f, g = frame.inward(add(outer.acceleration, apply(U, frame.position)))
    if body.slides:
        return Motion((x, y, z), (b, c, d), (e + 2 * (y * v), f - 2 * (x * v), g + a))
    return Motion((x, y, z + v), (b + y * v, c - x * v, d + a), (e, f, g))


def composite(
    bodies: Sequence[Body], moments: Sequence[Moments], q: Sequence[Scalar]
) -> tuple[Moments, list[list[Scalar]], list[Wrench]]:
    """The whole robot's moments about its base, M (n, n) of the joints, and the wrench on the
    base, in its axes, for a unit acceleration of each joint."""
    frames = [Frame((), ORIGIN), *(body.frame(q[body.row]) for body in bodies[1:])]
    n = len(bodies) - 1
    M: list[list[Scalar]] = [[0.0] * n for _ in range(n)]
    couplings = [Wrench()] * n
    total = list(moments)
    for i in range(n, 0, -1):
        body = bodies[i]
        whole = total[i]
        total[body.parent] = total[body.parent].joined(whole.seen_from(frames[i]))
        x, y, _ = whole.first
        (xx, _, xz), (_, yy, yz), _ = whole.second
        if body.slides:
            unit = Wrench((y, -x, 0.0), (0.0, 0.0, whole.mass))
        else:
            unit = Wrench((-xz, -yz, xx + yy), (-y, x, 0.0))
        k = i
        while k > 0:
            entry = unit.along(bodies[k])
            M[body.row][bodies[k].row] = M[bodies[k].row][body.row] = entry
            unit = unit.seen_from(frames[k])
            k = bodies[k].parent
        couplings[body.row] = unit
    return total[0], M, couplings
