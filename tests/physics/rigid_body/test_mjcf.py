"""An MJCF file means what MuJoCo compiles it to: masses, inertias, mass matrix, limits."""

from __future__ import annotations

import math
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from physics.rigid_body import mjcf, solids
from physics.rigid_body.description import Description
from physics.rigid_body.rotation import about, from_quaternion, from_z_to


def frames(robot: Description, q: dict[str, float]) -> dict[str, np.ndarray]:
    """World pose (4, 4) of every link; the root stands at the origin."""
    found = {robot.root: np.eye(4)}
    for j in robot.joints:  # a parent stands before its children
        origin, motion = np.eye(4), np.eye(4)
        origin[:3, :3], origin[:3, 3] = j.origin.rotation, j.origin.position
        if j.kind == "prismatic":
            motion[:3, 3] = q[j.name] * np.array(j.axis)
        elif j.kind == "revolute":
            cross = np.cross(np.eye(3), j.axis)
            motion[:3, :3] += math.sin(q[j.name]) * cross
            motion[:3, :3] += (1 - math.cos(q[j.name])) * cross @ cross
        found[j.child] = found[j.parent] @ origin @ motion
    return found


def mass_matrix(robot: Description, q: dict[str, float]) -> np.ndarray:
    """M = Σ m JᵥᵀJᵥ + J_ωᵀ I J_ω + diag(armature), from the columns of each link's Jacobian."""
    world = frames(robot, q)
    moving = [j for j in robot.joints if j.moves]
    above = {j.child: j for j in robot.joints}
    M = np.diag([j.armature for j in moving])
    for link in robot.links:
        T = world[link.name]
        center = T[:3, :3] @ link.center + T[:3, 3]
        Jv, Jw = np.zeros((3, len(moving))), np.zeros((3, len(moving)))
        at = link.name
        while at in above:
            j = above[at]
            if j.moves:
                axis = world[at][:3, :3] @ j.axis
                column = moving.index(j)
                if j.kind == "prismatic":
                    Jv[:, column] = axis
                else:
                    Jw[:, column] = axis
                    Jv[:, column] = np.cross(axis, center - world[at][:3, 3])
            at = j.parent
        M += link.mass * Jv.T @ Jv + Jw.T @ T[:3, :3] @ link.inertia @ T[:3, :3].T @ Jw
    return M


def check_against_mujoco(text: str, robot: Description) -> None:
    mujoco: Any = pytest.importorskip("mujoco")
    model = mujoco.MjModel.from_xml_string(text)
    moving = [j for j in robot.joints if j.moves]
    free = 1 if robot.floating else 0
    assert model.njnt == len(moving) + free
    data = mujoco.MjData(model)
    rng = np.random.default_rng(0)
    q = dict(zip((j.name for j in moving), rng.uniform(-1, 1, len(moving)), strict=True))
    data.qpos[:] = model.qpos0
    if free:
        data.qpos[:7] = 0, 0, 0, 1, 0, 0, 0
    data.qpos[7 * free :] = list(q.values())
    mujoco.mj_forward(model, data)
    M = np.zeros((model.nv, model.nv))
    for i in range(model.nv):
        column = np.zeros(model.nv)
        mujoco.mj_mulM(model, data, column, np.eye(model.nv)[i])
        M[:, i] = column
    M = M[6 * free :, 6 * free :]
    scale = np.abs(M).max(initial=1e-300)
    np.testing.assert_allclose(mass_matrix(robot, q), M, atol=1e-9 * scale)
    # masses and, through the centres of mass in the world, all frames
    world = frames(robot, q)
    massive = [link for link in robot.links if link.mass]
    theirs = [i for i in range(1, model.nbody) if model.body_mass[i]]
    assert len(massive) == len(theirs)
    for link, i in zip(massive, theirs, strict=True):
        assert link.mass == pytest.approx(model.body_mass[i], rel=1e-12)
        T = world[link.name]
        np.testing.assert_allclose(T[:3, :3] @ link.center + T[:3, 3], data.xipos[i], atol=1e-9)
        axes = data.ximat[i].reshape(3, 3)
        wanted = axes @ np.diag(model.body_inertia[i]) @ axes.T
        found = T[:3, :3] @ link.inertia @ T[:3, :3].T
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-9 * np.abs(wanted).max())
    for k, j in enumerate(moving, start=free):
        limits = model.jnt_range[k] if model.jnt_limited[k] else (-math.inf, math.inf)
        np.testing.assert_allclose((j.low, j.high), limits, atol=1e-12)
        dof = model.jnt_dofadr[k]
        assert j.friction == pytest.approx(model.dof_frictionloss[dof])
        assert j.armature == pytest.approx(model.dof_armature[dof])
        assert j.damping == pytest.approx(np.ravel(model.dof_damping)[dof])


