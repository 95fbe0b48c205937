"""Links that no joint moves apart, as one body with one mass."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from physics.rigid_body.description import EYE, ZERO, Description, Joint, Link, Matrix, Pose, Vector
from physics.rigid_body.rotation import apply, compose, rotate_inertia, transpose


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A moving joint in a body's frame, all coordinates being 0."""

    joint: Joint
    position: Vector = (0.0, 0.0, 0.0)
    direction: Vector


@dataclass(frozen=True, kw_only=True)
class Welded:
    """A body in the frame of the link that its last joint carries.

    parent   index of the body it moves in, −1 is the world
    pose     of its frame in its parent's
    axes     its joints, the first one next to the parent
    free     whether it floats
    mass, center, inertia   [kg], [m], [kg·m²] about the centre, in the body's axes
    """

    name: str
    parent: int
    pose: Pose
    axes: tuple[Axis, ...]
    free: bool
    mass: float
    center: Vector
    inertia: Matrix

    @property
    def fixed(self) -> bool:
        return not (self.axes or self.free)


def weld(description: Description, *, floating: bool) -> tuple[Welded, ...]:
    """The bodies of a description, parents first.

    A body without mass that carries just one other becomes part of it: MuJoCo lets one body have
    several joints, and refuses one without mass.
    """
    links = {link.name: link for link in description.links}
    children: dict[str, list[Joint]] = {}
    for joint in description.joints:
        children.setdefault(joint.parent, []).append(joint)
    found: list[Welded] = []
    waiting: list[tuple[str, int, Pose, tuple[Axis, ...]]] = [(description.root, -1, Pose(), ())]
    while waiting:
        first, parent, pose, axes = waiting.pop()
        held, moving = _held(first, links, children)
        mass, center, inertia = _lumped(held)
        base = not found
        if mass == 0 and inertia == ZERO and len(moving) == 1 and not base:
            (joint, at), *_ = moving
            carried = tuple(_carried(axis, at) for axis in axes)
            waiting.append((joint.child, parent, compose(pose, at), (*carried, _own(joint))))
            continue
        waiting += [(j.child, len(found), at, (_own(j),)) for j, at in reversed(moving)]
        found.append(
            Welded(
                name=first,
                parent=parent,
                pose=pose,
                axes=axes,
                free=floating and base,
                mass=mass,
                center=center,
                inertia=inertia,
            )
        )
    return tuple(found)


def _held(
    first: str, links: dict[str, Link], children: dict[str, list[Joint]]
) -> tuple[list[tuple[Link, Pose]], list[tuple[Joint, Pose]]]:
    """Links fixed to the first, and the joints that move in them, in the first link's frame."""
    held, moving, ahead = [], [], [(first, Pose())]
    while ahead:
        name, pose = ahead.pop()
        held.append((links[name], pose))
        for joint in children.get(name, []):
            at = compose(pose, joint.origin)
            if joint.moves:
                moving.append((joint, at))
            else:
                ahead.append((joint.child, at))
    return held, moving


def _lumped(held: list[tuple[Link, Pose]]) -> tuple[float, Vector, Matrix]:
    """Mass, centre and inertia about it of several links."""
    if len(held) == 1:
        link = held[0][0]
        return link.mass, link.center, link.inertia
    centers = [compose(pose, Pose(position=link.center)).position for link, pose in held]
    masses = [link.mass for link, _ in held]
    mass = sum(masses)
    center = (0.0, 0.0, 0.0)
    if mass > 0:
        a, b, c = (sum(m * r[i] for m, r in zip(masses, centers, strict=True)) for i in range(3))
        center = (a / mass, b / mass, c / mass)
    total = [[0.0] * 3 for _ in range(3)]
    for (link, pose), r in zip(held, centers, strict=True):
        own = rotate_inertia(pose.rotation, link.inertia)
        arm = [r[i] - center[i] for i in range(3)]
        square = sum(a * a for a in arm)
        for i in range(3):
            for j in range(3):
                steiner = square * EYE[i][j] - arm[i] * arm[j]
                total[i][j] += own[i][j] + link.mass * steiner
    rows = [(row[0], row[1], row[2]) for row in total]
    return mass, center, (rows[0], rows[1], rows[2])


def _own(joint: Joint) -> Axis:
    return Axis(joint=joint, direction=joint.axis)


def _carried(axis: Axis, at: Pose) -> Axis:
    """The axis seen from a frame that is `at` in its own."""
    back = transpose(at.rotation)
    x, y, z = (a - b for a, b in zip(axis.position, at.position, strict=True))
    return dataclasses.replace(
        axis, position=apply(back, (x, y, z)), direction=apply(back, axis.direction)
    )
