"""Masses added to links.

    m⁺ = m + μ,    c⁺ = (m c + μ a)/m⁺,    Σ⁺ = Σ + m μ/m⁺ (a − c)(a − c)ᵀ

μ added point mass [kg], a where [m] in the link's frame, Σ second moment about the centre of mass.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from physics.parameter import as_number
from physics.rigid_body import constants
from physics.rigid_body.description import Description, Joint, Link
from physics.rigid_body.inertia import from_second_moment


def loaded(link: Link, mass: float, at: Sequence[float]) -> Link:
    """The link with a point mass; ValueError unless 0 < mass < ∞ and `at` are three numbers."""
    mass = as_number("mass", mass)
    if not 0 < mass < math.inf:
        raise ValueError(f"mass must be > 0 and finite [kg], got {mass!r}")
    point = [as_number("at", value) for value in at]
    if len(point) != 3 or not all(map(math.isfinite, point)):
        raise ValueError(f"at must be three finite numbers [m], got {at!r}")
    total = link.mass + mass
    x, y, z = ((link.mass * c + mass * a) / total for c, a in zip(link.center, point, strict=True))
    arm = [a - c for a, c in zip(point, link.center, strict=True)]
    share = link.mass * mass / total
    sigma = constants.spread(link, {})
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = [
        [sigma[i][j] + share * arm[i] * arm[j] for j in range(3)] for i in range(3)
    ]
    inertia = from_second_moment(((xx, xy, xz), (yx, yy, yz), (zx, zy, zz)))
    return dataclasses.replace(
        link, mass=total, center=(x, y, z), inertia=inertia, has_inertial=True
    )


def as_fitted(link: Link, values: Mapping[str, float]) -> Link:
    """The link with those of its constants that these values are."""

    def value(name: str, otherwise: float) -> float:
        return float(values.get(f"{link.name}.{name}", otherwise))

    x, y, z = map(value, constants.CENTER, link.center)
    inertia = link.inertia
    if (spread := constants.spread(link, values)) != constants.spread(link, {}):
        inertia = from_second_moment(spread)
    mass = value("mass", link.mass)
    return dataclasses.replace(link, mass=mass, center=(x, y, z), inertia=inertia)


def joint_as_fitted(joint: Joint, values: Mapping[str, float]) -> Joint:
    """The joint with those of its constants that these values are."""
    given = {
        name: float(values.get(f"{joint.name}.{name}", getattr(joint, name)))
        for name in constants.JOINT
    }
    return dataclasses.replace(joint, **given)


def described(description: Description, values: Mapping[str, float]) -> Description:
    """The description with those of its constants that these values are."""
    return dataclasses.replace(
        description,
        links=tuple(as_fitted(link, values) for link in description.links),
        joints=tuple(joint_as_fitted(joint, values) for joint in description.joints),
    )
