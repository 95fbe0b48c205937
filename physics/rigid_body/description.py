"""A robot as data: links joined into one tree, whatever file it came from.

Frames are those of URDF: a joint sits at `origin` in its parent link's frame, and the child
link's frame is the joint's, moved by q along or about `axis`.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Literal

Vector = tuple[float, float, float]
Matrix = tuple[Vector, Vector, Vector]  # rows

EYE: Matrix = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
ZERO: Matrix = ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), (0.0, 0.0, 0.0))


@dataclass(frozen=True, kw_only=True)
class Pose:
    """A frame in another: x_outer = rotation · x_inner + position [m]."""

    rotation: Matrix = EYE
    position: Vector = (0.0, 0.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class Link:
    """A rigid body.

    mass     [kg], 0 for a link without one
    center   centre of mass in the link's frame [m]
    inertia  about the centre of mass, in axes parallel to the link's frame [kg·m²]
    inertia_frame  rotation of the axes in which the file gave the inertia, in the link's frame
    has_inertial   False where the file gave neither mass nor inertia
    inertia_scaling  a factor on the inertia that only PyBullet obeys, see `inertia.as_pybullet`
    """

    name: str
    mass: float = 0.0
    center: Vector = (0.0, 0.0, 0.0)
    inertia: Matrix = ZERO
    inertia_frame: Matrix = EYE
    has_inertial: bool = True
    inertia_scaling: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Joint:
    """How `child` moves in `parent`.

    kind      "revolute" about or "prismatic" along `axis` (unit vector, in the joint's frame), or
              "fixed"; a continuous joint is a revolute one without limits
    low, high       limits of q [rad, m]
    effort          largest |force| of its motor [N·m, N]
    velocity        largest |q̇| [rad/s, m/s]
    damping         viscous [N·m·s/rad, N·s/m]
    friction        dry [N·m, N]
    armature        reflected inertia of its motor [kg·m², kg]
    """

    name: str
    kind: Literal["revolute", "prismatic", "fixed"]
    parent: str
    child: str
    origin: Pose = Pose()
    axis: Vector = (1.0, 0.0, 0.0)
    low: float = -math.inf
    high: float = math.inf
    effort: float = math.inf
    velocity: float = math.inf
    damping: float = 0.0
    friction: float = 0.0
    armature: float = 0.0

    @property
    def moves(self) -> bool:
        return self.kind != "fixed"


@dataclass(frozen=True, kw_only=True)
class Description:
    """Links and joints of one tree, in the order of the file.

    `floating` says whether the file itself frees the root (MJCF's freejoint; URDF never does).
    Raises ValueError where links and joints do not form one tree, or a name stands twice.
    """

    name: str
    links: tuple[Link, ...]
    joints: tuple[Joint, ...]
    floating: bool = False
    source: str = ""  # where it came from, for messages

    def __post_init__(self) -> None:
        names = [link.name for link in self.links]
        if not names:
            raise ValueError(f"robot {self.name!r} has no link")
        for kind, found in {"link": names, "joint": [j.name for j in self.joints]}.items():
            if twice := [name for name, count in Counter(found).items() if count > 1]:
                raise ValueError(f"{kind} names must differ, {twice[0]!r} stands twice")
        parents: dict[str, Joint] = {}
        children: dict[str, list[str]] = {name: [] for name in names}
        for joint in self.joints:
            for end in (joint.parent, joint.child):
                if end not in children:
                    raise ValueError(f"joint {joint.name!r} joins link {end!r}, which is not there")
            if (other := parents.setdefault(joint.child, joint)) is not joint:
                raise ValueError(
                    f"link {joint.child!r} has two parents, by joints {other.name!r} and "
                    f"{joint.name!r}: closed loops are refused"
                )
            children[joint.parent].append(joint.child)
        roots = [name for name in names if name not in parents]
        if len(roots) > 1:
            raise ValueError(f"one link must be the root, but {roots[:5]} have no parent")
        reached, ahead = set(roots), list(roots)
        while ahead:
            new = children[ahead.pop()]
            reached.update(new)
            ahead.extend(new)
        if loop := [name for name in names if name not in reached]:
            raise ValueError(f"links {loop[:5]} form a loop instead of hanging from one root")

    @property
    def root(self) -> str:
        """The link that is no child."""
        children = {joint.child for joint in self.joints}
        return next(link.name for link in self.links if link.name not in children)

    def link(self, name: str) -> Link:
        """The link of this name; ValueError lists those there are."""
        for link in self.links:
            if link.name == name:
                return link
        raise ValueError(
            f"{self.name} has no link {name!r}; it has {[link.name for link in self.links]}"
        )
