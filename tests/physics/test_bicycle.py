"""Laws of driving: straight lines, circles, mirrors, energy, and a standstill."""

from __future__ import annotations

import casadi as ca
import numpy as np
import pytest

from hybridmodel.laws import check_system
from physics import DynamicBicycle, KinematicBicycle, System, integrators

CARS = {"kinematic": KinematicBicycle(), "dynamic": DynamicBicycle()}
SEEDS = range(10)
each_car = pytest.mark.parametrize("name", CARS)


def flow(system: System) -> ca.Function:
    x, u = ca.SX.sym("x", len(system.states)), ca.SX.sym("u", system.nu)
    xdot = system.dynamics(x, u, system.namespace(), ca.SX(0, 1))
    return ca.Function("f", [x, u], [xdot, ca.jacobian(xdot, ca.vertcat(x, u))])


def xdot(system: System, x: np.ndarray, u: np.ndarray) -> np.ndarray:
    return flow(system)(x, u)[0].full()[:, 0]


def draw(system: System, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    u = [rng.uniform(s.low, s.high) for s in system.inputs]
    return rng.uniform(-2, 2, len(system.states)), np.array(u)


def drive(system: System, x: np.ndarray, u: np.ndarray, h: float, steps: int) -> np.ndarray:
    f, end = flow(system), ca.DM(x)
    for _ in range(steps):
        end = integrators.rk4.advance(lambda x: f(x, u)[0], end, h, ca.DM.zeros(system.nx))
    return end.full()[:, 0]


def tyre_forces(car: DynamicBicycle, x: np.ndarray, u: np.ndarray) -> tuple[float, float]:
    front, rear = car.tyre_forces(ca.DM(x), ca.DM(u), car.namespace())  # type: ignore[arg-type]
    return float(front), float(rear)


# -- both cars ---------------------------------------------------------------------------------


@each_car
def test_they_obey_the_laws_of_a_system(name: str) -> None:
    report = check_system(CARS[name])
    assert report.holds, str(report)


@each_car
def test_no_place_and_no_direction_is_special(name: str) -> None:
    car = CARS[name]
    for seed in SEEDS:
        x, u = draw(car, seed)
        turn, moved = seed / 3, x.copy()
        R = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        moved[:2] = R @ x[:2] + [3.0, -1.0]
        moved[2] += turn
        wanted = xdot(car, x, u)
        wanted[:2] = R @ wanted[:2]
        assert xdot(car, moved, u) == pytest.approx(wanted, rel=1e-11, abs=1e-11)


@each_car
def test_a_mirror_swaps_left_and_right(name: str) -> None:
    car = CARS[name]
    mirror = np.array([1, -1, -1, 1, -1, -1])[: car.nx]
    for seed in SEEDS:
        x, u = draw(car, seed)
        steered = u * [1, -1]
        assert xdot(car, mirror * x, steered) == pytest.approx(mirror * xdot(car, x, u), abs=1e-11)


@each_car
def test_without_steering_it_goes_straight(name: str) -> None:
    car = CARS[name]
    x0 = np.zeros(car.nx)
    x0[2], x0[3] = 0.7, 1.0
    end = drive(car, x0, np.array([0.5, 0.0]), 0.01, 100)
    assert end[1] / end[0] == pytest.approx(np.tan(0.7), rel=1e-12)
    assert np.hypot(*end[:2]) > 0.5
    assert end[2] == pytest.approx(0.7, abs=1e-15)
    assert end[4:] == pytest.approx(np.zeros(car.nx - 4), abs=1e-15)


@each_car
def test_a_standstill_is_smooth(name: str) -> None:
    """At rest, whatever the steering, all is finite, and nothing but the motor moves the car."""
    car = CARS[name]
    x = np.zeros(car.nx)
    for steering in (-0.35, 0.0, 0.35):
        value, slopes = flow(car)(x, [0.0, steering])
        assert value.full()[:, 0] == pytest.approx(np.zeros(car.nx), abs=1e-15)
        assert np.isfinite(slopes.full()).all()


# -- kinematic ---------------------------------------------------------------------------------


def test_the_kinematic_equation() -> None:
    car = KinematicBicycle(front_length=1.1, rear_length=1.6)
    for seed in SEEDS:
        x, (acceleration, steering) = draw(car, seed)
        slip = np.arctan(1.6 / 2.7 * np.tan(steering))
        course = x[2] + slip
        wanted = [
            x[3] * np.cos(course),
            x[3] * np.sin(course),
            x[3] / 1.6 * np.sin(slip),
            acceleration,
        ]
        assert xdot(car, x, np.array([acceleration, steering])) == pytest.approx(wanted, rel=1e-12)


def test_wheels_roll_without_slip_and_the_circle_has_ackermanns_radius() -> None:
    car, steering, speed = KinematicBicycle(), 0.4, 5.0
    base = car.front_length + car.rear_length
    x = np.array([0.0, 0.0, 0.3, speed])
    f = xdot(car, x, np.array([0.0, steering]))
    for place, wheel in ((car.front_length, steering), (-car.rear_length, 0.0)):
        velocity = f[:2] + f[2] * place * np.array([-np.sin(x[2]), np.cos(x[2])])
        across = [-np.sin(x[2] + wheel), np.cos(x[2] + wheel)]
        assert velocity @ across == pytest.approx(0, abs=1e-13)
    radius = np.hypot(base / np.tan(steering), car.rear_length)
    assert speed / f[2] == pytest.approx(radius, rel=1e-12)
    steps = 400
    end = drive(car, x, np.array([0.0, steering]), 2 * np.pi / f[2] / steps, steps)
    assert end[:2] == pytest.approx([0.0, 0.0], abs=1e-6)  # once around


# -- dynamic -----------------------------------------------------------------------------------


def test_the_dynamic_equation_away_from_a_standstill() -> None:
    """The equation of the source, which the regularised one is up to (ε/v)²."""
    m, inertia, lf, lr = 0.041, 27.8e-6, 0.029, 0.033
    Bf, Cf, Df, Br, Cr, Dr = 2.579, 1.2, 0.192, 3.3852, 1.2691, 0.1737
    Cm1, Cm2, Cr0, Cd = 0.287, 0.0545, 0.0518, 0.00035

    def source(x: np.ndarray, u: np.ndarray) -> np.ndarray:
        _, _, psi, vx, vy, w = x
        d, delta = u
        af, ar = delta - np.arctan((w * lf + vy) / vx), np.arctan((w * lr - vy) / vx)
        Ff, Fr = Df * np.sin(Cf * np.arctan(Bf * af)), Dr * np.sin(Cr * np.arctan(Br * ar))
        Fx = (Cm1 - Cm2 * vx) * d - Cr0 - Cd * vx**2
        return np.array(
            [
                vx * np.cos(psi) - vy * np.sin(psi),
                vx * np.sin(psi) + vy * np.cos(psi),
                w,
                (Fx - Ff * np.sin(delta) + m * vy * w) / m,
                (Fr + Ff * np.cos(delta) - m * vx * w) / m,
                (Ff * lf * np.cos(delta) - Fr * lr) / inertia,
            ]
        )

    gaps = []
    for creep in (0.02, 0.01):
        car = DynamicBicycle(creep_speed=creep)
        gap = 0.0
        for seed in SEEDS:
            x, u = draw(car, seed)
            x[3:] = 2.0 + 0.5 * x[3], 0.1 * x[4], x[5]
            wanted = source(x, u)
            gap = max(gap, np.max(np.abs(xdot(car, x, u) - wanted) / (1 + np.abs(wanted))))
        gaps.append(gap)
    assert gaps[1] < 1e-4
    assert gaps[0] / gaps[1] == pytest.approx(4.0, rel=0.05)  # of order ε²


def test_energy_changes_by_the_motor_and_what_slides() -> None:
    car = DynamicBicycle()
    p = car.namespace()
    for seed in SEEDS:
        x, u = draw(car, seed)
        vx, vy, w = x[3:]
        f = xdot(car, x, u)
        front, rear = tyre_forces(car, x, u)
        lateral = vy + p.front_length * w
        sliding_f = front * (lateral * np.cos(u[1]) - vx * np.sin(u[1]))
        sliding_r = rear * (vy - p.rear_length * w)
        pace = np.hypot(vx, p.creep_speed)
        drive = (p.motor_force - p.motor_damping * vx) * u[0]
        drive -= p.rolling_resistance * vx / pace + p.drag * vx * pace
        gain = p.mass * (vx * f[3] + vy * f[4]) + p.inertia * w * f[5]
        assert gain == pytest.approx(drive * vx + sliding_f + sliding_r, rel=1e-10)
        assert sliding_f <= 0  # forward, in reverse and at rest: a tyre only takes
        assert sliding_r <= 0


def test_tyres_are_odd_bounded_and_as_stiff_as_they_say() -> None:
    car = DynamicBicycle()
    p = car.namespace()
    for slide in (1e-6, 0.1, 1.0, 10.0):
        sides = [
            tyre_forces(car, np.array([0, 0, 0, 2.0, side * slide, 0]), np.zeros(2))
            for side in (-1, 1)
        ]
        assert sides[0] == pytest.approx([-force for force in sides[1]], rel=1e-14)
        assert 0 < sides[0][0] <= p.front_peak
        assert 0 < sides[0][1] <= p.rear_peak
    front, _ = tyre_forces(car, np.array([0, 0, 0, 2.0, -1e-6, 0]), np.zeros(2))
    stiffness = p.front_stiffness * p.front_shape * p.front_peak
    assert front == pytest.approx(stiffness * 1e-6 / np.hypot(2.0, p.creep_speed), rel=1e-6)


def test_slow_driving_is_kinematic() -> None:
    """On a slow circle the tyres slip by O(v): the yaw rate tends to that of rolling wheels."""
    car = DynamicBicycle()
    steering = 0.2
    rolling = KinematicBicycle(front_length=car.front_length, rear_length=car.rear_length)

    def gap(speed: float) -> float:
        # f of (v_y, ω, d) = 0 at this v_x: the steady circle
        unknown, forward = ca.SX.sym("w", 3), ca.SX(speed)
        x = ca.vertcat(0, 0, 0, forward, unknown[0], unknown[1])
        f = car.dynamics(x, ca.vertcat(unknown[2], steering), car.namespace(), ca.SX(0, 1))
        root = ca.rootfinder("root", "newton", {"x": unknown, "g": f[3:]})
        wanted = speed * np.tan(steering) / (car.front_length + car.rear_length)
        found = root(x0=[0.0, wanted, 0.2])["x"].full()[:, 0]
        pace = np.hypot(speed, found[0])
        turn = xdot(rolling, np.array([0, 0, 0, pace]), np.array([0, steering]))[2]
        return abs(found[1] / turn - 1)

    coarse, fine = gap(0.02), gap(0.01)
    assert coarse < 0.02
    assert coarse / fine == pytest.approx(2.0, rel=0.1)


def test_the_fastest_rate_at_a_standstill_is_near_the_stated_one() -> None:
    car = DynamicBicycle()
    p = car.namespace()
    slopes = flow(car)(np.zeros(6), np.zeros(2))[1].full()[3:, 3:6]
    stiff = p.front_stiffness * p.front_shape * p.front_peak * p.front_length**2
    stiff += p.rear_stiffness * p.rear_shape * p.rear_peak * p.rear_length**2
    stated = stiff / (p.inertia * p.creep_speed)
    assert -np.linalg.eigvals(slopes).real.min() == pytest.approx(stated, rel=0.1)
    assert stated == pytest.approx(118, abs=0.5)


def test_a_car_left_alone_comes_to_rest() -> None:
    car = DynamicBicycle()
    end = drive(car, np.array([0, 0, 0, 1.0, 0.5, 5.0]), np.array([0.0, 0.3]), 0.02, 500)
    assert np.abs(end[3:]).max() < 1e-6
