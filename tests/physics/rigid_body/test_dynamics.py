"""Laws of RigidBody: closed forms, two routes, conservation, finite differences."""

from __future__ import annotations

import dataclasses

import casadi as ca
import numpy as np
import pytest

from physics import CartPole, DoublePendulum, integrators, quaternion, tangent
from physics.rigid_body import RigidBody
from physics.rigid_body.description import Description, Joint, Link, Pose
from physics.rigid_body.rotation import from_rpy


def inertia(rng: np.random.Generator, mass: float) -> tuple[tuple[float, float, float], ...]:
    """Of eight random point masses, about their centre."""
    r = rng.normal(0, 0.1, (8, 3))
    r -= r.mean(axis=0)
    sigma = mass / 8 * r.T @ r
    return tuple(map(tuple, (np.trace(sigma) * np.eye(3) - sigma).tolist()))


def random_robot(seed: int, *, floating: bool = False, still: bool = False) -> RigidBody:
    """A tree of seven links: turning, sliding and fixed joints on skew axes, two branches."""
    rng = np.random.default_rng(seed)
    kinds = ("revolute", "prismatic", "revolute", "fixed", "revolute", "revolute")
    parents = (0, 1, 2, 1, 4, 5)  # of links 1 … 6
    links = [
        Link(
            name=f"link{i}",
            mass=(mass := float(rng.uniform(0.5, 2))),
            center=tuple(rng.normal(0, 0.1, 3).tolist()),
            inertia=inertia(rng, mass),
        )
        for i in range(7)
    ]
    joints = []
    for i, (kind, parent) in enumerate(zip(kinds, parents, strict=True), start=1):
        axis = rng.normal(size=3)
        origin = Pose(
            rotation=from_rpy(*rng.uniform(-3, 3, 3)),
            position=tuple(rng.normal(0, 0.3, 3).tolist()),
        )
        joints.append(
            Joint(
                name=f"joint{i}",
                kind=kind,
                parent=f"link{parent}",
                child=f"link{i}",
                origin=origin,
                axis=tuple((axis / np.linalg.norm(axis)).tolist()),
                damping=0.0 if still or i % 2 else 0.1 * i,
                friction=0.0 if still or i % 3 else 0.2,
                armature=0.05 if i == 5 else 0.0,
            )
        )
    whole = Description(name="random", links=tuple(links), joints=tuple(joints))
    return RigidBody.from_description(whole, floating=floating)


