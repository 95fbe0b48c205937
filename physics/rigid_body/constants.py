"""Constants of links and joints as Parameters, such that every fit is a robot that can exist.

    I = tr(Σ) 1 − Σ,    Σ = L Lᵀ,    m > 0

L is lower triangular with a positive diagonal, its entries are a link's `spread`: then Σ ≻ 0 and
I is the inertia of some density ≥ 0. Names are "<link>.mass", "<link>.center_x", … "_z",
"<link>.spread_xx", … "_zz", "<joint>.damping", ".friction", ".armature" and ".gear".
Wensing, Kim, Slotine, Linear matrix inequalities for physically consistent inertial parameter
identification, RA-L 2018; Traversaro et al., IROS 2016, for the factor.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from physics.parameter import Domain, Parameter
from physics.rigid_body import signals, tree
from physics.rigid_body.description import Description, Joint, Link
from physics.rigid_body.inertia import cholesky, second_moment
from physics.rigid_body.moments import Moments
from physics.rigid_body.spatial import Rows, Scalar, dot, mirrored, scale
from physics.system import Signal

CENTER = ("center_x", "center_y", "center_z")
SPREAD = ("spread_xx", "spread_yx", "spread_yy", "spread_zx", "spread_zy", "spread_zz")
LINK = ("mass", *CENTER, *SPREAD)
JOINT = ("damping", "friction", "armature")

_THIN = 1e-6  # least share of L's diagonal in its size: a flatter body has no inertia to fit

Named = tuple[str, Parameter]


def of(
    description: Description, *, floating: bool, inputs: Collection[Signal]
) -> tuple[Named, ...]:
    """Those of all that moves, and the gears of the motors that are `inputs`."""
    still = frozenset() if floating else tree.resting(description)
    motors = {signal.name for signal in inputs}
    found: list[Named] = []
    for link in description.links:
        found += () if link.name in still else of_link(link)
    for joint in description.joints:
        if joint.moves:
            found += of_joint(joint, driven=signals.motor(joint).name in motors)
    return tuple(found)


def of_link(link: Link) -> tuple[Named, ...]:
    """Those of a link with mass; without `spread` where its Σ is not positive definite."""
    if not link.mass > 0:
        return ()
    found = [Parameter(link.mass, "kg", "positive")]
    found += [Parameter(value, "m", "real") for value in link.center]
    for name, value in zip(SPREAD, factor(link) or (), strict=False):
        diagonal = name[-1] == name[-2]
        found.append(Parameter(value, "kg^½·m", "positive" if diagonal else "real"))
    return tuple((f"{link.name}.{name}", p) for name, p in zip(LINK, found, strict=False))


def of_joint(joint: Joint, *, driven: bool) -> tuple[Named, ...]:
    """Those of a moving joint that are not 0, and the gear of its motor."""
    rate, force = ("N·m·s/rad", "N·m") if joint.kind == "revolute" else ("N·s/m", "N")
    inertia = "kg·m²" if joint.kind == "revolute" else "kg"
    positive: Domain = "positive"
    found = [
        (f"{joint.name}.{name}", Parameter(getattr(joint, name), unit, positive))
        for name, unit in zip(JOINT, (rate, force, inertia), strict=True)
        if getattr(joint, name) > 0
    ]
    if driven:
        found.append((f"{joint.name}.gear", Parameter(1.0, "", positive)))
    return tuple(found)


def factor(link: Link) -> tuple[float, ...] | None:
    """Entries of L in the order of SPREAD, None where Σ is not positive definite."""
    try:
        (xx, _, _), (yx, yy, _), (zx, zy, zz) = cholesky(second_moment(link.inertia))
    except ValueError:
        return None
    entries = (xx, yx + 0.0, yy, zx + 0.0, zy + 0.0, zz)  # no −0.0
    return entries if min(xx, yy, zz) > _THIN * max(map(abs, entries)) else None


def moments(link: Link, values: Mapping[str, Scalar]) -> Moments:
    """A link's moments about its frame, from constants where there are such, else the file's."""

    def value(name: str, otherwise: Scalar) -> Scalar:
        return values.get(f"{link.name}.{name}", otherwise)

    mass = value("mass", link.mass)
    x, y, z = (value(name, c) for name, c in zip(CENTER, link.center, strict=True))
    (xx, xy, xz), (_, yy, yz), (_, _, zz) = spread(link, values)
    first = scale((x, y, z), mass)
    a, b, c = first
    shifted = mirrored(xx + x * a, xy + x * b, xz + x * c, yy + y * b, yz + y * c, zz + z * c)
    return Moments(mass, first, shifted)


def spread(link: Link, values: Mapping[str, Scalar]) -> Rows:
    """Σ about the centre of mass; the file's own where no entry of L differs from it."""
    if (start := factor(link)) is None:
        return second_moment(link.inertia)
    entries = [values.get(f"{link.name}.{name}", v) for name, v in zip(SPREAD, start, strict=True)]
    if all(isinstance(v, float) for v in entries) and entries == list(start):
        return second_moment(link.inertia)  # the way through L and back would round its zeros away
    xx, yx, yy, zx, zy, zz = entries
    X, Y, Z = (xx, 0.0, 0.0), (yx, yy, 0.0), (zx, zy, zz)
    return mirrored(dot(X, X), dot(X, Y), dot(X, Z), dot(Y, Y), dot(Y, Z), dot(Z, Z))


def why_none(description: Description, name: str, *, floating: bool) -> str | None:
    """Why a robot has no constant of this name, None where the name is of no link or joint."""
    owner, _, kind = name.rpartition(".")
    link = next((link for link in description.links if link.name == owner), None)
    joint = next((j for j in description.joints if j.name == owner), None)
    if link is not None and kind in LINK:
        if not floating and owner in tree.resting(description):
            return f"link {owner!r} never moves, so nothing depends on it"
        if not link.mass > 0:
            return f"link {owner!r} has no mass; with_payload gives it some"
        if kind in SPREAD and factor(link) is None:
            return (
                f"link {owner!r} has an inertia that no solid body has: Σ = ½ tr(I) 1 − I is not "
                "positive definite"
            )
        return f"the motion does not depend on it: link {owner!r} moves in too few directions"
    if joint is not None and kind in (*JOINT, "gear"):
        if not joint.moves:
            return f"joint {owner!r} is fixed"
        if kind == "gear":
            return f"joint {owner!r} has no motor"
        return (
            f"{kind} of joint {owner!r} is 0, where no positive parameter can start; "
            f"with_joint({owner!r}, {kind}=…) gives it a start"
        )
    return None
