"""Robots that nobody built: random kinematic trees as URDF text."""

from __future__ import annotations

import numpy as np

_VIOLATES = 0.3  # share of trees in which a link's inertia breaks the triangle inequality


def text(random: np.random.Generator) -> str:
    """A tree of 2 to 7 joints, of links with random inertias, shapes, damping and friction."""
    n = int(random.integers(2, 8))
    flawed = random.random() < _VIOLATES
    damped, dry, bounded = random.random(3) < (0.6, 0.35, 0.6)
    parts = ['<robot name="tree">', '<link name="base"/>']
    for k in range(n):
        breaks = flawed and random.random() < 0.5
        parts.append(_link(random, f"link{k}", breaks))
        parent = k - 1 if random.random() < 0.75 else int(random.integers(-1, k))
        name = "base" if parent < 0 else f"link{parent}"
        parts.append(_joint(random, k, name, damped, dry, bounded))
    return "\n".join([*parts, "</robot>"])


def _link(random: np.random.Generator, name: str, breaks: bool) -> str:
    mass = float(np.exp(random.uniform(np.log(0.3), np.log(5.0))))
    size = random.uniform(0.05, 0.15, 3)
    sigma = mass * size**2 / 3  # second moments of mass
    moments = sigma.sum() - sigma
    if breaks:
        moments[0] = 1.5 * (moments[1] + moments[2])
    kind = int(random.integers(3))
    a, b, c = random.uniform(0.04, 0.2, 3)
    shape = (
        f'<box size="{a} {b} {c}"/>',
        f'<sphere radius="{a}"/>',
        f'<cylinder radius="{a}" length="{b}"/>',
    )[kind]
    center, turn = _vector(random.uniform(-0.15, 0.15, 3)), _vector(random.uniform(-3, 3, 3))
    place = f'<origin xyz="{center}" rpy="{turn}"/>'
    x, y, z = moments
    return (
        f'<link name="{name}"><inertial>{place}<mass value="{mass}"/>'
        f'<inertia ixx="{x}" iyy="{y}" izz="{z}" ixy="0" ixz="0" iyz="0"/></inertial>'
        f"<collision>{place}<geometry>{shape}</geometry></collision></link>"
    )


def _joint(
    random: np.random.Generator, k: int, parent: str, damped: bool, dry: bool, bounded: bool
) -> str:
    slides = random.random() < 0.2
    turns = "revolute" if bounded else "continuous"
    kind = "prismatic" if slides else turns
    axis = random.standard_normal(3)
    reach = 0.4 if slides else float(random.uniform(0.5, 3.0))
    damping = float(random.uniform(0.02, 0.3)) if damped else 0.0
    friction = float(random.uniform(0.02, 0.2)) if dry else 0.0
    at, turn = _vector(random.uniform(-0.3, 0.3, 3)), _vector(random.uniform(-3, 3, 3))
    return (
        f'<joint name="joint{k}" type="{kind}"><parent link="{parent}"/><child link="link{k}"/>'
        f'<origin xyz="{at}" rpy="{turn}"/><axis xyz="{_vector(axis / np.linalg.norm(axis))}"/>'
        f'<dynamics damping="{damping}" friction="{friction}"/>'
        f'<limit lower="{-reach}" upper="{reach}" effort="{random.uniform(5, 50)}" '
        f'velocity="{random.uniform(5, 20)}"/></joint>'
    )


def _vector(values: np.ndarray) -> str:
    return " ".join(f"{value}" for value in values)
