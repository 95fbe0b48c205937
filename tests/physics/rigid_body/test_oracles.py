"""RigidBody against three independent programs: PyBullet, Pinocchio and MuJoCo."""

from __future__ import annotations

import math
import re
from pathlib import Path

import casadi as ca
import numpy as np
import pytest

from physics import quaternion
from physics.rigid_body import RigidBody, mjcf, urdf
from physics.rigid_body.description import Description

pybullet_data = pytest.importorskip("pybullet_data")
DATA = Path(pybullet_data.getDataPath())
ROBOTS = (
    "cartpole.urdf",
    "TwoJointRobot_w_fixedJoints.urdf",
    "TwoJointRobot_wo_fixedJoints.urdf",
    "pendulum5.urdf",
    "kuka_iiwa/model.urdf",
    "franka_panda/panda.urdf",
    "xarm/xarm6_robot.urdf",
    "a1/a1.urdf",
    "laikago/laikago.urdf",
    "mini_cheetah/mini_cheetah.urdf",
    "aliengo/aliengo.urdf",
)
FREE = tuple(name for name in ROBOTS if name not in ("cartpole.urdf", "pendulum5.urdf"))
STATES = 1000


ANGLES = {r"1\.57079632679": math.pi / 2, r"3\.14159265359": math.pi}


def text(name: str, *, exact: bool = False) -> str:
    """The file, its mimic joints freed: neither engine couples them.

    exact  with right angles to the last bit, which our reader takes from rounded ones as well
    """
    found = re.sub(r"<mimic[^>]*/>", "", (DATA / name).read_text(encoding="utf-8"))
    for pattern, angle in ANGLES.items() if exact else ():
        found = re.sub(pattern + r"\d*", repr(angle), found)
    return found


def description(name: str, *, exact: bool = False) -> Description:
    return urdf.parse(text(name, exact=exact), source=name)


Q = ca.SX.sym("q", 4)
ROTATION = ca.Function("rotation", [Q], [quaternion.rotation_matrix(Q)])


def rotation(q: np.ndarray) -> np.ndarray:
    return ROTATION(q).full()


def draw(rng: np.random.Generator, robot: RigidBody) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    q = rng.uniform(-2, 2, robot.nq)
    if robot.floating:
        q[3:7] /= np.linalg.norm(q[3:7])
    v, a = rng.uniform(-2, 2, (2, robot.nv))
    return q, v, a


@pytest.fixture(scope="module")
def bullet():
    pybullet = pytest.importorskip("pybullet")
    client = pybullet.connect(pybullet.DIRECT)
    pybullet.setGravity(0, 0, -9.81, physicsClientId=client)
    yield pybullet, client
    pybullet.disconnect(client)


@pytest.mark.parametrize("name", ROBOTS)
def test_inverse_dynamics_are_those_of_pybullet(bullet, name: str) -> None:
    pybullet, client = bullet
    robot = RigidBody.from_description(description(name), inertia="pybullet")
    flags = pybullet.URDF_USE_INERTIA_FROM_FILE
    body = pybullet.loadURDF(
        str(DATA / name), useFixedBase=True, flags=flags, physicsClientId=client
    )
    info = [
        pybullet.getJointInfo(body, i, physicsClientId=client)
        for i in range(pybullet.getNumJoints(body, physicsClientId=client))
    ]
    theirs = [entry[1].decode() for entry in info if entry[2] != pybullet.JOINT_FIXED]
    order = [[joint.name for joint in robot.joints].index(joint) for joint in theirs]
    q, v, a = np.random.default_rng(0).uniform(-2, 2, (3, robot.nv, STATES))
    mine = np.array(robot.inverse_dynamics(friction=False).map(STATES)(q, v, a))[order]
    theirs_tau = [
        pybullet.calculateInverseDynamics(body, *given, physicsClientId=client)
        for given in zip(*(part[order].T.tolist() for part in (q, v, a)), strict=True)
    ]
    np.testing.assert_allclose(mine.T, theirs_tau, rtol=0, atol=1e-8)


