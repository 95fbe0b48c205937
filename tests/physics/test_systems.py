"""Laws that every system keeps, and each documented equation evaluated on its own in numpy."""

from __future__ import annotations

import dataclasses
import math
import pickle
from collections.abc import Callable
from dataclasses import dataclass

import casadi as ca
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from physics import (
    CartPole,
    DoublePendulum,
    InputDelay,
    Linear,
    Mechanical,
    Parameter,
    Pendulum,
    Signal,
    System,
    Trivial,
    integrators,
)

Equation = Callable[[np.ndarray, np.ndarray], np.ndarray]  # (x, u) ↦ ẋ
LAWS = settings(derandomize=True, deadline=None, max_examples=25)
TINY = 1e-300  # as good as no damping, yet inside the positive domain


def pendulum(x: np.ndarray, u: np.ndarray) -> np.ndarray:
    m, l, inertia, b, k, g = 1.0, 0.5, 0.02, 0.01, 1.0, 9.81  # noqa: E741
    torque = k * u[0] - b * x[1] - m * g * l * np.sin(x[0])
    return np.array([x[1], torque / (inertia + m * l**2)])


def cartpole(x: np.ndarray, u: np.ndarray) -> np.ndarray:
    mc, mp, l, inertia, bc, bp, k, g = 1.0, 0.2, 0.3, 0.006, 0.05, 0.002, 1.0, 9.81  # noqa: E741
    _, theta, v, w = x
    left = [[mc + mp, mp * l * np.cos(theta)], [mp * l * np.cos(theta), inertia + mp * l**2]]
    right = [
        k * u[0] + mp * l * np.sin(theta) * w**2 - bc * v,
        -mp * g * l * np.sin(theta) - bp * w,
    ]
    return np.array([v, w, *np.linalg.solve(left, right)])


def double_pendulum(x: np.ndarray, u: np.ndarray) -> np.ndarray:
    m1 = m2 = 0.6
    l1, r1, r2, i1, i2, d, g = 0.3, 0.2, 0.2, 0.008, 0.008, 0.005, 9.81
    q1, q2, v1, v2 = x
    h = m2 * l1 * r2
    m11 = i1 + i2 + m1 * r1**2 + m2 * (l1**2 + r2**2) + 2 * h * np.cos(q2)
    m12 = i2 + m2 * r2**2 + h * np.cos(q2)
    m22 = i2 + m2 * r2**2
    pull2 = m2 * r2 * g * np.sin(q1 + q2)
    pull1 = (m1 * r1 + m2 * l1) * g * np.sin(q1) + pull2
    b = [
        -h * np.sin(q2) * (2 * v1 + v2) * v2 + pull1 + d * v1,
        h * np.sin(q2) * v1**2 + pull2 + d * v2,
    ]
    return np.array([v1, v2, *np.linalg.solve([[m11, m12], [m12, m22]], u - b)])


def acrobot(x: np.ndarray, u: np.ndarray) -> np.ndarray:
    return double_pendulum(x, np.array([0.0, u[0]]))


def pendubot(x: np.ndarray, u: np.ndarray) -> np.ndarray:
    return double_pendulum(x, np.array([u[0], 0.0]))


A = ((0.0, 1.0, 0.0), (-2.0, -0.1, 0.5), (0.0, 0.0, -1.0))
B = ((0.0, 1.0), (1.0, 0.0), (0.0, 3.0))


def linear(x: np.ndarray, u: np.ndarray) -> np.ndarray:
    return np.array(A) @ x + np.array(B) @ u


def kinematics(x: np.ndarray, u: np.ndarray) -> np.ndarray:
    return np.array([x[2], x[3], 0.0, 0.0])


# a new system joins all laws by one line: itself, and its documented equation in numpy
SYSTEMS: dict[str, tuple[System, Equation]] = {
    "pendulum": (Pendulum(), pendulum),
    "cartpole": (CartPole(), cartpole),
    "double_pendulum": (DoublePendulum(), double_pendulum),
    "acrobot": (DoublePendulum.acrobot(), acrobot),
    "pendubot": (DoublePendulum.pendubot(), pendubot),
    "linear": (Linear(A=A, B=B), linear),
    "trivial": (Trivial.like(CartPole()), kinematics),
    "delayed": (InputDelay(system=CartPole(), steps=2), cartpole),
}
MECHANICAL = {name: s for name, (s, _) in SYSTEMS.items() if isinstance(s, Mechanical)}
# V(q) [J] with V̇ = gravity's part of the bias, for the law of energy
POTENTIAL: dict[str, Callable[[np.ndarray], float]] = {
    "pendulum": lambda q: -9.81 * 0.5 * np.cos(q[0]),
    "cartpole": lambda q: -9.81 * 0.2 * 0.3 * np.cos(q[1]),
    "double_pendulum": lambda q: (
        -9.81 * ((0.6 * 0.2 + 0.6 * 0.3) * np.cos(q[0]) + 0.6 * 0.2 * np.cos(q[0] + q[1]))
    ),
}

