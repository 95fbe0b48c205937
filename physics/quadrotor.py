"""The quadrotor."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import SimpleNamespace

import casadi as ca

from physics import quaternion
from physics.mechanical import Mechanical
from physics.parameter import Parameter
from physics.system import Signal

# rotors seen from above, counted clockwise from the front right; each spins against its neighbours
_X = (1, -1, -1, 1)  # in front of the centre, or behind it
_Y = (-1, -1, 1, 1)  # left of the centre, or right of it
_SPIN = (1, -1, 1, -1)  # counterclockwise, or clockwise


@dataclass(frozen=True, kw_only=True)
class Quadrotor(Mechanical):
    """A rigid body with four rotors in X configuration.

        m v̇ = k Σf_i R e_z − m g e_z − R D Rᵀ v,    q̇ = ½ q ⊗ (0, ω)
        J ω̇ = k Σ (y_i, −x_i, −κ s_i) f_i − ω × J ω

        rotor i          1 front right    2 rear right    3 rear left    4 front left
        (x_i, y_i) √2/l  (1, −1)          (−1, −1)        (−1, 1)        (1, 1)
        spin s_i         1                −1              1              −1

    The body frame is x forward, y left, z up; s = 1 turns counterclockwise seen from above, and
    the body feels the reaction. v velocity in the world [m/s], q attitude, R = R(q) from body to
    world, ω rates in the body frame [rad/s], f_i commanded thrusts [N], m mass [kg],
    J = diag(J_x, J_y, J_z) inertia [kg·m²], l centre to rotor [m], κ torque of a rotor over its
    thrust [m], k thrust gain [–], D = diag(D_x, D_y, D_z) linear drag in the body frame [N·s/m],
    g gravity [m/s²].
    Mellinger, Kumar, Minimum snap trajectory generation and control for quadrotors, 2011; drag
    by Faessler, Franchi, Scaramuzza, Differential flatness of quadrotor dynamics subject to rotor
    drag, 2018, eq. 2, with D = m times theirs. Motors that follow a command late:
    `InputLag(system=Quadrotor())`.
    """

    mass: float = Parameter(0.5, "kg", "positive")
    inertia_x: float = Parameter(0.0023, "kg·m²", "positive")
    inertia_y: float = Parameter(0.0023, "kg·m²", "positive")
    inertia_z: float = Parameter(0.004, "kg·m²", "positive")
    arm: float = Parameter(0.175, "m", "positive")
    torque_ratio: float = Parameter(0.0245, "m", "positive")
    drag_x: float = Parameter(0.0, "N·s/m")
    drag_y: float = Parameter(0.0, "N·s/m")
    drag_z: float = Parameter(0.0, "N·s/m")
    thrust_gain: float = Parameter(1.0, "", "positive")
    gravity: float = Parameter(9.81, "m/s²", "positive")
    states: tuple[Signal, ...] = (
        *(Signal(axis, "m") for axis in "xyz"),
        *(Signal(f"q{axis}", "1", quaternion="attitude") for axis in "wxyz"),
        *(Signal(f"velocity_{axis}", "m/s", rate_of=axis) for axis in "xyz"),
        *(Signal(f"rate_{axis}", "rad/s", rate_of="attitude") for axis in "xyz"),
    )
    inputs: tuple[Signal, ...] = tuple(Signal(f"thrust{i}", "N", 0.0, 3.0) for i in range(1, 5))

    @property
    def hover(self) -> tuple[float, float, float, float]:
        """The thrusts [N] that hold it still and level."""
        each = self.mass * self.gravity / (4 * self.thrust_gain)
        return each, each, each, each

    def mass_matrix(self, q: ca.SX, p: SimpleNamespace) -> ca.SX:
        return ca.diag(ca.SX(ca.vertcat(p.mass, p.mass, p.mass, *_inertia(p))))

    def bias(self, q: ca.SX, v: ca.SX, p: SimpleNamespace) -> ca.SX:
        R, omega = quaternion.rotation_matrix(q[3:]), v[3:]
        drag = R @ (ca.vertcat(p.drag_x, p.drag_y, p.drag_z) * (R.T @ v[:3]))
        weight = ca.vertcat(0, 0, p.mass * p.gravity)
        return ca.vertcat(drag + weight, ca.cross(omega, ca.vertcat(*_inertia(p)) * omega))

    def input_map(self, q: ca.SX, p: SimpleNamespace) -> ca.SX:
        up = quaternion.rotation_matrix(q[3:])[:, 2]
        lever = p.arm / math.sqrt(2)
        torques = ca.vertcat(
            lever * ca.DM(_Y).T, -lever * ca.DM(_X).T, -p.torque_ratio * ca.DM(_SPIN).T
        )
        return p.thrust_gain * ca.vertcat(ca.repmat(up, 1, 4), torques)


def _inertia(p: SimpleNamespace) -> tuple[ca.SX, ca.SX, ca.SX]:
    return p.inertia_x, p.inertia_y, p.inertia_z