GEOM = "<geom size='.1'/>"
GEOMS = [
    "type='sphere' size='.1'",
    "type='capsule' size='.05 .2' pos='.1 .2 .3' euler='10 20 30'",
    "type='capsule' size='.05' fromto='0 0 0 .1 .2 .3'",
    "type='capsule' size='.05' fromto='0 0 .3 0 0 0' mass='2'",
    "type='cylinder' size='.05 .2' quat='1 2 3 4' density='50'",
    "type='cylinder' size='.05' fromto='.1 0 0 .5 0 0'",
    "type='ellipsoid' size='.1 .2 .3' axisangle='1 2 3 40'",
    "type='box' size='.1 .2 .3' xyaxes='1 1 0 -1 1 1'",
    "type='box' size='.1 .2 .3' zaxis='1 0 -2' mass='.7'",
    "type='box' size='.1' fromto='0 0 0 .2 .4 .1'",
    "type='ellipsoid' size='.1' fromto='0 0 0 .2 .4 .1'",
]


def model(body: str, *, before: str = "", after: str = "") -> str:
    return f"<mujoco>{before}<worldbody>{body}</worldbody>{after}</mujoco>"


@pytest.mark.parametrize("geom", [*GEOMS, "/><geom ".join(GEOMS)])
def test_inertia_of_geoms(geom: str) -> None:
    text = model(f"<body pos='1 2 3' euler='5 6 7'><joint axis='1 2 3'/><geom {geom}/></body>")
    check_against_mujoco(text, mjcf.parse(text))


@pytest.mark.parametrize("kind", solids.SIZES)
def test_solids_by_sampling(kind: str) -> None:
    size = (0.3, 0.5, 0.4)[: solids.SIZES[kind]]
    grid = np.linspace(-1, 1, 121)
    x, y, z = (g.ravel() for g in np.meshgrid(grid, grid, grid))
    inside = {
        "sphere": np.hypot(np.hypot(x, y), z) <= 0.3,
        "ellipsoid": (x / 0.3) ** 2 + (y / 0.5) ** 2 + (z / 0.4) ** 2 <= 1,
        "box": (abs(x) <= 0.3) & (abs(y) <= 0.5) & (abs(z) <= 0.4),
        "cylinder": (np.hypot(x, y) <= 0.3) & (abs(z) <= 0.5),
        "capsule": np.hypot(np.hypot(x, y), np.maximum(abs(z) - 0.5, 0)) <= 0.3,
    }[kind]
    x, y, z = x[inside], y[inside], z[inside]
    assert solids.volume(kind, size) == pytest.approx(len(x) * (2 / 120) ** 3, rel=0.1)
    wanted = [np.mean(y**2 + z**2), np.mean(x**2 + z**2), np.mean(x**2 + y**2)]
    np.testing.assert_allclose(solids.moments(kind, size), wanted, rtol=0.06)


ARM = """
<mujoco model="arm">
  <compiler angle="radian" eulerseq="{sequence}" settotalmass="7"/>
  <default>
    <joint damping=".1" armature=".01" range="-1 2"/>
    <geom density="300" type="capsule" size=".05 .1"/>
    <default class="heavy"><geom density="900"/>
      <default class="round"><geom type="sphere"/></default>
    </default>
    <general ctrlrange="-2 1"/>
  </default>
  <worldbody>
    <geom type="plane" size="1 1 1"/>
    <body name="base" pos="0 0 .1" euler=".1 .2 .3">
      <geom type="box" size=".1 .1 .1"/>
      <body name="shoulder" pos=".1 .2 .3" euler=".4 -.5 .6" childclass="heavy">
        <joint name="yaw" axis="0 0 1" pos=".1 0 .2" frictionloss=".3"/>
        <joint name="lift" type="slide" axis="1 0 1" pos=".2 .2 0" ref=".3"/>
        <joint name="pitch" axis="0 3 4" pos="0 .1 .2" ref=".4" limited="false"/>
        <geom pos=".1 .2 0"/><geom class="round" pos="0 0 .3"/>
        <body name="hand" pos=".3 0 0" quat="1 1 0 0">
          <joint name="roll" pos="0 0 .1" axis="-1 2 0" armature="0"/>
          <geom class="main" fromto="0 0 0 .1 .1 .1"/>
          <body name="tip" pos="0 .1 0"><geom size=".02 .03" mass=".2"/></body>
        </body>
        <body pos="0 0 -1"><inertial pos=".1 0 0" mass="2" diaginertia="1 2 2.5" euler="1 2 3"/>
          <joint/></body>
      </body>
      <body name="second"><joint type="slide"/>
        <inertial pos="0 .2 0" mass="1" fullinertia="1 2 2.5 .1 .2 .3"/></body>
    </body>
  </worldbody>
  <actuator><motor joint="yaw" gear="-30"/><motor joint="yaw" ctrlrange="-1 1"/>
    <motor joint="pitch" forcerange="-.5 .5"/><position joint="roll"/></actuator>
</mujoco>
"""


