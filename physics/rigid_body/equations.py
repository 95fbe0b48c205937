"""The equations of a robot as CasADi expressions, and as functions of numbers."""

from __future__ import annotations

from abc import abstractmethod
from types import SimpleNamespace

import casadi as ca

from physics.mechanical import Mechanical
from physics.rigid_body.robot import Robot, Scalars


class Articulated(Mechanical):
    """A Mechanical system whose M, b and v̇ are those of a `Robot`."""

    @abstractmethod
    def robot(self, p: SimpleNamespace) -> Robot:
        """Bodies and constants at parameters p."""

    # -- what follows is final ---------------------------------------------------------------

    def mass_matrix(self, q: ca.SX, p: SimpleNamespace) -> ca.SX:
        rows = self.robot(p).mass_matrix(ca.vertsplit(q))
        return ca.cse(ca.vertcat(*(_column(q, row).T for row in rows)))

    def bias(self, q: ca.SX, v: ca.SX, p: SimpleNamespace) -> ca.SX:
        return self._force(q, v, type(q).zeros(self.nv), p, friction=True)

    def acceleration(self, q: ca.SX, v: ca.SX, tau: ca.SX, p: SimpleNamespace) -> ca.SX:
        """v̇ (nv,) under a generalised force τ (nv,), by articulated bodies."""
        given = (ca.vertsplit(part) for part in (q, v, tau))
        return ca.cse(_column(q, self.robot(p).acceleration(*given)))

    # -- functions of numbers, at the system's own parameter values ----------------------------

    def inverse_dynamics(self, *, friction: bool = True) -> ca.Function:
        """(q, v, a) ↦ tau: the generalised force that gives v̇ = a."""
        q, v, a = self._symbols("v", "a")
        tau = self._force(q, v, a, self.namespace(), friction=friction)
        return ca.Function("inverse_dynamics", [q, v, a], [tau], ["q", "v", "a"], ["tau"])

    def forward_dynamics(self) -> ca.Function:
        """(q, v, tau) ↦ a."""
        q, v, tau = self._symbols("v", "tau")
        a = self.acceleration(q, v, tau, self.namespace())
        return ca.Function("forward_dynamics", [q, v, tau], [a], ["q", "v", "tau"], ["a"])

    def bias_function(self) -> ca.Function:
        """(q, v) ↦ b."""
        q, v = self._symbols("v")
        b = self.bias(q, v, self.namespace())
        return ca.Function("bias", [q, v], [b], ["q", "v"], ["b"])

    def forward_kinematics(self, frame: str) -> ca.Function:
        """q ↦ position (3,) [m] and rotation (3, 3) of a link's frame in the world."""
        (q,) = self._symbols()
        place = self.robot(self.namespace()).frame(frame, ca.vertsplit(q))
        rotation = ca.vertcat(*(_column(q, row).T for row in place.rotation))
        outputs = [_column(q, place.position), rotation]
        return ca.Function("forward_kinematics", [q], outputs, ["q"], ["position", "rotation"])

    def frame_jacobian(self, frame: str) -> ca.Function:
        """q ↦ J (6, nv): J v is the velocity of a link's frame, of its origin [m/s] above the
        angular one [rad/s], both in the world's axes."""
        (q,) = self._symbols()
        columns = self.robot(self.namespace()).jacobian(frame, ca.vertsplit(q))
        J = ca.horzcat(*(_column(q, (*linear, *angular)) for linear, angular in columns))
        return ca.Function("frame_jacobian", [q], [ca.cse(J)], ["q"], ["jacobian"])

    def energy(self) -> ca.Function:
        """(q, v) ↦ kinetic ½ vᵀ M v and potential g Σ m z [J]."""
        q, v = self._symbols("v")
        p = self.namespace()
        kinetic = ca.bilin(self.mass_matrix(q, p), v, v) / 2
        potential = ca.SX(self.robot(p).potential(ca.vertsplit(q)))
        outputs = [kinetic, potential]
        return ca.Function("energy", [q, v], outputs, ["q", "v"], ["kinetic", "potential"])

    def _symbols(self, *velocities: str) -> list[ca.SX]:
        return [ca.SX.sym("q", self.nq), *(ca.SX.sym(name, self.nv) for name in velocities)]

    def _force(self, q: ca.SX, v: ca.SX, a: ca.SX, p: SimpleNamespace, *, friction: bool) -> ca.SX:
        robot, rates = self.robot(p), ca.vertsplit(v)
        tau = robot.force(ca.vertsplit(q), rates, ca.vertsplit(a))
        if friction:
            lost = robot.friction_force(rates)
            first = len(tau) - len(lost)
            tau[first:] = [t + f for t, f in zip(tau[first:], lost, strict=True)]
        return ca.cse(_column(q, tau))


def _column(like: ca.SX, values: Scalars) -> ca.SX:
    """The values as a column of the type of `like`."""
    return ca.vertcat(type(like)(0, 1), *values)
