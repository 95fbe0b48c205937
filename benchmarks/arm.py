"""A 7-joint arm as one SX graph of some 4,000 instructions, to time the bridges on."""

from __future__ import annotations

import casadi as ca
import numpy as np

AXIS = ca.DM([0, 0, 1, 0, 0, 0])  # each joint turns about its own z
GRAVITY = 9.81  # m/s²


def arm_step(joints: int = 7, *, dt: float = 0.01, seed: int = 0) -> ca.Function:
    """x⁺ (2n,) = F(x, u): q, v after dt [s] under joint torques u (n,) [N·m].

    Articulated-body algorithm: R. Featherstone, Rigid Body Dynamics Algorithms, table 7.1, in
    link coordinates, with a semi-implicit Euler step. Link frames, masses and inertias are drawn.
    """
    random = np.random.default_rng(seed)
    x, u = ca.SX.sym("x", 2 * joints), ca.SX.sym("u", joints)
    q, v = x[:joints], x[joints:]
    transforms, inertias, forces, drifts = [], [], [], []
    velocity = ca.SX(6, 1)
    for i in range(joints):
        X = _transform(q[i], _rotation(random.normal(size=3)), [0, random.normal(scale=0.3), 0])
        mass, com = random.uniform(1, 4), [0, 0, random.normal(scale=0.1)]
        turning = np.diag(random.uniform(0.01, 0.05, 3))
        C = _cross(ca.DM(com))
        inertia = ca.blockcat(
            [[turning + mass * C @ C.T, mass * C], [mass * C.T, mass * ca.DM.eye(3)]]
        )
        velocity = X @ velocity + AXIS * v[i]
        moving = ca.blockcat(
            [
                [_cross(velocity[:3]), ca.SX(3, 3)],
                [_cross(velocity[3:]), _cross(velocity[:3])],
            ]
        )
        transforms.append(X)
        inertias.append(ca.SX(inertia))
        drifts.append(moving @ AXIS * v[i])
        forces.append(-moving.T @ (inertia @ velocity))

    columns, pivots, rests = [ca.SX()] * joints, [ca.SX()] * joints, [ca.SX()] * joints
    for i in reversed(range(joints)):
        columns[i] = inertias[i] @ AXIS
        pivots[i] = ca.dot(AXIS, columns[i])
        rests[i] = u[i] - ca.dot(AXIS, forces[i])
        if i > 0:
            reduced = inertias[i] - columns[i] @ columns[i].T / pivots[i]
            force = forces[i] + reduced @ drifts[i] + columns[i] * rests[i] / pivots[i]
            inertias[i - 1] += transforms[i].T @ reduced @ transforms[i]
            forces[i - 1] += transforms[i].T @ force

    acceleration = ca.SX(ca.DM([0, 0, 0, 0, 0, GRAVITY]))
    rates = []
    for i in range(joints):
        acceleration = transforms[i] @ acceleration + drifts[i]
        rate = (rests[i] - ca.dot(columns[i], acceleration)) / pivots[i]
        acceleration += AXIS * rate
        rates.append(rate)
    v_next = v + dt * ca.vertcat(*rates)
    x_next = ca.cse(ca.vertcat(q + dt * v_next, v_next))
    return ca.Function("arm_step", [x, u], [x_next], ["x", "u"], ["x_next"])


def _transform(angle: ca.SX, fixed: np.ndarray, offset: list[float]) -> ca.SX:
    """Motion vectors from the parent's frame to the link's, 6 × 6."""
    c, s = ca.cos(angle), ca.sin(angle)
    turn = ca.blockcat([[c, s, 0], [-s, c, 0], [0, 0, 1]]) @ fixed
    return ca.blockcat([[turn, ca.SX(3, 3)], [-turn @ _cross(ca.DM(offset)), turn]])


def _cross(a: ca.SX | ca.DM) -> ca.SX | ca.DM:
    return ca.skew(a)


def _rotation(a: np.ndarray) -> np.ndarray:
    """A rotation matrix from three random numbers: an orthogonal factor, made proper."""
    frame, _ = np.linalg.qr(np.vander(a, 3) + np.eye(3))
    return frame * np.sign(np.linalg.det(frame))
