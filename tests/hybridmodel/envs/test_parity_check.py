"""Every culprit is named where it acts, and none where it does not."""

from __future__ import annotations

import dataclasses
import json
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from hybridmodel.envs.bullet.robot import BulletRobot
from hybridmodel.envs.bullet.settings import BulletSettings
from hybridmodel.envs.parity import check_parity
from physics.rigid_body.system import RigidBody

ARM = """<robot name="arm">
<link name="base"/>
<link name="upper"><inertial><origin xyz="0.02 0.01 -0.2"/><mass value="2"/>
  <inertia ixx="0.03" iyy="0.04" izz="0.02" ixy="0.002" ixz="0" iyz="0"/></inertial>
  <collision><origin xyz="0 0 -0.2"/><geometry><box size="0.1 0.1 0.4"/></geometry></collision>
</link>
<link name="lower"><inertial><origin xyz="0.05 0 -0.15" rpy="0.3 0 0"/><mass value="1"/>
  <inertia ixx="{xx}" iyy="0.01" izz="0.012" ixy="0" ixz="0" iyz="0"/></inertial>
  <collision><geometry><sphere radius="0.1"/></geometry></collision></link>
<link name="tool">{tool}</link>
<joint name="shoulder" type="revolute"><parent link="base"/><child link="upper"/>
  <axis xyz="{axis}"/><limit lower="-2" upper="2" effort="20" velocity="8"/>
  <dynamics damping="0.1" friction="{friction}"/></joint>
<joint name="elbow" type="revolute"><parent link="upper"/><child link="lower"/>
  <origin xyz="0 0.03 -0.4" rpy="{turn}"/><axis xyz="{axis}"/>
  <limit lower="-2.5" upper="2.5" effort="10" velocity="8"/><dynamics damping="0.05"/></joint>
<joint name="weld" type="fixed"><parent link="lower"/><child link="tool"/>
  <origin xyz="0 0 -0.3"/></joint>
</robot>"""
FRAME = '<inertial><mass value="0"/><inertia ixx="0" iyy="0" izz="0"/></inertial>'


@pytest.fixture
def arm(tmp_path: Path):
    def make(*, xx=0.015, tool=FRAME, axis="0 1 0", turn="0.5 0 0.3", friction=0.0) -> RigidBody:
        path = tmp_path / "arm.urdf"
        path.write_text(
            ARM.format(xx=xx, tool=tool, axis=axis, turn=turn, friction=friction), encoding="utf-8"
        )
        return RigidBody.from_urdf(path, smoothing=1e-3)

    return make


def check(system, own=None, *, substeps=12, dt=1 / 120, count=30, **settings):
    own = system if own is None else own
    settings = BulletSettings(**settings)
    with closing(BulletRobot(own, dt=dt, substeps=substeps, settings=settings)) as plant:
        return check_parity(system, plant, count=count, rollouts=1)


def agrees(match):
    return match is not None and match.holds and match.accelerations < 1e-6


