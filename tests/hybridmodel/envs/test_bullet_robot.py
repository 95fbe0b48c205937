"""Robots in PyBullet accelerate as RigidBody says, with everything the engine is told."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import casadi as ca
import numpy as np
import pybullet_data
import pytest

from hybridmodel import envs
from hybridmodel.envs import BulletSettings, RobotEffects
from hybridmodel.envs.bullet import source
from physics import Pendulum, RigidBody
from physics.rigid_body import urdf

DATA = Path(pybullet_data.getDataPath())
FILES = {
    "kuka": "kuka_iiwa/model.urdf",
    "panda": "franka_panda/panda.urdf",
    "xarm6": "xarm/xarm6_robot.urdf",
    "a1": "a1/a1.urdf",
    "laikago": "laikago/laikago.urdf",
    "mini_cheetah": "mini_cheetah/mini_cheetah.urdf",
    "aliengo": "aliengo/aliengo.urdf",
    "cartpole": "cartpole.urdf",
    "two_joints": "TwoJointRobot_wo_fixedJoints.urdf",
    "two_joints_fixed": "TwoJointRobot_w_fixedJoints.urdf",
    "pendulum5": "pendulum5.urdf",
}
EVERY = pytest.mark.parametrize("name", FILES)
QUADRUPEDS = pytest.mark.parametrize("name", ["a1", "laikago", "mini_cheetah", "aliengo"])


def robot(name, **kwargs):
    """With the exact sign of dry friction, which is what the engine has."""
    read = urdf.read(DATA / FILES[name], ignore=("mimic",))
    return RigidBody.from_description(read, smoothing=0.0, **kwargs)


def gap(plant, system=None, count=30):
    """Largest relative difference of accelerations, where no joint is about to stick."""
    system = plant.system if system is None else system
    _, inputs = envs.random_states(system, count)
    inputs = np.clip(inputs, -5.0, 5.0)
    random, gaps = np.random.default_rng(1), []
    rate = _rate(system)
    for u in inputs:
        x = np.array(system.neutral)
        n = system.nq
        base = 7 if system.floating else 0
        x[base:n] = random.uniform(-1, 1, n - base)
        x[n:] = random.uniform(0.5, 2.0, system.nv) * random.choice([-1, 1], system.nv)
        if system.floating:
            q = random.standard_normal(4)
            x[3:7] = q / np.linalg.norm(q)
        expected = np.asarray(rate(x, u))[n:, 0]
        found = plant.acceleration(x, u)
        gaps.append(np.max(np.abs(found - expected) / np.maximum(1.0, np.abs(expected))))
    return max(gaps)


def run(plant, x0, steps):
    """What the plant says after so many steps without input."""
    _, info = plant.reset(options={"state": x0})
    for _ in range(steps):
        *_, info = plant.step(np.zeros(plant.system.nu))
    return info


def picture(plant):
    image = plant.render()
    assert image is not None
    return image


def _rate(system):
    x, u = ca.SX.sym("x", system.nx), ca.SX.sym("u", system.nu)
    rate = system.dynamics(x, u, system.namespace(), ca.SX(0, 1))
    return ca.Function("rate", [x, u], [rate])


# 1 N·m of dry friction stops a light link of xarm6 within 0.2 ms: the step must be shorter
SHORT = {"dt": 0.02, "substeps": 4000}


@EVERY
def test_engine_and_system_accelerate_alike(name):
    with envs.BulletRobot(robot(name), **SHORT) as plant:
        assert gap(plant) < 1e-8


@pytest.mark.parametrize("name", ["kuka", "panda", "xarm6", "a1", "two_joints_fixed", "pendulum5"])
def test_the_file_itself_accelerates_as_the_engine_reads_it(name):
    settings = BulletSettings(inertia="file")
    system = robot(name, inertia="pybullet")
    own = robot(name)
    with envs.BulletRobot(own, **SHORT, settings=settings) as plant:
        assert gap(plant, system) < 1e-6  # right angles of a file are of ten digits


@QUADRUPEDS
def test_a_free_base_accelerates_alike(name):
    with envs.BulletRobot(robot(name, floating=True), dt=0.02) as plant:
        assert gap(plant) < 1e-8


def test_a_free_base_falls():
    system = robot("a1", floating=True)
    with envs.BulletRobot(system, dt=0.02) as plant:
        x = np.array(system.neutral)
        acceleration = plant.acceleration(x, np.zeros(system.nu))
        np.testing.assert_allclose(acceleration[:6], [0, 0, -9.81, 0, 0, 0], atol=1e-9)
        info = run(plant, x, 10)
        h = plant.dt / plant.substeps
        assert info["x"][2] == pytest.approx(-9.81 * 0.2 * (0.2 + h) / 2, rel=1e-6)


@pytest.mark.parametrize("floating", [False, True])
def test_hidden_payload_and_parameters_are_in_the_engine(floating):
    name = "a1" if floating else "kuka"
    system = robot(name, floating=floating)
    first = next(key for key in system.parameters if key.endswith(".mass"))
    spread = next(key for key in system.parameters if key.endswith(".spread_xx"))
    hidden = RobotEffects(
        parameters={
            first: 1.3 * system.parameters[first],
            spread: 1.2 * system.parameters[spread],
            "gravity": 9.0,
        },
        payload=1.5,
        payload_at=(0.02, -0.03, 0.1),
    )
    true = hidden.true_system(system)
    with envs.BulletRobot(system, dt=0.02, hidden=hidden) as plant:
        assert gap(plant, true) < 1e-8
        assert gap(plant) > 1e-3
    oracle = envs.Disturbed(system=system, hidden=hidden)
    x, u = np.array(system.neutral), np.ones(system.nu)
    np.testing.assert_allclose(_rate(oracle)(x, u), _rate(true)(x, u), rtol=1e-12)


def test_an_unchanged_file_is_loaded_as_it_is():
    system = robot("kuka")
    assert source.is_own_file(system.description)
    assert not source.is_own_file(system.with_payload("lbr_iiwa_link_7", 1.0).description)


def test_text_and_file_are_one_robot():
    read = urdf.read(DATA / FILES["a1"])
    again = urdf.parse(source.text(read, visuals=True, shapes=True))
    assert [link.name for link in again.links] == [link.name for link in read.links]
    for old, new in zip(read.links, again.links, strict=True):
        np.testing.assert_allclose(new.inertia, old.inertia, atol=1e-15)
        assert (new.mass, new.center) == (old.mass, old.center)
    for old, new in zip(read.joints, again.joints, strict=True):
        np.testing.assert_allclose(new.origin.rotation, old.origin.rotation, atol=1e-15)
        assert (new.axis, new.low, new.high) == (old.axis, old.low, old.high)


def test_a_robot_without_a_file_is_written_whole():
    read = dataclasses.replace(urdf.read(DATA / FILES["kuka"]), source="by hand")
    system = RigidBody.from_description(read, smoothing=0.0)
    with envs.BulletRobot(system, dt=0.02, render_mode="rgb_array", size=(80, 50)) as plant:
        assert gap(plant) < 1e-8
        plant.reset(seed=0)
        assert np.ptp(picture(plant)) > 50


@pytest.mark.parametrize("name", ["inverted_pendulum", "inverted_double_pendulum"])
def test_a_robot_of_another_format_is_written_whole(name):
    system = RigidBody.from_mjcf(DATA / "mjcf" / f"{name}.xml", smoothing=0.0)
    with envs.BulletRobot(system, dt=0.02) as plant:
        assert gap(plant) < 1e-8


@pytest.mark.parametrize(
    ("change", "least"),
    [
        ({"inertia": "shapes"}, 1e-2),
        ({"linear_damping": 0.04}, 1e-3),
        ({"angular_damping": 0.04}, 1e-3),
        ({"motors": True}, 1e-1),
        ({"joint_damping": "none"}, 1e-2),
        ({"gravity": 0.0}, 1e-1),
    ],
)
def test_each_choice_of_the_engine_alone_shows(change, least):
    with envs.BulletRobot(robot("kuka"), dt=0.02) as clean, clean.with_settings(**change) as plant:
        assert gap(clean, count=20) < 1e-8
        assert gap(plant, count=20) > least


def test_the_rollout_error_is_the_engine_step():
    system = robot("kuka")
    x0 = np.array([0.3, 0.5, 0.2, -1.0, 0.1, 0.8, 0.0] + [0.0] * 7)
    u = np.tile([5.0, -30.0, 3.0, 15.0, 0.5, 0.2, 0.02], (10, 1))
    errors = []
    for substeps in (10, 20, 40):
        with envs.BulletRobot(system, dt=0.02, substeps=substeps) as plant:
            errors.append(envs.rollout_gap(plant, x0, u, substeps=20).max())
    np.testing.assert_allclose(np.divide(errors[:-1], errors[1:]), 2.0, atol=0.1)


def test_at_the_engines_own_step_the_damping_of_a_file_can_diverge():
    # explicit, v⁺ = (1 − h D M⁻¹) v: joint 7 of kuka has h D M⁻¹ > 2 at 1/240 s
    system = robot("kuka")
    x0 = np.zeros(14)
    x0[[1, 3, 5, 13]] = [0.5, -1.0, 0.8, 0.1]
    mobility = np.linalg.inv(np.asarray(system.mass_matrix_function()(x0[:7])))[6, 6]
    hold = np.asarray(system.bias_function()(x0[:7], np.zeros(7))).ravel()
    for h, diverges in ((1 / 240, True), (1 / 1000, False)):
        assert (h * system.joints[6].damping * mobility > 2) == diverges
        plant = envs.BulletRobot(system, dt=h, substeps=1)
        plant.reset(options={"state": x0})
        rates = [abs(plant.step(hold)[4]["x"][13]) for _ in range(30)]
        plant.close()
        assert (rates[-1] > 1.0) == diverges


def test_limits_of_the_file_stop_a_joint_only_where_asked():
    system = robot("kuka")
    high = system.joints[0].high
    x0 = np.zeros(14)
    x0[0], x0[7] = high - 0.05, 3.0
    ends = []
    for on in (False, True):
        settings = BulletSettings(position_limits=on)
        with envs.BulletRobot(system, dt=0.02, settings=settings) as plant:
            plant.reset(options={"state": x0})
            ends.append(max(plant.step(np.zeros(7))[4]["x"][0] for _ in range(10)))
    assert ends[0] > high + 0.2
    assert ends[1] < high + 0.01


def test_dry_friction_of_a_joint_sticks():
    system = robot("kuka").with_joint("lbr_iiwa_joint_2", friction=200.0)
    x0 = np.zeros(14)
    x0[1] = 0.5  # its weight pulls with some 40 N·m
    moved = []
    for choice in ("system", "none"):
        settings = BulletSettings(dry_friction=choice)
        with envs.BulletRobot(system, dt=0.02, settings=settings) as plant:
            moved.append(abs(run(plant, x0, 10)["x"][1] - x0[1]))
    assert moved[0] < 1e-6
    assert moved[1] > 0.1


def test_a_table_holds_the_arm():
    system = robot("kuka")
    x0 = np.zeros(14)
    x0[[1, 3]] = [0.8, -1.2]  # leans forward, and falls
    place = system.forward_kinematics("lbr_iiwa_link_7")
    ends, speeds = [], []
    for height in (None, 0.3):
        hidden = RobotEffects(table=height, coulomb=(20, 20, 10, 10, 5, 2, 1))
        with envs.BulletRobot(system, dt=0.02, hidden=hidden) as plant:
            info = run(plant, x0, 50)
            ends.append(float(place(info["x"][:7])[0][2]))
            speeds.append(np.abs(info["x"][7:]).max())
            assert plant.settings["collisions"] == (height is not None)
    assert speeds[1] < 1e-6  # it lies still
    assert ends[0] < -0.2
    assert 0.3 < ends[1] < 0.4


def block(tmp_path, shape):
    """A free body of 2 kg that touches with this shape; it carries a small wheel to be driven."""
    path = tmp_path / "block.urdf"
    body, wheel = (
        f'<inertial><mass value="{m}"/><inertia ixx="{i}" iyy="{i}" izz="{i}"/></inertial>'
        for m, i in ((2, 0.01), (0.001, 1e-5))
    )
    path.write_text(
        f'<robot name="block"><link name="body">{body}'
        f"<collision><geometry>{shape}</geometry></collision></link>"
        f'<link name="wheel">{wheel}</link><joint name="spin" type="continuous">'
        '<parent link="body"/><child link="wheel"/></joint></robot>'
    )
    return RigidBody.from_urdf(path, floating=True)


def coast(plant, x0, row, steps):
    """One row of the state after each step without input."""
    plant.reset(options={"state": x0})
    return np.array([plant.step(np.zeros(1))[4]["x"][row] for _ in range(steps)])


def test_hits_on_a_table_are_inelastic(tmp_path):
    ball = block(tmp_path, '<sphere radius="0.1"/>')
    x0 = np.array(ball.neutral)
    x0[2], x0[10] = 0.15, -2.0
    plant = envs.BulletRobot(ball, dt=0.01, hidden=RobotEffects(table=0.0))
    heights = coast(plant, x0, 2, 10)
    np.testing.assert_allclose(plant.state[10], 0.0, atol=1e-9)
    plant.close()
    np.testing.assert_allclose(heights[5:], 0.1, atol=1e-3)


@pytest.mark.parametrize("friction", [0.2, 0.6])
def test_a_table_rubs_with_the_coefficient_it_is_told(tmp_path, friction):
    box = block(tmp_path, '<box size="0.4 0.4 0.02"/>')
    hidden = RobotEffects(table=0.0, table_friction=friction)
    x0 = np.array(box.neutral)
    x0[2], x0[8] = 0.01, 1.0
    rates = coast(envs.BulletRobot(box, dt=0.01, hidden=hidden), x0, 8, 15)
    assert (rates[2] - rates[12]) / 0.1 == pytest.approx(friction * 9.81, rel=0.05)


def test_pictures_show_the_robot_and_change_nothing():
    with envs.BulletRobot(robot("kuka"), dt=0.02, render_mode="rgb_array", size=(80, 60)) as plant:
        plant.reset(options={"state": np.zeros(14)})
        upright = picture(plant)
        assert upright.shape == (60, 80, 3)
        x = np.zeros(14)
        x[1] = 1.5
        plant.reset(options={"state": x})
        assert np.mean(picture(plant) != upright) > 0.02
        np.testing.assert_array_equal(plant.state, x)


def test_what_the_engine_has_no_room_for_is_refused():
    system = robot("kuka")
    heavy = system.with_joint("lbr_iiwa_joint_1", armature=0.1)
    with pytest.raises(ValueError, match=r"armature.*lbr_iiwa_joint_1"):
        envs.BulletRobot(heavy, dt=0.02)
    floating = robot("a1", floating=True)
    hidden = RobotEffects(coulomb=(1.0, *[0.0] * (floating.nv - 1)))
    with pytest.raises(ValueError, match=r"coulomb .*floating"):
        envs.BulletRobot(floating, dt=0.02, hidden=hidden)
    with pytest.raises(ValueError, match=r"payload .*Pendulum"):
        envs.BulletPendulum(Pendulum(), dt=0.02, hidden=RobotEffects(payload=1.0))
    with pytest.raises(ValueError, match="no_link"):
        envs.BulletRobot(system, dt=0.02, hidden=RobotEffects(payload=1.0, payload_link="no_link"))
