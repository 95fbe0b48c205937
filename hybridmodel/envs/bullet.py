"""PyBullet as the plant: a fixed-base chain whose joint coordinates are the System's q."""

from __future__ import annotations

import math
import tempfile
import weakref
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import casadi as ca
import numpy as np

from hybridmodel.envs.environment import Environment, Reward
from hybridmodel.envs.hidden import HiddenEffects
from hybridmodel.envs.quiet import pybullet
from physics import Mechanical

_ITERATIONS = 50  # of the constraint solver, which acts on dry friction alone
_FAST = 1e6  # joint speed that is never reached; PyBullet clamps at 100 rad/s by default
_VIEW = 30.0  # vertical angle of the camera [deg]
_FINER = 2  # pictures are drawn so much finer and averaged, for smooth edges


@dataclass(frozen=True, kw_only=True)
class Body:
    """What PyBullet is to build: URDF text whose movable joints are q₁, q₂, … in order.

    damping  modelled viscous damping of each joint [N·s/m, N·m·s/rad]
    gravity  [m/s²], along −z
    reach    half width and half height of what a picture must show, around the origin [m]
    """

    urdf: str
    damping: tuple[float, ...]
    gravity: float
    reach: tuple[float, float]


class BulletPlant(Environment):
    """A mechanical System simulated by PyBullet's articulated-body solver.

        M v̇ + b = B uᵃ + τ + λ,   |λᵢ| ≤ cᵢ(q)        v⁺ = v + h v̇,   q⁺ = q + h v⁺

    λ is dry friction, which the engine solves as a velocity constraint: joints truly stick.
    Viscous friction, modelled or hidden, is the engine's joint damping. A subclass gives
    `_describe`; every environment has a client (a world) of its own.

    Raises ValueError where the system is not exactly of the type this plant builds.
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
    ) -> None:
        if type(system) is not self.builds:
            raise ValueError(
                f"system must be a {self.builds.__name__} for {type(self).__name__}, "
                f"got {type(system).__name__}"
            )
        if len(size) != 2 or not all(isinstance(n, int) and n >= 1 for n in size):
            raise ValueError(f"size must be (width, height) in pixels, got {size!r}")
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
        self._size, self._h = size, self.dt / self.substeps
        true = system.with_parameters(**self.hidden.parameters)
        self._shape = self._describe(true)
        viscous = self.hidden.viscous or (0.0,) * system.nq
        self._damping = [a + b for a, b in zip(self._shape.damping, viscous, strict=True)]
        q = ca.SX.sym("q", system.nq)
        # B is constant in joint coordinates of a chain with motors at its joints
        self._input_map = np.asarray(ca.DM(true.input_map(q, true.namespace())))
        limit = ca.Function("limit", [q], [ca.densify(self.hidden.friction_limit(q))])
        self._q, self._c = np.zeros(system.nq), np.zeros(system.nq)
        # evaluated in place in every engine step, where an ordinary call would dominate
        buffer: Any
        buffer, self._update_limit = limit.buffer()
        buffer.set_arg(0, self._q.data)
        buffer.set_res(0, self._c.data)
        self._limit_buffer = buffer  # `_update_limit` works on it
        self._dry = any(self.hidden.coulomb)
        self._client = pybullet.connect(pybullet.DIRECT)
        self._disconnect = weakref.finalize(self, pybullet.disconnect, self._client)
        self._load()

    @abstractmethod
    def _describe(self, system: Any) -> Body:
        """The system, with its true parameters, as a body."""

    # -- what follows is final ---------------------------------------------------------------

    def render(self) -> np.ndarray | None:
        """The picture (height, width, 3) uint8, by PyBullet's software renderer."""
        if self.render_mode is None:
            return None
        width, height = self._size
        wide, tall = self._shape.reach
        slope = math.tan(math.radians(_VIEW / 2))
        d = max(wide * height / width, tall) / slope  # far enough to show all
        image = pybullet.getCameraImage(
            _FINER * width,
            _FINER * height,
            viewMatrix=pybullet.computeViewMatrix((0, -d, 0.15 * d), (0, 0, 0), (0, 0, 1)),
            projectionMatrix=pybullet.computeProjectionMatrixFOV(
                _VIEW, width / height, 0.1 * d, 3 * d
            ),
            lightDirection=(-d, -2 * d, 3 * d),
            lightAmbientCoeff=0.7,
            lightDiffuseCoeff=0.4,
            lightSpecularCoeff=0.0,
            shadow=0,
            renderer=pybullet.ER_TINY_RENDERER,
            physicsClientId=self._client,
        )[2]
        fine = np.asarray(image, dtype=np.uint8).reshape(height, _FINER, width, _FINER, 4)
        return fine[..., :3].mean(axis=(1, 3)).round().astype(np.uint8)

    def close(self) -> None:
        """End this environment's world; others keep theirs."""
        self._disconnect()

    def _load(self) -> None:
        client = self._client
        pybullet.setPhysicsEngineParameter(
            fixedTimeStep=self._h,
            numSubSteps=0,
            numSolverIterations=_ITERATIONS,
            solverResidualThreshold=0.0,
            globalCFM=0.0,
            enableFileCaching=0,
            deterministicOverlappingPairs=1,
            physicsClientId=client,
        )
        pybullet.setGravity(0.0, 0.0, -self._shape.gravity, physicsClientId=client)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "plant.urdf")
            path.write_text(self._shape.urdf, encoding="utf-8")
            self._body = pybullet.loadURDF(
                str(path),
                useFixedBase=True,
                flags=pybullet.URDF_USE_INERTIA_FROM_FILE,
                physicsClientId=client,
            )
        count = pybullet.getNumJoints(self._body, physicsClientId=client)
        fixed = pybullet.JOINT_FIXED
        self._joints = [
            j
            for j in range(count)
            if pybullet.getJointInfo(self._body, j, physicsClientId=client)[2] != fixed
        ]
        for j in range(-1, count):
            pybullet.changeDynamics(
                self._body, j, linearDamping=0.0, angularDamping=0.0, physicsClientId=client
            )
        for j, damping in zip(self._joints, self._damping, strict=True):
            # two calls: a jointDamping given together with maxJointVelocity is dropped
            pybullet.changeDynamics(self._body, j, maxJointVelocity=_FAST, physicsClientId=client)
            pybullet.changeDynamics(self._body, j, jointDamping=damping, physicsClientId=client)
        self._set_friction([0.0] * len(self._joints))  # also turns the default motors off

    def _set_friction(self, limits: list[float]) -> None:
        for j, limit in zip(self._joints, limits, strict=True):
            pybullet.setJointMotorControl2(
                self._body,
                j,
                pybullet.VELOCITY_CONTROL,
                targetVelocity=0.0,
                force=limit,
                physicsClientId=self._client,
            )

    def _limit(self, q: list[float]) -> list[float]:
        self._q[:] = q
        self._update_limit()
        return self._c.tolist()

    def _place(self, x: np.ndarray) -> None:
        q, v = np.split(x, 2)
        for state in zip(self._joints, q.tolist(), v.tolist(), strict=True):
            pybullet.resetJointState(self._body, *state, physicsClientId=self._client)
        if self._dry:
            self._set_friction(self._limit(q.tolist()))

    def _read(self) -> np.ndarray:
        states = pybullet.getJointStates(self._body, self._joints, physicsClientId=self._client)
        return np.array([s[0] for s in states] + [s[1] for s in states])

    def _advance(self, applied: np.ndarray, force: np.ndarray) -> None:
        ripples = self._dry and self.hidden.ripple > 0
        for torque in (applied @ self._input_map.T + force).tolist():
            pybullet.setJointMotorControlArray(
                self._body,
                self._joints,
                pybullet.TORQUE_CONTROL,
                forces=torque,
                physicsClientId=self._client,
            )
            pybullet.stepSimulation(physicsClientId=self._client)
            if ripples:
                states = pybullet.getJointStates(
                    self._body, self._joints, physicsClientId=self._client
                )
                self._set_friction(self._limit([state[0] for state in states]))

    def _acceleration(self, x: np.ndarray, applied: np.ndarray) -> np.ndarray:
        self._place(x)
        self._advance(applied[None, :], np.zeros((1, len(self._joints))))
        nq = len(self._joints)
        return (self._read()[nq:] - x[nq:]) / self._h

    def _engine_settings(self) -> dict[str, Any]:
        return {
            "engine": "pybullet",
            "version": pybullet.getAPIVersion(physicsClientId=self._client),
            "solver_iterations": _ITERATIONS,
            "solver_residual_threshold": 0.0,
            "global_cfm": 0.0,
            "gravity": self._shape.gravity,
            "joint_damping": tuple(self._damping),
            "linear_damping": 0.0,
            "angular_damping": 0.0,
            "max_joint_velocity": _FAST,
            "collisions": False,
        }
