"""Robots in PyBullet."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from hybridmodel.envs.bullet import source
from hybridmodel.envs.bullet.lumped import lumped_root
from hybridmodel.envs.bullet.plant import Body, BulletPlant
from hybridmodel.envs.bullet.quiet import pybullet
from hybridmodel.envs.bullet.settings import BulletSettings
from hybridmodel.envs.effects import RobotEffects
from hybridmodel.envs.environment import Reward
from hybridmodel.envs.hidden import HiddenEffects
from physics import RigidBody
from physics.rigid_body import urdf
from physics.rigid_body.description import Description
from physics.rigid_body.payload import described

_TABLE = 0.05  # half the thickness of a table over the reach
_LOAD = "picked_up"  # link that is there from the start, with next to no mass
_LIGHT = 1e-9  # kg; the engine takes 0 for a link that does not move
_FRAME = 0.62  # half of what a picture shows over the reach


class BulletRobot(BulletPlant):
    """`physics.RigidBody`, on a fixed or a floating base.

    The engine is given a copy of the robot's own URDF file with the System's masses, inertias,
    axes and places of joints written into it to 17 digits; with `settings.inertia` "file" and
    "shapes" the copy keeps the file's numbers, unless hidden effects or edits have changed the
    description. A robot that comes from no URDF file is written whole, drawn as bars. Joints are
    found by name.

    Meshes and textures are those that `physics.rigid_body.urdf.resolve` finds in the folder of
    the file and in `package_roots`. Pictures without them are left out, and so are collision
    shapes, unless inertias are to come from shapes or links may touch something.

    A table (`RobotEffects.table`) is a static box before a fixed robot, from 0.3 to 1.1 of its
    reach along x, and under a floating one; all links collide with it, inelastically, and with
    nothing else. What is picked up (`RobotEffects.pickup`) is a link of its own.

    Raises ValueError where a joint has an armature, which the engine has no room for, or where a
    collision shape that is needed lacks its mesh.
    """

    builds = RigidBody
    engine_step = 5e-4

    def __init__(
        self,
        system: RigidBody,
        *,
        dt: float,
        substeps: int | None = None,
        hidden: HiddenEffects | None = None,
        reward: Reward | None = None,
        initial_state: Sequence[float] | np.ndarray | None = None,
        episode_steps: int | None = None,
        render_mode: str | None = None,
        size: tuple[int, int] = (640, 400),
        settings: BulletSettings | None = None,
        package_roots: Sequence[str | os.PathLike[str]] = (),
    ) -> None:
        self._package_roots = urdf.folders(package_roots)
        super().__init__(
            system,
            dt=dt,
            substeps=substeps,
            hidden=hidden,
            reward=reward,
            initial_state=initial_state,
            episode_steps=episode_steps,
            render_mode=render_mode,
            size=size,
            settings=settings,
        )
        self._arguments["package_roots"] = self._package_roots

    def _describe(self, system: Any) -> Body:
        true = described(system.description, system.parameters)
        settings = self.engine_settings
        if settings.inertia == "system" and system.floating:
            true = lumped_root(true)
        heavy = [joint.name for joint in true.joints if joint.moves and joint.armature > 0]
        if heavy:
            raise ValueError(f"system: PyBullet has no armature, and joint {heavy[0]!r} has one")
        touches = self._table() is not None or settings.self_collision
        own = settings.inertia != "system" and source.is_own_file(true)
        written = (source.as_written if own else source.text)(
            true,
            visuals=self.render_mode is not None,
            shapes=touches or settings.inertia == "shapes",
            package_roots=self._package_roots,
        )
        pickup, self._carried = self._pickup(), False
        if pickup is not None:
            link = self._load_link(true)
            written = source.with_point(written, link, _LOAD, _LIGHT, pickup[2])
        moving = [joint for joint in true.joints if joint.moves]
        still = None if system.floating else true.root
        size, center = extent(true)
        return Body(
            urdf=written,
            damping=tuple(joint.damping for joint in moving),
            friction=tuple(joint.friction for joint in moving),
            gravity=float(system.gravity),
            joints=tuple(joint.name for joint in moving),
            floating=system.floating,
            inertias={
                link.name: np.array(link.inertia)
                for link in true.links
                if link.mass > 0 and link.name != still
            },
            reach=(_FRAME * size, _FRAME * size),
            center=center,
            direction=(0.6, -1.0, 0.35),
        )

    def _furnish(self) -> None:
        table = self._table()
        if table is None:
            return
        size, client = self._shape.reach[0] / _FRAME, self._client
        thick = _TABLE * size
        half, x = (0.4 * size, 0.5 * size, thick), 0.7 * size
        if self._shape.floating:
            half, x = (5 * size, 5 * size, thick), 0.0
        shape = pybullet.createCollisionShape(
            pybullet.GEOM_BOX, halfExtents=half, physicsClientId=client
        )
        picture = -1
        if self.render_mode is not None:
            picture = pybullet.createVisualShape(
                pybullet.GEOM_BOX,
                halfExtents=half,
                rgbaColor=(0.80, 0.72, 0.60, 1),
                physicsClientId=client,
            )
        box = pybullet.createMultiBody(
            0, shape, picture, basePosition=(x, 0, table.table - thick), physicsClientId=client
        )
        friction = math.sqrt(table.table_friction)  # the engine multiplies what two bodies have
        body = self._tree.body
        for which, link in [(box, -1), *((body, link) for link in self._tree.links.values())]:
            pybullet.changeDynamics(
                which,
                link,
                lateralFriction=friction,
                restitution=0.0,  # with short steps the engine loses any other
                physicsClientId=client,
            )

    def _happens(self, t: float) -> None:
        pickup = self._pickup()
        if pickup is None:
            return
        when, mass, _ = pickup
        carried = t >= when - 1e-9  # t is a multiple of dt up to rounding
        if carried != self._carried:
            self._tree.set_mass(_LOAD, mass if carried else _LIGHT)
            self._carried = carried

    def _pickup(self) -> Any:
        return self.hidden.pickup if isinstance(self.hidden, RobotEffects) else None

    def _load_link(self, description: Description) -> str:
        link = self.hidden.payload_link  # type: ignore[attr-defined]
        return link or description.links[-1].name

    def _table(self) -> Any:
        hidden = self.hidden
        return hidden if isinstance(hidden, RobotEffects) and hidden.table is not None else None

    def _collides(self) -> bool:
        return super()._collides() or self._table() is not None


def extent(description: Description) -> tuple[float, tuple[float, float, float]]:
    """Longest way from the root to a link [m], and the middle of the robot at q = 0."""
    poses = {description.root: (np.eye(3), np.zeros(3), 0.0)}
    pending = list(description.joints)
    while pending:
        for joint in [joint for joint in pending if joint.parent in poses]:
            turn, place, length = poses[joint.parent]
            step = np.array(joint.origin.position)
            slide = 0.0
            if joint.kind == "prismatic":
                ends = [abs(end) for end in (joint.low, joint.high) if math.isfinite(end)]
                slide = max(ends, default=0.0)
            own = turn @ np.array(joint.origin.rotation)
            length += float(np.linalg.norm(step)) + slide
            poses[joint.child] = (own, place + turn @ step, length)
            pending.remove(joint)
    places = [
        poses[link.name][1] + poses[link.name][0] @ np.array(link.center)
        for link in description.links
    ]
    # a last link has no further joint to show its length; its centre of mass lies half way
    tips = [
        poses[link.name][2] + 2 * math.hypot(*link.center)
        for link in description.links
        if link.name != description.root
    ]
    x, y, z = ((np.max(places, axis=0) + np.min(places, axis=0)) / 2).tolist()
    return max([*tips, 0.1]), (x, y, z)
