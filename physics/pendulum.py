"""The torque-driven pendulum."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import casadi as ca

from physics.mechanical import Mechanical
from physics.parameter import Parameter
from physics.system import Signal


@dataclass(frozen=True, kw_only=True)
class Pendulum(Mechanical):
    """A rigid pendulum with a motor at its pivot; θ = 0 hangs, θ = π stands.

        (I + m l²) θ̈ + b θ̇ + m g l sin θ = k u

    θ angle [rad], u commanded torque [N·m], m mass [kg], l pivot to centre of mass [m],
    I inertia about the centre of mass [kg·m²], b viscous damping [N·m·s/rad], k motor gain [–].
    Tedrake, Underactuated Robotics, eq. 2.1, with a distributed mass.
    """

    mass: float = Parameter(1.0, "kg", "positive")
    length: float = Parameter(0.5, "m", "positive")
    inertia: float = Parameter(0.02, "kg·m²", "positive")
    damping: float = Parameter(0.01, "N·m·s/rad", "positive")
    motor_gain: float = Parameter(1.0, "", "positive")
    gravity: float = Parameter(9.81, "m/s²", "positive")
    states: tuple[Signal, ...] = (
        Signal("angle", "rad", angle=True),
        Signal("rate", "rad/s", rate_of="angle"),
    )
    inputs: tuple[Signal, ...] = (Signal("torque", "N·m", -2.0, 2.0),)

    def mass_matrix(self, q: ca.SX, p: SimpleNamespace) -> ca.SX:
        return ca.SX(p.inertia + p.mass * p.length**2)

    def bias(self, q: ca.SX, v: ca.SX, p: SimpleNamespace) -> ca.SX:
        return p.damping * v + p.mass * p.gravity * p.length * ca.sin(q)

    def input_map(self, q: ca.SX, p: SimpleNamespace) -> ca.SX:
        return ca.SX(p.motor_gain)
