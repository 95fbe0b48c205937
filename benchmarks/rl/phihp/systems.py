"""What is known of the six machines: their equations of motion without friction.

Written from the environments that the paper published (El Asri, Sigaud & Thome, Physics-Informed
Model and Hybrid Planning for Efficient Dyna-Style Reinforcement Learning, RLC 2024,
arXiv:2407.02217, with its repository); constants are theirs. Coordinates come first and rates
last; angles of pendulum and pole are zero upright, those of the two links zero hanging.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import casadi as ca

from physics import Parameter, Signal, System


@dataclass(frozen=True, kw_only=True)
class Rod(System):
    """A rod on a motor, x = (θ, θ̇), θ = 0 stands.

        θ̈ = 3 g / (2 l) sin θ + 3 / (m l²) u

    u torque [N·m]. The classic environment "Pendulum" of Gymnasium with g = 10 m/s².
    """

    mass: float = Parameter(1.0, "kg", "positive")
    length: float = Parameter(1.0, "m", "positive")
    gravity: float = Parameter(10.0, "m/s²", "positive")
    states: tuple[Signal, ...] = (
        Signal("angle", "rad", angle=True),
        Signal("rate", "rad/s", rate_of="angle"),
    )
    inputs: tuple[Signal, ...] = (Signal("torque", "N·m", -2.0, 2.0),)

    def dynamics(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        weight = 3 * p.gravity / (2 * p.length) * ca.sin(x[0])
        return ca.vertcat(x[1], weight + 3 / (p.mass * p.length**2) * u)


@dataclass(frozen=True, kw_only=True)
class Cart(System):
    """A pole on a pushed cart, x = (s, θ, ṡ, θ̇), θ = 0 stands.

        a = (u + m l θ̇² sin θ) / (M + m)
        θ̈ = (g sin θ − a cos θ) / (l (4/3 − m cos² θ / (M + m)))
        s̈ = a − m l θ̈ cos θ / (M + m)

    u force [N], l half of the pole's length. Barto, Sutton & Anderson, 1983, appendix.
    """

    cart_mass: float = Parameter(1.0, "kg", "positive")
    pole_mass: float = Parameter(0.1, "kg", "positive")
    half_length: float = Parameter(0.5, "m", "positive")
    gravity: float = Parameter(9.8, "m/s²", "positive")
    states: tuple[Signal, ...] = (
        Signal("position", "m"),
        Signal("angle", "rad", angle=True),
        Signal("velocity", "m/s", rate_of="position"),
        Signal("rate", "rad/s", rate_of="angle"),
    )
    inputs: tuple[Signal, ...] = (Signal("force", "N", -10.0, 10.0),)

    def dynamics(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        sin, cos, rate = ca.sin(x[1]), ca.cos(x[1]), x[3]
        total, moment = p.cart_mass + p.pole_mass, p.pole_mass * p.half_length
        a = (u + moment * rate**2 * sin) / total
        lever = p.half_length * (4 / 3 - p.pole_mass * cos**2 / total)
        turning = (p.gravity * sin - a * cos) / lever
        return ca.vertcat(x[2], rate, a - moment * turning * cos / total, turning)


ELBOW = Signal("elbow_torque", "N·m", -1.0, 1.0)
SHOULDER = Signal("shoulder_torque", "N·m", -1.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class TwoLinks(System):
    """Two links, x = (θ₁, θ₂, θ̇₁, θ̇₂), θ₁ = 0 hangs, θ₂ is relative to link 1.

        θ̈₂ = (u₁ + d₂/d₁ φ₁ − m l r θ̇₁² sin θ₂ − φ₂) / (m r² + I − d₂²/d₁)
        θ̈₁ = −(u₂ + d₂ θ̈₂ + φ₁) / d₁
        d₁ = m r² + m (l² + r² + 2 l r cos θ₂) + 2 I,    d₂ = m (r² + l r cos θ₂) + I
        φ₂ = m r g sin(θ₁ + θ₂)
        φ₁ = −m l r θ̇₂ (θ̇₂ + 2 θ̇₁) sin θ₂ + (m r + m l) g sin θ₁ + φ₂

    u₁ torque at the elbow, u₂ against link 1 where `inputs` has it [N·m]. As published, also where
    mechanics would differ: u₂ has a minus, and does not reach θ̈₂.
    Sutton & Barto, Reinforcement Learning, 1998, section 11.3, with I = 1 kg·m².
    """

    mass: float = Parameter(1.0, "kg", "positive")
    length: float = Parameter(1.0, "m", "positive")
    center: float = Parameter(0.5, "m", "positive")
    inertia: float = Parameter(1.0, "kg·m²", "positive")
    gravity: float = Parameter(9.8, "m/s²", "positive")
    states: tuple[Signal, ...] = (
        Signal("shoulder", "rad", angle=True),
        Signal("elbow", "rad", angle=True),
        Signal("shoulder_rate", "rad/s", rate_of="shoulder"),
        Signal("elbow_rate", "rad/s", rate_of="elbow"),
    )
    inputs: tuple[Signal, ...] = (ELBOW,)

    def dynamics(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        m, l, r, I, g = p.mass, p.length, p.center, p.inertia, p.gravity  # noqa: E741
        sin, cos = ca.sin(x[1]), ca.cos(x[1])
        d1 = m * r**2 + m * (l**2 + r**2 + 2 * l * r * cos) + 2 * I
        d2 = m * (r**2 + l * r * cos) + I
        phi2 = m * r * g * ca.sin(x[0] + x[1])
        phi1 = -m * l * r * x[3] * (x[3] + 2 * x[2]) * sin + m * (r + l) * g * ca.sin(x[0]) + phi2
        pull = u[0] + d2 / d1 * phi1 - m * l * r * x[2] ** 2 * sin - phi2
        elbow = pull / (m * r**2 + I - d2**2 / d1)
        shoulder = -((u[1] if self.nu > 1 else 0) + d2 * elbow + phi1) / d1
        return ca.vertcat(x[2], x[3], shoulder, elbow)