@pytest.mark.parametrize("sequence", ["xyz", "XYZ", "zyx", "ZYX", "zXy", "xyx"])
def test_a_tree_with_everything(
    sequence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # MuJoCo 4 logs a remark on settotalmass where it runs
    text = ARM.format(sequence=sequence)
    robot = mjcf.parse(text)
    check_against_mujoco(text, robot)
    assert sum(link.mass for link in robot.links) == pytest.approx(7)
    effort = {j.name: j.effort for j in robot.joints}
    assert (effort["yaw"], effort["pitch"]) == (2 * 30 + 1, 0.5)
    assert (effort["roll"], effort["lift"]) == (math.inf, math.inf)


@pytest.mark.parametrize("mode", ["auto", "true", "false"])
def test_inertia_from_geoms_or_not(mode: str) -> None:
    inertial = "<inertial pos='.1 0 0' mass='2' diaginertia='1 1 1'/>"
    for inside in (inertial + "<geom size='.1'/>", inertial):
        before = f"<compiler inertiafromgeom='{mode}'/>"
        text = model(f"<body><joint/>{inside}</body>", before=before)
        check_against_mujoco(text, mjcf.parse(text))


@pytest.mark.parametrize("free", ["<freejoint/>", "<joint type='free'/>"])
def test_a_free_body_is_the_root(free: str) -> None:
    inside = "<body pos='1 0 0'><joint/><geom size='.1'/></body>"
    text = model(
        f"<body name='trunk' pos='1 2 3'>{free}<geom size='.2' pos='.1 0 0'/>{inside}</body>"
    )
    robot = mjcf.parse(text)
    assert (robot.floating, robot.root) == (True, "trunk")
    check_against_mujoco(text, robot)


@pytest.mark.parametrize("compiler", ["", "<compiler autolimits='false'/>"])
def test_limits(compiler: str) -> None:
    said = ["range='-10 20' limited='true'", "range='-10 20' limited='false'"]
    for limits in [*said, "range='1 1'", "range='2 1'", "range='-10 20'"][
        : None if not compiler else 2
    ]:
        text = model(f"<body><joint {limits}/>{GEOM}</body>", before=compiler)
        check_against_mujoco(text, mjcf.parse(text))


def test_right_angles_are_exact() -> None:
    for text in (
        "euler='90 0 -90'",
        "quat='.70710678118654752 0 .70710678118654752 0'",
        "zaxis='1 0 0'",
    ):
        robot = mjcf.parse(model(f"<body {text}><joint/><geom size='.1'/></body>"))
        entries = [abs(x) for row in robot.joints[0].origin.rotation for x in row]
        assert sorted(entries) == [0.0] * 6 + [1.0] * 3


def test_rotations_agree() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        x, y, z = (v := rng.normal(size=3)) / np.linalg.norm(v)
        angle = rng.uniform(-3, 3)
        turned = from_quaternion(math.cos(angle / 2), *(math.sin(angle / 2) * np.array([x, y, z])))
        np.testing.assert_allclose(about((x, y, z), angle), turned, atol=1e-14)
        up = np.array(from_z_to((x, y, z)))
        np.testing.assert_allclose(up @ [0, 0, 1], [x, y, z], atol=1e-14)
        np.testing.assert_allclose(up @ up.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(from_z_to((0, 0, -1)) @ np.array([0, 0, 1]), [0, 0, -1])


# -- files of pybullet_data ----------------------------------------------------------------------

FILES = ["ant", "hello_mjcf", "humanoid", "inverted_double_pendulum", "inverted_pendulum",
         "pusher", "reacher", "capsule_fromtoX", "cylinder_fromtoY",
         "humanoid_symmetric_no_ground"]  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_files(name: str) -> None:
    folder = Path(pytest.importorskip("pybullet_data").getDataPath()) / "mjcf"
    path = folder / f"{name}.xml"
    if not path.is_file():
        pytest.skip(f"this pybullet_data has no {name}")
    robot = mjcf.read(path, ignore=("stiffness", "tendon"))
    check_against_mujoco(path.read_text(), robot)


def test_mutations_of_real_files() -> None:
    folder = Path(pytest.importorskip("pybullet_data").getDataPath()) / "mjcf"
    files = [path.read_bytes() for path in sorted(folder.glob("*.xml"))]
    rng = random.Random(0)
    ends = {"robot": 0, "refused": 0}
    for _ in range(300):
        content = rng.choice(files)
        a, b = sorted(rng.choices(range(len(content)), k=2))
        words = re.split(rb"(\s+)", content)
        words[rng.randrange(len(words))] = rng.choice(
            [b"", b"<", b"'nan'", b"class='1e308'", b"/>"]
        )
        content = rng.choice([b"".join(words), b"".join(words), content[:a] + content[b:]])
        try:
            robot = mjcf.parse(content, ignore=mjcf.IGNORABLE)
        except ValueError:
            ends["refused"] += 1
        else:
            ends["robot"] += 1
            assert robot.root in {link.name for link in robot.links}
    assert min(ends.values()) > 20


# -- refusals ------------------------------------------------------------------------------------

REFUSED = {
    "no MJCF": ("<robot/>", "root element must be <mujoco>"),
    "empty": (model(""), "<worldbody> has no body"),
    "include": ("<mujoco><include file='/etc/passwd'/></mujoco>", "<include> is refused"),
    "frame": (model(f"<frame><body>{GEOM}</body></frame>"), "<frame> is refused"),
    "replicate": (model("<replicate count='9'/>"), "<replicate> is refused"),
    "ball": (model(f"<body name='a'><joint name='j' type='ball'/>{GEOM}</body>"),
             "body 'a': joint 'j'.*type must be hinge or slide.*got 'ball'"),
    "spring": (model(f"<body name='a'><joint name='j' stiffness='1'/>{GEOM}</body>"),
               "joint 'j'.*stiffness is refused"),
    "inner free": (model(f"<body><joint/>{GEOM}<body name='b'><freejoint/>{GEOM}</body></body>"),
                   "body 'b'.*only a body of <worldbody>"),
    "two free": (model(f"<body name='a'><freejoint/>{GEOM}</body><body>{GEOM}</body>"),
                 "body 'a' is free beside other bodies"),
    "equality": (model(f"<body>{GEOM}</body>", after="<equality><weld body1='a'/></equality>"),
                 "equality <weld> is refused"),
    "tendon": (model(f"<body>{GEOM}</body>",
                     after="<tendon><fixed name='t' stiffness='1'/></tendon>"),
               "tendon 't' with stiffness is refused"),
    "mesh": (model("<body name='a'><joint/><geom type='mesh' mesh='m'/></body>"),
             "body 'a'.*type 'mesh'.*give its body an <inertial>"),
    "gravcomp": (model(f"<body name='a' gravcomp='1'><joint/>{GEOM}</body>"),
                 "gravcomp is refused"),
    "global": (model(f"<body>{GEOM}</body>", before="<compiler coordinate='global'/>"),
               "<compiler coordinate=…> must be 'local'"),
    "axis": (model(f"<body><joint name='j' axis='0 0 0'/>{GEOM}</body>"), "joint 'j'.*direction"),
    "two orientations": (model(f"<body quat='1 0 0 0' euler='0 0 0'>{GEOM}</body>"), "has both"),
    "quat": (model(f"<body quat='0 0 0 0'>{GEOM}</body>"), "quat must not be zero"),
    "class": (model(f"<body childclass='x'>{GEOM}</body>"), "class 'x' is no <default>"),
    "size": (model("<body name='a'><joint/><geom type='box' size='1 2'/></body>"),
             "body 'a'.*size=…> must be 3 finite numbers, got '1 2'"),
    "actuator": (model(f"<body>{GEOM}</body>", after="<actuator><motor joint='x'/></actuator>"),
                 "an actuator moves joint 'x', which is not there"),
    "twice": (model(f"<body name='a'>{GEOM}<body name='a'>{GEOM}</body></body>"),
              "'a' stands twice"),
    "range": (model(f"<body><joint range='1 -1' limited='true'/>{GEOM}</body>"),
              "range must ascend"),
    "huge": (model(f"<body><joint/>{GEOM}<geom pos='1e308 0 0' size='1'/></body>"), "too large"),
    "far": (model(f"<body pos='1e308 0 0'><joint pos='1e308 0 0'/>{GEOM}</body>"), "too large"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_name_the_place(case: str) -> None:
    text, said = REFUSED[case]
    with pytest.raises(ValueError, match=f"^(?s:here.xml: .*{said})"):
        mjcf.parse(text, source="here.xml")


def test_what_is_ignored_is_named() -> None:
    with pytest.raises(ValueError, match=r"ignore must be of .*got 'contact'"):
        mjcf.parse(model(""), ignore=("contact",))
    spring = model(f"<body><joint stiffness='1'/>{GEOM}</body>")
    plain = spring.replace(" stiffness='1'", "")
    assert mjcf.parse(spring, ignore=("stiffness",)) == mjcf.parse(plain)
