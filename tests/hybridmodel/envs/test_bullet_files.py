"""What PyBullet is given of a URDF file: its numbers, and only files that it may open."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pybullet_data
import pytest

from hybridmodel import envs
from hybridmodel.envs import BulletSettings, RobotEffects
from hybridmodel.envs.bullet import source
from hybridmodel.envs.bullet.quiet import pybullet, quiet
from physics import RigidBody
from physics.rigid_body import urdf

DATA = Path(pybullet_data.getDataPath())
CUBE = (DATA / "cube.obj").read_bytes()
MODES = pytest.mark.parametrize("inertia", ["system", "file", "shapes"])


def arm(folder, *, axis="0 1 0", visual="", collision="", name="arm.urdf"):
    """A bar on a turning post; the shapes are those of the bar."""
    inertial = (
        '<inertial><origin xyz="0.1 0.05 -0.2"/><mass value="1.5"/>'
        '<inertia ixx="0.02" iyy="0.03" izz="0.025" ixy="0" ixz="0.002" iyz="0"/></inertial>'
    )
    file = folder / name
    file.write_text(
        f'<robot name="arm"><link name="world"/><link name="post">{inertial}</link>'
        f'<link name="bar">{inertial}{visual}{collision}</link>'
        '<joint name="yaw" type="continuous"><parent link="world"/><child link="post"/>'
        '<axis xyz="0 0 1"/></joint>'
        '<joint name="pitch" type="continuous"><parent link="post"/><child link="bar"/>'
        f'<origin xyz="0 0 0.3"/><axis xyz="{axis}"/></joint></robot>'
    )
    return RigidBody.from_urdf(file)


def shape(tag, mesh):
    return f'<{tag}><geometry><mesh filename="{mesh}"/></geometry></{tag}>'


def gap(plant):
    """Largest difference of accelerations at random states and inputs."""
    system, random, gaps = plant.system, np.random.default_rng(0), []
    rate = system.forward_dynamics()
    for _ in range(10):
        q, v, u = random.uniform(-1, 1, (3, system.nv))
        expected = np.asarray(rate(q, v, u))[:, 0]
        gaps.append(np.abs(plant.acceleration(np.concatenate([q, v]), u) - expected).max())
    return max(gaps)


def dynamics(body, client):
    """(links, 11): mass, moments, place and attitude of the principal axes."""
    count = pybullet.getNumJoints(body, physicsClientId=client)
    infos = [pybullet.getDynamicsInfo(body, j, physicsClientId=client) for j in range(-1, count)]
    return np.array([[info[0], *info[2], *info[3], *info[4]] for info in infos])


def pictures(plant):
    return len(pybullet.getVisualShapeData(plant._tree.body, physicsClientId=plant._client))


@pytest.mark.parametrize("axis", ["0 2 0", "1 1 0", "0.577 0.577 0.577", "0 0.99999 0"])
def test_an_axis_of_any_length_is_a_direction(tmp_path, axis):
    with envs.BulletRobot(arm(tmp_path, axis=axis), dt=0.01) as plant:
        assert gap(plant) < 1e-9


@pytest.mark.parametrize("name", ["kuka_iiwa/model.urdf", "r2d2.urdf", "a1/a1.urdf"])
@pytest.mark.parametrize("inertia", ["file", "shapes"])
def test_the_copy_of_a_file_has_the_physics_of_the_file(name, inertia):
    system = RigidBody.from_urdf(DATA / name)
    settings = BulletSettings(inertia=inertia)
    flags = pybullet.URDF_USE_INERTIA_FROM_FILE if inertia == "file" else 0
    client = pybullet.connect(pybullet.DIRECT)
    try:
        with quiet():
            body = pybullet.loadURDF(
                str(DATA / name), useFixedBase=True, flags=flags, physicsClientId=client
            )
        with envs.BulletRobot(system, dt=0.02, settings=settings) as plant:
            copy = dynamics(plant._tree.body, plant._client)
            np.testing.assert_array_equal(copy, dynamics(body, client))
    finally:
        pybullet.disconnect(client)


@pytest.mark.parametrize(
    "name",
    [
        "kuka_iiwa/model.urdf",
        "franka_panda/panda.urdf",
        "xarm/xarm6_robot.urdf",
        "a1/a1.urdf",
        "laikago/laikago.urdf",
    ],
)
def test_no_picture_of_these_files_is_lost(name):
    text = (DATA / name).read_text()
    wanted = text.count("<visual>") + text.count("<visual ")
    read = urdf.read(DATA / name, ignore=("mimic",))
    assert source.text(read, visuals=True, shapes=False).count("<visual") == wanted


def test_a_file_that_names_its_meshes_from_another_folder_needs_that_folder():
    read = urdf.read(DATA / "differential/diff_ring.urdf")
    for roots, count in (((), 0), ((DATA,), 6)):
        text = source.text(read, visuals=True, shapes=False, package_roots=roots)
        assert text.count("<visual") == count


@MODES
def test_a_picture_without_its_mesh_does_not_matter(tmp_path, inertia):
    box = '<collision><geometry><box size="0.1 0.2 0.3"/></geometry></collision>'
    system = arm(tmp_path, visual=shape("visual", "lost.obj"), collision=box)
    settings = BulletSettings(inertia=inertia)
    with envs.BulletRobot(system, dt=0.01, settings=settings, render_mode="rgb_array") as plant:
        assert pictures(plant) == (inertia == "shapes")  # the engine then draws the box instead
        assert (gap(plant) < 1e-9) == (inertia != "shapes")


@MODES
def test_a_collision_mesh_is_missed_only_where_shapes_matter(tmp_path, inertia):
    system = arm(tmp_path, collision=shape("collision", "lost.obj"))
    settings = BulletSettings(inertia=inertia)
    named = r"link 'bar'.*'lost\.obj'"
    if inertia == "shapes":
        with pytest.raises(ValueError, match=named):
            envs.BulletRobot(system, dt=0.01, settings=settings)
        return
    with envs.BulletRobot(system, dt=0.01, settings=settings) as plant:
        assert gap(plant) < 1e-9
    hidden = RobotEffects(table=0.0)
    with pytest.raises(ValueError, match=named):  # it would fall through the table
        envs.BulletRobot(system, dt=0.01, settings=settings, hidden=hidden)


@MODES
def test_package_roots_hold_meshes(tmp_path, inertia):
    folder, roots = tmp_path / "arm", tmp_path / "packages"
    (roots / "bars" / "meshes").mkdir(parents=True)
    folder.mkdir()
    (roots / "bars/meshes/bar.obj").write_bytes(CUBE)
    mesh = "package://bars/meshes/bar.obj"
    system = arm(folder, visual=shape("visual", mesh), collision=shape("collision", mesh))
    settings = BulletSettings(inertia=inertia)
    arguments = {"dt": 0.01, "settings": settings, "render_mode": "rgb_array"}
    with envs.BulletRobot(system, package_roots=[roots], **arguments) as plant:
        assert pictures(plant) == 1
        assert pictures(plant.with_settings(gravity=0.0)) == 1
    if inertia != "shapes":
        with envs.BulletRobot(system, **arguments) as plant:
            assert pictures(plant) == 0


@MODES
@pytest.mark.parametrize("where", ["pipe.obj", "../outside.obj", "/dev/zero", "folder.obj", ""])
def test_the_engine_opens_only_regular_files_of_the_folder(tmp_path, inertia, where):
    folder = tmp_path / "arm"
    (folder / "folder.obj").mkdir(parents=True)
    (tmp_path / "outside.obj").write_bytes(CUBE)
    os.mkfifo(folder / "pipe.obj")
    settings = BulletSettings(inertia=inertia)
    texture = f'<material name="m"><texture filename="{where}"/></material></visual>'
    visual = shape("visual", where) + shape("visual", "cube.obj").replace("</visual>", texture)
    (folder / "cube.obj").write_bytes(CUBE)
    system = arm(folder, visual=visual)
    with envs.BulletRobot(system, dt=0.01, settings=settings, render_mode="rgb_array") as plant:
        assert pictures(plant) == 1
    collision = shape("collision", where)
    if inertia == "shapes":
        with pytest.raises(ValueError, match="link 'bar'"):
            envs.BulletRobot(arm(folder, collision=collision), dt=0.01, settings=settings)
    else:
        envs.BulletRobot(arm(folder, collision=collision), dt=0.01, settings=settings).close()


def test_what_else_names_files_is_left_out(tmp_path):
    odd = '<collision><geometry><cdf filename="field.cdf"/></geometry></collision>'
    system = arm(tmp_path, collision=odd + '<audio_source filename="a.wav"/>')
    text = source.as_written(system.description, visuals=True, shapes=False)
    assert "filename" not in text
    with pytest.raises(ValueError, match=r"link 'bar'.*cdf"):
        source.as_written(system.description, visuals=True, shapes=True)


def test_a_suffix_in_capitals_is_that_of_a_file(tmp_path):
    system = arm(tmp_path, visual=shape("visual", "bar.obj"), name="ARM.URDF")
    (tmp_path / "bar.obj").write_bytes(CUBE)
    assert source.is_own_file(system.description)
    with envs.BulletRobot(system, dt=0.01, render_mode="rgb_array") as plant:
        assert pictures(plant) == 1


@pytest.mark.parametrize("roots", ["/tmp", Path("/tmp"), ["/no/such/folder"]])
def test_package_roots_must_be_folders(tmp_path, roots):
    with pytest.raises(ValueError, match="package_roots must be"):
        envs.BulletRobot(arm(tmp_path), dt=0.01, package_roots=roots)
