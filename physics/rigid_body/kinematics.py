"""Where the bodies are: poses in the world, and how fast a frame moves per unit of velocity.

Featherstone, Rigid Body Dynamics Algorithms, 2008, sec. 4.1 and 4.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from physics.rigid_body.description import EYE
from physics.rigid_body.moments import Moments
from physics.rigid_body.spatial import (
    ORIGIN,
    Frame,
    Rows,
    Scalar,
    Vector,
    add,
    apply,
    cross,
    dot,
    scale,
    transpose,
)
from physics.rigid_body.tree import Body


@dataclass(frozen=True)
class Place:
    """x_world = rotation · x + position [m]."""

    rotation: Rows = EYE
    position: Vector = ORIGIN

    def then(self, frame: Frame) -> Place:
        """Of a frame given in this one."""
        x, y, z = (frame.inward(row) for row in self.rotation)
        return Place((x, y, z), add(self.position, apply(self.rotation, frame.position)))


def path(bodies: Sequence[Body], link: str) -> tuple[int, ...]:
    """Bodies from the base to the one that this link belongs to; ValueError lists the links."""
    for i, body in enumerate(bodies):
        if link in (held.name for held, _ in body.links):
            found = [i]
            while found[-1] > 0:
                found.append(bodies[found[-1]].parent)
            return tuple(reversed(found))
    names = [held.name for body in bodies for held, _ in body.links]
    raise ValueError(f"frame must be a link, one of {names}, got {link!r}")


def places(
    bodies: Sequence[Body], along: Sequence[int], base: Place, q: Sequence[Scalar]
) -> list[Place]:
    """The poses of the bodies on a path."""
    found = [base]
    for i in along[1:]:
        found.append(found[-1].then(bodies[i].frame(q[bodies[i].row])))
    return found


def frame_place(
    bodies: Sequence[Body], link: str, base: Place, q: Sequence[Scalar]
) -> tuple[Place, list[Place]]:
    """The pose of a link's frame, and those of the bodies on the path to it."""
    along = path(bodies, link)
    found = places(bodies, along, base, q)
    frame = next(frame for held, frame in bodies[along[-1]].links if held.name == link)
    return found[-1].then(frame), found


def columns(
    bodies: Sequence[Body], link: str, base: Place, q: Sequence[Scalar]
) -> dict[int, tuple[Vector, Vector]]:
    """For each joint on the path to a link, by row: its frame's linear and angular velocity in
    the world's axes [m, rad] a unit of the joint's velocity."""
    end, found = frame_place(bodies, link, base, q)
    moved = {}
    for i, place in list(zip(path(bodies, link), found, strict=True))[1:]:
        axis = transpose(place.rotation)[2]
        arm = add(end.position, scale(place.position, -1))
        slides = bodies[i].slides
        moved[bodies[i].row] = (axis, ORIGIN) if slides else (cross(axis, arm), axis)
    return moved


def height(
    bodies: Sequence[Body], moments: Sequence[Moments], base: Place, q: Sequence[Scalar]
) -> Scalar:
    """Σ m z over all masses, z above the world's origin [kg·m]."""
    found = [base]
    for body in bodies[1:]:
        found.append(found[body.parent].then(body.frame(q[body.row])))
    total: Scalar = 0.0
    for place, masses in zip(found, moments, strict=True):
        total = total + masses.mass * place.position[2] + dot(place.rotation[2], masses.first)
    return total
