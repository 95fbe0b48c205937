"""Each hidden effect alone moves the plant the way its equation says."""

from __future__ import annotations

import numpy as np
import pytest

from hybridmodel.envs import Disturbed, HiddenEffects, make
from physics import CartPole, InputDelay, Linear, Pendulum

BOTH = pytest.mark.parametrize("engine", ["pybullet", "ode"])
STILL = np.zeros(1)


def log(system, engine, x0, u, dt=0.04, **effects):
    """True states (H+1, nx) under u (H, nu)."""
    with make(system, engine=engine, dt=dt, hidden=HiddenEffects(**effects)) as plant:
        plant.reset(seed=0, options={"state": x0})
        return np.array([plant.state, *(plant.step(row)[4]["x"] for row in u)])


def energy(x, p):
    """½ (I + m l²) θ̇² + m g l (1 − cos θ) of a pendulum."""
    inertia = p.inertia + p.mass * p.length**2
    return inertia / 2 * x[:, 1] ** 2 + p.mass * p.gravity * p.length * (1 - np.cos(x[:, 0]))


@BOTH
def test_none_is_exactly_none(engine):
    u = np.sin(np.arange(30))[:, None]
    bare = make(CartPole(), engine=engine, dt=0.04)
    bare.reset(seed=0, options={"state": [0, 1, 0, 0]})
    states = [bare.state, *(bare.step(row)[4]["x"] for row in u)]
    np.testing.assert_array_equal(states, log(CartPole(), engine, [0, 1, 0, 0], u))


@BOTH
@pytest.mark.parametrize("effect", [{"coulomb": (0.2,)}, {"viscous": (0.1,)}])
def test_friction_dissipates(engine, effect):
    system, u = Pendulum(damping=1e-12), np.zeros((50, 1))
    free, rubbed = log(system, engine, [1.0, 0.0], u), log(system, engine, [1.0, 0.0], u, **effect)
    assert np.ptp(energy(free, system)) < 1e-2 * energy(free, system)[0]
    assert np.all(np.diff(energy(rubbed, system)) < 1e-3)
    assert energy(rubbed, system)[-1] < 0.8 * energy(free, system)[-1]


def test_dry_friction_truly_sticks():
    # m g l sin 0.1 = 0.49 N·m is less than 0.6 N·m: no creep, no chatter
    states = log(Pendulum(), "pybullet", [0.1, 0.0], np.zeros((50, 1)), coulomb=(0.6,))
    np.testing.assert_allclose(states, np.tile([0.1, 0.0], (51, 1)), atol=1e-12)


def test_dry_friction_takes_its_work():
    # on the flat, ½ m v² = c s: the cart stops after 1/(2·0.8) m, then stands
    system = CartPole(cart_mass=0.999999, pole_mass=1e-6, cart_damping=1e-9, pole_inertia=1e-6)
    states = log(system, "pybullet", [0, 0, 1, 0], np.zeros((50, 1)), coulomb=(0.8, 0.0))
    assert states[-1, 0] == pytest.approx(0.5 / 0.8, rel=1e-3)
    assert abs(states[-1, 2]) < 1e-6


def test_ripple_varies_the_dry_friction_with_the_coordinate():
    hidden = HiddenEffects(coulomb=(0.2,), ripple=0.5, ripple_waves=2.0)
    plant, free = make(Pendulum(), dt=0.04, hidden=hidden), make(Pendulum(), dt=0.04)
    p = Pendulum()
    for q in (0.0, 0.4, np.pi / 2, 2.0):
        brake = free.acceleration([q, 3.0], STILL) - plant.acceleration([q, 3.0], STILL)
        expected = 0.2 * (1 + 0.5 * np.cos(2 * q)) / (p.inertia + p.mass * p.length**2)
        np.testing.assert_allclose(brake, expected, rtol=1e-8)


@BOTH
def test_delay_shifts_the_response(engine):
    u = np.sin(np.arange(20))[:, None]
    prompt = log(Pendulum(), engine, [0.0, 0.0], u)
    late = log(Pendulum(), engine, [0.0, 0.0], u, input_delay=3)
    np.testing.assert_array_equal(late[:4], 0.0)
    np.testing.assert_allclose(late[3:], prompt[:-3], rtol=1e-12, atol=1e-15)


@BOTH
def test_gain_scales_the_input(engine):
    u = np.sin(np.arange(20))[:, None]
    weak = log(Pendulum(), engine, [0.5, 0.0], u, input_gain=0.5)
    np.testing.assert_allclose(weak, log(Pendulum(), engine, [0.5, 0.0], u / 2), rtol=1e-12)


@BOTH
def test_dead_zone_swallows_small_inputs_and_shifts_large_ones(engine):
    small, large = np.full((20, 1), -0.29), np.full((20, 1), -1.3)
    swallowed = log(Pendulum(), engine, [0.5, 0.0], small, dead_zone=0.3)
    np.testing.assert_array_equal(swallowed, log(Pendulum(), engine, [0.5, 0.0], 0 * small))
    shifted = log(Pendulum(), engine, [0.5, 0.0], large, dead_zone=0.3)
    np.testing.assert_allclose(shifted, log(Pendulum(), engine, [0.5, 0.0], large + 0.3))