each_system = pytest.mark.parametrize("name", SYSTEMS)
each_mechanical = pytest.mark.parametrize("name", MECHANICAL)


def flow(system: System, declared: tuple[str, ...] = ()) -> ca.Function:
    """f(x, u, p, d) of the continuous states."""
    sizes = (len(system.states), system.nu, len(declared), system.nd)
    x, u, p, d = (ca.SX.sym(s, n) for s, n in zip("xupd", sizes, strict=True))
    xdot = system.dynamics(x, u, system.namespace(declared, p), d)
    return ca.Function("f", [x, u, p, d], [xdot])


def xdot(system: System, x: np.ndarray, u: np.ndarray) -> np.ndarray:
    return flow(system)(x, u, [], np.zeros(system.nd)).full()[:, 0]


def draw(system: System, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.uniform(-4, 4, len(system.states)), rng.uniform(-2, 2, system.nu)


# -- every system ----------------------------------------------------------------------------


@each_system
def test_the_documented_equation(name: str) -> None:
    system, equation = SYSTEMS[name]
    for seed in range(20):
        x, u = draw(system, seed)
        assert xdot(system, x, u) == pytest.approx(equation(x, u), rel=1e-12, abs=1e-12)


@each_system
def test_a_full_turn_changes_nothing(name: str) -> None:
    system, _ = SYSTEMS[name]
    for seed, row in enumerate(system.angle_rows):
        x, u = draw(system, seed)
        turned = x + 2 * np.pi * (np.arange(len(x)) == row)
        assert xdot(system, turned, u) == pytest.approx(xdot(system, x, u), rel=1e-11, abs=1e-11)


@each_system
def test_rates_are_derivatives_of_what_they_name(name: str) -> None:
    system, _ = SYSTEMS[name]
    x, u = draw(system, 0)
    names = [s.name for s in system.states]
    rates = {s.rate_of: x[i] for i, s in enumerate(system.states) if s.rate_of is not None}
    for position, rate in rates.items():
        assert position is not None
        assert xdot(system, x, u)[names.index(position)] == rate
    assert system.velocity_rows == tuple(i for i, s in enumerate(system.states) if s.rate_of)


@each_system
def test_sizes_follow_from_names(name: str) -> None:
    system, _ = SYSTEMS[name]
    assert system.nx == len(system.states) + len(system.memory)
    assert (system.nu, system.nd) == (len(system.inputs), len(system.exogenous))
    x, u = draw(system, 0)
    y = system.output(ca.DM(x), ca.DM(u), system.namespace(), ca.DM.zeros(system.nd))
    assert y.shape == (system.ny, 1)
    m = ca.SX(len(system.memory), 1)
    assert system.applied_input(m, ca.SX(u), system.namespace()).shape == (system.nu, 1)
    assert system.advance_memory(m, ca.SX(u), system.namespace()).shape == m.shape


@each_system
def test_declared_parameters_are_symbolic_and_the_rest_is_baked(name: str) -> None:
    system, _ = SYSTEMS[name]
    x, u = draw(system, 1)
    declared = tuple(system.parameters)[:2]
    values = [1.1 * system.parameters[p] for p in declared]
    changed = system.with_parameters(**dict(zip(declared, values, strict=True)))
    symbolic = flow(system, declared)(x, u, values, np.zeros(system.nd)).full()[:, 0]
    assert symbolic == pytest.approx(xdot(changed, x, u), rel=1e-12, abs=1e-12)


@each_system
def test_with_parameters_copies(name: str) -> None:
    system, _ = SYSTEMS[name]
    before = dict(system.parameters)
    for parameter, value in before.items():
        changed = system.with_parameters(**{parameter: 1.5 * value})
        assert changed.parameters[parameter] == 1.5 * value
        assert changed.parameters[parameter].domain == value.domain
        assert changed.parameters[parameter].unit == value.unit
        assert system.parameters == before
    assert system.with_parameters() == system
    with pytest.raises(ValueError, match="has no parameter 'colour'; it has"):
        system.with_parameters(colour=1.0)


@each_system
def test_frozen_and_survives_pickling(name: str) -> None:
    system, _ = SYSTEMS[name]
    copy = pickle.loads(pickle.dumps(system))
    assert copy == system
    assert [(p.unit, p.domain) for p in copy.parameters.values()] == [
        (p.unit, p.domain) for p in system.parameters.values()
    ]
    with pytest.raises(dataclasses.FrozenInstanceError):
        system.states = ()  # type: ignore[misc]


# -- mechanical systems ----------------------------------------------------------------------


@each_mechanical
@LAWS
@given(seed=st.integers(0, 10**6))
def test_mass_is_symmetric_and_positive(name: str, seed: int) -> None:
    system = MECHANICAL[name]
    q = np.random.default_rng(seed).uniform(-4, 4, system.nq)
    M = ca.DM(system.mass_matrix(ca.SX(q), system.namespace())).full()
    assert np.array_equal(M, M.T)
    assert np.linalg.eigvalsh(M).min() > 0


@pytest.mark.parametrize("name", POTENTIAL)
def test_energy_without_damping_drifts_with_the_order_of_rk4(name: str) -> None:
    system = MECHANICAL[name]
    system = system.with_parameters(**{p: TINY for p in system.parameters if "damping" in p})
    f, x0 = flow(system), np.full(len(system.states), 0.7)

    def energy(x: np.ndarray) -> float:
        q, v = x[: system.nq], x[system.nq :]
        M = ca.DM(system.mass_matrix(ca.SX(q), system.namespace())).full()
        return float(v @ M @ v / 2 + POTENTIAL[name](q))

    def drift(h: float) -> float:
        return abs(energy(roll(f, x0, h, round(1 / h), integrators.rk4)) - energy(x0))

    coarse, fine = drift(1 / 50), drift(1 / 100)
    assert fine < 1e-5 * abs(energy(x0))
    assert math.log2(coarse / fine) > 3.7


@each_mechanical
def test_damping_takes_energy(name: str) -> None:
    system = MECHANICAL[name]
    q, v = ca.SX.sym("q", system.nq), ca.SX.sym("v", system.nq)
    free = system.with_parameters(**{p: TINY for p in system.parameters if "damping" in p})
    lost = system.bias(q, v, system.namespace()) - free.bias(q, v, free.namespace())
    power = ca.Function("power", [q, v], [ca.dot(v, lost)])
    for seed in range(10):
        x, _ = draw(system, seed)
        assert float(power(x[: system.nq], x[system.nq :])) > 0


# -- integrators -----------------------------------------------------------------------------


def roll(
    f: ca.Function, x: np.ndarray, h: float, steps: int, method: integrators.Integrator
) -> np.ndarray:
    half = len(x) // 2
    v = ca.DM([0] * half + [1] * (len(x) - half))
    for _ in range(steps):
        x = method.advance(lambda x: f(x, np.zeros(f.size1_in(1)), [], []), ca.DM(x), h, v)
    return ca.DM(x).full()[:, 0]


@pytest.mark.parametrize("method", integrators.ALL, ids=lambda m: m.name)
def test_integrators_have_their_order(method: integrators.Integrator) -> None:
    oscillator = flow(Linear(A=((0.0, 1.0), (-1.0, 0.0))))
    exact = np.array([math.cos(1), -math.sin(1)])  # x₀ = (1, 0), after 1 s

    def error(steps: int) -> float:
        end = roll(oscillator, np.array([1.0, 0.0]), 1 / steps, steps, method)
        return float(np.linalg.norm(end - exact))

    assert math.log2(error(40) / error(80)) == pytest.approx(method.order, abs=0.1)


def test_semi_implicit_euler_keeps_energy_bounded() -> None:
    oscillator = flow(Linear(A=((0.0, 1.0), (-1.0, 0.0))))
    x0 = np.array([1.0, 0.0])
    kept = roll(oscillator, x0, 0.1, 1000, integrators.semi_implicit_euler)
    lost = roll(oscillator, x0, 0.1, 1000, integrators.euler)
    assert 0.9 < np.linalg.norm(kept) < 1.1
    assert np.linalg.norm(lost) > 100


# -- memory ----------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_a_delay_hands_on_inputs_in_order(steps: int) -> None:
    system = InputDelay(system=DoublePendulum(), steps=steps)
    p = system.namespace()
    u = np.arange(20.0).reshape(10, 2)
    past = -1.0 - np.arange(2.0 * steps).reshape(steps, 2)
    m = ca.DM(system.initial_memory(ca.SX(past.T)))
    assert m.shape == (len(system.memory), 1)
    assert system.memory_steps == steps
    seen = []
    for commanded in u:
        seen.append(ca.DM(system.applied_input(ca.SX(m), ca.SX(commanded), p)).full()[:, 0])
        m = ca.DM(system.advance_memory(ca.SX(m), ca.SX(commanded), p))
    assert np.array_equal(seen, np.concatenate([past, u])[: len(u)])
    assert system.memory[0].low == system.inputs[0].low
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        InputDelay(system=Pendulum(), steps=0)


# -- parameters and signals ------------------------------------------------------------------

DOMAINS = st.one_of(
    st.tuples(st.floats(-1e3, 1e3), st.just("real")),
    st.tuples(st.floats(1e-6, 1e3), st.just("positive")),
    st.tuples(st.floats(-0.99, 2.99), st.just((-1.0, 3.0))),
)


@LAWS
@given(case=DOMAINS, theta=st.floats(-20, 20))
def test_constrain_starts_at_the_value_and_stays_inside(
    case: tuple[float, object], theta: float
) -> None:
    value, domain = case
    parameter = Parameter(value, "m", domain)  # type: ignore[arg-type]
    assert float(parameter.constrain(ca.SX(0))) == value
    moved = float(parameter.constrain(ca.SX(theta)))
    slope = ca.SX.sym("t")
    grows = ca.Function("g", [slope], [ca.gradient(parameter.constrain(slope), slope)])
    assert float(grows(0.0)) > 0
    match domain:
        case "positive":
            assert moved > 0
        case (low, high):
            slack = 1e-12 * (high - low)
            assert low - slack <= moved <= high + slack
        case _:
            assert math.isfinite(moved)


def test_a_parameter_is_a_float_that_keeps_its_unit() -> None:
    mass = Parameter(2.0, "kg", "positive")
    assert mass == 2.0
    assert type(mass * 2) is float
    assert (mass.replace(3.0).unit, mass.replace(3.0).domain) == ("kg", "positive")
    assert repr(mass) == "Parameter(2.0, 'kg', 'positive')"
    assert Pendulum(mass=3).parameters["mass"].unit == "kg"


@pytest.mark.parametrize(
    ("value", "domain"),
    [(0.0, "positive"), (-1.0, "positive"), (math.nan, "real"), (math.inf, "real"), (2.0, (0, 2))],
)
def test_values_outside_their_domain_are_refused(value: float, domain: object) -> None:
    with pytest.raises(ValueError, match="is not inside its domain"):
        Parameter(value, "m", domain)  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class TwiceRead(Linear):
    outputs: tuple[Signal, ...] = (Signal("y"), Signal("y"))  # type: ignore[override]


@dataclass(frozen=True, kw_only=True)
class Stepping(Linear):
    """x⁺ = A x + B u."""

    gain: float = 1.0
    dt: float | None = 0.1  # type: ignore[override]


def test_numbers_of_numpy_become_plain_floats() -> None:
    plain = Signal("u", "N", -1.0, 2.0)
    for kind in (np.float64, np.float32, np.int64, int):
        bounded = Signal("u", "N", kind(-1), kind(2))
        assert repr(bounded) == repr(plain)
        assert type(bounded.low) is type(bounded.high) is float
    system = Stepping(dt=np.float64(0.5), gain=np.float64(2.0))
    assert type(system.dt) is type(system.gain) is float
    assert system == Stepping(dt=0.5, gain=2.0)
    with pytest.raises(ValueError, match=r"Stepping: dt must be seconds > 0, got '0\.5'"):
        Stepping(dt="0.5")  # type: ignore[arg-type]


def test_errors_name_what_is_wrong() -> None:
    with pytest.raises(ValueError, match=r"domain must be 'real', 'positive' or \(low, high\)"):
        Parameter(1.0, "m", "negative")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"Pendulum\(mass=…\): value -1.0"):
        Pendulum(mass=-1.0)
    with pytest.raises(ValueError, match=r"value -1.0 is not inside"):
        Pendulum().with_parameters(mass=-1.0)
    with pytest.raises(ValueError, match=r"bounds of signal 'u' are reversed: low 1.0 > high 0.0"):
        Signal("u", low=1.0, high=0.0)
    with pytest.raises(ValueError, match=r"low of signal 'u' must be a number, got '-1'"):
        Signal("u", low="-1")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"high of signal 'u' must be a number, got None"):
        Signal("u", high=None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"name of a Signal must be a str .*, got ''"):
        Signal("")
    for rate_of in ("v", "push", "wind"):
        states = (Signal("q"), Signal("v", rate_of=rate_of))
        with pytest.raises(
            ValueError, match=rf"rate_of of 'v' must name .* of \['q'\], got '{rate_of}'"
        ):
            Trivial(states=states, inputs=(Signal("push"),), exogenous=(Signal("wind"),))
    with pytest.raises(ValueError, match=r"TwiceRead: output names must differ, {'y'} repeat"):
        TwiceRead()
    with pytest.raises(ValueError, match="signal names must differ"):
        Trivial(states=(Signal("a"),), inputs=(Signal("a"),))
    with pytest.raises(ValueError, match="parameters are named twice"):
        Pendulum().check_declared(("mass", "mass"))
    with pytest.raises(ValueError, match="A must be square"):
        Linear(A=((0.0, 1.0),), B=((1.0,),))
    with pytest.raises(ValueError, match="B must have 2 rows"):
        Linear(B=((1.0,),))
    with pytest.raises(ValueError, match=r"inputs may be .* got 'wheel_torque'"):
        DoublePendulum(inputs=(Signal("wheel_torque"),))
