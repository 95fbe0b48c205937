"""The articulated-body algorithm: accelerations from forces in linear time.

    (N, F) = A (ω̇, a) + p,    A = [[J, H], [Hᵀ, M]],    q̈ = (τ − Sᵀ(p + A (ω̇, a))) / D

A, p articulated inertia and bias of a body with all it carries, S = ẑ the joint's axis,
D = Sᵀ A S plus the reflected inertia of the motor. Accelerations are those of `dynamics`, with
gravity in a and Coriolis terms in p.
Featherstone, Rigid Body Dynamics Algorithms, 2008, sec. 7.3, table 7.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from physics.rigid_body.carried import Carried, beyond
from physics.rigid_body.dynamics import Motion, Wrench, gyration, wrench
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
    dot,
    mirrored,
    plus,
    scale,
    transpose,
)
from physics.rigid_body.tree import Body


@dataclass(frozen=True)
class ArticulatedInertia:
    """J, H, M (3, 3) of A about a body's origin, in its axes; J and M are symmetric."""

    J: Rows
    H: Rows
    M: Rows

    @classmethod
    def of(cls, masses: Moments) -> ArticulatedInertia:
        """A rigid body's: J = I, H = [h]×, M = m 1."""
        (x, y, z), m = masses.first, masses.mass
        H = ((0.0, -z, y), (z, 0.0, -x), (-y, x, 0.0))
        return cls(masses.inertia, H, ((m, 0.0, 0.0), (0.0, m, 0.0), (0.0, 0.0, m)))

    def joined(self, other: ArticulatedInertia) -> ArticulatedInertia:
        return ArticulatedInertia(
            plus(self.J, other.J), plus(self.H, other.H), plus(self.M, other.M)
        )

    def seen_from(self, frame: Frame) -> ArticulatedInertia:
        """About the origin of the frame that `frame` is given in."""
        r = frame.position
        J = frame.outward_matrix(self.J, symmetric=True)
        H = frame.outward_matrix(self.H)
        M = frame.outward_matrix(self.M, symmetric=True)
        moved = plus(H, _crossed(r, M))  # H + [r]× M
        A, B = _crossed(r, transpose(H)), _crossed(r, transpose(moved))

        def entry(i: int, j: int) -> Scalar:
            return J[i][j] + A[j][i] + B[i][j]

        triangle = (entry(0, 0), entry(0, 1), entry(0, 2), entry(1, 1), entry(1, 2), entry(2, 2))
        return ArticulatedInertia(mirrored(*triangle), moved, M)

    def wrench(self, omega_rate: Vector, acceleration: Vector) -> Wrench:
        return Wrench(
            add(apply(self.J, omega_rate), apply(self.H, acceleration)),
            add(apply(transpose(self.H), omega_rate), apply(self.M, acceleration)),
        )


@dataclass(frozen=True)
class _Eliminated:
    """A joint solved for: q̈ = free − gain · (ω̇, a), (ω̇, a) that of its body but for q̈."""

    free: Scalar
    turning: Vector
    moving: Vector


def forward(
    bodies: Sequence[Body],
    moments: Sequence[Moments],
    base: Motion | None,
    omega: Vector,
    q: Sequence[Scalar],
    v: Sequence[Scalar],
    tau: Sequence[Scalar],
    armature: Sequence[Scalar],
    push: Wrench,
) -> tuple[Motion, list[Scalar]]:
    """The base's motion and each joint's acceleration.

    base      None for one that floats: `push` in its axes then moves it
    omega     the base's angular velocity, in its axes
    """
    frames = [Frame((), ORIGIN), *(body.frame(q[body.row]) for body in bodies[1:])]
    omegas, gyrations = [omega], [gyration(omega, ORIGIN)]
    for body, frame in zip(bodies[1:], frames[1:], strict=True):
        x, y, z = frame.inward(omegas[body.parent])
        omegas.append((x, y, z if body.slides else z + v[body.row]))
        gyrations.append(gyration(omegas[-1], ORIGIN))
    inertias = [ArticulatedInertia.of(masses) for masses in moments]
    biases = [wrench(U, ORIGIN, masses) for U, masses in zip(gyrations, moments, strict=True)]
    sideways = [ORIGIN] * len(bodies)  # [ω]×[ω]× r of the parent
    coriolis = [Wrench()] * len(bodies)
    for i, (body, frame) in enumerate(zip(bodies[1:], frames[1:], strict=True), start=1):
        sideways[i] = apply(gyrations[body.parent], frame.position)
        coriolis[i] = _coriolis(body, omegas[i], v[body.row])
    solved: list[_Eliminated] = []
    carried = beyond(bodies)
    for i in range(len(bodies) - 1, 0, -1):
        body, frame, k = bodies[i], frames[i], bodies[i].row
        A, size = inertias[i], carried[i]
        joint, A, p = _eliminate(body, A, biases[i], coriolis[i], tau[k], armature[k], size)
        solved.append(joint)
        outer = A.seen_from(frame)
        p = p.seen_from(frame).plus(outer.wrench(ORIGIN, sideways[i]))
        inertias[body.parent] = inertias[body.parent].joined(outer)
        biases[body.parent] = biases[body.parent].plus(p)
    if base is None:
        base = _released(inertias[0], biases[0], push, omega, carried[0])
    motions, accelerations = [base], [0.0] * (len(bodies) - 1)
    for i, joint in zip(range(1, len(bodies)), reversed(solved), strict=True):
        body, frame, outer = bodies[i], frames[i], motions[bodies[i].parent]
        a = add(add(outer.acceleration, sideways[i]), cross(outer.omega_rate, frame.position))
        x, y, z = add(frame.inward(outer.omega_rate), coriolis[i].moment)
        e, f, g = add(frame.inward(a), coriolis[i].force)
        rate = joint.free - dot(joint.turning, (x, y, z)) - dot(joint.moving, (e, f, g))
        accelerations[body.row] = rate
        linear, angular = (e, f, g + rate), (x, y, z)
        if not body.slides:
            linear, angular = (e, f, g), (x, y, z + rate)
        motions.append(Motion(omegas[i], angular, linear))
    return base, accelerations


