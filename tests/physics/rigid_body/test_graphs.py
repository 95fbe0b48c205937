"""Graphs are small, and the means to make them so change nothing."""

from __future__ import annotations

import re
from pathlib import Path

import casadi as ca
import numpy as np
import pytest

from physics import integrators
from physics.rigid_body import RigidBody, constants, tree, urdf
from physics.rigid_body.dynamics import Motion, inverse
from physics.rigid_body.moments import Moments, regroup
from physics.rigid_body.spatial import turn, turn_matrix

pybullet_data = pytest.importorskip("pybullet_data")
DATA = Path(pybullet_data.getDataPath())
KUKA = "kuka_iiwa/model.urdf"

# instructions of inverse and of forward dynamics, base fixed
MOST = {
    "cartpole.urdf": (40, 50),
    "pendulum5.urdf": (200, 350),
    KUKA: (800, 1800),
    "franka_panda/panda.urdf": (1000, 2400),
    "xarm/xarm6_robot.urdf": (800, 2000),
    "a1/a1.urdf": (900, 1500),
    "laikago/laikago.urdf": (900, 1500),
    "mini_cheetah/mini_cheetah.urdf": (800, 1350),
    "aliengo/aliengo.urdf": (1000, 1800),
}


def robot(name: str, **kwargs: bool) -> RigidBody:
    text = re.sub(r"<mimic[^>]*/>", "", (DATA / name).read_text(encoding="utf-8"))
    return RigidBody.from_description(urdf.parse(text, source=name), **kwargs)


@pytest.mark.parametrize(("name", "most"), MOST.items())
def test_graphs_are_small(name: str, most: tuple[int, int]) -> None:
    system = robot(name)
    assert system.inverse_dynamics().n_instructions() <= most[0]
    assert system.forward_dynamics().n_instructions() <= most[1]


def test_only_what_is_declared_is_symbolic() -> None:
    system = robot(KUKA)
    q, v, tau, p = (ca.SX.sym(name, n) for name, n in zip("qvtp", (7, 7, 7, 1), strict=True))
    baked = ca.Function("a", [q, v, tau], [system.acceleration(q, v, tau, system.namespace())])
    names = ("lbr_iiwa_link_7.mass",)
    values = system.namespace(names, p)
    fitted = ca.Function("a", [q, v, tau, p], [system.acceleration(q, v, tau, values)])
    assert baked.n_instructions() < fitted.n_instructions() < 1.15 * baked.n_instructions()


def test_a_step_is_four_evaluations() -> None:
    system = robot(KUKA)
    x, u, d = ca.SX.sym("x", 14), ca.SX.sym("u", 7), ca.SX(0, 1)
    f = ca.Function("f", [x, u], [system.dynamics(x, u, system.namespace(), d)])
    v = ca.DM([0.0] * 7 + [1.0] * 7)
    after = integrators.rk4.advance(lambda x: f(x, u), x, 0.01, v)
    step = ca.Function("step", [x, u], [after])
    assert step.n_instructions() < 4.1 * f.n_instructions() + 300


@pytest.mark.parametrize("name", MOST)
def test_regrouped_moments_move_alike(name: str) -> None:
    """τ is the same with moments as the links have them and as they were regrouped."""
    system = robot(name)
    bodies = tree.bodies(system.description)
    plain = []
    for body in bodies:
        total = Moments()
        for link, frame in body.links:
            total = total.joined(constants.moments(link, {}).seen_from(frame))
        plain.append(total)
    grouped = regroup(bodies, plain)
    base = Motion((0.3, -0.2, 0.5), (1.0, 2.0, -0.5), (0.1, 9.0, 3.0))
    q, v, a = np.random.default_rng(0).uniform(-2, 2, (3, system.nv)).tolist()
    wrench, wanted = inverse(bodies, plain, base, q, v, a)
    again, found = inverse(bodies, grouped, base, q, v, a)
    np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(again.moment, wrench.moment, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(again.force, wrench.force, rtol=1e-10, atol=1e-10)
    zeros = [sum(value == 0 for row in m.second for value in row) for m in grouped[1:]]
    assert min(zeros) >= 1


@pytest.mark.parametrize("name", MOST)
def test_frames_stand_on_their_joints(name: str) -> None:
    """z is the joint's axis: moved by q, the child link turns about or slides along it."""
    system = robot(name)
    for joint in system.joints:
        bodies = tree.bodies(system.description)
        index = next(i for i, b in enumerate(bodies) if b.joint == joint)
        body = bodies[index]
        at = next(frame for link, frame in body.links if link.name == joint.child)
        np.testing.assert_allclose(at.outward(joint.axis), (0, 0, 1), atol=1e-12)
        if joint.kind == "revolute":
            np.testing.assert_allclose(at.position[:2], (0, 0), atol=1e-12)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("angle", [0.0, 0.5 * np.pi, np.pi, -0.5 * np.pi, 0.7])
def test_turns_are_rotations(axis: int, angle: float) -> None:
    c, s = (float(np.round(f(angle), 15)) for f in (np.cos, np.sin))
    R = np.array([turn(axis, c, s, tuple(column)) for column in np.eye(3)]).T
    np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-14)
    assert np.linalg.det(R) == pytest.approx(1.0)
    A = np.random.default_rng(0).normal(size=(3, 3))
    rows = tuple(map(tuple, A.tolist()))
    np.testing.assert_allclose(
        turn_matrix(axis, c, s, rows, symmetric=False), R @ A @ R.T, atol=1e-14
    )
    B = A + A.T
    rows = tuple(map(tuple, B.tolist()))
    np.testing.assert_allclose(
        turn_matrix(axis, c, s, rows, symmetric=True), R @ B @ R.T, atol=1e-14
    )
