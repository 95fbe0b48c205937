"""The dynamic bicycle: a car whose tyres slip sideways."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import casadi as ca

from physics.parameter import Parameter
from physics.system import Signal, System


@dataclass(frozen=True, kw_only=True)
class DynamicBicycle(System):
    """A rear-driven car with Pacejka's lateral tyre forces, one wheel an axle.

        Ẋ = v_x cos ψ − v_y sin ψ,    Ẏ = v_x sin ψ + v_y cos ψ,    ψ̇ = ω
        m (v̇_x − v_y ω) = F_x − F_f sin δ
        m (v̇_y + v_x ω) = F_r + F_f cos δ
        I ω̇             = l_f F_f cos δ − l_r F_r
        F_i = D_i sin(C_i atan(B_i α_i)),    α_i = −atan(s_i / |c_i|)        i = f, r
        F_x = (C_m1 − C_m2 v_x) d − C_r v_x/|v_x| − C_d v_x |v_x|

    (c_i, s_i) speed of axle i along and across its wheel [m/s]:

        c_f = v_x cos δ + (v_y + l_f ω) sin δ,    s_f = (v_y + l_f ω) cos δ − v_x sin δ
        c_r = v_x,                                s_r = v_y − l_r ω

    X, Y centre of mass [m], ψ heading [rad], v_x, v_y its velocity in the body frame (x forward,
    y left) [m/s], ω yaw rate [rad/s], d duty of the motor [–], δ steering angle [rad], m mass
    [kg], I inertia [kg·m²], l_f, l_r centre of mass to axles [m], B, C stiffness and shape of a
    tyre [–], D its peak force [N], α slip angle [rad], C_m1 [N], C_m2 [N·s/m] motor, C_r rolling
    resistance [N], C_d drag [N·s²/m²].
    Every |c| is √(c² + ε²), ε the creep speed [m/s], so that all is smooth at a standstill:
    below ε tyres and rolling resistance act as viscous friction, above it the slip is that of
    the source (α_f = δ − atan((v_y + l_f ω)/v_x) while it drives forward) up to (ε/v_x)². At a
    standstill the fastest rate, of ω, is near (l_f² B_f C_f D_f + l_r² B_r C_r D_r)/(I ε), here
    118/s: rk4 wants it times the step below 2.8.
    Liniger, Domahidi, Morari, Optimization-based autonomous racing of 1:43 scale RC cars, 2015,
    eq. 1–2; defaults are those of a 1:43 car.
    """

    mass: float = Parameter(0.041, "kg", "positive")
    inertia: float = Parameter(27.8e-6, "kg·m²", "positive")
    front_length: float = Parameter(0.029, "m", "positive")
    rear_length: float = Parameter(0.033, "m", "positive")
    front_stiffness: float = Parameter(2.579, "", "positive")
    front_shape: float = Parameter(1.2, "", (0.0, 2.0))  # at 2 the force of a full slip is 0
    front_peak: float = Parameter(0.192, "N", "positive")
    rear_stiffness: float = Parameter(3.3852, "", "positive")
    rear_shape: float = Parameter(1.2691, "", (0.0, 2.0))
    rear_peak: float = Parameter(0.1737, "N", "positive")
    motor_force: float = Parameter(0.287, "N", "positive")
    motor_damping: float = Parameter(0.0545, "N·s/m", "positive")
    rolling_resistance: float = Parameter(0.0518, "N", "positive")
    drag: float = Parameter(0.00035, "N·s²/m²", "positive")
    creep_speed: float = Parameter(0.4, "m/s", "positive")
    states: tuple[Signal, ...] = (
        Signal("x", "m"),
        Signal("y", "m"),
        Signal("heading", "rad", angle=True),
        Signal("forward_velocity", "m/s"),
        Signal("lateral_velocity", "m/s"),
        Signal("yaw_rate", "rad/s", rate_of="heading"),
    )
    inputs: tuple[Signal, ...] = (
        Signal("duty", "1", -0.1, 1.0),
        Signal("steering", "rad", -0.35, 0.35),
    )

    def dynamics(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        heading, vx, vy, omega = x[2], x[3], x[4], x[5]
        duty, cosine, sine = u[0], ca.cos(u[1]), ca.sin(u[1])
        front, rear = self.tyre_forces(x, u, p)
        pace = _smooth_abs(vx, p.creep_speed)
        drive = (p.motor_force - p.motor_damping * vx) * duty
        drive -= p.rolling_resistance * vx / pace + p.drag * vx * pace
        return ca.vertcat(
            vx * ca.cos(heading) - vy * ca.sin(heading),
            vx * ca.sin(heading) + vy * ca.cos(heading),
            omega,
            (drive - front * sine) / p.mass + vy * omega,
            (rear + front * cosine) / p.mass - vx * omega,
            (p.front_length * front * cosine - p.rear_length * rear) / p.inertia,
        )

    def tyre_forces(self, x: ca.SX, u: ca.SX, p: SimpleNamespace) -> tuple[ca.SX, ca.SX]:
        """F_f, F_r [N], across the wheels."""
        vx, vy, omega = x[3], x[4], x[5]
        cosine, sine = ca.cos(u[1]), ca.sin(u[1])
        lateral = vy + p.front_length * omega
        slip_f = -ca.atan(
            (lateral * cosine - vx * sine)
            / _smooth_abs(vx * cosine + lateral * sine, p.creep_speed)
        )
        slip_r = -ca.atan((vy - p.rear_length * omega) / _smooth_abs(vx, p.creep_speed))
        return (
            p.front_peak * ca.sin(p.front_shape * ca.atan(p.front_stiffness * slip_f)),
            p.rear_peak * ca.sin(p.rear_shape * ca.atan(p.rear_stiffness * slip_r)),
        )


def _smooth_abs(speed: ca.SX, width: ca.SX) -> ca.SX:
    return ca.sqrt(speed**2 + width**2)
