"""The double pendulum: acrobot, pendubot or fully actuated by its inputs."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Self

import casadi as ca

from physics.mechanical import Mechanical
from physics.parameter import Parameter
from physics.system import Signal

SHOULDER = Signal("shoulder_torque", "N·m", -6.0, 6.0)
ELBOW = Signal("elbow_torque", "N·m", -6.0, 6.0)


@dataclass(frozen=True, kw_only=True)
class DoublePendulum(Mechanical):
    """Two links with motors at shoulder and elbow; q₁ = 0 hangs, q₂ is relative to link 1.

        M₁₁ = I₁ + I₂ + m₁ r₁² + m₂ (l₁² + r₂² + 2 l₁ r₂ cos q₂)
        M₁₂ = I₂ + m₂ (r₂² + l₁ r₂ cos q₂),    M₂₂ = I₂ + m₂ r₂²
        b₁  = −c (2 q̇₁ + q̇₂) q̇₂ + (m₁ r₁ + m₂ l₁) g sin q₁ + m₂ r₂ g sin(q₁ + q₂) + d₁ q̇₁
        b₂  =  c q̇₁² + m₂ r₂ g sin(q₁ + q₂) + d₂ q̇₂,    c = m₂ l₁ r₂ sin q₂

    m masses [kg], l₁ length of link 1 [m], r joint to centre of mass [m], I inertias about the
    centres of mass [kg·m²], d viscous damping [N·m·s/rad], k motor gain [–].
    Which joints are driven follows from `inputs`: see `acrobot` and `pendubot`.
    Tedrake, Underactuated Robotics, eq. 3.2–3.6.
    """

    mass1: float = Parameter(0.6, "kg", "positive")
    mass2: float = Parameter(0.6, "kg", "positive")
    length1: float = Parameter(0.3, "m", "positive")
    center1: float = Parameter(0.2, "m", "positive")
    center2: float = Parameter(0.2, "m", "positive")
    inertia1: float = Parameter(0.008, "kg·m²", "positive")
    inertia2: float = Parameter(0.008, "kg·m²", "positive")
    damping1: float = Parameter(0.005, "N·m·s/rad", "positive")
    damping2: float = Parameter(0.005, "N·m·s/rad", "positive")
    motor_gain: float = Parameter(1.0, "", "positive")
    gravity: float = Parameter(9.81, "m/s²", "positive")
    states: tuple[Signal, ...] = (
        Signal("shoulder", "rad", angle=True),
        Signal("elbow", "rad", angle=True),
        Signal("shoulder_rate", "rad/s", rate_of="shoulder"),
        Signal("elbow_rate", "rad/s", rate_of="elbow"),
    )
    inputs: tuple[Signal, ...] = (SHOULDER, ELBOW)

    def __post_init__(self) -> None:
        super().__post_init__()
        known = (SHOULDER.name, ELBOW.name)
        if unknown := [s.name for s in self.inputs if s.name not in known]:
            raise ValueError(f"inputs may be {known}, got {unknown[0]!r}")

    @classmethod
    def acrobot(cls, **parameters: Any) -> Self:
        """Driven at the elbow alone."""
        return cls(inputs=(ELBOW,), **parameters)

    @classmethod
    def pendubot(cls, **parameters: Any) -> Self:
        """Driven at the shoulder alone."""
        return cls(inputs=(SHOULDER,), **parameters)

    def mass_matrix(self, q: ca.SX, p: SimpleNamespace) -> ca.SX:
        coupling = p.mass2 * p.length1 * p.center2 * ca.cos(q[1])
        link2 = p.inertia2 + p.mass2 * p.center2**2
        link1 = p.inertia1 + p.mass1 * p.center1**2 + p.mass2 * p.length1**2
        M12 = link2 + coupling
        return ca.SX(ca.blockcat([[link1 + link2 + 2 * coupling, M12], [M12, link2]]))

    def bias(self, q: ca.SX, v: ca.SX, p: SimpleNamespace) -> ca.SX:
        coriolis = p.mass2 * p.length1 * p.center2 * ca.sin(q[1])
        weight1 = (p.mass1 * p.center1 + p.mass2 * p.length1) * p.gravity * ca.sin(q[0])
        weight2 = p.mass2 * p.center2 * p.gravity * ca.sin(q[0] + q[1])
        return ca.vertcat(
            -coriolis * (2 * v[0] + v[1]) * v[1] + weight1 + weight2 + p.damping1 * v[0],
            coriolis * v[0] ** 2 + weight2 + p.damping2 * v[1],
        )

    def input_map(self, q: ca.SX, p: SimpleNamespace) -> ca.SX:
        joint = {SHOULDER.name: 0, ELBOW.name: 1}
        columns = ca.DM.zeros(2, self.nu)
        for column, signal in enumerate(self.inputs):
            columns[joint[signal.name], column] = 1
        return ca.SX(p.motor_gain * columns)
