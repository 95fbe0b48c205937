"""Robot descriptions as text, every number with 17 significant digits.

Links have mass properties and pictures, and no collision shapes. One number for an inertia is an
isotropic tensor: in the plane only one entry acts, and PyBullet zeroes a tensor that breaks the
triangle inequality.
"""

from __future__ import annotations

from collections.abc import Iterable

Vector = tuple[float, float, float]
Color = tuple[float, float, float]

STEEL: Color = (0.62, 0.65, 0.70)
SLATE: Color = (0.20, 0.24, 0.30)
BLUE: Color = (0.16, 0.40, 0.75)
ORANGE: Color = (0.95, 0.48, 0.10)
TEAL: Color = (0.10, 0.60, 0.56)


def robot(name: str, parts: Iterable[str]) -> str:
    """A whole description from links and joints."""
    return "\n".join(['<?xml version="1.0"?>', f'<robot name="{name}">', *parts, "</robot>"])


def link(
    name: str,
    *,
    mass: float = 0.0,
    center: Vector = (0, 0, 0),
    inertia: float | Vector = 0.0,
    axes: Vector = (0, 0, 0),
    visuals: Iterable[str] = (),
) -> str:
    """A body with its centre of mass [m] in the link frame, mass [kg], inertia there [kg·m²].

    Three moments are about principal axes, turned by roll, pitch and yaw `axes` [rad].
    """
    moments = inertia if isinstance(inertia, tuple) else (inertia,) * 3
    x, y, z = map(_number, moments)
    return (
        f'<link name="{name}"><inertial><origin xyz="{_vector(center)}" rpy="{_vector(axes)}"/>'
        f'<mass value="{_number(mass)}"/>'
        f'<inertia ixx="{x}" iyy="{y}" izz="{z}" ixy="0" ixz="0" iyz="0"/></inertial>'
        f"{''.join(visuals)}</link>"
    )


def joint(
    name: str, *, kind: str, parent: str, child: str, axis: Vector, origin: Vector = (0, 0, 0)
) -> str:
    """A joint at `origin` [m] in the parent's frame; limits are left to the System."""
    return (
        f'<joint name="{name}" type="{kind}"><parent link="{parent}"/><child link="{child}"/>'
        f'<origin xyz="{_vector(origin)}"/><axis xyz="{_vector(axis)}"/>'
        '<limit lower="1" upper="-1" effort="0" velocity="0"/></joint>'  # lower > upper: none
    )


def box(size: Vector, center: Vector, color: Color) -> str:
    """A box of edge lengths `size` [m]."""
    return _visual(f'<box size="{_vector(size)}"/>', center, (0, 0, 0), color)


def rod(radius: float, length: float, center: Vector, color: Color, *, along: str = "z") -> str:
    """A cylinder along "x", "y" or "z" [m]."""
    turn = {"x": (0, 1.5707963267948966, 0), "y": (1.5707963267948966, 0, 0), "z": (0, 0, 0)}
    shape = f'<cylinder radius="{_number(radius)}" length="{_number(length)}"/>'
    return _visual(shape, center, turn[along], color)


def ball(radius: float, center: Vector, color: Color) -> str:
    """A sphere [m]."""
    return _visual(f'<sphere radius="{_number(radius)}"/>', center, (0, 0, 0), color)


def bar(radius: float, length: float, y: float, color: Color) -> list[str]:
    """A bar with round ends, hanging down from the link frame in the plane y."""
    return [
        box((2 * radius, 1.4 * radius, length), (0, y, -length / 2), color),
        ball(radius, (0, y, 0), color),
        ball(radius, (0, y, -length), color),
    ]


def _visual(shape: str, center: Vector, turn: Vector, color: Color) -> str:
    paint = " ".join(_number(part) for part in (*color, 1.0))
    return (
        f'<visual><origin xyz="{_vector(center)}" rpy="{_vector(turn)}"/>'
        f"<geometry>{shape}</geometry>"
        f'<material name="{paint}"><color rgba="{paint}"/></material></visual>'
    )


def _number(value: float) -> str:
    return f"{float(value):.17g}"


def _vector(values: Vector) -> str:
    return " ".join(map(_number, values))
