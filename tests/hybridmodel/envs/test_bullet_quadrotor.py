"""A quadrotor in PyBullet: one free body, and what it does not know."""

from __future__ import annotations

import numpy as np
import pytest

from hybridmodel import envs
from hybridmodel.envs import AerialEffects
from physics import Pendulum, Quadrotor

SYSTEM = Quadrotor(
    inertia_x=0.002,
    inertia_y=0.0031,
    inertia_z=0.0045,
    drag_x=0.3,
    drag_y=0.2,
    drag_z=0.1,
    thrust_gain=0.9,
)
HIDDEN = AerialEffects(
    parameters={"mass": 0.6},
    payload=0.15,
    payload_at=(0.03, -0.02, -0.1),
    linear_drag=(0.1, 0.2, 0.3),
    quadratic_drag=0.05,
    ground_effect=0.1,
    viscous=(0.1, 0.1, 0.1, 0.01, 0.01, 0.01),
    input_gain=0.9,
)
START = np.array([0, 0, 1, 1, 0, 0, 0, 0.5, 0, 0, 0.3, -0.2, 0.5])


def commands(steps=50):
    phase = np.arange(4 * steps).reshape(steps, 4)
    return np.array(SYSTEM.hover) * (1 + 0.05 * np.sin(phase))


def test_engine_and_system_accelerate_alike():
    with envs.BulletQuadrotor(SYSTEM, dt=0.02) as plant:
        assert envs.acceleration_gap(plant, count=200).max() < 1e-9


def test_engine_and_truth_accelerate_alike():
    truth = envs.Disturbed(system=SYSTEM, hidden=HIDDEN, smoothing=0.0)
    with envs.BulletQuadrotor(SYSTEM, dt=0.02, hidden=HIDDEN) as plant:
        assert envs.acceleration_gap(plant, truth, count=200).max() < 1e-9
        assert envs.acceleration_gap(plant, count=200).max() > 0.1


def test_both_engines_fly_the_same_way():
    logs = []
    for plant in (
        envs.BulletQuadrotor(SYSTEM, dt=0.02, substeps=80, hidden=HIDDEN),
        envs.OdePlant(SYSTEM, dt=0.02, substeps=4, hidden=HIDDEN),
    ):
        plant.reset(options={"state": START})
        logs.append([plant.step(u)[4]["x"] for u in commands(30)])
    assert np.abs(np.subtract(*logs)).max() < 2e-3
    assert np.ptp(logs[0], axis=0)[:3].min() > 1e-3


def test_the_rollout_error_is_the_engine_step():
    errors = []
    for substeps in (10, 20, 40):
        with envs.BulletQuadrotor(SYSTEM, dt=0.02, substeps=substeps) as plant:
            errors.append(envs.rollout_gap(plant, START, commands(), substeps=20).max())
    np.testing.assert_allclose(np.divide(errors[:-1], errors[1:]), 2.0, atol=0.05)


def test_hover_stays():
    start = np.array(SYSTEM.neutral)
    plant = envs.BulletQuadrotor(SYSTEM, dt=0.02)
    plant.reset(options={"state": start})
    states = [plant.step(np.array(SYSTEM.hover))[4]["x"] for _ in range(50)]
    plant.close()
    np.testing.assert_allclose(states[-1], start, atol=1e-9)


def test_the_ground_lifts_by_the_share_of_its_formula():
    radius, thrust = 0.1, np.array(SYSTEM.hover)
    hidden = AerialEffects(ground_effect=radius)
    with envs.BulletQuadrotor(SYSTEM, dt=0.02, hidden=hidden) as plant:
        for height in (0.06, 0.1, 0.5, 5.0):
            x = np.array(SYSTEM.neutral)
            x[2] = height
            lift = plant.acceleration(x, thrust)[2] / SYSTEM.gravity
            assert lift == pytest.approx(1 / (1 - (radius / (4 * height)) ** 2) - 1, rel=1e-7)
        x[2] = -1.0  # no air below the ground, and no pole
        assert plant.acceleration(x, thrust)[2] == pytest.approx(SYSTEM.gravity / 3)


def test_torque_free_turning_keeps_momentum_and_energy():
    # tennis-racket motion about the middle axis; only the order of the step is lost
    still = Quadrotor(inertia_x=0.002, inertia_y=0.003, inertia_z=0.0045, gravity=1e-12)
    x = np.array(still.neutral)
    x[10:] = [0.5, 6.0, 0.5]
    J = np.diag([0.002, 0.003, 0.0045])
    plant = envs.BulletQuadrotor(still, dt=0.02, substeps=100)
    plant.reset(options={"state": x})
    omega = np.array([plant.step(np.zeros(4))[4]["x"][10:] for _ in range(110)])
    plant.close()
    assert np.ptp(np.sign(omega[:, 1])) == 2  # it has turned over
    np.testing.assert_allclose(
        np.linalg.norm(omega @ J, axis=1), np.linalg.norm(J @ x[10:]), rtol=5e-3
    )


def test_pictures_show_it_and_settings_record_it():
    with envs.BulletQuadrotor(SYSTEM, dt=0.02, render_mode="rgb_array", size=(80, 50)) as plant:
        plant.reset(options={"state": START})
        picture = plant.render()
        assert picture is not None
        assert np.ptp(picture) > 50
        np.testing.assert_array_equal(plant.state, START)
        assert plant.settings["engine"] == "pybullet"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("payload", -1.0),
        ("payload_at", (0.0, 1.0)),
        ("linear_drag", (0.1, 0.1, -0.1)),
        ("quadratic_drag", float("nan")),
        ("ground_effect", -0.1),
    ],
)
def test_effects_without_a_meaning_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=name):
        AerialEffects(**{name: value})


def test_effects_of_the_air_need_a_quadrotor():
    with pytest.raises(ValueError, match=r"linear_drag .*Pendulum"):
        envs.BulletPendulum(Pendulum(), dt=0.02, hidden=AerialEffects(linear_drag=(1, 1, 1)))
