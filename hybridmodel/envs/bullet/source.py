"""URDF text of a robot's Description: its own file where it has one, with the numbers replaced.

Joints, pictures and collision shapes are the file's. Masses, centres, inertias, axes and places
of joints are those of the Description, every number with 17 significant digits and every tensor
along its principal axes, so that nothing is left for the engine to diagonalise or to normalise.
"""

from __future__ import annotations

import math
import os
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hybridmodel.envs.bullet.files import only_own_files
from physics.rigid_body import safe_xml, urdf
from physics.rigid_body.description import Description, Link, Pose

Roots = Sequence[str | os.PathLike[str]]
_THICK = 0.05  # of the reach, for robots that have no pictures


def text(
    description: Description, *, visuals: bool, shapes: bool, package_roots: Roots = ()
) -> str:
    """The whole document; `visuals` and `shapes` say whether pictures and collisions are kept.

    Meshes are looked for by `urdf.resolve`; a picture without its mesh is left out. Raises
    ValueError naming link and mesh where a collision shape that is kept has none.
    """
    root = None
    if _is_tree_of_file(description):
        root = _document(description, visuals, shapes, package_roots)
    if root is None:
        root = _skeleton(description, visuals, shapes)
    links = {link.name: link for link in description.links}
    for element in root.findall("link"):
        for child in element.findall("inertial"):
            element.remove(child)
        for contact in element.findall("contact"):
            for scaling in contact.findall("inertia_scaling"):
                contact.remove(scaling)
        element.append(_inertial(links[element.attrib["name"]]))
    joints = {joint.name: joint for joint in description.joints}
    for element in root.findall("joint"):
        for child in [*element.findall("origin"), *element.findall("axis")]:
            element.remove(child)
        joint = joints[element.attrib["name"]]
        element.append(_origin(joint.origin))
        if joint.moves:  # the engine normalises no axis of a file: (0, 2, 0) is another robot
            ET.SubElement(element, "axis", xyz=_vector(joint.axis))
    return _in_lines(root)


def as_written(
    description: Description, *, visuals: bool, shapes: bool, package_roots: Roots = ()
) -> str:
    """The Description's own file with its own numbers, and files named as in `text`."""
    root = _document(description, visuals, shapes, package_roots)
    return _in_lines(root)


def _in_lines(root: ET.Element) -> str:
    """One element a line: the engine reads 8 kB at a time and breaks longer lines anywhere."""
    ET.indent(root)
    return ET.tostring(root, encoding="unicode")


def with_point(written: str, link: str, name: str, mass: float, at: Sequence[float]) -> str:
    """The document with a further point mass, a link `name` fixed to `link` at `at` [m]."""
    root = _element(safe_xml.parse(written.encode()))
    point = ET.SubElement(root, "link", name=name)
    inertial = ET.SubElement(point, "inertial")
    ET.SubElement(inertial, "mass", value=_number(mass))
    axes = {"ixx": "0", "iyy": "0", "izz": "0", "ixy": "0", "ixz": "0", "iyz": "0"}
    ET.SubElement(inertial, "inertia", axes)
    joint = ET.SubElement(root, "joint", name=f"{name}_fixed", type="fixed")
    ET.SubElement(joint, "parent", link=link)
    ET.SubElement(joint, "child", link=name)
    ET.SubElement(joint, "origin", xyz=_vector(tuple(at)), rpy="0 0 0")
    return _in_lines(root)


def is_own_file(description: Description) -> bool:
    """Whether the Description is what its URDF file says, unchanged."""
    read = _read(description)
    return read is not None and (read.links, read.joints) == (description.links, description.joints)


def principal(link: Link) -> tuple[np.ndarray, np.ndarray]:
    """Moments (3,) and right-handed axes (3, 3), as columns in the link's frame."""
    inertia = np.array(link.inertia, dtype=float)
    if not np.any(inertia - np.diag(np.diag(inertia))):
        return np.diag(inertia).copy(), np.eye(3)
    moments, axes = np.linalg.eigh(inertia)
    return moments, axes * np.sign(np.linalg.det(axes))


def _read(description: Description) -> Description | None:
    path = Path(description.source)
    if path.suffix.lower() != ".urdf" or not path.is_file():
        return None
    return urdf.read(path, ignore=("mimic",))  # the engine does not read them either


def _is_tree_of_file(description: Description) -> bool:
    read = _read(description)
    names = tuple(link.name for link in description.links)
    if read is None or tuple(link.name for link in read.links) != names:
        return False
    return _placement(read) == _placement(description)


