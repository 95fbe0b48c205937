"""Mechanical systems in coordinates q and velocities v, x = (q, v).

    q̇ = v,    M(q) v̇ + b(q, v) = B(q) u + τ

M mass matrix, b bias (Coriolis, gravity, modelled friction), B input map, τ any further
generalised force (Featherstone, Rigid Body Dynamics Algorithms, 2008, eq. 3.2).
"""

from __future__ import annotations

from abc import abstractmethod
from types import SimpleNamespace

import casadi as ca

from physics.system import System


class Mechanical(System):
    """A System given by its mass matrix, bias and input map instead of ẋ."""

    @abstractmethod
    def mass_matrix(self, q: ca.SX, p: SimpleNamespace) -> ca.SX:
        """M(q), (nq, nq), symmetric positive definite."""

    @abstractmethod
    def bias(self, q: ca.SX, v: ca.SX, p: SimpleNamespace) -> ca.SX:
        """b(q, v), (nq,): Coriolis and centrifugal terms, gravity, modelled friction."""

    @abstractmethod
    def input_map(self, q: ca.SX, p: SimpleNamespace) -> ca.SX:
        """B(q), (nq, nu)."""

    @property
    def nq(self) -> int:
        """Number of coordinates."""
        return len(self.states) // 2

    def acceleration(self, q: ca.SX, v: ca.SX, tau: ca.SX, p: SimpleNamespace) -> ca.SX:
        """v̇ = M(q)⁻¹ (τ − b(q, v)) for a generalised force τ (nq,)."""
        return ca.solve(self.mass_matrix(q, p), tau - self.bias(q, v, p))

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
        return ca.vertcat(v, self.acceleration(q, v, self.input_map(q, p) @ u, p))
