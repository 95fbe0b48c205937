"""Two tanks in a row: a system that is not mechanical."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import casadi as ca

from physics.parameter import Parameter
from physics.system import Signal, System


@dataclass(frozen=True, kw_only=True)
class TwoTanks(System):
    """A pump fills the upper tank, which drains into the lower, which drains away.

        A₁ ḣ₁ = k u − q₁,    A₂ ḣ₂ = q₁ − q₂,    q_i = a_i √(2g) · h_i (h_i² + η²)^(−1/4)

    h levels [m], u voltage of the pump [V], k its gain [m³/(s·V)], A cross sections [m²], a those
    of the outlets [m²], g gravity [m/s²]. q_i is Torricelli's a_i √(2 g h_i) [m³/s] up to
    (η/h_i)²/4 of it, and smooth at an empty tank, where its slope would be infinite: below the
    level η [m] the outflow is linear in h, and below 0 it is an inflow. Overflow is not modelled,
    the bounds of h say where it begins.
    Johansson, The quadruple-tank process, 2000, of which this is one side.
    """

    upper_area: float = Parameter(15.5e-4, "m²", "positive")
    lower_area: float = Parameter(15.5e-4, "m²", "positive")
    upper_outlet: float = Parameter(0.178e-4, "m²", "positive")
    lower_outlet: float = Parameter(0.178e-4, "m²", "positive")
    pump_gain: float = Parameter(3.3e-6, "m³/(s·V)", "positive")
    gravity: float = Parameter(9.81, "m/s²", "positive")
    smoothing: float = Parameter(0.001, "m", "positive")
    states: tuple[Signal, ...] = (
        Signal("upper_level", "m", 0.0, 0.3),
        Signal("lower_level", "m", 0.0, 0.3),
    )
    inputs: tuple[Signal, ...] = (Signal("pump", "V", 0.0, 12.0),)

    def dynamics(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        root = ca.sqrt(2 * p.gravity)
        speed = root * x / ca.sqrt(ca.sqrt(x**2 + p.smoothing**2))  # of the jets [m/s]
        upper, lower = p.upper_outlet * speed[0], p.lower_outlet * speed[1]
        return ca.vertcat((p.pump_gain * u - upper) / p.upper_area, (upper - lower) / p.lower_area)
