"""One articulated body of a World, in the coordinates and conventions of `physics`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from hybridmodel.envs.bullet.quiet import pybullet
from hybridmodel.envs.bullet.world import World

_FREE = 1e9  # a joint position that is never reached


class Tree:
    """Coordinates q and velocities v of a loaded body.

        fixed base      q = joints (n,),                            v = joint rates (n,)
        floating base   q = (p (3,), attitude wxyz (4,), joints),   v = (ṗ (3,), ω (3,), rates)

    p, ṗ of the base link's frame in the world, ω in that frame; a force on the base is (force in
    the world, torque in the frame about its origin). The engine has the quaternion's scalar last,
    velocities in the world and all of them at the centre of mass; the change is exact.

    `joints` names the moving joints in the order of q, () is that of the file.
    Raises ValueError where the names are not those of the body.
    """

    def __init__(
        self, world: World, body: int, *, floating: bool, joints: Sequence[str] = ()
    ) -> None:
        self.world, self.body, self.floating, self._client = world, body, floating, world.client
        count = pybullet.getNumJoints(body, physicsClientId=self._client)
        infos = [pybullet.getJointInfo(body, j, physicsClientId=self._client) for j in range(count)]
        self.links = {info[12].decode(): info[0] for info in infos}
        self.links[pybullet.getBodyInfo(body, physicsClientId=self._client)[0].decode()] = -1
        moving = {info[1].decode(): info[0] for info in infos if info[2] != pybullet.JOINT_FIXED}
        names = tuple(joints) or tuple(moving)
        if set(names) != set(moving) or len(names) != len(moving):
            raise ValueError(f"joints must be {sorted(moving)} in some order, got {list(names)}")
        self.joints = [moving[name] for name in names]
        self._motors = [True] * len(names)  # as the engine loads them
        self._apply_settings(infos)
        offset = pybullet.getDynamicsInfo(body, -1, physicsClientId=self._client)
        self._center = np.array(offset[3])  # of mass, in the base link's frame
        self._principal = np.array(offset[4])  # the engine's base frame in the link's, xyzw

    def _apply_settings(self, infos: list) -> None:
        s = self.world.settings
        for j in range(-1, len(infos)):
            self._change(j, linearDamping=s.linear_damping, angularDamping=s.angular_damping)
        for j in self.joints:
            # a call of its own: a jointDamping given together with it is dropped
            self._change(j, maxJointVelocity=s.max_joint_velocity)
            if not s.position_limits:
                self._change(j, jointLowerLimit=-_FREE, jointUpperLimit=_FREE)
        if self.floating:
            self._change(-1, maxJointVelocity=s.max_joint_velocity)

    def _change(self, link: int, **what: object) -> None:
        pybullet.changeDynamics(self.body, link, physicsClientId=self._client, **what)

    # -- what does not change during a run -----------------------------------------------------

    def set_damping(self, damping: Sequence[float]) -> None:
        """Viscous damping of each joint [N·m·s/rad, N·s/m]."""
        for j, value in zip(self.joints, damping, strict=True):
            self._change(j, jointDamping=value)

    def set_inertias(self, inertias: Mapping[str, np.ndarray]) -> None:
        """Inertia (3, 3) [kg·m²] about the centre of mass of links by name, in link axes.

        Only its diagonal in the axes that the engine has taken for the link is set.
        """
        for name, inertia in inertias.items():
            info = pybullet.getDynamicsInfo(
                self.body, self.links[name], physicsClientId=self._client
            )
            axes = np.array(pybullet.getMatrixFromQuaternion(info[4])).reshape(3, 3)
            moments = np.diag(axes.T @ inertia @ axes).tolist()
            self._change(self.links[name], localInertiaDiagonal=moments)

    def set_mass(self, name: str, mass: float) -> None:
        """Mass [kg] of a link by name; its inertia about its centre of mass stays."""
        link = self.links[name]
        inertia = pybullet.getDynamicsInfo(self.body, link, physicsClientId=self._client)[2]
        self._change(link, mass=mass)
        self._change(link, localInertiaDiagonal=inertia)

    # -- every step ----------------------------------------------------------------------------

    def set_friction(self, limits: Sequence[float]) -> None:
        """Dry friction of each joint [N·m, N], as a motor that wants to stand still."""
        for j, limit in zip(self.joints, limits, strict=True):
            pybullet.setJointMotorControl2(
                self.body,
                j,
                pybullet.VELOCITY_CONTROL,
                targetVelocity=0.0,
                force=limit,
                physicsClientId=self._client,
            )

    def place(self, q: np.ndarray, v: np.ndarray) -> None:
        if self.floating:
            self._place_base(q[:7], v[:6])
            q, v = q[7:], v[6:]
        for state in zip(self.joints, q.tolist(), v.tolist(), strict=True):
            pybullet.resetJointState(self.body, *state, physicsClientId=self._client)

    def coordinates(self) -> list[float]:
        """q of the joints alone."""
        states = pybullet.getJointStates(self.body, self.joints, physicsClientId=self._client)
        return [state[0] for state in states]

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """q and v; an attitude has two quaternions, and this is either."""
        states = []
        if self.joints:
            states = pybullet.getJointStates(self.body, self.joints, physicsClientId=self._client)
        q, v = np.array([s[0] for s in states]), np.array([s[1] for s in states])
        if not self.floating:
            return q, v
        position, attitude, velocity, omega = self._base()
        turn = _matrix(attitude)
        arm = turn @ self._center
        q = np.concatenate([position - arm, attitude, q])
        return q, np.concatenate([velocity - _cross(omega, arm), turn.T @ omega, v])

    def apply(self, force: Sequence[float]) -> None:
        """A generalised force (nv,) during the next step."""
        if self.floating:
            self._push_base(np.asarray(force[:6]))
            force = force[6:]
        if self.joints:
            pybullet.setJointMotorControlArray(
                self.body,
                self.joints,
                pybullet.TORQUE_CONTROL,
                forces=force,
                physicsClientId=self._client,
            )

    def acceleration(self, q: np.ndarray, v: np.ndarray) -> np.ndarray:
        """v̇ (nv,) of the step just made from q, v: exact, since v⁺ = v + h v̇."""
        h = self.world.h
        if not self.floating:
            return (self.read()[1] - v) / h
        *_, velocity, omega = self._base()
        turn = _matrix(q[3:7])
        arm, before = turn @ self._center, turn @ v[3:6]
        alpha = (omega - before) / h
        linear = (velocity - v[:3] - _cross(before, arm)) / h
        linear -= _cross(alpha, arm) + _cross(before, _cross(before, arm))
        joints = (self.read()[1][6:] - v[6:]) / h
        return np.concatenate([linear, turn.T @ alpha, joints])

    def _base(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Centre of mass, the link's attitude wxyz, velocity of the centre, ω, in the world."""
        position, engine = pybullet.getBasePositionAndOrientation(
            self.body, physicsClientId=self._client
        )
        velocity, omega = pybullet.getBaseVelocity(self.body, physicsClientId=self._client)
        attitude = _multiply(_first(np.array(engine)), _first(self._principal) * _INVERSE)
        return np.array(position), attitude, np.array(velocity), np.array(omega)

    def _place_base(self, q: np.ndarray, v: np.ndarray) -> None:
        attitude = q[3:7] / np.linalg.norm(q[3:7])
        turn = _matrix(attitude)
        arm, omega = turn @ self._center, turn @ v[3:6]
        engine = np.roll(_multiply(attitude, _first(self._principal)), -1)
        pybullet.resetBasePositionAndOrientation(
            self.body, (q[:3] + arm).tolist(), engine.tolist(), physicsClientId=self._client
        )
        pybullet.resetBaseVelocity(
            self.body,
            (v[:3] + _cross(omega, arm)).tolist(),
            omega.tolist(),
            physicsClientId=self._client,
        )

    def _push_base(self, force: np.ndarray) -> None:
        position, attitude, *_ = self._base()
        turn = _matrix(attitude)
        torque = turn @ force[3:6] - _cross(turn @ self._center, force[:3])
        pybullet.applyExternalForce(
            self.body,
            -1,
            force[:3].tolist(),
            position.tolist(),
            pybullet.WORLD_FRAME,
            physicsClientId=self._client,
        )
        pybullet.applyExternalTorque(
            self.body, -1, torque.tolist(), pybullet.WORLD_FRAME, physicsClientId=self._client
        )


_INVERSE = np.array([1.0, -1.0, -1.0, -1.0])


def _first(xyzw: np.ndarray) -> np.ndarray:
    """The scalar first."""
    return np.roll(xyzw, 1)


def _multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a ⊗ b of quaternions wxyz."""
    vector = a[0] * b[1:] + b[0] * a[1:] + _cross(a[1:], b[1:])
    return np.concatenate([[a[0] * b[0] - a[1:] @ b[1:]], vector])


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a × b; numpy's own costs ten times as much on three numbers."""
    (x, y, z), (u, v, w) = a.tolist(), b.tolist()
    return np.array([y * w - z * v, z * u - x * w, x * v - y * u])


def _matrix(q: np.ndarray) -> np.ndarray:
    """R (3, 3) of a unit quaternion wxyz."""
    w, x, y, z = q.tolist()
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
