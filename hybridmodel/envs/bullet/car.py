"""A car on four wheels in PyBullet."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Self

import casadi as ca
import numpy as np

from hybridmodel.envs.bullet.car_body import WHEELS, car_body
from hybridmodel.envs.bullet.plant import check_size
from hybridmodel.envs.bullet.quiet import pybullet
from hybridmodel.envs.bullet.settings import BulletSettings
from hybridmodel.envs.bullet.world import World
from hybridmodel.envs.environment import Environment, Reward
from hybridmodel.envs.evaluated import Evaluated
from hybridmodel.envs.hidden import HiddenEffects
from physics import DynamicBicycle

_GRAVITY = 9.81


class BulletCar(Environment):
    """`physics.DynamicBicycle` as a chassis on four rolling spheres with dry friction.

    Mass, inertia, axles and F_x are the System's; the tyres are not. A sphere of the engine
    holds its line without any slip up to μ times its load, where a Pacejka tyre needs a slip
    angle, and then slides; μ of an axle is its peak force over its load at rest. F_x reaches the
    road as a torque on the rear wheels, so that it uses up their grip sideways. Wheels weigh
    2 % of the car together, and the centre of mass lies at the height of the axles.

    Measured against the 1:43 default: straight ahead v_x differs by under 0.5 % in 1 s; held at a
    steering of 0.1 rad for 1 s, the yaw rate is larger by 10 % at 0.5 m/s, 20 % at 1 m/s, 48 % at
    1.5 m/s and 77 % at 2 m/s, where a Pacejka tyre slips ever more. Over random inputs (steering
    within ±0.2 rad, 0.5 … 1.5 m/s) positions part by 24 mm after 0.2 s and 270 mm after 1 s (RMS).
    It is a plant of another structure, not a check of the equations.

    A steering angle is reached within a few ms, by a servo that no tyre moves.
    Raises ValueError where the system is no DynamicBicycle.
    """

    render_modes = ("rgb_array",)
    engine_step = 5e-4

    def __init__(
        self,
        system: DynamicBicycle,
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
        if type(system) is not DynamicBicycle:
            raise ValueError(
                f"system must be a DynamicBicycle for BulletCar, got {type(system).__name__}"
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
        self._size = size
        true: Any = self.hidden.true_system(system)
        p = true.namespace()
        self._front, self._rear = float(p.front_length), float(p.rear_length)
        base = self._front + self._rear
        self._radius = 0.25 * base
        self._world = World(self.engine_settings, self.dt / self.substeps, _GRAVITY)
        self._client, self._disconnect = self._world.client, self._world.close
        self._body = self._world.load(car_body(p, self._radius), fixed=False)
        self._build(p)
        u, x = ca.SX.sym("u", 2), ca.SX.sym("x", 6)
        # F_x alone: what pushes the car when it drives straight ahead
        straight = ca.vertcat(0, 0, 0, x[3], 0, 0)
        rate = true.dynamics(straight, ca.vertcat(u[0], 0), p, ca.SX(0, 1))
        self._drive = Evaluated(ca.Function("drive", [x, u], [ca.densify(p.mass * rate[3])]))
        self._heading = 0.0

    def with_settings(self, **changes: Any) -> Self:
        """The same plant, built anew with other `BulletSettings`."""
        settings = dataclasses.replace(self.engine_settings, **changes)
        return type(self)(self.system, settings=settings, **self._arguments)  # type: ignore[arg-type]

    def render(self) -> np.ndarray | None:
        """The picture (height, width, 3) uint8, by PyBullet's software renderer."""
        if self.render_mode is None:
            return None
        x, y = self._read()[:2]
        wide = 3.0 * (self._front + self._rear)
        return self._world.picture(
            self._size, target=(x, y, 0.0), reach=(wide, 0.6 * wide), direction=(-0.5, -0.8, 0.6)
        )

    def close(self) -> None:
        """End this environment's world; others keep theirs."""
        self._disconnect()

    def _build(self, p: Any) -> None:
        s, client, body = self.engine_settings, self._client, self._body
        count = pybullet.getNumJoints(body, physicsClientId=client)
        names = {
            pybullet.getJointInfo(body, j, physicsClientId=client)[1].decode(): j
            for j in range(count)
        }
        self._steering = [names["steer_left"], names["steer_right"]]
        self._wheels = [names[wheel] for wheel in WHEELS]
        shape = pybullet.createCollisionShape(pybullet.GEOM_PLANE, physicsClientId=client)
        half = 100 * (self._front + self._rear)
        picture = -1
        if self.render_mode is not None:
            picture = pybullet.createVisualShape(
                pybullet.GEOM_BOX,
                halfExtents=(half, half, 0.01 * half),
                visualFramePosition=(0, 0, -0.01 * half),
                rgbaColor=(0.90, 0.90, 0.88, 1),
                physicsClientId=client,
            )
        road = pybullet.createMultiBody(0, shape, picture, physicsClientId=client)
        pybullet.changeDynamics(road, -1, lateralFriction=1.0, physicsClientId=client)
        weight = float(p.mass) * _GRAVITY / (self._front + self._rear)
        front = float(p.front_peak) / (weight * self._rear)
        rear = float(p.rear_peak) / (weight * self._front)
        self._grip = (front, front, rear, rear)
        for j in range(-1, count):
            pybullet.changeDynamics(
                body,
                j,
                linearDamping=s.linear_damping,
                angularDamping=s.angular_damping,
                physicsClientId=client,
            )
            pybullet.changeDynamics(
                body, j, maxJointVelocity=s.max_joint_velocity, physicsClientId=client
            )
        for j, grip in zip(self._wheels, self._grip, strict=True):
            pybullet.changeDynamics(
                body,
                j,
                lateralFriction=grip,
                rollingFriction=0.0,
                spinningFriction=0.0,
                restitution=0.0,
                physicsClientId=client,
            )
            if not s.motors:
                pybullet.setJointMotorControl2(
                    body, j, pybullet.VELOCITY_CONTROL, force=0, physicsClientId=client
                )

    def _place(self, x: np.ndarray) -> None:
        X, Y, heading, forward, lateral, rate = map(float, x)
        c, s = math.cos(heading), math.sin(heading)
        pybullet.resetBasePositionAndOrientation(
            self._body,
            (X, Y, self._radius),
            (0.0, 0.0, math.sin(heading / 2), math.cos(heading / 2)),
            physicsClientId=self._client,
        )
        pybullet.resetBaseVelocity(
            self._body,
            (c * forward - s * lateral, s * forward + c * lateral, 0.0),
            (0.0, 0.0, rate),
            physicsClientId=self._client,
        )
        for j in self._steering:
            pybullet.resetJointState(self._body, j, 0.0, 0.0, physicsClientId=self._client)
        for j in self._wheels:
            pybullet.resetJointState(
                self._body, j, 0.0, forward / self._radius, physicsClientId=self._client
            )
        self._heading = heading

    def _read(self) -> np.ndarray:
        (X, Y, _), q = pybullet.getBasePositionAndOrientation(
            self._body, physicsClientId=self._client
        )
        (vx, vy, _), (_, _, rate) = pybullet.getBaseVelocity(
            self._body, physicsClientId=self._client
        )
        yaw = pybullet.getEulerFromQuaternion(q)[2]
        turn = (yaw - self._heading + math.pi) % (2 * math.pi) - math.pi
        self._heading += turn  # it stays unwrapped
        c, s = math.cos(self._heading), math.sin(self._heading)
        return np.array([X, Y, self._heading, c * vx + s * vy, c * vy - s * vx, rate])

    def _advance(self, applied: np.ndarray, force: np.ndarray) -> None:
        for u in applied:
            torque = float(self._drive(self._read(), u)[0]) * self._radius / 2
            self._steer(float(u[1]))
            pybullet.setJointMotorControlArray(
                self._body,
                self._wheels[2:],
                pybullet.TORQUE_CONTROL,
                forces=[torque, torque],
                physicsClientId=self._client,
            )
            self._world.step()

    def _steer(self, angle: float) -> None:
        for j in self._steering:
            pybullet.setJointMotorControl2(
                self._body,
                j,
                pybullet.POSITION_CONTROL,
                targetPosition=angle,
                positionGain=0.2,
                velocityGain=1.0,
                force=1e3,  # a servo that no tyre moves
                physicsClientId=self._client,
            )

    def _acceleration(self, x: np.ndarray, applied: np.ndarray) -> np.ndarray:
        self._place(x)
        for j in self._steering:
            pybullet.resetJointState(
                self._body, j, float(applied[1]), 0.0, physicsClientId=self._client
            )
        self._advance(applied[None, :], np.zeros((1, 0)))
        rows = list(self.system.velocity_rows)
        return (self._read()[rows] - x[rows]) / self._world.h

    def _engine_settings(self) -> dict[str, Any]:
        acts = {"collisions": True, "wheel_friction": self._grip, "wheel_radius": self._radius}
        return dataclasses.asdict(self.engine_settings) | self._world.record() | acts