def _coriolis(body: Body, omega: Vector, v: Scalar) -> Wrench:
    """(ω × ẑ v, 0), or (0, 2 ω × ẑ v) where it slides, as (ω̇, a)."""
    turned = (omega[1] * v, -(omega[0] * v), 0.0)
    return Wrench(ORIGIN, scale(turned, 2)) if body.slides else Wrench(turned, ORIGIN)


def _eliminate(
    body: Body,
    A: ArticulatedInertia,
    p: Wrench,
    coriolis: Wrench,
    tau: Scalar,
    armature: Scalar,
    size: Carried,
) -> tuple[_Eliminated, ArticulatedInertia, Wrench]:
    """The joint, and what its parent feels of the body once the joint gives way."""
    column = transpose(A.H)
    turning, moving = (column[2], A.M[2]) if body.slides else (A.J[2], A.H[2])
    own = moving[2] if body.slides else turning[2]
    pivot = own + armature
    if isinstance(pivot, float) and not pivot > size.least(slides=body.slides):
        name = body.joint.name if body.joint is not None else ""
        raise ValueError(
            f"joint {name!r} accelerates without limit: what it moves has inertia {pivot:.3g}, "
            f"wanted {size.wanted(slides=body.slides)}; give the links beyond it mass, or the "
            "joint an armature"
        )
    inverse = 1 / pivot
    bare = isinstance(armature, float) and armature == 0
    share = 1.0 if bare else own * inverse
    by, bm = list(scale(turning, inverse)), list(scale(moving, inverse))
    (bm if body.slides else by)[2] = share
    gain_t, gain_m = (by[0], by[1], by[2]), (bm[0], bm[1], bm[2])

    def less(X: Rows, left: Vector, right: Vector, gone: tuple[bool, bool]) -> Rows:
        # A motor without inertia leaves exactly nothing along the joint's axis
        def entry(i: int, j: int) -> Scalar:
            if bare and ((gone[0] and i == 2) or (gone[1] and j == 2)):
                return 0.0
            return X[i][j] - left[i] * right[j]

        x, y, z = [(entry(i, 0), entry(i, 1), entry(i, 2)) for i in range(3)]
        return (x, y, z)

    def symmetric(X: Rows) -> Rows:
        return mirrored(X[0][0], X[0][1], X[0][2], X[1][1], X[1][2], X[2][2])

    turns, slides = not body.slides, body.slides
    left = ArticulatedInertia(
        symmetric(less(A.J, gain_t, turning, (turns, turns))),
        less(A.H, gain_t, moving, (turns, slides)),
        symmetric(less(A.M, gain_m, moving, (slides, slides))),
    )
    rest = tau - p.along(body)
    felt = p.plus(left.wrench(coriolis.moment, coriolis.force))
    felt = felt.plus(Wrench(scale(gain_t, rest), scale(gain_m, rest)))
    return _Eliminated(rest * inverse, gain_t, gain_m), left, felt


def _released(
    A: ArticulatedInertia, p: Wrench, push: Wrench, omega: Vector, size: Carried
) -> Motion:
    """The base's motion: A (ω̇, a) = push − p."""
    H, columns = A.H, transpose(A.H)
    matrix = [[*A.J[i], *H[i]] for i in range(3)] + [[*columns[i], *A.M[i]] for i in range(3)]
    given = [*push.moment, *push.force]
    x = _solve(matrix, [g - b for g, b in zip(given, [*p.moment, *p.force], strict=True)], size)
    return Motion(omega, (x[0], x[1], x[2]), (x[3], x[4], x[5]))


def _solve(A: list[list[Scalar]], b: list[Scalar], size: Carried) -> list[Scalar]:
    """A⁻¹ b of a symmetric positive definite A (6, 6), turning first, by elimination (L D Lᵀ)."""
    n, A, x = len(b), [list(row) for row in A], list(b)
    for k in range(n):
        if isinstance(A[k][k], float) and not A[k][k] > size.least(slides=k > 2):
            raise ValueError(
                f"the base floats but has too little inertia: {A[k][k]:.3g} in one direction, "
                f"wanted {size.wanted(slides=k > 2)}; give the root link mass, or fix it by "
                "floating=False"
            )
        inverse = 1 / A[k][k]
        for i in range(k + 1, n):
            factor = A[k][i] * inverse
            for j in range(i, n):
                A[i][j] = A[i][j] - factor * A[k][j]
            x[i] = x[i] - factor * x[k]
    for k in range(n - 1, -1, -1):
        later = sum((A[k][j] * x[j] for j in range(k + 1, n)), 0.0)
        x[k] = (x[k] - later) / A[k][k]
    return x


def _crossed(r: Vector, X: Rows) -> Rows:
    """[r]× X."""
    columns = [cross(r, column) for column in transpose(X)]
    return transpose((columns[0], columns[1], columns[2]))
