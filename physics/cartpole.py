"""The cart-pole."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import casadi as ca

from physics.mechanical import Mechanical
from physics.parameter import Parameter
from physics.system import Signal


@dataclass(frozen=True, kw_only=True)
class CartPole(Mechanical):
    """A pole on a driven cart; θ = 0 hangs, θ = π stands.

        (m_c + m_p) s̈ + m_p l cos θ · θ̈ − m_p l sin θ · θ̇² + b_c ṡ = k u
        m_p l cos θ · s̈ + (I + m_p l²) θ̈ + m_p g l sin θ + b_p θ̇   = 0

    s cart position [m], θ pole angle [rad], u commanded force [N], m_c, m_p masses [kg],
    l pivot to the pole's centre of mass [m], I its inertia there [kg·m²], b_c, b_p viscous
    damping [N·s/m, N·m·s/rad], k motor gain [–].
    Tedrake, Underactuated Robotics, eq. 3.13–3.14, with a distributed pole and damping.
    """

    cart_mass: float = Parameter(1.0, "kg", "positive")
    pole_mass: float = Parameter(0.2, "kg", "positive")
    pole_length: float = Parameter(0.3, "m", "positive")
    pole_inertia: float = Parameter(0.006, "kg·m²", "positive")
    cart_damping: float = Parameter(0.05, "N·s/m", "positive")
    pole_damping: float = Parameter(0.002, "N·m·s/rad", "positive")
    motor_gain: float = Parameter(1.0, "", "positive")
    gravity: float = Parameter(9.81, "m/s²", "positive")
    states: tuple[Signal, ...] = (
        Signal("position", "m", -2.4, 2.4),
        Signal("angle", "rad", angle=True),
        Signal("velocity", "m/s", rate_of="position"),
        Signal("rate", "rad/s", rate_of="angle"),
    )
    inputs: tuple[Signal, ...] = (Signal("force", "N", -12.0, 12.0),)

    def mass_matrix(self, q: ca.SX, p: SimpleNamespace) -> ca.SX:
        coupling = p.pole_mass * p.pole_length * ca.cos(q[1])
        cart, pole = p.cart_mass + p.pole_mass, p.pole_inertia + p.pole_mass * p.pole_length**2
        return ca.SX(ca.blockcat([[cart, coupling], [coupling, pole]]))

    def bias(self, q: ca.SX, v: ca.SX, p: SimpleNamespace) -> ca.SX:
        moment = p.pole_mass * p.pole_length * ca.sin(q[1])
        return ca.vertcat(
            p.cart_damping * v[0] - moment * v[1] ** 2,
            p.pole_damping * v[1] + moment * p.gravity,
        )

    def input_map(self, q: ca.SX, p: SimpleNamespace) -> ca.SX:
        return ca.SX(ca.vertcat(p.motor_gain, 0.0))
