"""`hybridmodel check-parity`, with its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hybridmodel.cli import run

ROBOT = """<robot name="lever"><link name="base"/>
<link name="arm"><inertial><origin xyz="0 0.1 -0.2"/><mass value="1"/>
  <inertia ixx="0.02" iyy="0.03" izz="0.02" ixy="0" ixz="0" iyz="0"/></inertial>
  <collision><geometry><sphere radius="0.1"/></geometry></collision></link>
<joint name="pivot" type="revolute"><parent link="base"/><child link="arm"/><axis xyz="0 1 0"/>
  <limit lower="-2" upper="2" effort="5" velocity="8"/></joint></robot>"""


@pytest.fixture
def robot(tmp_path: Path) -> str:
    path = tmp_path / "lever.urdf"
    path.write_text(ROBOT, encoding="utf-8")
    return str(path)


def test_the_engine_as_loaded_differs_and_is_diagnosed(
    robot: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "parity.json"
    assert run(["check-parity", robot, "--count", "50", "--json", str(out)]) == 1
    told = capsys.readouterr().out
    assert told.startswith("RigidBody and BulletRobot DIFFER")
    for line in (
        "pivot",
        "gravity: ",
        "remove: p.setGravity(0, 0, -9.81)",
        "match:",
        "plant.with_settings(",
    ):
        assert line in told
    data = json.loads(out.read_text())
    assert {f["name"] for f in data["findings"]} >= {"gravity", "default motors"}
    assert data["match"]["holds"]


def test_a_match_is_enough_where_it_is_asked_for(
    robot: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["check-parity", robot, "--count", "20", "--match"]) == 0
    assert "measured again they agree" in capsys.readouterr().out


def test_a_clean_engine_agrees(robot: str, capsys: pytest.CaptureFixture[str]) -> None:
    clean = ["--clean", "--substeps", "16", "--count", "50"]
    assert run(["check-parity", robot, *clean]) == 0
    assert "agree" in capsys.readouterr().out
    assert run(["check-parity", "cartpole", *clean]) == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nosuch.urdf"], "nosuch.urdf"),
        (["nosuch"], "argument robot"),
        (["two-tanks"], "no Mechanical"),
        (["cartpole", "--floating"], "--floating"),
        (["cartpole", "--seed", "-1"], "--seed must be an integer ≥ 0"),
        (["cartpole", "--json", "no/such/folder.json"], "--json must be a file"),
        (["cartpole", "--count", "0"], "count must be an integer"),
        (["cartpole", "--dt", "0"], "dt must be seconds"),
    ],
)
def test_bad_input_exits_with_two(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["check-parity", *arguments]) == 2
    assert told in capsys.readouterr().err


def test_a_robot_whose_root_cannot_float_is_refused(
    robot: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["check-parity", robot, "--floating"]) == 2
    assert "base floats" in capsys.readouterr().err


ROUGH = """<mujoco><compiler angle="radian"/><worldbody><body name="arm">
<joint name="pivot" type="hinge" axis="0 1 0" frictionloss="0.3" armature="0.01" range="-2 2"
  limited="true"/>
<inertial pos="0 0.1 -0.2" mass="1" diaginertia="0.02 0.03 0.02"/></body></worldbody></mujoco>"""


def test_dry_friction_of_either_file_is_diagnosed_beside_the_motors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limit = '<dynamics friction="0.3"/></joint>'
    texts = {"rough.urdf": ROBOT.replace("</joint>", limit), "rough.xml": ROUGH}
    for name, text in texts.items():
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        assert run(["check-parity", str(path), "--count", "20"]) == 1
        told = capsys.readouterr().out
        assert "default motors: " in told
        assert "dry friction: " in told
        assert "measured again they agree" in told
        assert ("armature: " in told) == (name == "rough.xml")


def test_endings_in_capitals_are_the_same_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = '<link name="base"><inertial><mass value="2"/><inertia ixx="0.1" iyy="0.1" izz="0.1"/>'
    free = ROBOT.replace('<link name="base"/>', f"{base}</inertial></link>")
    path = tmp_path / "LEVER.URDF"
    path.write_text(free, encoding="utf-8")
    options = ["--clean", "--substeps", "16", "--count", "20"]
    assert run(["check-parity", str(path), "--floating", *options]) == 0


def test_a_refusal_speaks_of_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mimic.urdf"
    path.write_text(ROBOT.replace("</joint>", '<mimic joint="other"/></joint>'), encoding="utf-8")
    assert run(["check-parity", str(path)]) == 2
    assert "--ignore mimic" in capsys.readouterr().err
    path = tmp_path / "lever.sdf"
    path.write_text(ROBOT, encoding="utf-8")
    assert run(["check-parity", str(path)]) == 2
    assert "its ending must be .urdf, .xml or .mjcf" in capsys.readouterr().err