class Pinocchio:
    """The same file there, in our conventions."""

    def __init__(self, robot: RigidBody, name: str) -> None:
        self.pin = pin = pytest.importorskip("pinocchio")
        base = [pin.JointModelFreeFlyer()] if robot.floating else []
        self.model = pin.buildModelFromXML(text(name, exact=True), *base)
        self.data = self.model.createData()
        self.floating = robot.floating
        joints = [self.model.joints[self.model.getJointId(j.name)] for j in robot.joints]
        self.places = [(j.idx_q, j.nq) for j in joints]
        self.rows = [*range(6 if self.floating else 0), *(j.idx_v for j in joints)]

    def state(
        self, q: np.ndarray, v: np.ndarray, a: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """q, v, a of Pinocchio, and X with v = X v there."""
        there, X, first = np.zeros(self.model.nq), np.eye(len(v)), 0
        v, a = v.copy(), a.copy()
        if self.floating:
            R, first = rotation(q[3:7]), 7
            X[:3, :3] = R
            there[:7] = [*q[:3], *q[4:7], q[3]]
            v[:3] = R.T @ v[:3]
            a[:3] = R.T @ a[:3] - np.cross(v[3:6], v[:3])
        for (row, size), angle in zip(self.places, q[first:], strict=True):
            there[row : row + size] = angle if size == 1 else (np.cos(angle), np.sin(angle))
        rates, accelerations = np.zeros((2, self.model.nv))
        rates[self.rows], accelerations[self.rows] = v, a
        return there, rates, accelerations, X


CASES = [(name, False) for name in ROBOTS] + [(name, True) for name in FREE]


@pytest.mark.parametrize(("name", "floating"), CASES)
def test_dynamics_are_those_of_pinocchio(name: str, floating: bool) -> None:
    robot = RigidBody.from_description(description(name, exact=True), floating=floating)
    other = Pinocchio(robot, name)
    pin, model, data, rows = other.pin, other.model, other.data, other.rows
    rng = np.random.default_rng(1)
    states = [draw(rng, robot) for _ in range(STATES)]
    q, v, a = (np.array(part).T for part in zip(*states, strict=True))
    tau = np.array(robot.inverse_dynamics(friction=False).map(STATES)(q, v, a))
    torque = np.array(robot.inverse_dynamics().map(STATES)(q, v, a))  # friction is not theirs
    back = np.array(robot.forward_dynamics().map(STATES)(q, v, torque))
    M = np.split(np.array(robot.mass_matrix_function().map(STATES)(q)), STATES, axis=1)
    forces, inertias, accelerations = [], [], []
    for k in range(STATES):
        there, rates, acceleration, X = other.state(q[:, k], v[:, k], a[:, k])
        forces.append(X @ pin.rnea(model, data, there, rates, acceleration)[rows])
        inertia = pin.crba(model, data, there)
        inertia = (np.triu(inertia) + np.triu(inertia, 1).T)[np.ix_(rows, rows)]
        inertias.append(X @ inertia @ X.T)
        push = np.zeros(model.nv)
        push[rows] = X.T @ tau[:, k]
        found = pin.aba(model, data, there, rates, push)[rows]
        if floating:
            found[:3] += np.cross(rates[3:6], rates[:3])
        accelerations.append(X @ found)
    np.testing.assert_allclose(tau.T, forces, rtol=0, atol=1e-9)
    np.testing.assert_allclose(M, inertias, rtol=0, atol=1e-9)
    np.testing.assert_allclose(back.T, accelerations, rtol=0, atol=1e-9)
    np.testing.assert_allclose(back, a, rtol=0, atol=1e-9)


@pytest.mark.parametrize("floating", [False, True])
@pytest.mark.parametrize("name", ["kuka_iiwa/model.urdf", "franka_panda/panda.urdf", "a1/a1.urdf"])
def test_frames_and_energies_are_those_of_pinocchio(name: str, floating: bool) -> None:
    robot = RigidBody.from_description(description(name, exact=True), floating=floating)
    other = Pinocchio(robot, name)
    pin, model, data = other.pin, other.model, other.data
    rng, energy = np.random.default_rng(2), robot.energy()
    links = [link.name for link in robot.description.links]
    functions = {
        link: (robot.forward_kinematics(link), robot.frame_jacobian(link)) for link in links
    }
    offsets = []
    for _ in range(5):
        q, v, a = draw(rng, robot)
        there, rates, _, X = other.state(q, v, a)
        pin.framesForwardKinematics(model, data, there)
        for link, (kinematics, jacobian) in functions.items():
            frame = model.getFrameId(link)
            position, R = (np.array(value) for value in kinematics(q))
            np.testing.assert_allclose(position[:, 0], data.oMf[frame].translation, atol=1e-9)
            np.testing.assert_allclose(R, data.oMf[frame].rotation, atol=1e-9)
            J = pin.computeFrameJacobian(model, data, there, frame, pin.LOCAL_WORLD_ALIGNED)
            np.testing.assert_allclose(jacobian(q), J[:, other.rows] @ X.T, atol=1e-9)
        kinetic, potential = (float(value) for value in energy(q, v))
        assert kinetic == pytest.approx(pin.computeKineticEnergy(model, data, there, rates))
        offsets.append(potential - pin.computePotentialEnergy(model, data, there))
    np.testing.assert_allclose(offsets, offsets[0], rtol=0, atol=1e-8)  # of the fixed links


MJCF = """
<mujoco>
  <compiler angle="radian"/>
  <worldbody>
    <body name="trunk" pos="0 0 1">
      <freejoint/>
      <inertial pos="0.02 -0.01 0.03" mass="4" diaginertia="0.05 0.07 0.06"/>
      <body name="arm" pos="0.1 0.2 0" euler="0.3 -0.2 0.5">
        <joint name="swing" type="hinge" axis="1 2 3" pos="0.05 0 0" damping="0.3" armature="0.02"/>
        <joint name="lift" type="slide" axis="0 1 1" damping="0.2"/>
        <inertial pos="0.1 0 0.05" mass="1.5" fullinertia="0.02 0.03 0.025 0.002 -0.003 0.001"/>
        <body name="hand" pos="0.3 0 0.1">
          <joint name="wrist" type="hinge" axis="0 0 1" armature="0.01"/>
          <inertial pos="0.05 0.02 0" mass="0.4" diaginertia="0.002 0.003 0.004"/>
        </body>
      </body>
    </body>
  </worldbody>
</mujoco>
"""


def test_a_floating_arm_moves_as_in_mujoco() -> None:
    mujoco = pytest.importorskip("mujoco")
    robot = RigidBody.from_description(mjcf.parse(MJCF), floating=True)
    model = mujoco.MjModel.from_xml_string(MJCF)
    data, M = mujoco.MjData(model), np.zeros((robot.nv, robot.nv))
    inverse, mass = robot.inverse_dynamics(), robot.mass_matrix_function()
    rng = np.random.default_rng(3)
    for _ in range(20):
        q, v, a = draw(rng, robot)
        data.qpos[:], data.qvel[:], data.qacc[:] = q, v, a
        mujoco.mj_inverse(model, data)
        np.testing.assert_allclose(np.array(inverse(q, v, a))[:, 0], data.qfrc_inverse, atol=1e-9)
        mujoco.mj_fullM(model, data, M)
        np.testing.assert_allclose(mass(q), M, atol=1e-9)
