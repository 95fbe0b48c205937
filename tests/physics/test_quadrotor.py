"""Laws of flight: hover, symmetries, conservation, and the plane inside the space."""

from __future__ import annotations

import casadi as ca
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from hybridmodel.laws import check_system
from physics import PlanarQuadrotor, Quadrotor, System, integrators, quaternion

P, Q, V, W = slice(0, 3), slice(3, 7), slice(7, 10), slice(10, 13)
DRAG = (0.3, 0.2, 0.1)
DRAGGED = Quadrotor(drag_x=DRAG[0], drag_y=DRAG[1], drag_z=DRAG[2])


def flow(system: System) -> ca.Function:
    x, u = ca.SX.sym("x", len(system.states)), ca.SX.sym("u", system.nu)
    xdot = system.dynamics(x, u, system.namespace(), ca.SX(0, 1))
    return ca.Function("f", [x, u], [xdot])


def xdot(system: System, x: np.ndarray, u: np.ndarray) -> np.ndarray:
    return flow(system)(x, u).full()[:, 0]


def draw(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.uniform(-2, 2, 13)
    x[Q] /= np.linalg.norm(x[Q])
    return x, rng.uniform(0, 3, 4)


def rotation(q: np.ndarray) -> np.ndarray:
    return Rotation.from_quat(np.roll(q, -1)).as_matrix()  # scipy has the scalar last


def random_quadrotor(seed: int) -> Quadrotor:
    rng = np.random.default_rng(seed)
    values = {name: float(v) * rng.uniform(0.6, 1.5) for name, v in DRAGGED.parameters.items()}
    return DRAGGED.with_parameters(**values)


SEEDS = range(10)
each_seed = pytest.mark.parametrize("seed", SEEDS)


@pytest.mark.parametrize(
    "system", [DRAGGED, PlanarQuadrotor(drag_x=0.3, drag_z=0.1)], ids=["3d", "planar"]
)
def test_it_obeys_the_laws_of_a_system(system: System) -> None:
    report = check_system(system)
    assert report.holds, str(report)


@each_seed
def test_the_documented_equation(seed: int) -> None:
    m, J, arm, kappa, g = 0.5, np.diag([0.0023, 0.0023, 0.004]), 0.175, 0.0245, 9.81
    system = DRAGGED.with_parameters(thrust_gain=0.9)
    x, u = draw(seed)
    R, v, omega = rotation(x[Q]), x[V], x[W]
    places = arm * np.array([[1, -1, 0], [-1, -1, 0], [-1, 1, 0], [1, 1, 0]]) / np.sqrt(2)
    force = m * np.array([0, 0, -g]) - R @ np.diag(DRAG) @ R.T @ v
    torque = -np.cross(omega, J @ omega)
    for place, spin, thrust in zip(places, (1, -1, 1, -1), 0.9 * u, strict=True):
        pull = np.array([0, 0, thrust])
        force = force + R @ pull
        torque = torque + np.cross(place, pull) - spin * kappa * pull
    w, x_, y, z = x[Q]
    turn = np.array([[-x_, -y, -z], [w, -z, y], [z, w, -x_], [-y, x_, w]]) @ omega / 2
    wanted = np.concatenate([v, turn, force / m, np.linalg.solve(J, torque)])
    assert xdot(system, x, u) == pytest.approx(wanted, rel=1e-11, abs=1e-11)


@each_seed
def test_hover_is_an_equilibrium_at_any_place_and_heading(seed: int) -> None:
    system = random_quadrotor(seed)
    x = np.zeros(13)
    x[P], heading = draw(seed)[0][P], seed / 3
    x[Q] = [np.cos(heading / 2), 0, 0, np.sin(heading / 2)]
    assert xdot(system, x, np.array(system.hover)) == pytest.approx(np.zeros(13), abs=1e-12)
    assert sum(system.hover) * system.thrust_gain == pytest.approx(system.mass * system.gravity)


@each_seed
def test_the_attitude_keeps_its_length(seed: int) -> None:
    x, u = draw(seed)
    assert x[Q] @ xdot(Quadrotor(), x, u)[Q] == pytest.approx(0, abs=1e-15)


@each_seed
def test_both_signs_of_the_quaternion_are_one_attitude(seed: int) -> None:
    x, u = draw(seed)
    sign = np.ones(13)
    sign[Q] = -1
    wanted = sign * xdot(random_quadrotor(seed), x, u)
    assert xdot(random_quadrotor(seed), sign * x, u) == pytest.approx(wanted, abs=1e-14)


def test_no_place_is_special() -> None:
    system = DRAGGED
    x, u = ca.SX.sym("x", 13), ca.SX.sym("u", 4)
    f = system.dynamics(x, u, system.namespace(), ca.SX(0, 1))
    assert not ca.depends_on(f, x[P])


@each_seed
def test_no_heading_is_special(seed: int) -> None:
    system, (x, u) = random_quadrotor(seed), draw(seed)
    turn = np.array([np.cos(seed / 2), 0, 0, np.sin(seed / 2)])
    R = rotation(turn)

    def turned(x: np.ndarray) -> np.ndarray:
        q = ca.DM(quaternion.multiply(ca.SX(turn), ca.SX(x[Q]))).full()[:, 0]
        return np.concatenate([R @ x[P], q, R @ x[V], x[W]])

    assert xdot(system, turned(x), u) == pytest.approx(turned(xdot(system, x, u)), abs=1e-11)


@each_seed
def test_a_mirror_swaps_left_and_right(seed: int) -> None:
    system, (x, u) = random_quadrotor(seed), draw(seed)
    vector, axial = [1, -1, 1], [-1, 1, -1]  # turns are axial: mirrored, and their sense changed
    mirror = np.array([*vector, 1, *axial, *vector, *axial])
    assert xdot(system, mirror * x, u[[3, 2, 1, 0]]) == pytest.approx(
        mirror * xdot(system, x, u), abs=1e-11
    )


def test_each_rotor_turns_it_as_its_place_and_spin_say() -> None:
    hover = np.array(Quadrotor().hover)
    x = np.zeros(13)
    x[3] = 1.0
    # (roll, pitch, yaw): left side up, nose down, to the left
    wanted = [(-1, -1, -1), (-1, 1, 1), (1, 1, -1), (1, -1, 1)]
    for rotor, signs in enumerate(wanted):
        more = hover + 0.1 * (np.arange(4) == rotor)
        assert tuple(np.sign(xdot(Quadrotor(), x, more)[W])) == signs


@each_seed
def test_power_in_is_thrust_and_power_out_is_drag(seed: int) -> None:
    system, (x, u) = random_quadrotor(seed), draw(seed)
    p = system.namespace()
    f, R = xdot(system, x, u), rotation(x[Q])
    J = np.array([p.inertia_x, p.inertia_y, p.inertia_z])
    gain = p.mass * x[V] @ f[V] + x[W] @ (J * f[W]) + p.mass * p.gravity * x[9]
    body = R.T @ x[V]
    drag = body @ (np.array([p.drag_x, p.drag_y, p.drag_z]) * body)
    B = ca.DM(system.input_map(ca.SX(x[:7]), p)).full()
    assert gain == pytest.approx(np.concatenate([x[V], x[W]]) @ B @ u - drag, rel=1e-11)
    assert drag > 0


def test_without_thrust_it_tumbles_freely() -> None:
    J = np.array([0.002, 0.003, 0.005])
    system = Quadrotor(inertia_x=J[0], inertia_y=J[1], inertia_z=J[2])
    f = flow(system)
    x0, _ = draw(3)
    x0[W] = [0.1, 6.0, 0.1]  # about the middle axis, which is unstable: it turns over

    def tumble(steps: int) -> np.ndarray:
        x, path = ca.DM(x0), [x0]
        for _ in range(steps):
            x = integrators.rk4.advance(lambda x: f(x, np.zeros(4)), x, 2 / steps, ca.DM.zeros(13))
            path.append(x.full()[:, 0])
        return np.array(path)

    def drifts(path: np.ndarray) -> tuple[float, float]:
        momentum = np.array([rotation(x[Q]) @ (J * x[W]) for x in path])
        energy = path[:, W] ** 2 @ J / 2
        return (
            float(np.abs(momentum - momentum[0]).max() / np.linalg.norm(momentum[0])),
            float(np.abs(energy / energy[0] - 1).max()),
        )

    coarse, path = drifts(tumble(200)), tumble(400)
    fine = drifts(path)
    assert np.ptp(path[:, 11]) > 6.0  # it did turn over
    assert max(fine) < 1e-6
    assert min(np.log2(np.array(coarse) / fine)) > 3.7
    fall = x0[9] - 9.81 * 2
    assert path[-1, 7:10] == pytest.approx([x0[7], x0[8], fall], rel=1e-12)


def test_the_planar_quadrotor_is_the_quadrotor_in_a_plane() -> None:
    whole = Quadrotor(thrust_gain=0.9, drag_x=0.3, drag_z=0.1)
    plane = PlanarQuadrotor(
        inertia=whole.inertia_y,
        arm=whole.arm / np.sqrt(2),
        thrust_gain=0.9,
        drag_x=0.3,
        drag_z=0.1,
    )
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        x, z, pitch, vx, vz, rate = rng.uniform(-3, 3, 6)
        front, rear = rng.uniform(0, 6, 2)
        q = [np.cos(pitch / 2), 0, np.sin(pitch / 2), 0]
        f = xdot(
            whole,
            np.array([x, 0, z, *q, vx, 0, vz, 0, rate, 0]),
            np.array([front, rear, rear, front]) / 2,
        )
        g = xdot(plane, np.array([x, z, pitch, vx, vz, rate]), np.array([front, rear]))
        assert f[[0, 2, 7, 9, 11]] == pytest.approx(g[[0, 1, 3, 4, 5]], rel=1e-11, abs=1e-11)
        assert f[[1, 8, 10, 12]] == pytest.approx(np.zeros(4), abs=1e-12)
        assert f[3:7] == pytest.approx(
            g[2] / 2 * np.array([-np.sin(pitch / 2), 0, np.cos(pitch / 2), 0]), abs=1e-12
        )
    assert plane.hover == pytest.approx((2 * whole.hover[0],) * 2)


def test_the_planar_quadrotor_hovers_and_hands_its_weight_to_drag() -> None:
    system = PlanarQuadrotor(mass=0.7, thrust_gain=1.1, drag_z=0.4)
    still = xdot(system, np.array([1.0, 2.0, 0, 0, 0, 0]), np.array(system.hover))
    assert still == pytest.approx(np.zeros(6), abs=1e-12)
    fastest = -0.7 * 9.81 / 0.4
    falling = xdot(system, np.array([0, 0, 0, 0, fastest, 0]), np.zeros(2))
    assert falling[3:] == pytest.approx(np.zeros(3), abs=1e-12)
