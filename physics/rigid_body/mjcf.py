"""MJCF read as data: the kinematic tree, its inertias and motors, as MuJoCo compiles them.

    T_body(q) = T₀ J₁(q₁) … Jₖ(qₖ),    hinge  J = Trans(p) Rot(a, q − ref) Trans(−p)
                                       slide  J = Trans(a (q − ref))

T₀  pose of the body in its parent, p anchor and a axis of a joint in the body's frame

A link's frame stands at the anchor of its last joint, as a Description wants it; a body with
several joints becomes as many links, all but the last without mass. The root is the world, or
the body with a free joint, whose first pose is no part of a description; neither are contacts,
fluids, gravity, sensors and what <option> says.

Refused by name: ball joints, <include>, equality constraints, springs (stiffness), tendons that
pull, gravcomp, <replicate>, <composite>, <frame>, <attach>, flexible bodies. `ignore` leaves out
"stiffness", "equality" or "tendon" where that loss is wanted.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Collection

from physics.rigid_body import safe_xml
from physics.rigid_body.description import Description, Joint, Link, Pose
from physics.rigid_body.mjcf_elements import (
    ORIGIN,
    Defaults,
    Settings,
    efforts,
    limits,
    pose,
    refuse_what_is_no_tree,
    shown,
    three,
    unit,
)
from physics.rigid_body.mjcf_inertia import body_inertia, moved, scaled
from physics.rigid_body.rotation import about, compose
from physics.rigid_body.safe_xml import Element, shorten

IGNORABLE = ("stiffness", "equality", "tendon")


def read(source: str | os.PathLike[str], *, ignore: Collection[str] = ()) -> Description:
    """The robot of an MJCF file; FileNotFoundError, or ValueError naming file, line, body, joint.

    ignore  of "stiffness", "equality", "tendon": what to leave out instead of refusing it
    """
    return parse(safe_xml.read(source), source=os.fspath(source), ignore=ignore)


def parse(
    text: str | bytes, *, source: str = "MJCF text", ignore: Collection[str] = ()
) -> Description:
    """The robot of an MJCF document; ValueError naming `source`, line, body or joint."""
    if isinstance(ignore, str):  # a text is a collection, of letters
        raise ValueError(f"ignore must be a collection such as {IGNORABLE[:1]}, got {ignore!r}")
    if unknown := [name for name in ignore if name not in IGNORABLE]:
        raise ValueError(f"ignore must be of {IGNORABLE}, got {unknown[0]!r}")
    try:
        return _Tree(safe_xml.parse(text), frozenset(ignore)).description(source)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None


class _Tree:
    """One pass over the bodies of a document."""

    def __init__(self, root: Element, ignore: frozenset[str]) -> None:
        if root.tag != "mujoco":
            raise ValueError(f"the root element must be <mujoco>, got <{root.tag}>")
        self._root, self._ignore = root, ignore
        self._settings = Settings.of(root)
        self._defaults = Defaults(root)
        refuse_what_is_no_tree(root, self._defaults, ignore)
        self._links: list[Link] = []
        self._joints: list[Joint] = []
        self._names = {e.attributes.get("name") for e in root.descendants()}

    def description(self, source: str) -> Description:
        bodies = [body for world in self._root.all("worldbody") for body in world.all("body")]
        if not bodies:
            raise ValueError("<worldbody> has no body")
        free = [body for body in bodies if self._is_free(body)]
        if free and len(bodies) > 1:
            raise ValueError(
                f"line {free[0].line}: body {shown(free[0])} is free beside other bodies: that is "
                "more than one robot"
            )
        if not free:
            self._links.append(Link(name="world"))
        for body in bodies:
            self._body(body, None if free else ("world", Pose()), "main")
        return Description(
            name=self._root.attributes.get("model", "MuJoCo Model"),
            links=self._scaled(),
            joints=tuple(self._with_effort()),
            floating=bool(free),
            source=source,
        )

    def _is_free(self, body: Element) -> bool:
        joints = body.all("joint")
        kinds = [j.attributes.get("type") for j in joints]
        free = bool(body.all("freejoint")) or "free" in kinds
        if free and len(joints) + len(body.all("freejoint")) > 1:
            raise ValueError(f"line {body.line}: body {shown(body)} has a joint beside a free one")
        return free

    def _named(self, element: Element, otherwise: str) -> str:
        """The element's name, or one that no other element has."""
        name = element.attributes.get("name") or otherwise
        if not element.attributes.get("name"):
            while name in self._names:
                name += "'"
            self._names.add(name)
        if len(name) > 200 or not name.strip():
            raise ValueError(f"line {element.line}: name {shorten(name)} must be 1 to 200 long")
        return name

    def _body(self, element: Element, parent: tuple[str, Pose] | None, inherited: str) -> None:
        """Appends links and joints; `parent` is a link and the parent body's pose in its frame."""
        name = self._named(element, f"body{len(self._links)}")
        inherited = element.attributes.get("childclass", inherited)
        try:
            for attribute in ("gravcomp", "mocap"):
                if element.attributes.get(attribute, "0") not in ("0", "false"):
                    raise ValueError(f"line {element.line}: {attribute} is refused")
            here = Pose()
            if parent is not None:
                here = self._chain(element, name, parent, inherited)
            body = body_inertia(element, self._settings, self._defaults, inherited)
            body = moved(body, here)
            entries = (x for row in body.inertia for x in row)
            if not all(map(math.isfinite, (body.mass, *body.center, *here.position, *entries))):
                raise ValueError(f"line {element.line}: a number is too large for a float")
        except ValueError as error:
            raise ValueError(f"body {shorten(name)}: {error}") from None
        self._links.append(
            Link(name=name, mass=body.mass, center=body.center, inertia=body.inertia)
        )
        for child in element.all("body"):
            self._body(child, (name, here), inherited)

    def _chain(self, element: Element, name: str, parent: tuple[str, Pose], inherited: str) -> Pose:
        """The joints from the parent's link to this body's; gives the body's pose in its link."""
        link, ahead = parent[0], compose(parent[1], pose(element, self._settings))
        if element.all("freejoint"):
            raise ValueError(f"line {element.line}: only a body of <worldbody> can be free")
        joints = [self._defaults.fill(joint, inherited) for joint in element.all("joint")]
        if not joints:
            fixed = self._named(Element("joint", {}, element.line), f"{name}:fixed")
            self._joints.append(
                Joint(name=fixed, kind="fixed", parent=link, child=name, origin=ahead)
            )
            return Pose()
        for k, element_joint in enumerate(joints):
            joint_name = self._named(element_joint, f"{name}:joint{k}")
            last = k == len(joints) - 1
            child = name if last else self._named(Element("body", {}, 0), f"{name}:{joint_name}")
            try:
                joint, behind = self._joint(element_joint, joint_name, link, child, ahead)
            except ValueError as error:
                raise ValueError(f"joint {shorten(joint_name)}: {error}") from None
            self._joints.append(joint)
            if not last:
                self._links.append(Link(name=child))
            link, ahead = child, behind
        return ahead

    def _joint(
        self, element: Element, name: str, parent: str, child: str, ahead: Pose
    ) -> tuple[Joint, Pose]:
        """The joint, and the pose of what it moves in the child's frame."""
        kind = element.attributes.get("type", "hinge")
        if kind not in ("hinge", "slide"):
            raise ValueError(
                f"line {element.line}: type must be hinge or slide (free: only in a body of "
                f"<worldbody>), got {shorten(kind)}"
            )
        if element.number("stiffness", 0.0) and "stiffness" not in self._ignore:
            raise ValueError(
                f"line {element.line}: stiffness is refused: a Description has no springs; "
                'ignore=("stiffness",) leaves it out'
            )
        axis = unit(element, "axis", three(element, "axis", (0.0, 0.0, 1.0)))
        scale = self._settings.angle if kind == "hinge" else 1.0
        reference = element.number("ref", 0.0) * scale
        anchor = three(element, "pos", ORIGIN)
        x, y, z = anchor
        behind = Pose(position=(-x + 0.0, -y + 0.0, -z + 0.0))
        if kind == "hinge":
            behind = compose(Pose(rotation=about(axis, -reference)), behind)
        else:
            back = (-reference * axis[0], -reference * axis[1], -reference * axis[2])
            behind = compose(Pose(position=back), behind)
        low, high = limits(element, "limited", "range", self._settings) or (-math.inf, math.inf)
        numbers = {key: element.number(key, 0.0) for key in ("damping", "frictionloss", "armature")}
        for key, value in numbers.items():
            if value < 0:
                raise ValueError(f"line {element.line}: {key} must be 0 or more, got {value}")
        origin = compose(ahead, Pose(position=anchor))
        if not all(map(math.isfinite, (*origin.position, *behind.position))):
            raise ValueError(f"line {element.line}: a position is too large for a float")
        joint = Joint(
            name=name,
            kind="revolute" if kind == "hinge" else "prismatic",
            parent=parent,
            child=child,
            origin=origin,
            axis=axis,
            low=low * scale,
            high=high * scale,
            damping=numbers["damping"],
            friction=numbers["frictionloss"],
            armature=numbers["armature"],
        )
        return joint, behind

    def _with_effort(self) -> list[Joint]:
        """Joints with the largest force of their actuators, inf where that is unknown."""
        found = efforts(self._root, self._settings, self._defaults)
        known = {joint.name for joint in self._joints}
        if unknown := [name for name in found if name not in known]:
            raise ValueError(f"an actuator moves joint {shorten(unknown[0])}, which is not there")
        return [
            dataclasses.replace(joint, effort=found.get(joint.name) or math.inf)
            for joint in self._joints
        ]

    def _scaled(self) -> tuple[Link, ...]:
        """The links, scaled to <compiler settotalmass=…> where that is set."""
        total = self._settings.total_mass
        mass = math.fsum(link.mass for link in self._links)
        if total is None or not mass:
            return tuple(self._links)
        return tuple(scaled(link, total / mass) for link in self._links)