def draw(robot: RigidBody, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    q = rng.uniform(-2, 2, robot.nq)
    if robot.floating:
        q[3:7] /= np.linalg.norm(q[3:7])
    v, a = rng.uniform(-2, 2, (2, robot.nv))
    return q, v, a


def column(value: object) -> np.ndarray:
    return np.array(value)[:, 0]


def moved(robot: RigidBody, q: np.ndarray, v: np.ndarray, h: float) -> np.ndarray:
    """q after a time h with velocities v."""
    return column(ca.DM(tangent.retract(robot.states[: robot.nq], ca.DM(q), ca.DM(h * v))))


EVERY = [(seed, floating) for seed in range(3) for floating in (False, True)]


@pytest.mark.parametrize(("seed", "floating"), EVERY)
def test_the_mass_matrix_is_symmetric_and_positive(seed: int, floating: bool) -> None:
    robot = random_robot(seed, floating=floating)
    M = np.array(robot.mass_matrix_function()(draw(robot, seed)[0]))
    np.testing.assert_allclose(M, M.T, rtol=0, atol=1e-14)
    assert np.linalg.eigvalsh(M).min() > 0


@pytest.mark.parametrize(("seed", "floating"), EVERY)
def test_three_recursions_agree(seed: int, floating: bool) -> None:
    """M a + b = RNEA(q, v, a), and ABA undoes it."""
    robot = random_robot(seed, floating=floating)
    q, v, a = draw(robot, seed)
    tau = column(robot.inverse_dynamics()(q, v, a))
    M, b = np.array(robot.mass_matrix_function()(q)), column(robot.bias_function()(q, v))
    np.testing.assert_allclose(M @ a + b, tau, rtol=0, atol=1e-12 * np.abs(tau).max())
    np.testing.assert_allclose(column(robot.forward_dynamics()(q, v, tau)), a, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("seed", "floating"), EVERY)
def test_power_goes_into_energy_and_friction(seed: int, floating: bool) -> None:
    """d/dt (T + V) = τᵀ v − (friction)ᵀ v."""
    robot = random_robot(seed, floating=floating)
    q, v, a = draw(robot, seed)
    tau = column(robot.inverse_dynamics(friction=False)(q, v, a))
    energy, h = robot.energy(), 1e-6

    def total(t: float) -> float:
        return sum(float(part) for part in energy(moved(robot, q, v + 0.5 * t * a, t), v + t * a))

    rise = (total(h) - total(-h)) / (2 * h)
    assert rise == pytest.approx(float(tau @ v), rel=1e-6, abs=1e-6)
    lost = column(robot.inverse_dynamics()(q, v, a)) - tau
    assert lost @ v > 0


@pytest.mark.parametrize(("seed", "floating"), EVERY)
def test_jacobians_are_derivatives_of_poses(seed: int, floating: bool) -> None:
    robot = random_robot(seed, floating=floating)
    q, v, _ = draw(robot, seed)
    h = 1e-6
    for link in ("link3", "link4", "link6"):
        kinematics = robot.forward_kinematics(link)
        ahead, R_ahead = (np.array(part) for part in kinematics(moved(robot, q, v, h)))
        behind, R_behind = (np.array(part) for part in kinematics(moved(robot, q, v, -h)))
        spin = (R_ahead - R_behind) / (2 * h) @ np.array(kinematics(q)[1]).T  # [ω]×
        wanted = [*((ahead - behind)[:, 0] / (2 * h)), spin[2, 1], spin[0, 2], spin[1, 0]]
        found = np.array(robot.frame_jacobian(link)(q)) @ v
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-7)


@pytest.mark.parametrize("floating", [False, True])
def test_derivatives_are_those_of_finite_differences(floating: bool) -> None:
    robot = random_robot(0, floating=floating)
    q, v, tau = draw(robot, 0)
    function = robot.forward_dynamics()
    x = np.concatenate([q, v, tau])
    sizes = np.cumsum([robot.nq, robot.nv])
    symbol = ca.MX.sym("x", x.size)
    parts = ca.vertsplit(symbol, [0, *sizes.tolist(), x.size])
    slopes = np.array(ca.Function("slopes", [symbol], [ca.jacobian(function(*parts), symbol)])(x))
    for k in range(x.size):
        step = 1e-6 * np.eye(x.size)[k]
        ahead, behind = (column(function(*np.split(x + s, sizes))) for s in (step, -step))
        np.testing.assert_allclose(slopes[:, k], (ahead - behind) / 2e-6, rtol=1e-5, atol=1e-5)


def step(robot: RigidBody, integrator: integrators.Integrator, h: float) -> ca.Function:
    """One step without inputs, the quaternion made a unit one again."""
    x = ca.SX.sym("x", robot.nx)
    u = ca.SX.zeros(robot.nu)
    velocities = ca.DM([0.0] * robot.nq + [1.0] * robot.nv)
    p, d = robot.namespace(), ca.SX(0, 1)
    after = integrator.advance(lambda x: robot.dynamics(x, u, p, d), x, h, velocities)
    return ca.Function("step", [x], [tangent.normalise(robot.states, after)])


@pytest.mark.parametrize("floating", [False, True])
@pytest.mark.parametrize("integrator", [integrators.euler, integrators.rk4], ids=lambda i: i.name)
def test_energy_drifts_with_the_order_of_the_integrator(
    integrator: integrators.Integrator, floating: bool
) -> None:
    robot = random_robot(1, floating=floating, still=True)
    q, v, _ = draw(robot, 1)
    energy = robot.energy()

    def drift(steps: int) -> float:
        x = ca.DM(np.concatenate([q, 0.3 * v]))
        before = sum(map(float, energy(x[: robot.nq], x[robot.nq :])))
        advance = step(robot, integrator, 0.4 / steps).fold(steps)
        x = advance(x)
        return abs(sum(map(float, energy(x[: robot.nq], x[robot.nq :]))) - before)

    steps = 16 if integrator.order > 1 else 256
    order = np.log2(drift(steps) / drift(2 * steps))
    assert order > integrator.order - 0.3, order


