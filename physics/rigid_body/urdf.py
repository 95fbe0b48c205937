"""URDF read as data: exactly what the file says, or a ValueError that names what it cannot mean.

    R = Rz(yaw) Ry(pitch) Rx(roll)      rpy about fixed axes
    I = R I_file Rᵀ                     inertia turned into the link's axes

Where the specification is silent or files differ:
- an angle within 1e-12 rad of a multiple of π/2 is taken as that multiple, so that rotations of
  files that write 3.14159265358979 are exact and symbolic graphs stay small;
- a limit with lower > upper, or with neither, means none (as in PyBullet); one alone is met by 0;
- effort and velocity that are 0 or missing are unknown, hence inf. PyBullet stores them and never
  enforces them, Pinocchio keeps the 0, Drake makes no motor for effort 0;
- a link without <inertial> has mass 0; see `inertia.as_pybullet` for what PyBullet takes instead.

Specification: wiki.ros.org/urdf/XML (link, joint).
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Sequence
from pathlib import Path, PurePosixPath

from physics.rigid_body import safe_xml
from physics.rigid_body.description import Description, Joint, Link, Pose
from physics.rigid_body.rotation import from_rpy, rotate_inertia
from physics.rigid_body.safe_xml import Element, shorten

_REFUSED = {
    "floating": "six degrees of freedom; free the root with floating=True instead",
    "planar": "three degrees of freedom; write two prismatic and a revolute joint",
    "spherical": "three degrees of freedom without a vector q; write three revolute joints",
}


def read(
    source: str | os.PathLike[str],
    *,
    package_roots: Sequence[str | os.PathLike[str]] = (),
    ignore: Collection[str] = (),
) -> Description:
    """The robot of a URDF file.

    `ignore=("mimic",)` lets joints move freely whose <mimic> is refused otherwise, as in PyBullet.
    `package_roots` are the folders that `resolve` may look in for meshes; they are checked to
    be folders, and no mesh is opened: physics needs none.

    Raises FileNotFoundError, or ValueError naming file, line, link or joint.
    """
    folders(package_roots)
    return parse(safe_xml.read(source), source=os.fspath(source), ignore=ignore)


def parse(
    text: str | bytes, *, source: str = "URDF text", ignore: Collection[str] = ()
) -> Description:
    """The robot of a URDF document; ValueError naming `source`, line, link or joint."""
    if isinstance(ignore, str):  # a text is a collection, of letters
        raise ValueError(f"ignore must be a collection such as ('mimic',), got {ignore!r}")
    if unknown := [name for name in ignore if name != "mimic"]:
        raise ValueError(f"ignore may hold 'mimic', got {unknown[0]!r}")
    try:
        return _robot(safe_xml.parse(text), source, frozenset(ignore))
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None


def folders(package_roots: Sequence[str | os.PathLike[str]]) -> tuple[Path, ...]:
    """The roots as paths; ValueError where one is no folder, or they are a single path."""
    if isinstance(package_roots, str | bytes | os.PathLike):  # a text is a sequence, of letters
        one = os.fspath(package_roots)
        raise ValueError(f"package_roots must be a sequence such as ({one!r},), got {one!r}")
    roots = tuple(map(Path, package_roots))
    for root in roots:
        if not root.is_dir():
            raise ValueError(f"package_roots must be folders, got {os.fspath(root)!r}")
    return roots


def resolve(
    filename: str,
    folder: str | os.PathLike[str],
    package_roots: Sequence[str | os.PathLike[str]] = (),
) -> Path:
    """The existing file that a mesh filename means, inside `folder` or one of `package_roots`.

    `package://name/rest` is looked for as `root/name/rest`, and as `root/rest` where the root
    itself is called `name`; other names relative to `folder`, then to each root. Absolute
    paths, `..`, other schemes, and links leading out are refused with a ValueError; a name that
    no place has raises FileNotFoundError.
    """
    name = filename.replace("\\", "/")
    package = name.startswith("package://")
    path = PurePosixPath(name.removeprefix("package://").removeprefix("file://"))
    inside = "must stay inside its own folder or package_roots"
    bad = "\0" in name or "://" in str(path) or not path.parts or ":" in path.parts[0]
    if bad or path.is_absolute() or ".." in path.parts:
        raise ValueError(f"filename {shorten(filename)} {inside}")
    places = [(root, path) for root in (Path(folder), *folders(package_roots))]
    if package:
        rest = PurePosixPath(*path.parts[1:])
        places += [(root, rest) for root, _ in places if root.resolve().name == path.parts[0]]
    for root, relative in places:
        try:
            found, home = (root / relative).resolve(), root.resolve()
            there = found.is_file()
        except (OSError, RuntimeError) as error:  # too long a name, a loop of links
            raise ValueError(f"filename {shorten(filename)} cannot be looked up: {error}") from None
        if there and not found.is_relative_to(home):
            raise ValueError(f"filename {shorten(filename)} is a link out: it {inside}")
        if there:
            return found
    raise FileNotFoundError(
        f"filename {shorten(filename)} is in none of {[str(root) for root, _ in places]}"
    )


def _robot(root: Element, source: str, ignore: frozenset[str]) -> Description:
    if root.tag != "robot":
        raise ValueError(f"the root element must be <robot>, got <{root.tag}>")
    for element in root.descendants():
        if element.tag.startswith("xacro:"):
            raise ValueError(
                f"line {element.line}: <{element.tag}> is no URDF, expand it with xacro first"
            )
    return Description(
        name=root.attributes.get("name") or Path(source).stem,
        links=tuple(_link(element) for element in root.all("link")),
        joints=tuple(_joint(element, ignore) for element in root.all("joint")),
        source=source,
    )


def _name(element: Element, attribute: str = "name") -> str:
    name = element.attributes.get(attribute, "")
    if not name.strip() or "${" in name or len(name) > 200:  # names end up in messages
        raise ValueError(
            f"line {element.line}: <{element.tag}> must have a {attribute}, got {shorten(name)}"
        )
    return name


def _pose(element: Element | None) -> Pose:
    if element is None:
        return Pose()
    r, p, y = element.numbers("rpy", 3, (0.0, 0.0, 0.0))
    x0, x1, x2 = element.numbers("xyz", 3, (0.0, 0.0, 0.0))
    return Pose(rotation=from_rpy(r, p, y), position=(x0, x1, x2))


def _link(element: Element) -> Link:
    name = _name(element)
    try:
        contact = element.one("contact")
        scale = contact and contact.one("inertia_scaling")
        scaling = scale.number("value", 1.0) if scale else 1.0
        inertial = element.one("inertial")
        if inertial is None:
            return Link(name=name, has_inertial=False, inertia_scaling=scaling)
        pose = _pose(inertial.one("origin"))
        mass = _required(inertial, "mass", "value")
        if mass < 0:
            raise ValueError(f"mass must be 0 kg or more, got {mass}")
        tensor = inertial.one("inertia")
        if tensor is None:
            raise ValueError(f"line {inertial.line}: <inertial> must have an <inertia>")
        xx, yy, zz = (_required(inertial, "inertia", key) for key in ("ixx", "iyy", "izz"))
        xy, xz, yz = (tensor.number(key, 0.0) for key in ("ixy", "ixz", "iyz"))
        inertia = rotate_inertia(pose.rotation, ((xx, xy, xz), (xy, yy, yz), (xz, yz, zz)))
        if not all(math.isfinite(entry) for row in inertia for entry in row):
            raise ValueError(f"line {tensor.line}: <inertia> is too large for a float")
    except ValueError as error:
        raise ValueError(f"link {shorten(name)}: {error}") from None
    return Link(
        name=name,
        mass=mass,
        center=pose.position,
        inertia=inertia,
        inertia_frame=pose.rotation,
        inertia_scaling=scaling,
    )


def _required(parent: Element, tag: str, attribute: str) -> float:
    child = parent.one(tag)
    if child is None or attribute not in child.attributes:
        raise ValueError(
            f"line {(child or parent).line}: <{parent.tag}> must have a <{tag} {attribute}=…>"
        )
    return child.number(attribute, 0.0)


def _joint(element: Element, ignore: frozenset[str]) -> Joint:
    name = _name(element)
    try:
        return _read_joint(name, element, ignore)
    except ValueError as error:
        raise ValueError(f"joint {shorten(name)}: {error}") from None


def _read_joint(name: str, element: Element, ignore: frozenset[str]) -> Joint:
    kind = element.attributes.get("type")
    if kind in _REFUSED:
        raise ValueError(f"line {element.line}: type {kind!r} is refused: {_REFUSED[kind]}")
    if kind not in ("revolute", "continuous", "prismatic", "fixed"):
        raise ValueError(
            f"line {element.line}: type must be revolute, continuous, prismatic or fixed, "
            f"got {shorten(kind) if kind is not None else None}"
        )
    if (mimic := element.one("mimic")) is not None and "mimic" not in ignore:
        raise ValueError(
            f"line {mimic.line}: <mimic> is refused: a constraint between joints is no tree; "
            'ignore=("mimic",) leaves it out'
        )
    ends = {}
    for end in ("parent", "child"):
        if (found := element.one(end)) is None:
            raise ValueError(f"line {element.line}: <joint> must have a <{end} link=…>")
        ends[end] = _name(found, "link")
    origin = _pose(element.one("origin"))
    if kind == "fixed":
        return Joint(name=name, kind="fixed", origin=origin, **ends)
    low, high = _range(element.one("limit")) if kind != "continuous" else (-math.inf, math.inf)
    return Joint(
        name=name,
        kind="prismatic" if kind == "prismatic" else "revolute",
        origin=origin,
        axis=_axis(element.one("axis")),
        low=low,
        high=high,
        effort=_not_negative(element.one("limit"), "effort") or math.inf,
        velocity=_not_negative(element.one("limit"), "velocity") or math.inf,
        damping=_not_negative(element.one("dynamics"), "damping"),
        friction=_not_negative(element.one("dynamics"), "friction"),
        **ends,
    )


def _axis(element: Element | None) -> tuple[float, float, float]:
    if element is None:
        return (1.0, 0.0, 0.0)
    x, y, z = element.numbers("xyz", 3, (1.0, 0.0, 0.0))
    norm = math.hypot(x, y, z)
    if not 1e-9 < norm < 1e9:  # beyond, it is no direction but a mistake
        raise ValueError(f"line {element.line}: <axis xyz=…> must be a direction, got {(x, y, z)}")
    return (x / norm + 0.0, y / norm + 0.0, z / norm + 0.0)  # no −0.0


def _range(element: Element | None) -> tuple[float, float]:
    if element is None or not {"lower", "upper"} & element.attributes.keys():
        return -math.inf, math.inf
    low, high = element.number("lower", 0.0), element.number("upper", 0.0)
    return (low, high) if low <= high else (-math.inf, math.inf)


def _not_negative(element: Element | None, attribute: str) -> float:
    value = 0.0 if element is None else element.number(attribute, 0.0)
    if value < 0:
        line = element.line if element is not None else 0
        raise ValueError(f"line {line}: {attribute} must be 0 or more, got {value}")
    return value
