"""Mechanical systems in coordinates q and velocities v, x = (q, v).

    q̇ = v,    M(q) v̇ + b(q, v) = B(q) u + τ

M mass matrix, b bias (Coriolis, gravity, modelled friction), B input map, τ any further
generalised force (Featherstone, Rigid Body Dynamics Algorithms, 2008, eq. 3.2). A quaternion
among the coordinates has three velocities, the body's rates ω: q̇ = ½ q ⊗ (0, ω).
"""

from __future__ import annotations

from abc import abstractmethod
from types import SimpleNamespace

import casadi as ca

from physics import tangent
from physics.system import System


class Mechanical(System):
    """A System given by its mass matrix, bias and input map instead of ẋ."""

    @abstractmethod
    def mass_matrix(self, q: ca.SX, p: SimpleNamespace) -> ca.SX:
        """M(q), (nv, nv), symmetric positive definite."""

    @abstractmethod
    def bias(self, q: ca.SX, v: ca.SX, p: SimpleNamespace) -> ca.SX:
        """b(q, v), (nv,): Coriolis and centrifugal terms, gravity, modelled friction."""

    @abstractmethod
    def input_map(self, q: ca.SX, p: SimpleNamespace) -> ca.SX:
        """B(q), (nv, nu)."""

    def acceleration(self, q: ca.SX, v: ca.SX, tau: ca.SX, p: SimpleNamespace) -> ca.SX:
        """v̇ (nv,) = M(q)⁻¹ (τ − b(q, v)) for a generalised force τ (nv,), unless a faster form
        is given."""
        return ca.solve(self.mass_matrix(q, p), tau - self.bias(q, v, p))

    # -- what follows is final ---------------------------------------------------------------

    @property
    def nq(self) -> int:
        """Number of coordinates."""
        return len(self.states) - self.nv

    @property
    def nv(self) -> int:
        """Number of velocities."""
        return (len(self.states) - len(self.quaternion_rows)) // 2

    def mass_matrix_function(self) -> ca.Function:
        """M(q) at the system's own parameter values, for numbers."""
        q = ca.SX.sym("q", self.nq)
        return ca.Function("mass_matrix", [q], [self.mass_matrix(q, self.namespace())])

    def input_map_function(self) -> ca.Function:
        """B(q) at the system's own parameter values, for numbers."""
        q = ca.SX.sym("q", self.nq)
        return ca.Function("input_map", [q], [self.input_map(q, self.namespace())])

    def dynamics(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        q, v = x[: self.nq], x[self.nq :]
        return self.flow(q, v, self.input_map(q, p) @ u, p)

    @property
    def takes_force(self) -> bool:
        return True

    def forced_dynamics(
        self, x: ca.SX, u: ca.SX, tau: ca.SX, p: SimpleNamespace, d: ca.SX
    ) -> ca.SX:
        q, v = x[: self.nq], x[self.nq :]
        return self.flow(q, v, self.input_map(q, p) @ u + tau, p)

    def flow(self, q: ca.SX, v: ca.SX, tau: ca.SX, p: SimpleNamespace) -> ca.SX:
        """ẋ = (q̇, v̇) under a generalised force τ (nv,)."""
        rates = tangent.rates(self.states[: self.nq], q, v)
        return ca.vertcat(rates, self.acceleration(q, v, tau, p))
