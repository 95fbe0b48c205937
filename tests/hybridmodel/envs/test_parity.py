"""With nothing hidden, plant and System are the same; with much hidden, plant and Disturbed."""

from __future__ import annotations

import numpy as np
import pytest

from hybridmodel import envs
from physics import CartPole, DoublePendulum, Linear, Pendulum, integrators

SYSTEMS = {
    "pendulum": Pendulum(),
    "cartpole": CartPole(),
    "double_pendulum": DoublePendulum(),
    "acrobot": DoublePendulum.acrobot(),
    "pendubot": DoublePendulum.pendubot(),
    # far from round numbers, with inertias as small as a sensor arm's
    "small": CartPole(cart_mass=1 / 3, pole_mass=0.01 / 7, pole_length=0.07, pole_inertia=1e-5 / 3),
    "gain": Pendulum(motor_gain=0.7, gravity=1.62, inertia=1e-5, length=0.01),
}
every_system = pytest.mark.parametrize("system", SYSTEMS.values(), ids=SYSTEMS.keys())


def excitation(system, steps=25):
    """Smooth inputs (steps, nu) at a tenth of the bounds."""
    high = np.array([s.high for s in system.inputs])
    phase = np.arange(steps)[:, None] * 0.4 + np.arange(system.nu)
    return high / 10 * np.sin(phase)


@every_system
def test_engine_and_system_accelerate_alike(system):
    assert envs.acceleration_gap(envs.make(system, dt=0.04)).max() < 1e-8


@pytest.mark.parametrize("system", [Pendulum(), CartPole(), DoublePendulum()])
@pytest.mark.parametrize("ripple", [0.0, 0.6])
def test_engine_and_closed_form_truth_accelerate_alike_where_nothing_sticks(system, ripple):
    mass = next(name for name in system.parameters if "mass" in name)
    hidden = envs.HiddenEffects(
        parameters={mass: 1.7, "gravity": 9.0},
        coulomb=(0.3, 0.02)[: system.nq],
        ripple=ripple,
        ripple_waves=3.0,
        viscous=(0.1, 0.01)[: system.nq],
        input_gain=0.8,
        dead_zone=0.3,
    )
    truth = envs.Disturbed(system=system, hidden=hidden, smoothing=0.0)
    gap = envs.acceleration_gap(envs.make(system, dt=0.04, hidden=hidden), truth)
    states, _ = envs.random_states(system, len(gap))
    sliding = np.all(np.abs(states[:, system.nq :]) > 0.1, axis=1)
    assert sliding.sum() > 900
    assert gap[sliding].max() < 1e-8


def test_no_speed_is_clamped_and_no_inertia_is_lost():
    system = CartPole(pole_mass=0.01, pole_length=0.1, pole_inertia=1e-6, pole_damping=1e-4)
    plant, x = envs.make(system, dt=0.04), [0.0, 0.3, 1.0, 400.0]
    exact = envs.OdePlant(system, dt=0.04).acceleration(x, [1.0])
    np.testing.assert_allclose(plant.acceleration(x, [1.0]), exact, rtol=1e-8)


@pytest.mark.parametrize("system", [Pendulum(), CartPole(), DoublePendulum()])
def test_the_rollout_error_is_the_engine_step(system):
    x0 = np.zeros(system.nx)
    x0[system.angle_rows[0]] = 0.5
    u = excitation(system) / 3  # gentle: a wild double pendulum is chaotic
    errors = []
    for substeps in (20, 40, 80, 160):
        with envs.make(system, dt=0.04, substeps=substeps) as plant:
            errors.append(envs.rollout_gap(plant, x0, u, substeps=100).max())
    assert errors[-1] < 0.01
    np.testing.assert_allclose(np.divide(errors[:-1], errors[1:]), 2.0, atol=0.05)


@every_system
@pytest.mark.parametrize("integrator", integrators.ALL, ids=lambda method: method.name)
def test_the_ode_plant_is_its_integrator(system, integrator):
    import casadi as ca

    x, u = ca.SX.sym("x", system.nx), ca.SX.sym("u", system.nu)
    f = ca.Function("f", [x, u], [system.dynamics(x, u, system.namespace(), ca.SX(0, 1))])
    plant = envs.OdePlant(system, dt=0.04, substeps=4, integrator=integrator)
    rates = np.isin(np.arange(system.nx), system.velocity_rows).astype(float)
    here = np.full(system.nx, 0.3)
    plant.reset(options={"state": here})
    for command in excitation(system, 5):

        def rate(x, command=command):
            return np.asarray(f(x, command)).reshape(-1)

        for _ in range(4):
            here = integrator.advance(rate, here, 0.01, rates)
        *_, info = plant.step(command)
        np.testing.assert_allclose(info["x"], here, rtol=1e-12, atol=1e-12)


def test_the_ode_plant_takes_any_system():
    plant = envs.make(Linear(), engine="ode", dt=0.1)
    plant.reset(options={"state": [0.0, 0.0]})
    for _ in range(10):
        *_, info = plant.step(np.array([2.0]))
    np.testing.assert_allclose(info["x"], [1.0, 2.0], rtol=1e-12)  # ½ a t², a t


@every_system
def test_ode_plant_and_system_accelerate_alike(system):
    assert envs.acceleration_gap(envs.OdePlant(system, dt=0.04), count=100).max() < 1e-12


def test_engines_agree_on_a_disturbed_rollout():
    system = CartPole()
    hidden = envs.HiddenEffects(
        parameters={"pole_mass": 0.3},
        coulomb=(0.4, 0.005),
        ripple=0.5,
        viscous=(0.2, 0.0),
        input_gain=0.9,
        dead_zone=0.4,
        input_lag=0.06,
        input_delay=2,
        push=(0.33, 0.21, (3.0, 0.0)),
        wind=0.5,
    )
    bullet = envs.make(system, dt=0.04, hidden=hidden)
    ode = envs.OdePlant(system, dt=0.04, substeps=160, hidden=hidden, smoothing=1e-3)
    logs = []
    for plant in (bullet, ode):
        plant.reset(seed=3, options={"state": [0.0, 1.0, 0.0, 0.0]})
        logs.append([plant.step(u)[4]["x"] for u in excitation(system, 40)])
    assert np.abs(np.subtract(*logs)).max() < 5e-3
    assert np.ptp(logs[0], axis=0).min() > 0.1
