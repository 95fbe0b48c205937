"""PyBullet as the plant of a mechanical System whose q are the joints of one body."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import casadi as ca
import numpy as np

from hybridmodel.envs.bullet.settings import BulletSettings
from hybridmodel.envs.bullet.tree import Tree
from hybridmodel.envs.bullet.world import World
from hybridmodel.envs.environment import Environment, Reward
from hybridmodel.envs.evaluated import Evaluated
from hybridmodel.envs.hidden import HiddenEffects
from physics import Mechanical

Vector = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Body:
    """What PyBullet is to build.

    urdf      text, or the Path of a file
    damping   modelled viscous damping of each joint [N·s/m, N·m·s/rad]
    gravity   [m/s²], along −z
    reach     half width and half height of what a picture must show [m]
    friction  modelled dry friction of each joint [N, N·m]; () is none
    joints    names in the order of q; () is the order of the file
    floating  whether the base is free
    inertias  tensors (3, 3) that the engine is told once more, since it would not read them
    center, direction  of the picture: what it looks at [m], and from where
    """

    urdf: str | Path
    damping: tuple[float, ...]
    gravity: float
    reach: tuple[float, float]
    friction: tuple[float, ...] = ()
    joints: tuple[str, ...] = ()
    floating: bool = False
    inertias: Mapping[str, np.ndarray] = field(default_factory=dict)
    center: Vector = (0.0, 0.0, 0.0)
    direction: Vector = (0.0, -1.0, 0.15)


class BulletPlant(Environment):
    """A mechanical System simulated by PyBullet's articulated-body solver.

        M v̇ + b = B uᵃ + τ + λ,   |λᵢ| ≤ cᵢ(q)        v⁺ = v + h v̇,   q⁺ = q + h v⁺

    λ is dry friction, which the engine solves as a velocity constraint: joints truly stick.
    Viscous friction, modelled or hidden, is the engine's joint damping. A subclass gives
    `_describe`, and `_force` where its inputs do more than B uᵃ; every environment has a client
    (a world) of its own. `settings` of another kind show what an engine does unasked.

    Raises ValueError where the system is not exactly of the type this plant builds, or an
    effect has no form in the engine.
    """

    render_modes = ("rgb_array",)
    engine_step = 2.5e-4  # first-order in h, and cheap
    builds: ClassVar[type[Mechanical]]

    def __init__(
        self,
        system: Mechanical,
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
    ) -> None:
        if type(system) is not self.builds:
            raise ValueError(
                f"system must be a {self.builds.__name__} for {type(self).__name__}, "
                f"got {type(system).__name__}"
            )
        check_size(size)
        super().__init__(
            system,
            dt=dt,
            substeps=substeps,
            hidden=hidden,
            reward=reward,
            initial_state=initial_state,
            episode_steps=episode_steps,
            render_mode=render_mode,
        )
        self._arguments = {
            "dt": dt,
            "substeps": self.substeps,
            "hidden": hidden,
            "reward": reward,
            "initial_state": initial_state,
            "episode_steps": episode_steps,
            "render_mode": render_mode,
            "size": size,
        }
        self.engine_settings = BulletSettings() if settings is None else settings
        self._size, self._nq, self._nv = size, system.nq, system.nv
        true: Any = self.hidden.true_system(system)
        self._shape = self._describe(true)
        self._base = 6 if self._shape.floating else 0  # rows of v that no joint has
        self._world = World(self.engine_settings, self.dt / self.substeps, self._shape.gravity)
        self._client, self._disconnect = self._world.client, self._world.close
        body = self._world.load(self._shape.urdf, fixed=not self._shape.floating)
        floating, joints = self._shape.floating, self._shape.joints
        self._tree = Tree(self._world, body, floating=floating, joints=joints)
        self._prepare_friction()
        self._prepare_force(true)
        self._furnish()

    @abstractmethod
    def _describe(self, system: Any) -> Body:
        """The true system as a body."""

    def _force(self, system: Any, x: ca.SX, u: ca.SX) -> ca.SX:
        """What the true system's inputs do, (nv,), beyond what the engine knows."""
        return system.input_map(x[: system.nq], system.namespace()) @ u

    def _furnish(self) -> None:
        """Put what else there is into the world."""

    def _happens(self, t: float) -> None:
        """What changes in the world at the time t [s] at which a step begins."""

    # -- what follows is final ---------------------------------------------------------------

    def with_settings(self, **changes: Any) -> Self:
        """The same plant, built anew with other `BulletSettings`."""
        settings = dataclasses.replace(self.engine_settings, **changes)
        return type(self)(self.system, settings=settings, **self._arguments)  # type: ignore[arg-type]

    def render(self) -> np.ndarray | None:
        """The picture (height, width, 3) uint8, by PyBullet's software renderer."""
        if self.render_mode is None:
            return None
        shape = self._shape
        target = tuple(self._tree.read()[0][:3]) if shape.floating else shape.center
        return self._world.picture(
            self._size, target=target, reach=shape.reach, direction=shape.direction
        )

    def close(self) -> None:
        """End this environment's world; others keep theirs."""
        self._disconnect()

    def _prepare_friction(self) -> None:
        settings, shape, hidden = self.engine_settings, self._shape, self.hidden
        n, base = len(self._tree.joints), self._base
        if settings.inertia == "system":
            self._tree.set_inertias(shape.inertias)
        viscous = hidden.viscous or (0.0,) * self._nv
        own = shape.damping if settings.joint_damping == "system" else (0.0,) * n
        self._damping = [a + b for a, b in zip(own, viscous[base:], strict=True)]
        self._tree.set_damping(self._damping)
        if any(hidden.coulomb[:base]):
            raise ValueError(
                f"coulomb must be 0 on the {base} rows of a floating base, where the engine has "
                f"no dry friction, got {hidden.coulomb[:base]}"
            )
        dry = shape.friction if settings.dry_friction == "system" else ()
        dry = dry or (0.0,) * n
        self._dry = any(hidden.coulomb) or any(dry)
        if self._dry and settings.motors:
            raise ValueError(
                "settings.motors cannot stay on together with dry friction, which is what the "
                "engine's motors are used for"
            )
        q = ca.SX.sym("q", n)
        coordinates = ca.vertcat(ca.SX.zeros(base), q)
        limit = ca.DM(dry) + hidden.friction_limit(coordinates)[base:]
        self._limit = Evaluated(ca.Function("limit", [q], [ca.densify(limit)]))
        if not settings.motors:
            self._tree.set_friction([0.0] * n)

    def _prepare_force(self, true: Mechanical) -> None:
        """τ(x, u), evaluated in each engine step only where it depends on x."""
        x, u = ca.SX.sym("x", true.nx), ca.SX.sym("u", true.nu)
        force = self._force(true, x, u) + self.hidden.force(true, x, u)
        if any(self.hidden.viscous[: self._base]):
            v = x[true.nq :]
            rows = [*self.hidden.viscous[: self._base], *[0.0] * (true.nv - self._base)]
            force -= ca.DM(rows) * v
        self._input_map = None
        if not (ca.depends_on(force, x) or ca.depends_on(ca.jacobian(force, u), u)):
            zero = ca.Function("force", [u], [force])(0)
            if not np.any(np.asarray(zero)):
                # B of a chain with motors at its joints is constant in joint coordinates
                self._input_map = np.asarray(ca.DM(ca.densify(ca.jacobian(force, u))))
        self._state_force = Evaluated(ca.Function("force", [x, u], [ca.densify(force)]))

    def _place(self, x: np.ndarray) -> None:
        q, v = np.split(x, [self._nq])
        self._tree.place(q, v)
        if self._dry:
            self._tree.set_friction(self._limit(q[self._nq - len(self._tree.joints) :]).tolist())

    def _read(self) -> np.ndarray:
        return np.concatenate(self._tree.read())

    def _advance(self, applied: np.ndarray, force: np.ndarray) -> None:
        self._happens(self._k * self.dt)
        ripples = self._dry and self.hidden.ripple > 0
        if self._input_map is not None:
            force = applied @ self._input_map.T + force
        for u, further in zip(applied, force, strict=True):
            if self._input_map is None:
                further = further + self._state_force(self._read(), u)
            self._tree.apply(further.tolist())
            self._world.step()
            if ripples:
                q = np.array(self._tree.coordinates())
                self._tree.set_friction(self._limit(q).tolist())

    def _acceleration(self, x: np.ndarray, applied: np.ndarray) -> np.ndarray:
        self._place(x)
        self._advance(applied[None, :], np.zeros((1, self._nv)))
        return self._tree.acceleration(x[: self._nq], x[self._nq :])

    def _engine_settings(self) -> dict[str, Any]:
        choices = dataclasses.asdict(self.engine_settings)
        acts = {"joint_damping": tuple(self._damping), "collisions": self._collides()}
        return choices | self._world.record() | acts

    def _collides(self) -> bool:
        return self.engine_settings.self_collision


def check_size(size: tuple[int, int]) -> None:
    """ValueError where this is no size of a picture."""
    if len(size) != 2 or not all(isinstance(n, int) and n >= 1 for n in size):
        raise ValueError(f"size must be (width, height) in pixels, got {size!r}")
