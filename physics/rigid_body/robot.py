"""A robot with its constants: the recursions of the other files in coordinates q and v.

    q = (p, quaternion, qⱼ), v = (ṗ, ω, q̇ⱼ)  where the base floats;    q = qⱼ, v = q̇ⱼ  where not

p base frame's origin in the world [m], ω in the base's axes [rad/s], forces alike: that on p in
the world's axes [N], the moment in the base's [N·m].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import casadi as ca

from physics import quaternion
from physics.rigid_body import articulated, dynamics, kinematics
from physics.rigid_body.dynamics import Motion, Wrench
from physics.rigid_body.kinematics import Place
from physics.rigid_body.moments import Moments, regroup
from physics.rigid_body.spatial import ORIGIN, Rows, Scalar, Vector, apply, cross, transpose
from physics.rigid_body.tree import Body

Scalars = Sequence[Scalar]


@dataclass(frozen=True, kw_only=True)
class Robot:
    """Bodies, their moments about their own frames, and what joints and the world add.

    gravity                      [m/s²], along −z of the world
    damping, friction, armature  one a joint, as in `Joint`
    smoothing                    ε of the dry friction's tanh(q̇/ε) [rad/s, m/s], 0 for its sign
    """

    bodies: tuple[Body, ...]
    moments: tuple[Moments, ...]
    floating: bool
    gravity: Scalar
    damping: tuple[Scalar, ...]
    friction: tuple[Scalar, ...]
    armature: tuple[Scalar, ...]
    smoothing: Scalar

    @cached_property
    def regrouped(self) -> tuple[Moments, ...]:
        """Moments with the same dynamics and more zeros."""
        return regroup(self.bodies, self.moments)

    def acceleration(self, q: Scalars, v: Scalars, tau: Scalars) -> list[Scalar]:
        """v̇ under a generalised force τ, friction included."""
        first = self._first
        friction = self.friction_force(v)
        driven = [t - f for t, f in zip(tau[first:], friction, strict=True)]
        R, omega, push, base = self.place(q).rotation, ORIGIN, Wrench(), None
        if self.floating:
            omega = _vector(v[3:6])
            push = Wrench(_vector(tau[3:6]), apply(transpose(R), _vector(tau[:3])))
        else:
            base = self._base(q, v, v)
        found, rates = articulated.forward(
            self.bodies,
            self.regrouped,
            base,
            omega,
            self._joints(q),
            v[first:],
            driven,
            self.armature,
            push,
        )
        if not self.floating:
            return rates
        x, y, z = apply(R, found.acceleration)
        return [x, y, z - self.gravity, *found.omega_rate, *rates]

    def force(self, q: Scalars, v: Scalars, a: Scalars) -> list[Scalar]:
        """τ that gives v̇ = a, without friction."""
        first = self._first
        wrench, tau = dynamics.inverse(
            self.bodies, self.regrouped, self._base(q, v, a), self._joints(q), v[first:], a[first:]
        )
        given = zip(tau, self.armature, a[first:], strict=True)
        tau = [t + inertia * rate if _some(inertia) else t for t, inertia, rate in given]
        if not self.floating:
            return tau
        return [*apply(self.place(q).rotation, wrench.force), *wrench.moment, *tau]

    def friction_force(self, v: Scalars) -> list[Scalar]:
        """d q̇ + c tanh(q̇/ε) of each joint."""
        exact = not _some(self.smoothing)

        def dry(rate: Scalar) -> Scalar:
            return ca.sign(rate) if exact else ca.tanh(rate / self.smoothing)

        return [
            (d * rate if _some(d) else 0.0) + (c * dry(rate) if _some(c) else 0.0)
            for d, c, rate in zip(self.damping, self.friction, v[self._first :], strict=True)
        ]

    def mass_matrix(self, q: Scalars) -> list[list[Scalar]]:
        """M(q) by rows."""
        whole, M, couplings = dynamics.composite(self.bodies, self.regrouped, self._joints(q))
        for row, armature in enumerate(self.armature):
            M[row][row] = M[row][row] + armature
        if not self.floating:
            return M
        R = self.place(q).rotation
        n = 6 + len(M)
        full: list[list[Scalar]] = [[0.0] * n for _ in range(n)]
        axes: Rows = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
        for k, axis in enumerate(axes):
            full[k][k] = whole.mass
            turning = apply(R, cross(axis, whole.first))  # force of a unit ω̇ about this axis
            for i in range(3):
                full[i][3 + k] = full[3 + k][i] = turning[i]
                full[3 + i][3 + k] = whole.inertia[i][k]
        for k, wrench in enumerate(couplings):
            for i, value in enumerate((*apply(R, wrench.force), *wrench.moment)):
                full[i][6 + k] = full[6 + k][i] = value
            full[6 + k][6:] = M[k]
        return full

    def potential(self, q: Scalars) -> Scalar:
        """g Σ m z [J], 0 with all mass at the world's origin."""
        height = kinematics.height(self.bodies, self.moments, self.place(q), self._joints(q))
        return self.gravity * height

    def frame(self, link: str, q: Scalars) -> Place:
        """A link's frame in the world."""
        return kinematics.frame_place(self.bodies, link, self.place(q), self._joints(q))[0]

    def jacobian(self, link: str, q: Scalars) -> list[tuple[Vector, Vector]]:
        """Linear and angular velocity of a link's frame a unit of each v, in the world's axes."""
        base, joints = self.place(q), self._joints(q)
        moved = kinematics.columns(self.bodies, link, base, joints)
        found = [moved.get(row, (ORIGIN, ORIGIN)) for row in range(len(self.damping))]
        if not self.floating:
            return found
        end = kinematics.frame_place(self.bodies, link, base, joints)[0].position
        arm = tuple(a - b for a, b in zip(end, base.position, strict=True))
        along = [_vector([float(i == k) for i in range(3)]) for k in range(3)]
        about = transpose(base.rotation)
        return [
            *((axis, ORIGIN) for axis in along),
            *((cross(axis, _vector(arm)), axis) for axis in about),
            *found,
        ]

    def place(self, q: Scalars) -> Place:
        """The base's frame in the world."""
        if not self.floating:
            return Place()
        R = quaternion.rotation_matrix(ca.vertcat(*q[3:7]))
        rows = [_vector([R[i, j] for j in range(3)]) for i in range(3)]
        return Place((rows[0], rows[1], rows[2]), _vector(q[:3]))

    @property
    def _first(self) -> int:
        """Row of v at which the joints begin."""
        return 6 if self.floating else 0

    def _joints(self, q: Scalars) -> Scalars:
        return q[7:] if self.floating else q

    def _base(self, q: Scalars, v: Scalars, a: Scalars) -> Motion:
        """The base's motion less free fall, in its axes."""
        if not self.floating:
            return Motion(acceleration=(0.0, 0.0, self.gravity))
        less = (a[0], a[1], a[2] + self.gravity)
        inward = apply(transpose(self.place(q).rotation), less)
        return Motion(_vector(v[3:6]), _vector(a[3:6]), inward)


def _vector(values: Scalars) -> Vector:
    x, y, z = values
    return (x, y, z)


def _some(value: Scalar) -> bool:
    """Whether this is anything but an exact 0."""
    return not (isinstance(value, float) and value == 0)
