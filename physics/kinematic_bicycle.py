"""The kinematic bicycle: a car whose wheels roll without slip."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import casadi as ca

from physics.parameter import Parameter
from physics.system import Signal, System


@dataclass(frozen=True, kw_only=True)
class KinematicBicycle(System):
    """A car at low lateral acceleration, with one wheel an axle.

        Ẋ = v cos(ψ + β),    Ẏ = v sin(ψ + β),    ψ̇ = (v / l_r) sin β,    v̇ = a
        β = atan(l_r / (l_f + l_r) · tan δ)

    X, Y centre of mass [m], ψ heading [rad], v its speed [m/s], negative in reverse, β the angle
    from heading to velocity [rad], a acceleration along the velocity [m/s²], δ steering angle of
    the front wheel [rad], |δ| < π/2, l_f, l_r centre of mass to front and rear axle [m].
    Kong, Pfeiffer, Schildbach, Borrelli, Kinematic and dynamic vehicle models for autonomous
    driving control design, 2015, eq. 1a–1e.
    """

    front_length: float = Parameter(1.2, "m", "positive")
    rear_length: float = Parameter(1.5, "m", "positive")
    states: tuple[Signal, ...] = (
        Signal("x", "m"),
        Signal("y", "m"),
        Signal("heading", "rad", angle=True),
        Signal("speed", "m/s"),
    )
    inputs: tuple[Signal, ...] = (
        Signal("acceleration", "m/s²", -4.0, 3.0),
        Signal("steering", "rad", -0.6, 0.6),
    )

    def dynamics(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        heading, speed = x[2], x[3]
        slip = ca.atan(p.rear_length / (p.front_length + p.rear_length) * ca.tan(u[1]))
        return ca.vertcat(
            speed * ca.cos(heading + slip),
            speed * ca.sin(heading + slip),
            speed / p.rear_length * ca.sin(slip),
            u[0],
        )
