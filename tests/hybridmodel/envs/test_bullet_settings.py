"""What the engine does unasked, each law against its formula, and a plant built anew."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from hybridmodel import envs
from hybridmodel.envs import BulletSettings
from physics import CartPole, Pendulum

FREE = Pendulum(gravity=1e-12, damping=1e-12)
STILL = np.zeros(1)


def plant(system=FREE, **settings):
    return envs.BulletPendulum(system, dt=0.04, settings=BulletSettings(**settings))


def about_joint(p=FREE):
    return p.inertia + p.mass * p.length**2


@pytest.mark.parametrize("rate", [-3.0, 0.2, 20.0])
def test_link_damping_is_linear_and_quadratic_in_speed(rate):
    # F = −d_l m v (1 + |v|) at the centre of mass, τ = −d_a I ω (1 + |ω|)
    p, linear, angular = FREE, 0.04, 0.07
    found = plant(linear_damping=linear, angular_damping=angular).acceleration([0.3, rate], STILL)
    speed = p.length * rate
    torque = linear * p.mass * speed * (1 + abs(speed)) * p.length
    torque += angular * p.inertia * rate * (1 + abs(rate))
    np.testing.assert_allclose(found, -torque / about_joint(), rtol=1e-9)


@pytest.mark.parametrize("substeps", [1, 40])
def test_the_motor_that_a_joint_is_loaded_with_brakes_by_one_newton_metre_second_a_step(substeps):
    for rate in (0.5, 5.0):
        one = envs.BulletPendulum(
            FREE, dt=0.04, substeps=substeps, settings=BulletSettings(motors=True)
        )
        impulse = min(1.0, about_joint() * rate)
        expected = -impulse / about_joint() / (0.04 / substeps)
        np.testing.assert_allclose(one.acceleration([0.0, rate], STILL), [expected], rtol=1e-9)


def test_joint_damping_is_explicit():
    system = Pendulum(gravity=1e-12, damping=4.0)
    one = envs.BulletPendulum(system, dt=0.04, substeps=1)
    one.reset(options={"state": [0.0, 1.0]})
    *_, info = one.step(STILL)
    assert info["x"][1] == pytest.approx(1 - 0.04 * 4.0 / about_joint(system), rel=1e-9)
    none = one.with_settings(joint_damping="none")
    np.testing.assert_allclose(none.acceleration([0.0, 1.0], STILL), 0.0, atol=1e-9)


def test_speeds_are_cut_after_the_step():
    fast = plant(max_joint_velocity=100.0)
    fast.reset(options={"state": [0.0, 99.0]})
    assert fast.step(STILL)[4]["x"][1] == pytest.approx(99.0)
    fast.reset(options={"state": [0.0, 300.0]})
    np.testing.assert_allclose(fast.step(STILL)[4]["x"], [100 * 0.04, 100.0])


def test_there_is_no_gravity_unless_asked_for():
    weightless = plant(Pendulum(damping=1e-12), gravity=0.0)
    np.testing.assert_array_equal(weightless.acceleration([1.0, 0.0], STILL), [0.0])
    own = plant(Pendulum(damping=1e-12)).acceleration([1.0, 0.0], STILL)
    p = Pendulum()
    expected = -p.mass * p.gravity * p.length * np.sin(1.0) / about_joint(p)
    np.testing.assert_allclose(own, [expected], rtol=1e-9)


def test_a_plant_built_anew_is_the_same_plant():
    hidden = envs.HiddenEffects(coulomb=(0.2, 0.01), wind=0.2, parameters={"pole_mass": 0.3})
    first = envs.BulletCartPole(CartPole(), dt=0.04, hidden=hidden, initial_state=[0, 1, 0, 0])
    again = first.with_settings()
    logs = []
    for one in (first, again):
        one.reset(seed=4)
        logs.append([one.step(np.array([np.sin(k)]))[4]["x"] for k in range(20)])
    np.testing.assert_array_equal(*logs)
    assert first.settings == again.settings
    other = first.with_settings(gravity=1.0, linear_damping=0.04)
    assert (other.settings["gravity"], other.settings["linear_damping"]) == (1.0, 0.04)
    assert first.settings["gravity"] == pytest.approx(9.81)


def test_every_setting_is_on_record():
    names = {field.name for field in dataclasses.fields(BulletSettings)}
    assert names <= plant().settings.keys()
    unasked = dataclasses.asdict(BulletSettings.engine_defaults())
    ours = dataclasses.asdict(BulletSettings())
    assert unasked["gravity"] == 0.0
    assert sum(unasked[name] != ours[name] for name in names) == 9


def test_default_motors_and_dry_friction_exclude_each_other():
    hidden = envs.HiddenEffects(coulomb=(0.2,))
    with pytest.raises(ValueError, match=r"motors .*friction"):
        envs.BulletPendulum(
            Pendulum(), dt=0.04, hidden=hidden, settings=BulletSettings(motors=True)
        )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("inertia", "mesh"),
        ("joint_damping", "file"),
        ("dry_friction", True),
        ("motors", "on"),
        ("gravity", float("nan")),
        ("gravity", "9.81"),
        ("linear_damping", -0.1),
        ("max_joint_velocity", 0.0),
        ("max_joint_velocity", float("inf")),
        ("solver_iterations", 0),
        ("solver_iterations", 2.5),
        ("global_cfm", -1.0),
    ],
)
def test_settings_without_a_meaning_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=name):
        BulletSettings(**{name: value})


def test_settings_are_there_without_the_engine():
    code = """
import sys
from hybridmodel.envs import BulletSettings
BulletSettings.engine_defaults()
assert not {"pybullet", "gymnasium"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
