"""M, b and energy of robots as MuJoCo finds them, which reads the same files by itself."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from physics.rigid_body import RigidBody, urdf

# older ones find the principal axes of a tensor to 1e-6 only
mujoco = pytest.importorskip("mujoco", minversion="4.0")
pybullet_data = pytest.importorskip("pybullet_data")

COUNT = 50
# `urdf` takes an angle within 1e-12 rad of a right angle as one, MuJoCo takes it as written
ROUNDED = 1e-10


@dataclass(frozen=True)
class Case:
    """A RigidBody and the model that MuJoCo's own URDF reader made of the same text."""

    system: RigidBody
    model: Any
    data: Any
    q_rows: np.ndarray
    v_rows: np.ndarray

    def put(self, q, v):
        self.data.qpos[self.q_rows], self.data.qvel[self.v_rows] = q, v
        mujoco.mj_forward(self.model, self.data)


def reduced(path):
    """The URDF's element tree without meshes, without what joins two joints' coordinates, and
    without the inertia of links that have no mass, which MuJoCo forgets where it welds them."""
    root = ET.parse(path).getroot()
    for parent in root.iter():
        for tag in ("visual", "collision", "mimic", "transmission"):
            for child in parent.findall(tag):
                parent.remove(child)
        for inertial in parent.findall("inertial"):
            if all(float(mass.attrib["value"]) == 0 for mass in inertial.findall("mass")):
                parent.remove(inertial)
    return root


def case(name, *, floating):
    root = reduced(Path(pybullet_data.getDataPath(), name))
    description = urdf.parse(ET.tostring(root, encoding="unicode"))
    system = RigidBody.from_description(description, floating=floating)
    if floating:
        ET.SubElement(root, "link", name="outside")
        joint = ET.SubElement(root, "joint", name="free", type="floating")
        ET.SubElement(joint, "parent", link="outside")
        ET.SubElement(joint, "child", link=description.root)
    model = mujoco.MjModel.from_xml_string(ET.tostring(root, encoding="unicode"))
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_CONSTRAINT
    model.opt.enableflags |= mujoco.mjtEnableBit.mjENBL_ENERGY
    joints = [model.joint(joint.name) for joint in system.joints]
    own, base = ([*range(7)], [*range(6)]) if floating else ([], [])
    q_rows = np.array([*own, *(int(joint.qposadr[0]) for joint in joints)])
    v_rows = np.array([*base, *(int(joint.dofadr[0]) for joint in joints)])
    return Case(system, model, mujoco.MjData(model), q_rows, v_rows)


@pytest.fixture(
    scope="module",
    params=[
        ("kuka_iiwa/model.urdf", False),
        ("franka_panda/panda.urdf", False),
        ("a1/a1.urdf", True),
    ],
    ids=["kuka", "panda", "floating a1"],
)
def robot(request):
    name, floating = request.param
    return case(name, floating=floating)


def states(system):
    """Seeded q, v: angles in ± π, quaternions anywhere, rates in ± 3."""
    random = np.random.default_rng(0)
    for _ in range(COUNT):
        q = random.uniform(-np.pi, np.pi, system.nq)
        if system.floating:
            attitude = random.standard_normal(4)
            q[3:7] = attitude / np.linalg.norm(attitude)
        yield q, random.uniform(-3, 3, system.nv)


def inertia(robot):
    """M (nv, nv)."""
    full = np.zeros((robot.system.nv, robot.system.nv))
    if hasattr(robot.data, "qM"):  # before MuJoCo 4
        mujoco.mj_fullM(robot.model, full, robot.data.qM)
    else:
        mujoco.mj_fullM(robot.model, robot.data, full)
    return full[np.ix_(robot.v_rows, robot.v_rows)]


def test_mass_matrix(robot):
    M = robot.system.mass_matrix_function()
    for q, v in states(robot.system):
        robot.put(q, v)
        np.testing.assert_allclose(np.asarray(M(q)), inertia(robot), rtol=ROUNDED, atol=ROUNDED)


def test_bias(robot):
    force = robot.system.inverse_dynamics(friction=False)
    for q, v in states(robot.system):
        robot.put(q, v)
        expected = robot.data.qfrc_bias[robot.v_rows]
        found = np.asarray(force(q, v, np.zeros_like(v)))[:, 0]
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_energy(robot):
    energy, start = robot.system.energy(), None
    for q, v in states(robot.system):
        robot.put(q, v)
        kinetic, potential = (float(value) for value in energy(q, v))
        gap = potential - robot.data.energy[0]  # what never moves may count or not
        start = gap if start is None else start
        assert kinetic == pytest.approx(robot.data.energy[1], rel=ROUNDED)
        assert gap == pytest.approx(start, abs=1e-9)
