"""Joint axes of a file that are not of unit length, which the engine's dynamics takes as they are.

With S = k s the engine moves by M' = k² M: only plants that load the file itself are so.
"""

from __future__ import annotations

import dataclasses
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from hybridmodel.envs.parity.constants import loads_own_file
from hybridmodel.envs.parity.setup import Setup
from physics.rigid_body import urdf
from physics.rigid_body.system import RigidBody

_ROUNDING = 1e-12


def other_lengths(subject: Setup) -> dict[str, float]:
    """|axis| of the moving joints where it is not 1, of the file that the plant loads."""
    system = subject.system
    if subject.settings.inertia == "system" or not loads_own_file(system):
        return {}
    moving = {joint.name for joint in system.joints}
    found = {}
    for name, axis in _axes(ET.parse(system.description.source).getroot()):
        length = float(np.linalg.norm(np.array(axis.get("xyz", "1 0 0").split(), dtype=float)))
        if name in moving and abs(length - 1) > _ROUNDING:
            found[name] = length
    return found


@contextmanager
def with_unit_axes(system: Any, subject: Setup) -> Iterator[tuple[Any, Setup]]:
    """System and plant of a copy of the file in which all axes have unit length.

    The plant looks for meshes in the folder of the file itself, too.
    """
    if not (isinstance(system, RigidBody) and other_lengths(subject)):
        yield system, subject
        return
    path = Path(subject.system.description.source)
    root = ET.parse(path).getroot()  # a file that urdf.read has found harmless
    for _, axis in _axes(root):
        xyz = np.array(axis.get("xyz", "1 0 0").split(), dtype=float)
        axis.set("xyz", " ".join(f"{value:.17g}" for value in xyz / np.linalg.norm(xyz)))
    roots = (*subject.options.get("package_roots", ()), path.resolve().parent)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "unit_axes.urdf")
        ET.ElementTree(root).write(copy, encoding="utf-8")
        plant = dataclasses.replace(
            subject,
            system=from_file(subject.system, str(copy)),
            options={**subject.options, "package_roots": roots},
        )
        yield from_file(system, str(copy)), plant


def from_file(system: Any, source: str) -> Any:
    """The System as if read from another file of the same joints, whose axes are rounded else."""
    axes = {joint.name: joint.axis for joint in urdf.read(source, ignore=("mimic",)).joints}
    old = system.description
    joints = tuple(
        dataclasses.replace(joint, axis=axes[joint.name])
        if joint.moves and np.allclose(joint.axis, axes[joint.name], rtol=0, atol=_ROUNDING)
        else joint
        for joint in old.joints
    )
    described = dataclasses.replace(old, joints=joints, source=source)
    return dataclasses.replace(system, description=described)


def _axes(root: ET.Element) -> Iterator[tuple[str, ET.Element]]:
    for joint in root.findall("joint"):
        axis = joint.find("axis")
        if axis is not None:
            yield joint.get("name", ""), axis
