"""Robots read from files: rigid bodies in a tree of joints."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace
from typing import Literal, Self

import casadi as ca

from physics.parameter import Parameter, as_number
from physics.rigid_body import constants, mjcf, payload, signals, tree, urdf
from physics.rigid_body.description import Description, Joint
from physics.rigid_body.equations import Articulated
from physics.rigid_body.inertia import as_pybullet
from physics.rigid_body.moments import Moments
from physics.rigid_body.robot import Robot
from physics.rigid_body.spatial import Scalar
from physics.rigid_body.tree import Body
from physics.system import Signal

GRAVITY = Parameter(9.81, "m/s²", "real")  # 0 is a robot in orbit, or a table
SMOOTHING = 0.01  # [rad/s, m/s]


@dataclass(frozen=True, kw_only=True)
class RigidBody(Articulated):
    """A robot: M(q) v̇ + b(q, v) = B u, by Newton–Euler, composite and articulated bodies.

        b = C(q, v) + g(q) + (0, d q̇ⱼ + c tanh(q̇ⱼ/ε)),    M ∋ armature,    τⱼ = gear · u

    q  joint coordinates [rad, m] in the file's order; a floating base puts the position of the
       root link's frame [m] and its unit quaternion (w, x, y, z) before them
    v  joint rates [rad/s, m/s]; a floating base puts before them the velocity of that frame in
       the world's axes [m/s] and the angular velocity in the link's own [rad/s], whose
       generalised forces are a force in the world's [N] and a moment in the link's [N·m]
    d, c  viscous and dry friction; ε is the `smoothing` of the sign [rad/s, m/s], 0 is exact

    Gravity pulls along −z of the world, the root link's frame where the base does not float.
    Made by `from_urdf`, `from_mjcf` or `from_description`. `constants` are those of links and
    joints (see `physics.rigid_body.constants`); they override the description's.

    Raises ValueError for an input that drives no joint, a constant of nothing, or a joint that
    nothing with inertia hangs on.
    Featherstone, Rigid Body Dynamics Algorithms, 2008, tables 5.1, 6.2 and 7.1.
    """

    description: Description
    floating: bool
    inputs: tuple[Signal, ...]
    constants: tuple[tuple[str, Parameter], ...]
    gravity: float = GRAVITY
    smoothing: float = SMOOTHING

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.joints and not self.floating:
            raise ValueError(f"description: {self.description.name} has no joint that moves")
        if self.smoothing < 0:
            raise ValueError(f"smoothing must be ≥ 0, got {float(self.smoothing)!r}")
        domain = "positive" if self.smoothing > 0 else "real"  # no fit may drive the joints with it
        object.__setattr__(self, "smoothing", Parameter(self.smoothing, "rad/s, m/s", domain))
        driven = {signals.motor(joint).name for joint in self.joints}
        if unknown := [s.name for s in self.inputs if s.name not in driven]:
            raise ValueError(f"inputs may be {sorted(driven)}, got {unknown[0]!r}")
        known = dict(constants.of(self.description, floating=self.floating, inputs=self.inputs))
        for name, _ in self.constants:
            if name not in known:
                why = self._why_none(name) or f"it has {sorted(known)}"
                raise ValueError(f"constants: {self.description.name} has no {name!r}: {why}")
        # numbers show a joint that nothing hangs on at once
        still = [0.0] * self.nv
        self.robot(self.namespace()).acceleration(list(self.neutral[: self.nq]), still, still)

    @classmethod
    def from_urdf(
        cls,
        path: str | os.PathLike[str],
        *,
        package_roots: Sequence[str | os.PathLike[str]] = (),
        ignore: Collection[str] = (),
        floating: bool = False,
        inertia: Literal["file", "pybullet"] = "file",
        actuated: Iterable[str] | None = None,
        gravity: float = GRAVITY,
        smoothing: float = SMOOTHING,
    ) -> Self:
        """The robot of a URDF file; see `from_description`.

        `ignore` names what of it to leave out, see `physics.rigid_body.urdf.read`.
        """
        return cls.from_description(
            urdf.read(path, package_roots=package_roots, ignore=ignore),
            floating=floating,
            inertia=inertia,
            actuated=actuated,
            gravity=gravity,
            smoothing=smoothing,
        )

    @classmethod
    def from_mjcf(
        cls,
        path: str | os.PathLike[str],
        *,
        ignore: Collection[str] = (),
        actuated: Iterable[str] | None = None,
        gravity: float = GRAVITY,
        smoothing: float = SMOOTHING,
    ) -> Self:
        """The robot of an MJCF file, whose base floats where the file has a free joint.

        `ignore` names what of it to leave out, see `physics.rigid_body.mjcf.read`.
        """
        read = mjcf.read(path, ignore=ignore)
        return cls.from_description(
            read, floating=read.floating, actuated=actuated, gravity=gravity, smoothing=smoothing
        )

    @classmethod
    def from_description(
        cls,
        description: Description,
        *,
        floating: bool = False,
        inertia: Literal["file", "pybullet"] = "file",
        actuated: Iterable[str] | None = None,
        gravity: float = GRAVITY,
        smoothing: float = SMOOTHING,
    ) -> Self:
        """The robot of a description, with a motor at each joint or at those `actuated`.

        `inertia="pybullet"` takes the tensors that PyBullet makes of the file's, see
        `physics.rigid_body.inertia.as_pybullet`.
        """
        if inertia not in ("file", "pybullet"):
            raise ValueError(f"inertia must be 'file' or 'pybullet', got {inertia!r}")
        if inertia == "pybullet":
            links = tuple(as_pybullet(link) for link in description.links)
            description = dataclasses.replace(description, links=links)
        moving = {joint.name: joint for joint in description.joints if joint.moves}
        chosen = tuple(moving) if actuated is None else tuple(actuated)
        if unknown := [name for name in chosen if name not in moving]:
            raise ValueError(f"actuated may be moving joints {list(moving)}, got {unknown[0]!r}")
        inputs = tuple(signals.motor(moving[name]) for name in chosen)
        return cls(
            description=description,
            floating=floating,
            inputs=inputs,
            constants=constants.of(description, floating=floating, inputs=inputs),
            gravity=gravity,
            smoothing=smoothing,
        )._with_what_matters()

    @cached_property
    def joints(self) -> tuple[Joint, ...]:
        """Those that move, in the order of their coordinates."""
        return tuple(joint for joint in self.description.joints if joint.moves)

    @cached_property
    def states(self) -> tuple[Signal, ...]:  # type: ignore[override]
        """(q, v)."""
        q, v = signals.base() if self.floating else ((), ())
        return (*q, *map(signals.coordinate, self.joints), *v, *map(signals.rate, self.joints))

    def input_map(self, q: ca.SX, p: SimpleNamespace) -> ca.SX:
        first = self.nv - len(self.joints)
        rows = {signals.motor(joint).name: first + i for i, joint in enumerate(self.joints)}
        names = {signals.motor(joint).name: joint.name for joint in self.joints}
        B = type(q)(self.nv, self.nu)
        for column, signal in enumerate(self.inputs):
            B[rows[signal.name], column] = vars(p).get(f"{names[signal.name]}.gear", 1.0)
        return B

    @cached_property
    def _bodies(self) -> tuple[Body, ...]:
        return tree.bodies(self.description)

    def robot(self, p: SimpleNamespace) -> Robot:
        values = vars(p)

        def each(kind: str) -> tuple[Scalar, ...]:
            return tuple(
                values.get(f"{joint.name}.{kind}", getattr(joint, kind)) for joint in self.joints
            )

        def of(body: Body) -> Moments:
            total = Moments()
            for link, frame in body.links:
                total = total.joined(constants.moments(link, values).seen_from(frame))
            return total

        return Robot(
            bodies=self._bodies,
            moments=tuple(map(of, self._bodies)),
            floating=self.floating,
            gravity=p.gravity,
            damping=each("damping"),
            friction=each("friction"),
            armature=each("armature"),
            smoothing=p.smoothing,
        )

    def with_payload(self, link: str, mass: float, at: Sequence[float] = (0.0, 0.0, 0.0)) -> Self:
        """A copy with a point mass [kg] at a place of a link's frame [m]."""
        fitted = payload.as_fitted(self.description.link(link), self.parameters)
        heavier = payload.loaded(fitted, mass, at)
        links = tuple(heavier if old.name == link else old for old in self.description.links)
        return self._redescribed(link, dataclasses.replace(self.description, links=links))

    def with_joint(
        self,
        name: str,
        *,
        damping: float | None = None,
        friction: float | None = None,
        armature: float | None = None,
    ) -> Self:
        """A copy with other constants of a joint, of those that were 0 as well."""
        if name not in [joint.name for joint in self.joints]:
            raise ValueError(f"name must be one of {[j.name for j in self.joints]}, got {name!r}")
        given = {"damping": damping, "friction": friction, "armature": armature}
        changes = {k: as_number(k, value) for k, value in given.items() if value is not None}
        if wrong := [k for k, value in changes.items() if not 0 <= value < math.inf]:
            raise ValueError(f"{wrong[0]} must be ≥ 0 and finite, got {changes[wrong[0]]!r}")
        values = self.parameters
        joints = tuple(
            dataclasses.replace(payload.joint_as_fitted(old, values), **changes)
            if old.name == name
            else old
            for old in self.description.joints
        )
        return self._redescribed(name, dataclasses.replace(self.description, joints=joints))

    def check_declared(self, names: Iterable[str]) -> tuple[str, ...]:
        """The names as a tuple; ValueError where one is unknown, which says why."""
        names = tuple(names)
        known = self.parameters
        for name in names:
            if name not in known and (why := self._why_none(name)):
                raise ValueError(f"{type(self).__name__} has no parameter {name!r}: {why}")
        return super().check_declared(names)

    def _redescribed(self, owner: str, description: Description) -> Self:
        """A copy in which the constants of one link or joint are those of a new description.

        Gears stay, which no description has.
        """
        old = dict(self.constants)
        new = constants.of(description, floating=self.floating, inputs=self.inputs)

        def fresh(name: str) -> bool:
            place, _, kind = name.rpartition(".")
            return place == owner and kind != "gear"

        kept = tuple((name, value if fresh(name) else old.get(name, value)) for name, value in new)
        changed = dataclasses.replace(self, description=description, constants=kept)
        return changed._with_what_matters()

    def _with_what_matters(self) -> Self:
        """A copy without the constants that the motion does not depend on."""
        names = tuple(name for name, _ in self.constants)
        p, u = ca.SX.sym("p", len(names)), ca.SX.sym("u", self.nu)
        q, v, a = self._symbols("v", "a")
        values = self.namespace(names, p)
        tau = self._force(q, v, a, values, friction=True) - self.input_map(q, values) @ u
        matters = ca.which_depends(tau, p, 1, False)
        kept = tuple(pair for pair, yes in zip(self.constants, matters, strict=True) if yes)
        return dataclasses.replace(self, constants=kept)

    def _why_none(self, name: str) -> str | None:
        return constants.why_none(self.description, name, floating=self.floating)
