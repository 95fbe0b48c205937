"""The bodies of a robot: links welded together, in frames chosen so that constants vanish.

A body's z axis is its joint's axis. Origin and x axis are free along and about it: they are laid
on the common normal with the axis of the next body (the modified Denavit–Hartenberg frame), so
that most entries of the transforms are 0:

    x_parent = Rz(γ) Rx(α) Rz(θ) x + r,    γ = 0 for the body the parent's frame was laid for

θ = q + θ₀ of a revolute joint; r = r₀ + q · axis of a prismatic one. Bodies stand in an order in
which parents come first; body 0 is the base, whose frame is the root link's.
Khalil, Dombre, Modeling, Identification and Control of Robots, 2002, sec. 3.3–3.4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import casadi as ca
import numpy as np

from physics.rigid_body.description import Description, Joint, Link, Pose
from physics.rigid_body.spatial import Frame, Scalar, Vector

Turn = tuple[float, float]  # cosine, sine

_ROUNDING = 1e-13  # what products of a few rotations leave of an exact 0 or ±1
_PARALLEL = 0.05  # sine of the angle below which the foot of a common normal is too far away
_COINCIDENT = 1e-6


@dataclass(frozen=True)
class Body:
    """A joint and the links that it moves as one.

    joint     None for the base
    row       its place among the moving joints, in the order of the file
    parent    index of the body it moves in
    gamma, alpha, offset, position   γ, α as (cosine, sine), θ₀ [rad], r₀ [m] of the transform
    links     each link with its frame in this body's
    """

    joint: Joint | None
    row: int
    parent: int
    gamma: Turn
    alpha: Turn
    offset: float
    position: Vector
    links: tuple[tuple[Link, Frame], ...]

    @property
    def slides(self) -> bool:
        return self.joint is not None and self.joint.kind == "prismatic"

    def frame(self, q: Scalar) -> Frame:
        """This body's frame in its parent's at joint coordinate q."""
        (cg, sg), (ca_, sa) = self.gamma, self.alpha
        c, s = _exact(math.cos(self.offset)), _exact(math.sin(self.offset))
        position = self.position
        if self.slides:
            axis = (_exact(sa * sg), _exact(-sa * cg), ca_)
            position = tuple(r + a * q for r, a in zip(position, axis, strict=True))
        elif c * s == 0:  # a quarter turn swaps sine and cosine
            cq, sq = ca.cos(q), ca.sin(q)
            c, s = c * cq - s * sq, s * cq + c * sq
        else:
            c, s = ca.cos(q + self.offset), ca.sin(q + self.offset)
        turns = ((2, cg, sg), (0, ca_, sa), (2, c, s))
        idle = (1.0, 0.0)
        kept = tuple(t for t in turns if not (isinstance(t[1], float) and t[1:] == idle))
        return Frame(turns=kept, position=(position[0], position[1], position[2]))


def bodies(description: Description) -> tuple[Body, ...]:
    """The bodies of a description, the base first."""
    rows = {j.name: i for i, j in enumerate(j for j in description.joints if j.moves)}
    welded = _weld(description)
    chosen: list[np.ndarray] = []  # each body's frame in that of the link its joint carries
    found: list[Body] = []
    sizes = [1] * len(welded)
    for i in range(len(welded) - 1, 0, -1):
        sizes[welded[i].parent] += sizes[i]
    for i, body in enumerate(welded):
        mine = [k for k, other in enumerate(welded) if k > 0 and other.parent == i]
        heir = welded[max(mine, key=lambda k: sizes[k])] if mine else None
        frame = np.eye(4) if body.joint is None else _choose(body.joint, heir)
        chosen.append(frame)
        gamma, alpha, offset, r = (1.0, 0.0), (1.0, 0.0), 0.0, (0.0, 0.0, 0.0)
        if body.joint is not None:
            relative = _inverse(chosen[body.parent]) @ body.pose @ frame
            gamma, alpha, offset, r = _decompose(relative)
        links = tuple((link, _fixed(_inverse(frame) @ pose)) for link, pose in body.links)
        row = -1 if body.joint is None else rows[body.joint.name]
        found.append(Body(body.joint, row, body.parent, gamma, alpha, offset, r, links))
    return tuple(found)


def resting(description: Description) -> frozenset[str]:
    """Links that never move where the base does not float."""
    return frozenset(link.name for link, _ in _weld(description)[0].links)


@dataclass(frozen=True)
class _Welded:
    """A body in the frames of the file: `pose` of its joint in the parent body's first link."""

    joint: Joint | None
    parent: int
    pose: np.ndarray  # (4, 4)
    links: tuple[tuple[Link, np.ndarray], ...]


