"""Culprits of robots that no setting of the engine is: friction beside motors, places, axes."""

from __future__ import annotations

import dataclasses
import json
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from hybridmodel.envs.bullet.robot import BulletRobot
from hybridmodel.envs.bullet.settings import BulletSettings
from hybridmodel.envs.mujoco.plant import MujocoPlant
from hybridmodel.envs.parity import ParityReport, check_parity
from physics.rigid_body.description import Pose
from physics.rigid_body.system import RigidBody

ARM = """<robot name="arm"><link name="base"/>
<link name="upper"><inertial><origin xyz="0.02 0.01 -0.2"/><mass value="2"/>
  <inertia ixx="0.03" iyy="0.04" izz="0.02" ixy="0.002" ixz="0" iyz="0"/></inertial>
  <collision><origin xyz="0 0 -0.2"/><geometry><box size="0.1 0.1 0.4"/></geometry></collision>
</link>
<link name="lower"><inertial><origin xyz="0.05 0 -0.15"/><mass value="1"/>
  <inertia ixx="0.015" iyy="0.01" izz="0.012" ixy="0" ixz="0" iyz="0"/></inertial>
  <collision><geometry><sphere radius="0.1"/></geometry></collision></link>
<joint name="shoulder" type="revolute"><parent link="base"/><child link="upper"/>
  <axis xyz="0 1 0"/><limit lower="-2" upper="2" effort="20" velocity="8"/>
  <dynamics damping="0.1" friction="{friction}"/></joint>
<joint name="elbow" type="revolute"><parent link="{parent}"/><child link="lower"/>
  <origin xyz="0 0.03 -0.4" rpy="0.5 0 0.3"/><axis xyz="{axis}"/>
  <limit lower="-2.5" upper="2.5" effort="10" velocity="{rate}"/><dynamics damping="0.05"/></joint>
</robot>"""


@pytest.fixture
def arm(tmp_path: Path):
    def make(*, friction=0.0, axis="0 1 0", rate=8, parent="upper") -> RigidBody:
        path = tmp_path / f"arm_{parent}.urdf"
        text = ARM.format(friction=friction, axis=axis, rate=rate, parent=parent)
        path.write_text(text, encoding="utf-8")
        return RigidBody.from_urdf(path, smoothing=1e-3)

    return make


def check(system, own, **settings):
    settings = BulletSettings(**settings)
    with closing(BulletRobot(own, dt=1 / 120, substeps=12, settings=settings)) as plant:
        return check_parity(system, plant, count=30, rollouts=1)


def agrees(match):
    return match is not None and match.holds and match.accelerations < 1e-6


def changes(found: ParityReport) -> tuple[str, ...]:
    """What the match says to change, where there is one."""
    return () if found.match is None else found.match.changes


def test_motors_and_dry_friction_are_named_together(arm):
    rough = arm(friction=0.3)
    found = check(rough, rough, motors=True, dry_friction="none")
    assert set(found.names) == {"default motors", "dry friction"}
    assert agrees(found.match)
    free = rough.with_joint("shoulder", friction=0.0)
    found = check(rough, free, motors=True)
    assert set(found.names) == {"default motors", "dry friction"}
    assert agrees(found.match)
    assert "system.with_joint('shoulder', friction=0.0)" in changes(found)
    assert "plant.with_settings(motors=False)" in changes(found)


def test_armature_is_named_and_the_match_is_without(arm):
    own = arm()
    geared = own.with_joint("elbow", armature=0.02)
    found = check(geared, own, gravity=0.0)
    assert set(found.names) == {"armature", "gravity"}
    assert agrees(found.match)
    assert not found.unexplained
    assert "system.with_joint('elbow', armature=0.0)" in changes(found)
    with closing(MujocoPlant(geared, dt=1 / 120, substeps=12)) as plant:
        assert check_parity(geared, plant, count=30, rollouts=1).holds