def _document(
    description: Description, visuals: bool, shapes: bool, package_roots: Roots
) -> ET.Element:
    path = Path(description.source).resolve()
    root = _element(safe_xml.parse(safe_xml.read(path)))
    only_own_files(root, path.parent, package_roots, visuals=visuals, shapes=shapes)
    return root


def _element(read: safe_xml.Element) -> ET.Element:
    element = ET.Element(read.tag, read.attributes)
    element.extend(_element(child) for child in read.children)
    return element


def _placement(description: Description) -> tuple:
    return tuple(
        (joint.name, joint.kind, joint.parent, joint.child, joint.origin, joint.axis)
        for joint in description.joints
    )


def _skeleton(description: Description, visuals: bool, shapes: bool) -> ET.Element:
    """Links and joints, drawn as bars from joint to joint."""
    root = ET.Element("robot", name=description.name)
    sizes = [math.hypot(*joint.origin.position) for joint in description.joints]
    thick = _THICK * max([*sizes, 0.1])
    tags = [tag for tag, kept in (("visual", visuals), ("collision", shapes)) if kept]
    for link in description.links:
        element = ET.SubElement(root, "link", name=link.name)
        _shape(element, tags, "sphere", {"radius": _number(1.5 * thick)}, np.eye(3), np.zeros(3))
        for joint in description.joints:
            end = np.array(joint.origin.position)
            length = float(np.linalg.norm(end))
            if joint.parent == link.name and length > 2 * thick:
                size = {"radius": _number(thick), "length": _number(length)}
                _shape(element, tags, "cylinder", size, _along(end / length), end / 2)
    for joint in description.joints:
        element = ET.SubElement(root, "joint", name=joint.name, type=joint.kind)
        ET.SubElement(element, "parent", link=joint.parent)
        ET.SubElement(element, "child", link=joint.child)
        if joint.moves:
            bounded = math.isfinite(joint.low) and math.isfinite(joint.high)
            low, high = (joint.low, joint.high) if bounded else (1.0, -1.0)  # reversed: none
            limits = {"lower": _number(low), "upper": _number(high), "effort": "0"}
            ET.SubElement(element, "limit", {**limits, "velocity": "0"})
    return root


def _shape(
    link: ET.Element,
    tags: list[str],
    kind: str,
    size: dict[str, str],
    turn: np.ndarray,
    place: np.ndarray,
) -> None:
    for tag in tags:
        element = ET.SubElement(link, tag)
        rotation = tuple(tuple(row) for row in turn.tolist())
        element.append(_origin(Pose(rotation=rotation, position=tuple(place.tolist()))))  # type: ignore[arg-type]
        ET.SubElement(ET.SubElement(element, "geometry"), kind, size)
        if tag == "visual":
            material = ET.SubElement(element, "material", name="steel")
            ET.SubElement(material, "color", rgba="0.62 0.65 0.70 1")


def _along(direction: np.ndarray) -> np.ndarray:
    """A rotation that takes z to a unit vector."""
    other = np.eye(3)[np.argmin(np.abs(direction))]
    x = np.cross(other, direction)
    x /= np.linalg.norm(x)
    return np.column_stack([x, np.cross(direction, x), direction])


def _inertial(link: Link) -> ET.Element:
    moments, axes = principal(link)
    element = ET.Element("inertial")
    rows = tuple(tuple(row) for row in axes.tolist())
    element.append(_origin(Pose(rotation=rows, position=link.center)))  # type: ignore[arg-type]
    ET.SubElement(element, "mass", value=_number(link.mass))
    values = dict(zip(("ixx", "iyy", "izz"), map(_number, moments), strict=True))
    ET.SubElement(element, "inertia", {**values, "ixy": "0", "ixz": "0", "iyz": "0"})
    return element


def _origin(pose: Pose) -> ET.Element:
    return ET.Element(
        "origin", xyz=_vector(pose.position), rpy=_vector(roll_pitch_yaw(pose.rotation))
    )


def roll_pitch_yaw(rotation: tuple) -> tuple[float, float, float]:
    """Roll, pitch, yaw about fixed axes, R = Rz Ry Rx."""
    (r00, r01, _), (r10, r11, _), (r20, r21, r22) = rotation
    cosine = math.hypot(r00, r10)
    if cosine < 1e-8:  # upright: roll and yaw turn alike, so that one of them is enough
        return 0.0, math.atan2(-r20, cosine), math.atan2(-r01, r11)
    return math.atan2(r21, r22), math.atan2(-r20, cosine), math.atan2(r10, r00)


def _number(value: float) -> str:
    return f"{float(value):.17g}"


def _vector(values: tuple[float, ...]) -> str:
    return " ".join(map(_number, values))
