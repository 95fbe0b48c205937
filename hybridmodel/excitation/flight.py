"""A quadrotor that follows a random flight."""

from __future__ import annotations

import casadi as ca
import numpy as np

from hybridmodel.data.trajectory import Array
from hybridmodel.excitation.motion import FourierMotion
from physics import quaternion
from physics.quadrotor import Quadrotor


class GeometricFlight:
    """Geometric tracking of (x, y, z, yaw) on the nominal physics.

        F = m (a_r − k_p (p − p_r) − k_v (v − v_r) + g e_z),    f = F · R e_z
        τ = J (−k_R ½ (R_dᵀR − RᵀR_d)^∨ − k_ω ω) + ω × J ω,    u = clip(G⁻¹ (f, τ))

    R_d has e_z along F and the wanted yaw, G is the map from thrusts to force and torques.
    `bandwidth` ω_p of the position and ω_R of the attitude [rad/s]: k_p = ω_p², k_v = 2ω_p,
    k_R = ω_R², k_ω = 2ω_R; the wanted body rates are left out of τ.
    Lee, Leok, McClamroch, Geometric tracking control of a quadrotor UAV on SE(3), CDC 2010,
    eq. 10, 12, 15, 16.

    Raises ValueError where the motion has another number of channels.
    """

    def __init__(
        self,
        system: Quadrotor,
        motion: FourierMotion,
        *,
        bandwidth: tuple[float, float] = (2.5, 12.0),
    ) -> None:
        if not isinstance(system, Quadrotor):
            raise ValueError(f"system must be a Quadrotor, got {type(system).__name__}")
        if len(motion.center) != 4:
            raise ValueError(f"motion must be of x, y, z, yaw; it has {len(motion.center)}")
        if not all(value > 0 for value in bandwidth):
            raise ValueError(f"bandwidth must be positive [rad/s], got {bandwidth}")
        self.motion, self.bandwidth = motion, bandwidth
        self._low = np.array([s.low for s in system.inputs])
        self._high = np.array([s.high for s in system.inputs])
        self._mass, self._gravity = float(system.mass), float(system.gravity)
        self._inertia = np.array([float(getattr(system, f"inertia_{axis}")) for axis in "xyz"])
        level = np.array(system.neutral)[:7]
        self._allocate = np.linalg.inv(system.input_map_function()(level).full()[2:])
        q = ca.SX.sym("q", 4)
        self._rotation = ca.Function("R", [q], [quaternion.rotation_matrix(q)])

    def reset(self, seed: int | None = None) -> None:
        """Draw the motion of the next log."""
        self.motion.reset(seed)

    def __call__(self, t: float, y: Array) -> Array:
        """u (4,), inside the bounds."""
        position, velocity, omega = y[:3], y[7:10], y[10:13]
        R = self._rotation(y[3:7]).full()
        value, rate, acceleration = self.motion(t)
        slow, fast = self.bandwidth
        pull = slow**2 * (value[:3] - position) + 2 * slow * (rate[:3] - velocity)
        force = self._mass * (acceleration[:3] + pull + [0, 0, self._gravity])
        wanted = _upright(force, value[3])
        twist = wanted.T @ R
        error = np.array(
            [twist[2, 1] - twist[1, 2], twist[0, 2] - twist[2, 0], twist[1, 0] - twist[0, 1]]
        )
        turn = -(fast**2) * error / 2 - 2 * fast * omega
        torque = self._inertia * turn + np.cross(omega, self._inertia * omega)
        u = self._allocate @ np.append(force @ R[:, 2], torque)
        return np.clip(u, self._low, self._high)


def _upright(force: Array, yaw: float) -> Array:
    """R_d (3, 3): e_z along the force, e_x as near to the yaw as that allows."""
    up = force / max(float(np.linalg.norm(force)), 1e-9)
    left = np.cross(up, [np.cos(yaw), np.sin(yaw), 0.0])
    left /= max(float(np.linalg.norm(left)), 1e-9)
    return np.column_stack([np.cross(left, up), left, up])