@pytest.mark.slow
def test_places_of_joints_are_named_by_joint(arm):
    own = arm()
    upper, elbow = own.description.joints
    moved = dataclasses.replace(elbow, origin=dataclasses.replace(elbow.origin, position=(0, 0, 1)))
    turned = dataclasses.replace(upper, axis=(0.0, 0.6, 0.8))
    for joints, name in {(upper, moved): "elbow.place", (turned, elbow): "shoulder.place"}.items():
        other = dataclasses.replace(own, description=_with(own, joints))
        found = check(own, other)
        assert found.names == (name,)
        assert not found.unexplained
        assert agrees(found.match)
        assert f"joint {name.removesuffix('.place')}: place differs" in str(found)
    assert check(own, own).holds


def _with(robot, joints):
    return dataclasses.replace(robot.description, joints=joints)


def test_another_tree_is_named(arm):
    found = check(arm(), arm(parent="base"))
    assert found.names == ("tree",)
    assert "is revolute from base to lower in the plant" in found.findings[0].sentence
    assert not found.unexplained
    assert agrees(found.match)


@pytest.mark.slow
def test_long_axes_are_named_where_the_engine_loads_the_file(arm):
    long = arm(axis="0 2 0")
    assert check(long, long).holds
    found = check(long, long, inertia="file")
    assert found.names == ("axis",)
    assert "elbow of length 2" in found.findings[0].sentence
    assert agrees(found.match)
    assert found.match is not None
    assert isinstance(found.match.system, RigidBody)
    assert Path(found.match.system.description.source).is_file()
    found = check(long, long, inertia="shapes", gravity=1.62)
    assert set(found.names) == {"axis", "inertia from shapes", "gravity"}
    assert not found.unexplained


def test_a_clamp_within_the_bounds_differs(arm):
    fast = arm(rate=30)
    found = check(fast, fast, max_joint_velocity=20.0)
    assert found.names == ("velocity clamp",)
    assert not found.findings[0].beyond
    assert not found.holds


def test_a_payload_is_one_line_and_the_match_says_all(arm):
    own = arm()
    found = check(own, own.with_payload("lower", 0.5, at=(0.1, 0.05, -0.2)))
    assert {name.partition(".")[0] for name in found.names} == {"lower"}
    assert len(found.names) > 2
    assert str(found).count("\nlink lower: ") == 1
    assert agrees(found.match)
    (change,) = changes(found)
    assert change.startswith("system.with_parameters(**{'lower.")
    data = json.loads(json.dumps(found.as_dict()))
    assert data["match"]["changes"] == [change]
    assert np.shape(data["match"]["constants"]["lower.inertia"]) == (3, 3)


def test_what_the_match_says_to_change_is_what_was_measured(arm):
    own = arm()
    other = own.with_parameters(**{"lower.mass": 1.3, "upper.spread_xx": 0.3})
    found = check(own, other)
    (change,) = changes(found)
    values = change.removeprefix("system.with_parameters(**{").removesuffix("})")
    pairs = (pair.split(": ") for pair in values.split(", "))
    told = own.with_parameters(**{name.strip("'"): float(value) for name, value in pairs})
    for name, value in other.parameters.items():
        assert float(told.parameters[name]) == pytest.approx(float(value), rel=1e-9, abs=1e-12)


@pytest.mark.slow
def test_both_figures_of_a_finding_are_of_the_same_states(arm):
    """Alone, a clamp is seen at high speeds; there, nothing is left without it."""
    robot = arm()
    found = check(robot, robot, max_joint_velocity=20.0)
    (clamp,) = found.findings
    assert clamp.alone > 1.0
    assert clamp.without == 0.0
    found = check(robot, robot, max_joint_velocity=20.0, linear_damping=0.04)
    clamp = next(f for f in found.findings if f.name == "velocity clamp")
    assert clamp.without > next(f for f in found.findings if f.name == "linear damping").alone


def test_a_pose_that_says_the_same_is_none_of_another_place(arm):
    own = arm()
    joints = tuple(
        dataclasses.replace(j, origin=Pose(**dataclasses.asdict(j.origin)))
        for j in own.description.joints
    )
    assert check(own, dataclasses.replace(own, description=_with(own, joints))).holds