SETTINGS = {
    "gravity": {"gravity": 0.0},
    "inertia from shapes": {"inertia": "shapes"},
    "linear damping": {"linear_damping": 0.04},
    "angular damping": {"angular_damping": 0.04},
    "default motors": {"motors": True},
    "joint damping": {"joint_damping": "none"},
    "velocity clamp": {"max_joint_velocity": 100.0},
    "position limits": {"position_limits": True},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_alone_is_named_alone_and_matched(arm, name):
    found = check(arm(), **SETTINGS[name])
    assert found.names == (name,)
    beyond = name in ("velocity clamp", "position limits")  # of a robot bounded to 8 rad/s
    assert found.findings[0].beyond == beyond
    assert found.holds == beyond
    assert ("met only beyond the bounds" in str(found)) == beyond
    assert not found.unexplained
    assert agrees(found.match)
    assert found.findings[0].share == 1.0


def test_zeroed_inertias_are_named_with_their_links_or_read_alike(arm, tmp_path):
    found = check(arm(xx=0.05), inertia="file")
    assert found.names == ("inertia zeroed",)
    assert "lower" in found.findings[0].sentence
    assert "upper" not in found.findings[0].sentence
    assert agrees(found.match)
    alike = RigidBody.from_urdf(tmp_path / "arm.urdf", inertia="pybullet", smoothing=1e-3)
    own = RigidBody.from_urdf(tmp_path / "arm.urdf", smoothing=1e-3)
    assert check(alike, own, inertia="file").holds


def test_inertials_that_the_engine_invents_are_named(arm):
    found = check(arm(tool=""), inertia="file")
    assert found.names == ("invented inertials",)
    assert "tool" in found.findings[0].sentence
    assert agrees(found.match)


@pytest.mark.slow
def test_dry_friction_that_either_lacks_is_named(arm):
    rough = arm(friction=0.3)
    ignored = check(rough, dry_friction="none")
    assert ignored.names == ("dry friction",)
    assert agrees(ignored.match)
    unknown = check(rough.with_joint("shoulder", friction=0.0), rough)
    assert unknown.names == ("dry friction",)
    assert agrees(unknown.match)
    assert "shoulder" in unknown.findings[0].sentence
    both = check(rough)
    assert both.holds


def test_friction_smoothed_too_much_is_named(arm):
    rough = arm(friction=2.0)
    found = check(dataclasses.replace(rough, smoothing=0.5), substeps=64)
    assert "friction smoothing" in found.names


def test_constants_are_named_by_parameter(arm):
    system = arm()
    for name, factor in {"lower.mass": 1.1, "upper.center_z": 1.2, "elbow.gear": 0.9}.items():
        value = factor * float(system.parameters[name])
        found = check(system.with_parameters(**{name: value}), system)
        assert found.names == (name,)
        assert agrees(found.match)
        assert found.match is not None
        assert float(found.match.system.parameters[name]) == pytest.approx(value / factor)
    found = check(system, system.with_parameters(**{"upper.spread_xx": 0.3}))
    assert found.names == ("upper.inertia",)


def test_what_masks_another_is_no_excuse(arm):
    """Motors brake more than all damping does, and gravity 0 hides where a centre of mass is."""
    system = arm()
    moved = system.with_parameters(**{"lower.center_x": 0.08})
    found = check(
        moved, system, motors=True, joint_damping="none", linear_damping=0.04, gravity=0.0
    )
    names = {"default motors", "joint damping", "linear damping", "gravity", "lower.center_x"}
    assert set(found.names) == names
    assert agrees(found.match)


def test_engine_defaults_are_all_named_and_matched(arm):
    settings = dataclasses.asdict(BulletSettings.engine_defaults())
    found = check(arm(), substeps=1, **settings)
    expected = {*SETTINGS, "substeps"} - {"joint damping"}
    assert set(found.names) == expected
    assert agrees(found.match)
    last = [finding.name for finding in found.findings if finding.beyond]
    assert list(found.names[-2:]) == last
    told = str(found)
    for finding in found.findings:
        assert finding.sentence in told
        assert finding.remedy in told
    assert "p.setGravity(0, 0, -9.81)" in told


def test_a_choice_without_effect_is_not_named(arm):
    upright = arm(axis="0 0 1", turn="0 0 0.3")  # its joints turn about the vertical
    assert check(upright, gravity=0.0, solver_iterations=5, global_cfm=1e-3).holds
    massless = check(arm(), inertia="file")
    assert massless.holds  # a file whose tensors are sound


def test_explicit_damping_is_told_from_a_coarse_step(arm):
    loose = arm()
    stiff = loose.with_joint("elbow", damping=40.0)
    found = check(stiff, substeps=4)
    assert found.names == ("explicit joint damping",)
    assert agrees(found.match)
    coarse = check(loose, substeps=1, dt=0.03)
    assert coarse.names == ("substeps",)
    assert agrees(coarse.match)
    assert coarse.match is not None
    assert coarse.match.substeps > 1
    assert check(loose, substeps=coarse.match.substeps, dt=0.03).holds


@pytest.mark.slow
def test_a_floating_robot(arm, tmp_path):
    text = (tmp_path / "a.urdf").resolve()
    text.write_text(
        ARM.format(xx=0.015, tool=FRAME, axis="0 1 0", turn="0 0 0", friction=0).replace(
            '<link name="base"/>',
            '<link name="base"><inertial><origin xyz="0.05 0 0.1"/><mass value="3"/>'
            '<inertia ixx="0.1" iyy="0.2" izz="0.15"/></inertial></link>',
        ),
        encoding="utf-8",
    )
    free = RigidBody.from_urdf(text, floating=True)
    assert check(free).holds
    found = check(free, linear_damping=0.04, gravity=1.62)
    assert set(found.names) == {"linear damping", "gravity"}


def test_figures_are_data(arm):
    found = check(arm(), gravity=0.0, count=20)
    data = json.loads(json.dumps(found.as_dict()))
    assert data["findings"][0]["name"] == "gravity"
    assert data["holds"] is False
    assert [joint["name"] for joint in data["joints"]] == ["shoulder", "elbow"]
    assert data["match"]["settings"]["gravity"] is None
    worst = found.joints[int(np.argmax([j.acceleration for j in found.joints]))]
    assert worst.acceleration == found.accelerations