def _weld(description: Description) -> list[_Welded]:
    """Bodies with the links that fixed joints hold together, parents first."""
    links = {link.name: link for link in description.links}
    children: dict[str, list[Joint]] = {}
    for joint in description.joints:
        children.setdefault(joint.parent, []).append(joint)
    found: list[_Welded] = []
    waiting: list[tuple[Joint | None, int, np.ndarray]] = [(None, -1, np.eye(4))]
    while waiting:
        joint, parent, pose = waiting.pop()
        first = description.root if joint is None else joint.child
        held, open_, moving = [], [(first, np.eye(4))], []
        while open_:
            name, at = open_.pop()
            held.append((links[name], at))
            for other in children.get(name, []):
                there = at @ _matrix(other.origin)
                if other.moves:
                    moving.append((other, len(found), there))
                else:
                    open_.append((other.child, there))
        found.append(_Welded(joint, parent, pose, tuple(held)))
        waiting += reversed(moving)
    return found


def _choose(joint: Joint, heir: _Welded | None) -> np.ndarray:
    """A frame (4, 4) on the joint's axis, x along the common normal with the heir's axis."""
    z = np.array(joint.axis) / np.linalg.norm(joint.axis)
    x = np.eye(3)[int(np.argmin(np.abs(z)))]
    foot = 0.0
    if heir is not None and heir.joint is not None:
        axis = heir.pose[:3, :3] @ np.array(heir.joint.axis)
        there = heir.pose[:3, 3]
        normal = np.cross(z, axis)
        if np.linalg.norm(normal) > _COINCIDENT:
            x = normal
        elif np.linalg.norm(there - z * (z @ there)) > _COINCIDENT:
            x = there - z * (z @ there)
        foot = float(z @ there)
        if np.linalg.norm(normal) > _PARALLEL and heir.joint.kind != "prismatic":
            # the point on z nearest to the line there + t·axis
            foot -= float((z @ axis) * (axis @ there - (z @ axis) * (z @ there))) / float(
                1 - (z @ axis) ** 2
            )
    x = x - z * (z @ x)
    x = x / np.linalg.norm(x)
    if x[np.argmax(np.abs(x))] < 0:
        x = -x
    frame = np.eye(4)
    frame[:3, :3] = np.column_stack([x, np.cross(z, x), z])
    frame[:3, 3] = foot * z
    return _clean(frame)


def _decompose(relative: np.ndarray) -> tuple[Turn, Turn, float, Vector]:
    """γ, α, θ₀, r₀ of a transform."""
    R = relative[:3, :3]
    sine = math.hypot(R[0, 2], R[1, 2])
    if sine < _ROUNDING:
        gamma, alpha = (1.0, 0.0), (math.copysign(1.0, R[2, 2]), 0.0)
    else:
        sign = -1.0 if R[1, 2] > 0 else 1.0  # of the two solutions that with cos γ ≥ 0
        gamma = (_exact(-sign * R[1, 2] / sine), _exact(sign * R[0, 2] / sine))
        alpha = (_exact(R[2, 2]), _exact(sign * sine))
    (cg, sg), (ca_, sa) = gamma, alpha
    outer = np.array([[cg, -sg, 0], [sg, cg, 0], [0, 0, 1]]) @ np.array(
        [[1, 0, 0], [0, ca_, -sa], [0, sa, ca_]]
    )
    rest = outer.T @ R
    r = [_exact(value) for value in relative[:3, 3]]
    return gamma, alpha, math.atan2(rest[1, 0], rest[0, 0]), (r[0], r[1], r[2])


def _matrix(pose: Pose) -> np.ndarray:
    found = np.eye(4)
    found[:3, :3], found[:3, 3] = pose.rotation, pose.position
    return found


def _fixed(relative: np.ndarray) -> Frame:
    (gamma, alpha, offset, r) = _decompose(relative)
    return Body(None, -1, -1, gamma, alpha, offset, r, ()).frame(0.0)


def _inverse(frame: np.ndarray) -> np.ndarray:
    found = np.eye(4)
    found[:3, :3] = frame[:3, :3].T
    found[:3, 3] = -frame[:3, :3].T @ frame[:3, 3]
    return found


def _clean(matrix: np.ndarray) -> np.ndarray:
    return np.vectorize(_exact)(matrix)


def _exact(value: float) -> float:
    """The value, or the 0 or ±1 that it differs from by rounding alone."""
    nearest = round(value)
    return (
        float(nearest) if abs(nearest) <= 1 and abs(value - nearest) < _ROUNDING else float(value)
    )
