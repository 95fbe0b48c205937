"""The planar quadrotor: the quadrotor in the plane y = 0."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import casadi as ca

from physics.mechanical import Mechanical
from physics.parameter import Parameter
from physics.system import Signal


@dataclass(frozen=True, kw_only=True)
class PlanarQuadrotor(Mechanical):
    """Two rotors on a beam in the vertical plane (x, z); θ > 0 leans towards +x.

        m (ẍ, z̈) = k (f₁ + f₂) R e_z − m g e_z − R D Rᵀ (ẋ, ż),    R = (cos θ, sin θ; −sin θ, cos θ)
        I θ̈      = k l (f₂ − f₁)

    f₁, f₂ thrusts of the front (+x) and rear rotor [N], m mass [kg], I inertia [kg·m²], l centre
    to rotor [m], k thrust gain [–], D = diag(D_x, D_z) linear drag along the beam and across
    it [N·s/m], g gravity [m/s²]. θ turns about +y of a right-handed frame (z up), so that the
    front rotor lowers it. It is a `Quadrotor` that flies along x, f₁ and f₂ each the sum of two
    of its rotors.
    """

    mass: float = Parameter(0.5, "kg", "positive")
    inertia: float = Parameter(0.0023, "kg·m²", "positive")
    arm: float = Parameter(0.124, "m", "positive")
    drag_x: float = Parameter(0.0, "N·s/m")
    drag_z: float = Parameter(0.0, "N·s/m")
    thrust_gain: float = Parameter(1.0, "", "positive")
    gravity: float = Parameter(9.81, "m/s²", "positive")
    states: tuple[Signal, ...] = (
        Signal("x", "m"),
        Signal("z", "m"),
        Signal("pitch", "rad", angle=True),
        Signal("velocity_x", "m/s", rate_of="x"),
        Signal("velocity_z", "m/s", rate_of="z"),
        Signal("pitch_rate", "rad/s", rate_of="pitch"),
    )
    inputs: tuple[Signal, ...] = (
        Signal("front_thrust", "N", 0.0, 6.0),
        Signal("rear_thrust", "N", 0.0, 6.0),
    )

    @property
    def hover(self) -> tuple[float, float]:
        """The thrusts [N] that hold it still and level."""
        each = self.mass * self.gravity / (2 * self.thrust_gain)
        return each, each

    def mass_matrix(self, q: ca.SX, p: SimpleNamespace) -> ca.SX:
        return ca.diag(ca.SX(ca.vertcat(p.mass, p.mass, p.inertia)))

    def bias(self, q: ca.SX, v: ca.SX, p: SimpleNamespace) -> ca.SX:
        sine, cosine = ca.sin(q[2]), ca.cos(q[2])
        along = p.drag_x * (cosine * v[0] - sine * v[1])
        across = p.drag_z * (sine * v[0] + cosine * v[1])
        return ca.vertcat(
            cosine * along + sine * across,
            cosine * across - sine * along + p.mass * p.gravity,
            0,
        )

    def input_map(self, q: ca.SX, p: SimpleNamespace) -> ca.SX:
        up, lever = p.thrust_gain * ca.vertcat(ca.sin(q[2]), ca.cos(q[2])), p.thrust_gain * p.arm
        return ca.horzcat(ca.vertcat(up, -lever), ca.vertcat(up, lever))
