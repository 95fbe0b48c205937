"""MuJoCo, the System and PyBullet agree: accelerations to rounding, rollouts to the order of h."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from hybridmodel import envs
from hybridmodel.envs.effects import RobotEffects
from physics import CartPole, DoublePendulum, Pendulum
from physics.rigid_body import RigidBody
from physics.rigid_body.description import Description, Joint, Link, Pose
from physics.rigid_body.rotation import about_axis

pytest.importorskip("mujoco")
pybullet_data = pytest.importorskip("pybullet_data")

from hybridmodel.envs.mujoco.plant import MujocoPlant  # noqa: E402
from hybridmodel.envs.mujoco.settings import MujocoSettings  # noqa: E402

CHAINS = {
    "pendulum": Pendulum(),
    "cartpole": CartPole(),
    "double_pendulum": DoublePendulum(),
    "acrobot": DoublePendulum.acrobot(),
    "pendubot": DoublePendulum.pendubot(),
    "small": CartPole(cart_mass=1 / 3, pole_mass=0.01 / 7, pole_length=0.07, pole_inertia=1e-5 / 3),
    "gain": Pendulum(motor_gain=0.7, gravity=1.62, inertia=1e-5, length=0.01),
}
ROBOTS = [
    ("kuka_iiwa/model.urdf", False),
    ("xarm/xarm6_robot.urdf", False),  # dry friction, tensors that break the triangle inequality
    ("pendulum5.urdf", False),
    ("TwoJointRobot_wo_fixedJoints.urdf", False),
    ("laikago/laikago_toes.urdf", False),  # masses without any inertia
    ("a1/a1.urdf", True),
    ("mini_cheetah/mini_cheetah.urdf", True),
    ("xarm/xarm6_robot.urdf", True),  # its root is called "world"
]


def load(name, **options):
    return RigidBody.from_urdf(Path(pybullet_data.getDataPath(), name), **options)


def swinging(system, steps=10):
    """A start away from rest and smooth inputs (steps, nu) at a thirtieth of the bounds."""
    x = np.array(system.neutral)
    x[system.nq :] = 0.5 * np.cos(np.arange(system.nv))
    x[list(system.angle_rows[:1])] = 0.5
    high = np.clip([s.high for s in system.inputs], 0.0, 15.0)
    phase = np.arange(steps)[:, None] * 0.4 + np.arange(system.nu)
    return x, high / 30 * np.sin(phase)


@pytest.mark.parametrize("system", CHAINS.values(), ids=CHAINS.keys())
def test_engine_and_system_accelerate_alike(system):
    assert envs.acceleration_gap(MujocoPlant(system, dt=0.04)).max() < 1e-12


@pytest.mark.parametrize(("name", "floating"), ROBOTS)
def test_engine_and_robot_accelerate_alike(name, floating):
    robot = load(name, floating=floating, smoothing=0.0)
    gap = envs.acceleration_gap(MujocoPlant(robot, dt=0.02), count=100)
    assert gap.max() < 1e-9


@pytest.mark.parametrize("system", [Pendulum(), CartPole(), DoublePendulum()])
@pytest.mark.parametrize("ripple", [0.0, 0.6])
def test_engine_and_closed_form_truth_accelerate_alike(system, ripple):
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
    plant = MujocoPlant(system, dt=0.04, hidden=hidden)
    assert envs.acceleration_gap(plant, truth).max() < 1e-9  # no random state is at rest


@pytest.mark.parametrize(("name", "floating"), [ROBOTS[0], ROBOTS[5]])
def test_hidden_effects_of_robots_accelerate_alike(name, floating):
    robot = load(name, floating=floating, smoothing=0.0)
    rows = np.arange(robot.nv)
    hidden = RobotEffects(
        payload=0.7,
        payload_at=(0.02, -0.05, 0.1),
        coulomb=tuple(0.2 + 0.05 * rows),
        viscous=tuple(0.1 + 0.02 * rows),
        ripple=0.4,
        ripple_waves=2.0,
        input_gain=0.9,
    )
    truth = envs.Disturbed(system=robot, hidden=hidden, smoothing=0.0)
    plant = MujocoPlant(robot, dt=0.02, hidden=hidden)
    assert envs.acceleration_gap(plant, truth, count=50).max() < 1e-9


def test_several_joints_without_mass_between_them_are_one_body():
    turned = Pose(rotation=about_axis(0, 0.7), position=(0.1, -0.2, 0.3))
    tensor = ((0.03, 0.001, 0.0), (0.001, 0.02, 0.0), (0.0, 0.0, 0.04))
    links = tuple(Link(name=name) for name in ("root", "first", "second"))
    tool = Link(name="tool", mass=1.3, center=(0.1, 0.05, -0.2), inertia=tensor)
    names = ("root", "first", "second", "tool")
    kinds = ("revolute", "prismatic", "revolute")
    joints = tuple(
        Joint(name=f"joint{i}", kind=kind, parent=names[i], child=names[i + 1], origin=turned)
        for i, kind in enumerate(kinds)
    )
    joints = (*joints[:2], dataclasses.replace(joints[2], axis=(0.0, 0.6, 0.8), armature=0.1))
    description = Description(name="arm", links=(*links, tool), joints=joints)
    robot = RigidBody.from_description(description)
    assert envs.acceleration_gap(MujocoPlant(robot, dt=0.02), count=100).max() < 1e-9


@pytest.mark.slow
@pytest.mark.parametrize(("integrator", "order"), [("RK4", 4), ("Euler", 1), ("implicitfast", 1)])
@pytest.mark.parametrize("name", ["pendulum", "cartpole", "double_pendulum", "a1"])
def test_the_rollout_error_falls_with_the_order_of_the_integrator(name, integrator, order):
    import mujoco

    floating = name == "a1"
    if floating and order == 4 and int(mujoco.mj_versionString()[0]) < 4:
        order = 2
    system = load("a1/a1.urdf", floating=True) if floating else CHAINS[name]
    x, u = swinging(system)
    settings, errors = MujocoSettings(integrator=integrator), []
    for substeps in (8, 16, 32):
        dt = 0.02 if floating else 0.04
        plant = MujocoPlant(system, dt=dt, substeps=substeps, settings=settings)
        errors.append(envs.rollout_gap(plant, x, u, substeps=100).max())
    assert errors[-1] < (1e-6 if order == 4 else 0.05)
    np.testing.assert_allclose(np.divide(errors[:-1], errors[1:]), 2**order, rtol=0.1)


@pytest.mark.parametrize("name", ["cartpole", "double_pendulum", "kuka"])
def test_two_engines_differ_by_the_step_of_the_coarser(name):
    pytest.importorskip("pybullet")
    system = load("kuka_iiwa/model.urdf") if name == "kuka" else CHAINS[name]
    if name == "kuka":
        from hybridmodel.envs.bullet.robot import BulletRobot as Bullet
    else:
        Bullet = type(envs.make(system, dt=0.02))
    x, u = swinging(system, 30)
    mujoco_log = log(MujocoPlant(system, dt=0.01, substeps=10), x, u)
    gaps = []
    for substeps in (20, 40):
        with Bullet(system, dt=0.01, substeps=substeps) as plant:
            gaps.append(np.abs(log(plant, x, u) - mujoco_log).max())
    assert gaps[1] < 5e-3
    assert gaps[0] / gaps[1] == pytest.approx(2.0, abs=0.1)


def log(plant, x, u):
    """States (H, nx) after each of u (H, nu), all from x."""
    plant.reset(options={"state": x})
    return np.array([plant.step(row)[4]["x"] for row in u])
