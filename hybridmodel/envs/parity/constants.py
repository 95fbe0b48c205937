"""Constants of a System by name, those of a robot in the terms of its description.

    "<link>.mass", "<link>.center_x" …, "<link>.inertia" (3, 3),
    "<joint>.damping", "<joint>.friction", "<joint>.armature", "<joint>.gear",
    "<joint>.origin" (3, 4) rotation and position [m] in the parent's frame, "<joint>.axis" (3,)

so that a robot whose file gives no damping, or an inertia that no body has, is compared too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

from hybridmodel.envs.bullet.source import is_own_file
from physics import System
from physics.rigid_body import tree
from physics.rigid_body.constants import CENTER, JOINT
from physics.rigid_body.description import Description, Joint, Link, Pose
from physics.rigid_body.inertia import as_pybullet
from physics.rigid_body.payload import as_fitted, described
from physics.rigid_body.system import RigidBody

Constants = dict[str, Any]
Kind = TypeVar("Kind", bound=System)


def constants_of(system: System) -> Constants:
    """All constants, by name."""
    if not isinstance(system, RigidBody):
        return {name: float(value) for name, value in system.parameters.items()}
    values = {name: float(value) for name, value in system.parameters.items()}
    found: Constants = {"gravity": values["gravity"], "smoothing": values["smoothing"]}
    for link in system.description.links:
        fitted = as_fitted(link, values)
        found[f"{link.name}.mass"] = fitted.mass
        found |= {f"{link.name}.{k}": c for k, c in zip(CENTER, fitted.center, strict=True)}
        found[f"{link.name}.inertia"] = fitted.inertia
    for joint in system.joints:
        for kind in JOINT:
            name = f"{joint.name}.{kind}"
            found[name] = values.get(name, getattr(joint, kind))
        if f"{joint.name}.gear" in values:
            found[f"{joint.name}.gear"] = values[f"{joint.name}.gear"]
    for joint in system.description.joints:
        place = np.column_stack([joint.origin.rotation, joint.origin.position])
        found[f"{joint.name}.origin"] = place
        if joint.moves:
            found[f"{joint.name}.axis"] = joint.axis
    return found


def with_constants(system: Kind, values: Mapping[str, Any]) -> Kind:
    """A copy with other constants.

    Raises ValueError where the System cannot have them, such as a damping of 0 that must be
    positive.
    """
    if not values:
        return system
    if not isinstance(system, RigidBody):
        return system.with_parameters(**values)
    now = constants_of(system) | dict(values)

    def linked(link: Link) -> Link:
        key = link.name
        return dataclasses.replace(
            link,
            mass=now[f"{key}.mass"],
            center=tuple(now[f"{key}.{k}"] for k in CENTER),
            inertia=now[f"{key}.inertia"],
            has_inertial=link.has_inertial or now[f"{key}.mass"] > 0,
        )

    def jointed(joint: Joint) -> Joint:
        changes: Constants = {}
        if (place := values.get(f"{joint.name}.origin")) is not None:
            R, r = np.asarray(place)[:, :3].tolist(), np.asarray(place)[:, 3].tolist()
            changes["origin"] = Pose(
                rotation=(tuple(R[0]), tuple(R[1]), tuple(R[2])), position=tuple(r)
            )
        if joint.moves:
            changes |= {kind: now[f"{joint.name}.{kind}"] for kind in JOINT}
            changes["axis"] = tuple(now[f"{joint.name}.axis"])
        return dataclasses.replace(joint, **changes)

    old = system.description
    description = dataclasses.replace(
        old, links=tuple(map(linked, old.links)), joints=tuple(map(jointed, old.joints))
    )
    made = _made(system, description, now)
    gears = {name: value for name, value in now.items() if name.endswith(".gear")}
    return made.with_parameters(**gears) if gears else made


def has_other_tree(a: System, b: System) -> bool:
    """Whether two robots join other links, or by other joints."""
    if not (isinstance(a, RigidBody) and isinstance(b, RigidBody)):
        return False

    def tree_of(robot: RigidBody) -> set[tuple[str, ...]]:
        return {(j.name, j.kind, j.parent, j.child) for j in robot.description.joints}

    return a.floating != b.floating or tree_of(a) != tree_of(b)


def _made(system: RigidBody, description: Description, values: Constants) -> RigidBody:
    names = {signal.name.rpartition("_")[0] for signal in system.inputs}
    made = type(system).from_description(
        description,
        floating=system.floating,
        actuated=[joint.name for joint in system.joints if joint.name in names],
        gravity=values["gravity"],
        smoothing=values["smoothing"],
    )
    return dataclasses.replace(made, inputs=system.inputs)


def loads_own_file(system: System) -> bool:
    """Whether PyBullet, left to read inertias, is given the robot's own file."""
    if not isinstance(system, RigidBody):
        return False
    return is_own_file(described(system.description, system.parameters))


def invented(system: System) -> Constants:
    """What PyBullet makes of moving links that the file gives no <inertial>: 1 kg, 1 kg·m²."""
    found: Constants = {}
    if not (isinstance(system, RigidBody) and loads_own_file(system)):
        return found
    still = frozenset() if system.floating else tree.resting(system.description)
    for link in system.description.links:
        if not link.has_inertial and link.name not in still:
            found |= _of_link(as_pybullet(link))
    return found


def as_read(system: System) -> Constants:
    """Inertias as PyBullet reads them from the file, of links that the file gives one."""
    found: Constants = {}
    if isinstance(system, RigidBody):
        for link in system.description.links:
            if link.has_inertial:
                read = as_pybullet(as_fitted(link, system.parameters))
                found[f"{link.name}.inertia"] = read.inertia
    return found


def _of_link(link: Link) -> Constants:
    center = {f"{link.name}.{k}": c for k, c in zip(CENTER, link.center, strict=True)}
    return {f"{link.name}.mass": link.mass, f"{link.name}.inertia": link.inertia} | center
