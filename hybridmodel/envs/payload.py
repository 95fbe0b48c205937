"""A rigid body that flies, and one that carries something."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import SimpleNamespace

import casadi as ca
import numpy as np

from physics import Mechanical, Parameter, Signal, quaternion

Vector = tuple[float, float, float]


def rigid_mass_matrix(mass: float, center: ca.SX, inertia: ca.SX, q: ca.SX) -> ca.SX:
    """M (6, 6) at q = (p, attitude): m, centre of mass (3,), inertia about the origin (3, 3)."""
    R = quaternion.rotation_matrix(q[3:7])
    coupling = mass * ca.skew(center) @ R.T
    return ca.blockcat([[mass * ca.SX.eye(3), coupling.T], [coupling, ca.SX(inertia)]])


def rigid_bias(
    mass: float, center: ca.SX, inertia: ca.SX, gravity: float, q: ca.SX, v: ca.SX
) -> ca.SX:
    """b (6,): weight and what turning costs.

    M v̇ + b = (force in the world, torque in the body frame about its origin)
    """
    R, omega = quaternion.rotation_matrix(q[3:7]), v[3:6]
    weight = ca.vertcat(0, 0, mass * gravity)
    centripetal = mass * R @ ca.cross(omega, ca.cross(omega, center))
    torque = ca.cross(center, R.T @ weight) + ca.cross(omega, inertia @ omega)
    return ca.vertcat(centripetal + weight, torque)


def point_inertia(mass: float, at: Vector) -> np.ndarray:
    """m (|r|² 1 − r rᵀ) (3, 3), about the origin."""
    r = np.array(at)
    return mass * (r @ r * np.eye(3) - np.outer(r, r))


@dataclass(frozen=True, kw_only=True)
class Laden(Mechanical):
    """A flying rigid body (x = p, attitude, v, ω) with a point mass fixed to it.

        (M + m [1, −R S(r); S(r) Rᵀ, |r|² 1 − r rᵀ]) v̇ + b + Δb = B u + τ

    r = `at` in the body frame [m], m = `payload` [kg]; `system` keeps its parameters.
    Raises ValueError where the system has other coordinates than those of one free body.
    """

    system: Mechanical
    payload: float = Parameter(0.1, "kg", "positive")
    at: Vector = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        at = tuple(map(float, self.at))
        if len(at) != 3 or not all(map(math.isfinite, at)):
            raise ValueError(f"at must be three finite numbers [m], got {self.at!r}")
        object.__setattr__(self, "at", at)
        if (self.system.nq, self.system.nv) != (7, 6) or "gravity" not in self.system.parameters:
            raise ValueError(
                f"system must be one free body with a gravity, got {type(self.system).__name__}"
            )
        super().__post_init__()

    @property
    def states(self) -> tuple[Signal, ...]:  # type: ignore[override]
        return self.system.states

    @property
    def inputs(self) -> tuple[Signal, ...]:  # type: ignore[override]
        return self.system.inputs

    def mass_matrix(self, q: ca.SX, p: SimpleNamespace) -> ca.SX:
        inertia = p.payload * ca.SX(point_inertia(1.0, self.at))
        own = self.system.mass_matrix(q, p)
        return own + rigid_mass_matrix(p.payload, ca.SX(self.at), inertia, q)

    def bias(self, q: ca.SX, v: ca.SX, p: SimpleNamespace) -> ca.SX:
        inertia = p.payload * ca.SX(point_inertia(1.0, self.at))
        own = self.system.bias(q, v, p)
        return own + rigid_bias(p.payload, ca.SX(self.at), inertia, p.gravity, q, v)

    def input_map(self, q: ca.SX, p: SimpleNamespace) -> ca.SX:
        return self.system.input_map(q, p)
