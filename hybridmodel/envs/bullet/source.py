"""URDF text of a robot's Description: its own file where it has one, with the numbers replaced.

Joints, pictures and collision shapes are the file's. Masses, centres, inertias and the places of
joints are those of the Description, every number with 17 significant digits and every tensor
along its principal axes, so that nothing is left for the engine to diagonalise.
"""

from __future__ import annotations

import dataclasses
import math
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np

from physics.rigid_body import urdf
from physics.rigid_body.description import Description, Link, Pose

_LEVELS = 4  # folders above the file in which a package:// may lie
_THICK = 0.05  # of the reach, for robots that have no pictures


def text(description: Description, *, visuals: bool, shapes: bool) -> str:
    """The whole document; `visuals` and `shapes` say whether pictures and collisions are kept."""
    root = _own_file(description)
    if root is None:
        root = _skeleton(description)
    links = {link.name: link for link in description.links}
    for element in root.findall("link"):
        for tag, keep in (("visual", visuals), ("collision", shapes), ("inertial", False)):
            for child in element.findall(tag) if not keep else ():
                element.remove(child)
        for contact in element.findall("contact"):
            for scaling in contact.findall("inertia_scaling"):
                contact.remove(scaling)
        element.append(_inertial(links[element.attrib["name"]]))
    joints = {joint.name: joint for joint in description.joints}
    for element in root.findall("joint"):
        for origin in element.findall("origin"):
            element.remove(origin)
        element.append(_origin(joints[element.attrib["name"]].origin))
    for tag in ("transmission", "gazebo"):
        for child in root.findall(tag):
            root.remove(child)
    return ET.tostring(root, encoding="unicode")


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
    if path.suffix != ".urdf" or not path.is_file():
        return None
    return urdf.read(path, ignore=("mimic",))  # the engine does not read them either


def _own_file(description: Description) -> ET.Element | None:
    """Its file's elements with mesh paths made whole; None where that is not its tree."""
    read = _read(description)
    names = tuple(link.name for link in description.links)
    if read is None or tuple(link.name for link in read.links) != names:
        return None
    if _placement(read) != _placement(description):
        return None
    path = Path(description.source).resolve()
    root = ET.parse(path).getroot()  # a file that urdf.read has found harmless
    for link in root.findall("link"):
        for tag in ("visual", "collision"):
            for shape in link.findall(tag):
                mesh = shape.find("geometry/mesh")
                found = None if mesh is None else _mesh(mesh.get("filename", ""), path)
                if mesh is not None and found is not None:
                    mesh.set("filename", str(found))
                elif mesh is not None:
                    link.remove(shape)
    for texture in root.iter("texture"):
        name = Path(path.parent, texture.get("filename", ""))
        texture.set("filename", str(name))
    return root


def _placement(description: Description) -> tuple:
    return tuple(
        (joint.name, joint.kind, joint.parent, joint.child, joint.origin, joint.axis)
        for joint in description.joints
    )


def _mesh(name: str, path: Path) -> Path | None:
    """The mesh that a name in this file means; None where it is missing or lies elsewhere."""
    try:
        return urdf.resolve(name, path.parent, list(path.parents)[: _LEVELS + 1])
    except (ValueError, FileNotFoundError):
        # ../meshes/x.stl, beside the file's folder, is common
        beside = Path(path.parent, name).resolve()
        near = beside.is_relative_to(path.parent.parent)
        return beside if near and beside.is_file() and "://" not in name else None


def lumped_root(description: Description) -> Description:
    """The mass of all links fixed to the root, directly or not, moved into it.

    The motion is the same, and the root of a free robot has the mass that the engine needs.
    Raises ValueError where there is none.
    """
    poses = {description.root: (np.eye(3), np.zeros(3))}
    pending = True
    while pending:
        pending = False
        for joint in description.joints:
            if joint.kind == "fixed" and joint.parent in poses and joint.child not in poses:
                turn, place = poses[joint.parent]
                own = np.array(joint.origin.rotation), np.array(joint.origin.position)
                poses[joint.child] = (turn @ own[0], place + turn @ own[1])
                pending = True
    mass, moment = 0.0, np.zeros(3)
    for name, (turn, place) in poses.items():
        link = description.link(name)
        mass += link.mass
        moment = moment + link.mass * (place + turn @ np.array(link.center))
    if mass <= 0:
        raise ValueError(f"{description.name}: the floating root {description.root!r} has no mass")
    center, inertia = moment / mass, np.zeros((3, 3))
    for name, (turn, place) in poses.items():
        link = description.link(name)
        arm = place + turn @ np.array(link.center) - center
        inertia += turn @ np.array(link.inertia) @ turn.T
        inertia += link.mass * (arm @ arm * np.eye(3) - np.outer(arm, arm))
    links = []
    for link in description.links:
        if link.name == description.root:
            rows = tuple(tuple(row) for row in ((inertia + inertia.T) / 2).tolist())
            center_of_mass = tuple(center.tolist())
            link = Link(name=link.name, mass=mass, center=center_of_mass, inertia=rows)  # type: ignore[arg-type]
        elif link.name in poses:
            link = Link(name=link.name)
        links.append(link)
    return dataclasses.replace(description, links=tuple(links))


def _skeleton(description: Description) -> ET.Element:
    """Links and joints, drawn as bars from joint to joint."""
    root = ET.Element("robot", name=description.name)
    sizes = [math.hypot(*joint.origin.position) for joint in description.joints]
    thick = _THICK * max([*sizes, 0.1])
    for link in description.links:
        element = ET.SubElement(root, "link", name=link.name)
        _shape(element, "sphere", {"radius": _number(1.5 * thick)}, np.eye(3), np.zeros(3))
        for joint in description.joints:
            end = np.array(joint.origin.position)
            length = float(np.linalg.norm(end))
            if joint.parent == link.name and length > 2 * thick:
                size = {"radius": _number(thick), "length": _number(length)}
                _shape(element, "cylinder", size, _along(end / length), end / 2)
    for joint in description.joints:
        element = ET.SubElement(root, "joint", name=joint.name, type=joint.kind)
        ET.SubElement(element, "parent", link=joint.parent)
        ET.SubElement(element, "child", link=joint.child)
        element.append(_origin(joint.origin))
        if joint.moves:
            ET.SubElement(element, "axis", xyz=_vector(joint.axis))
            bounded = math.isfinite(joint.low) and math.isfinite(joint.high)
            low, high = (joint.low, joint.high) if bounded else (1.0, -1.0)  # reversed: none
            limits = {"lower": _number(low), "upper": _number(high), "effort": "0"}
            ET.SubElement(element, "limit", {**limits, "velocity": "0"})
    return root


def _shape(
    link: ET.Element, kind: str, size: dict[str, str], turn: np.ndarray, place: np.ndarray
) -> None:
    for tag in ("visual", "collision"):
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
