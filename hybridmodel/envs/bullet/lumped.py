"""Links that do not move against the root of a robot, as one."""

from __future__ import annotations

import dataclasses

import numpy as np

from physics.rigid_body.description import Description, Link


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