def test_a_robot_in_free_fall_keeps_its_momenta() -> None:
    """Without gravity Σ m ċ and the angular momentum about the world's origin stay."""
    robot = random_robot(2, floating=True, still=True)
    robot = robot.with_parameters(gravity=0.0)
    q, v, _ = draw(robot, 2)
    x = ca.DM(np.concatenate([q, 0.5 * v]))
    M = robot.mass_matrix_function()

    def momenta(x: ca.DM) -> np.ndarray:
        q = column(x[: robot.nq])
        p = np.array(M(q)) @ column(x[robot.nq :])
        R = np.array(ca.DM(quaternion.rotation_matrix(ca.DM(q[3:7]))))
        return np.concatenate([p[:3], R @ p[3:6] + np.cross(q[:3], p[:3])])

    before = momenta(x)
    after = momenta(step(robot, integrators.rk4, 0.001).fold(300)(x))
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-9)
    assert np.abs(before).max() > 0.1


def test_a_floating_robot_does_not_mind_where_it_is() -> None:
    """Shifted and turned about the vertical, it accelerates alike."""
    robot = random_robot(0, floating=True)
    q, v, tau = draw(robot, 5)
    turn = np.array([np.cos(0.4), 0, 0, np.sin(0.4)])
    R = np.array(ca.DM(quaternion.rotation_matrix(ca.DM(turn))))
    q2, v2, tau2 = q.copy(), v.copy(), tau.copy()
    q2[:3] = R @ q[:3] + [1.0, -2.0, 3.0]
    q2[3:7] = column(ca.DM(quaternion.multiply(ca.DM(turn), ca.DM(q[3:7]))))
    v2[:3], tau2[:3] = R @ v[:3], R @ tau[:3]
    forward = robot.forward_dynamics()
    wanted, found = column(forward(q, v, tau)), column(forward(q2, v2, tau2))
    wanted[:3] = R @ wanted[:3]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-10)


def test_a_constant_velocity_of_the_base_changes_nothing() -> None:
    robot = random_robot(0, floating=True)
    q, v, tau = draw(robot, 6)
    forward = robot.forward_dynamics()
    faster = v + np.array([3.0, -4.0, 5.0] + [0.0] * (robot.nv - 3))
    np.testing.assert_array_equal(column(forward(q, v, tau)), column(forward(q, faster, tau)))


def planar(name: str, child: str, parent: str, x: float, kind: str = "revolute") -> Joint:
    """About −y of a frame that hangs along −z: positive angles lift towards +x."""
    axis = (0.0, -1.0, 0.0) if kind == "revolute" else (1.0, 0.0, 0.0)
    origin = Pose(position=(0.0, 0.0, -x))
    return Joint(name=name, kind=kind, parent=parent, child=child, origin=origin, axis=axis)


def hanging(name: str, mass: float, center: float, inertia: float) -> Link:
    tensor = ((inertia, 0.0, 0.0), (0.0, inertia, 0.0), (0.0, 0.0, inertia))
    return Link(name=name, mass=mass, center=(0.0, 0.0, -center), inertia=tensor)


def same_acceleration(robot: RigidBody, closed: CartPole | DoublePendulum) -> None:
    p, d = closed.namespace(), ca.SX(0, 1)
    x, u = ca.SX.sym("x", closed.nx), ca.SX.sym("u", closed.nu)
    wanted = ca.Function("wanted", [x, u], [closed.dynamics(x, u, p, d)])
    found = ca.Function("found", [x, u], [robot.dynamics(x, u, robot.namespace(), d)])
    for point in np.random.default_rng(0).uniform(-3, 3, (20, closed.nx + closed.nu)):
        given = np.split(point, [closed.nx])
        np.testing.assert_allclose(found(*given), wanted(*given), rtol=0, atol=1e-11)