@pytest.mark.parametrize("lag", [1e-3, 0.05, 1.0])
def test_lag_is_exact_over_the_step(lag):
    # a double integrator at rest: v = ∫ (1 − e^{−t/T}) dt = t − T (1 − e^{−t/T})
    states = log(Linear(), "ode", [0.0, 0.0], np.ones((25, 1)), input_lag=lag)
    t = 0.04 * np.arange(26)
    np.testing.assert_allclose(states[:, 1], t + lag * np.expm1(-t / lag), rtol=1e-9, atol=1e-12)


@BOTH
def test_true_parameters_replace_the_known(engine):
    u = np.zeros((20, 1))
    hidden = log(Pendulum(), engine, [0.5, 0.0], u, parameters={"mass": 1.4, "gravity": 5.0})
    known = log(Pendulum(mass=1.4, gravity=5.0), engine, [0.5, 0.0], u)
    np.testing.assert_array_equal(hidden, known)


@pytest.mark.parametrize("start", [0.0, 0.1, 0.1234567])
def test_a_push_gives_its_impulse_wherever_its_edges_fall(start):
    system = CartPole(cart_damping=1e-12, pole_damping=1e-12, pole_mass=1e-9, pole_inertia=1e-6)
    push = (start, 0.0777, (2.0, 0.0))
    states = log(system, "pybullet", [0, 0, 0, 0], np.zeros((20, 1)), push=push)
    assert states[-1, 2] == pytest.approx(2.0 * 0.0777, rel=1e-6)
    assert np.all(states[: int(start / 0.04) + 1, 2] == 0.0)


@pytest.mark.slow
def test_wind_has_its_spread_and_its_correlation():
    # force on a mass of 1 kg: Δv/dt is the wind itself
    system = CartPole(
        cart_mass=1.0, cart_damping=1e-12, pole_mass=1e-9, pole_inertia=1e-6, pole_damping=1e-12
    )
    states = log(system, "ode", [0, 0, 0, 0], np.zeros((6000, 1)), wind=0.3, wind_time=0.4)
    w = np.diff(states[:, 2]) / 0.04
    assert np.std(w) == pytest.approx(0.3, rel=0.1)
    assert np.corrcoef(w[1:], w[:-1])[0, 1] == pytest.approx(np.exp(-0.04 / 0.4), abs=0.03)


def test_observations_are_noisy_and_states_are_not():
    hidden = HiddenEffects(observation_noise=(0.1, 0.0))
    plant = make(Pendulum(), dt=0.04, hidden=hidden)
    plant.reset(seed=0, options={"state": [0.0, 0.0]})
    errors = np.array([y - info["x"] for y, *_, info in (plant.step(STILL) for _ in range(500))])
    np.testing.assert_allclose(errors.std(axis=0), [0.1, 0.0], rtol=0.1)
    np.testing.assert_array_equal(plant.state, [0.0, 0.0])


def test_the_smoothed_truth_tends_to_the_exact_one():
    import casadi as ca

    def rate(smoothing):
        hidden = HiddenEffects(coulomb=(0.3,))
        system = Disturbed(system=Pendulum(), hidden=hidden, smoothing=smoothing)
        return system.dynamics(ca.SX([0.4, 0.02]), ca.SX(0.1), system.namespace(), ca.SX(0, 1))[1]

    gaps = [abs(float(rate(width) - rate(0.0))) for width in (1e-1, 1e-2, 1e-3)]
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 1e-12


def test_the_truth_is_a_system():
    hidden = HiddenEffects(parameters={"mass": 1.4}, dead_zone=0.1, input_gain=0.5)
    truth = Disturbed(system=Pendulum(), hidden=hidden)
    assert float(truth.parameters["mass"]) == 1.4
    assert float(truth.with_parameters(mass=1.6).parameters["mass"]) == 1.6
    assert InputDelay(system=truth, steps=2).nx == 4
    assert hash(truth) == hash(Disturbed(system=Pendulum(), hidden=hidden))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("coulomb", (-0.1,)),
        ("coulomb", 0.1),
        ("coulomb", (np.nan,)),
        ("viscous", (-1.0,)),
        ("ripple", 1.2),
        ("dead_zone", -0.1),
        ("input_gain", np.inf),
        ("input_lag", -1.0),
        ("input_delay", -1),
        ("input_delay", 1.5),
        ("observation_noise", (-0.1, 0.0)),
        ("push", (0.0, 1.0)),
        ("push", (0.0, -1.0, (1.0,))),
        ("wind", -1.0),
        ("wind_time", 0.0),
    ],
)
def test_effects_without_a_meaning_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=name):
        HiddenEffects(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("coulomb", (0.1, 0.1)),
        ("viscous", (0.1, 0.1)),
        ("push", (0.0, 1.0, (1.0, 1.0))),
        ("observation_noise", (0.1,)),
        ("parameters", {"weight": 1.0}),
    ],
)
def test_effects_that_do_not_fit_the_system_are_refused(name, value):
    word = "weight" if name == "parameters" else name
    with pytest.raises(ValueError, match=word):
        make(Pendulum(), engine="ode", dt=0.04, hidden=HiddenEffects(**{name: value}))


@pytest.mark.parametrize(
    "effect", [{"coulomb": (0.1,)}, {"viscous": (1.0,)}, {"wind": 0.1}, {"push": (0, 1, (1,))}]
)
def test_friction_needs_a_mechanical_system(effect):
    with pytest.raises(ValueError, match=f"{next(iter(effect))} .*Linear"):
        Disturbed(system=Linear(), hidden=HiddenEffects(**effect))
