"""A robot that follows a random motion of its joints."""

from __future__ import annotations

import casadi as ca
import numpy as np

from hybridmodel.data.trajectory import Array
from hybridmodel.excitation.motion import FourierMotion
from physics import Mechanical


class ComputedTorque:
    """Computed torque on the nominal physics, with a pull to the motion.

        u = clip( B⁻¹ (M(q) (q̈ᵣ + 2ω (q̇ᵣ − q̇) + ω² (qᵣ − q)) + b(q, q̇)) )

    ω `bandwidth` [rad/s]; 2ω should stay well below the rate of control. A hidden torque τ leaves
    an error of about M⁻¹ τ / ω²: a log needs no exact motion, only a rich one inside the limits.
    Luh, Walker, Paul, Resolved-acceleration control of mechanical manipulators, IEEE Trans.
    Automatic Control 1980 (there in Cartesian space).

    Raises ValueError where the system is not fully actuated or has rotations, or where the motion
    does not fit it.
    """

    def __init__(
        self, system: Mechanical, motion: FourierMotion, *, bandwidth: float = 10.0
    ) -> None:
        if not isinstance(system, Mechanical) or system.nu != system.nv or system.nq != system.nv:
            raise ValueError(
                f"system must be mechanical with an input for each of its joints, got "
                f"{type(system).__name__} with {system.nu} inputs"
            )
        self._n = system.nq
        if len(motion.center) != self._n:
            raise ValueError(f"motion has {len(motion.center)} channels, wanted {self._n}")
        if not 0 < bandwidth < np.inf:
            raise ValueError(f"bandwidth must be positive [rad/s], got {bandwidth}")
        self.motion, self.bandwidth = motion, bandwidth
        self._low = np.array([s.low for s in system.inputs])
        self._high = np.array([s.high for s in system.inputs])
        q, v, a = (ca.SX.sym(name, self._n) for name in ("q", "v", "a"))
        p = system.namespace()
        tau = system.mass_matrix(q, p) @ a + system.bias(q, v, p)
        u = ca.solve(ca.densify(system.input_map(q, p)), tau)
        self._torque = ca.Function("u", [q, v, a], [u])

    def reset(self, seed: int | None = None) -> None:
        """Draw the motion of the next log."""
        self.motion.reset(seed)

    def __call__(self, t: float, y: Array) -> Array:
        """u (nu,), inside the bounds."""
        q, v = y[: self._n], y[self._n : 2 * self._n]
        value, rate, acceleration = self.motion(t)
        omega = self.bandwidth
        wanted = acceleration + 2 * omega * (rate - v) + omega**2 * (value - q)
        u = np.asarray(self._torque(q, v, wanted), dtype=float).reshape(-1)
        return np.clip(u, self._low, self._high)