def test_two_hinges_are_the_double_pendulum() -> None:
    s = DoublePendulum()
    links = (
        Link(name="world"),
        hanging("upper", s.mass1, s.center1, s.inertia1),
        hanging("lower", s.mass2, s.center2, s.inertia2),
    )
    joints = (planar("one", "upper", "world", 0.0), planar("two", "lower", "upper", s.length1))
    joints = tuple(dataclasses.replace(joint, damping=float(s.damping1)) for joint in joints)
    robot = RigidBody.from_description(Description(name="two", links=links, joints=joints))
    same_acceleration(robot, s)


def test_a_hinge_on_a_slide_is_the_cartpole() -> None:
    s = CartPole()
    links = (
        Link(name="world"),
        hanging("cart", s.cart_mass, 0.0, 0.1),
        hanging("pole", s.pole_mass, s.pole_length, s.pole_inertia),
    )
    joints = (
        dataclasses.replace(
            planar("slide", "cart", "world", 0.0, "prismatic"), damping=float(s.cart_damping)
        ),
        dataclasses.replace(planar("hinge", "pole", "cart", 0.0), damping=float(s.pole_damping)),
    )
    whole = Description(name="cartpole", links=links, joints=joints)
    same_acceleration(RigidBody.from_description(whole, actuated=["slide"]), s)


def test_a_joint_with_nothing_to_move_is_refused_by_name() -> None:
    links = (
        Link(name="world"),
        Link(name="arm", mass=1.0, center=(0.0, 0.0, -1.0)),
        Link(name="tip"),
    )
    joints = (planar("shoulder", "arm", "world", 0.0), planar("empty", "tip", "arm", 1.0))
    with pytest.raises(ValueError, match="'empty' accelerates without limit"):
        RigidBody.from_description(Description(name="arm", links=links, joints=joints))
    motor = dataclasses.replace(joints[1], armature=0.1)
    RigidBody.from_description(Description(name="arm", links=links, joints=(joints[0], motor)))


def test_an_inertia_is_small_only_beside_what_the_joint_carries() -> None:
    # the laws hold at every scale: a ball on a stick of 1 mg and 0.1 mm, and one 1e9 times as heavy
    rates = []
    for mass in (1e-6, 1e3):
        inertia = mass * 1e-8 / 3
        links = (Link(name="world"), hanging("grain", mass, 1e-4, inertia))
        whole = Description(name="g", links=links, joints=(planar("hinge", "grain", "world", 0.0),))
        robot = RigidBody.from_description(whole)
        rates.append(column(robot.forward_dynamics()([0.3], [2.0], [0.0])))
    np.testing.assert_allclose(rates[0], rates[1], rtol=1e-12)
    thin = ((10.0, 0.0, 0.0), (0.0, 1e-13, 0.0), (0.0, 0.0, 10.0))
    rod = dataclasses.replace(links[1], center=(0.0, 0.0, 0.0), inertia=thin)
    whole = dataclasses.replace(whole, links=(links[0], rod))
    with pytest.raises(ValueError, match=r"wanted > 1e-12 kg·m², 1e-13 of the 10 there"):
        RigidBody.from_description(whole)


def test_a_floating_base_without_mass_is_refused() -> None:
    links = (Link(name="base"), hanging("pole", 1.0, 0.5, 0.1))
    whole = Description(name="pole", links=links, joints=(planar("hinge", "pole", "base", 0.0),))
    with pytest.raises(ValueError, match="the base floats but has too little inertia"):
        RigidBody.from_description(whole, floating=True)


def test_a_robot_without_joints_floats_as_one_body() -> None:
    whole = Description(name="brick", links=(hanging("brick", 2.0, 0.0, 0.1),), joints=())
    with pytest.raises(ValueError, match="no joint that moves"):
        RigidBody.from_description(whole)
    brick = RigidBody.from_description(whole, floating=True)
    rest = np.array([0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0])
    fall = column(brick.forward_dynamics()(rest, np.zeros(6), np.zeros(6)))
    np.testing.assert_allclose(fall, [0, 0, -9.81, 0, 0, 0], rtol=0, atol=1e-12)
