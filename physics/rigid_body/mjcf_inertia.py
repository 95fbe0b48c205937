"""The mass and inertia that MuJoCo gives a body: from its <inertial>, or from its geoms."""

from __future__ import annotations

import dataclasses
import math

from physics.rigid_body import solids
from physics.rigid_body.description import Link, Pose
from physics.rigid_body.mjcf_elements import Defaults, Settings, pose, unit
from physics.rigid_body.rotation import apply, from_z_to, rotate_inertia
from physics.rigid_body.safe_xml import Element, shorten


def body_inertia(
    element: Element, settings: Settings, defaults: Defaults, inherited: str
) -> solids.Body:
    """Mass, centre and inertia of a body in its own frame, from <inertial> or its geoms."""
    inertial = element.one("inertial")
    geoms = element.all("geom")
    from_geoms = settings.inertia_from_geoms
    if from_geoms is None:
        from_geoms = inertial is None
    if not from_geoms or (not geoms and inertial is not None):
        return solids.join([_inertial(inertial, settings)] if inertial is not None else [])
    found = [_geom(defaults.fill(geom, inherited), settings) for geom in geoms]
    return solids.join([body for body in found if body is not None])


def _inertial(element: Element, settings: Settings) -> solids.Body:
    frame = pose(element, settings)
    if "mass" not in element.attributes or "pos" not in element.attributes:
        raise ValueError(f"line {element.line}: <inertial> must have a pos and a mass")
    mass = element.number("mass", 0.0)
    if mass < 0:
        raise ValueError(f"line {element.line}: mass must be 0 kg or more, got {mass}")
    if ("diaginertia" in element.attributes) == ("fullinertia" in element.attributes):
        raise ValueError(f"line {element.line}: <inertial> needs diaginertia or fullinertia")
    xx, yy, zz = element.numbers("diaginertia", 3, (0.0, 0.0, 0.0))
    xx, yy, zz, xy, xz, yz = element.numbers("fullinertia", 6, (xx, yy, zz, 0.0, 0.0, 0.0))
    tensor = rotate_inertia(frame.rotation, ((xx, xy, xz), (xy, yy, yz), (xz, yz, zz)))
    return solids.Body(mass, frame.position, tensor)


def _geom(element: Element, settings: Settings) -> solids.Body | None:
    """One geom as a body; None for one without mass, such as a plane."""
    kind = element.attributes.get("type", "mesh" if "mesh" in element.attributes else "sphere")
    density, mass = element.number("density", 1000.0), element.number("mass", -1.0)
    if mass == 0 or (mass < 0 and density == 0) or kind in ("plane", "hfield"):
        return None
    if kind not in solids.SIZES or element.attributes.get("shellinertia") == "true":
        raise ValueError(
            f"line {element.line}: the inertia of a geom of type {shorten(kind)} or of a shell is "
            f"not computed (only of solid {list(solids.SIZES)}): give its body an <inertial>"
        )
    count = solids.SIZES[kind]
    frame, size = pose(element, settings), ()
    if "fromto" in element.attributes and kind != "sphere":
        frame, half = _from_to(element)
        size = (*_size(element, 1) * (count - 1), half)
    else:
        size = _size(element, count)
    if mass < 0:
        mass = density * solids.volume(kind, size)
    if mass < 0:
        raise ValueError(f"line {element.line}: density must be 0 or more, got {density}")
    a, b, c = (mass * moment for moment in solids.moments(kind, size))
    tensor = rotate_inertia(frame.rotation, ((a, 0.0, 0.0), (0.0, b, 0.0), (0.0, 0.0, c)))
    return solids.Body(mass, frame.position, tensor)


def _from_to(element: Element) -> tuple[Pose, float]:
    """Frame halfway between two points, z along their line, and half their distance."""
    numbers = element.numbers("fromto", 6, ())
    ends = list(zip(numbers[:3], numbers[3:], strict=True))
    x, y, z = ((a + b) / 2 for a, b in ends)
    u, v, w = (b - a for a, b in ends)
    along = from_z_to(unit(element, "fromto", (u, v, w)))
    return Pose(rotation=along, position=(x, y, z)), math.hypot(u, v, w) / 2


def _size(element: Element, count: int) -> tuple[float, ...]:
    """The first `count` half lengths; a file may state up to three."""
    stated = len(element.attributes.get("size", "").split(maxsplit=3))
    size = element.numbers("size", min(max(stated, count), 3), ())[:count]
    if len(size) != count or min(size) <= 0 or max(size) > 1e9:
        raise ValueError(
            f"line {element.line}: size of a geom must be {count} positive numbers, got {size}"
        )
    return size


def moved(body: solids.Body, frame: Pose) -> solids.Body:
    """The body seen from the frame in which its own frame has this pose."""
    (x, y, z), (a, b, c) = apply(frame.rotation, body.center), frame.position
    return solids.Body(
        body.mass, (a + x, b + y, c + z), rotate_inertia(frame.rotation, body.inertia)
    )


def scaled(link: Link, factor: float) -> Link:
    """The link with another density."""
    (xx, xy, xz), (_, yy, yz), (_, _, zz) = link.inertia
    xx, xy, xz, yy, yz, zz = (factor * entry for entry in (xx, xy, xz, yy, yz, zz))
    inertia = ((xx, xy, xz), (xy, yy, yz), (xz, yz, zz))
    return dataclasses.replace(link, mass=factor * link.mass, inertia=inertia)
