"""bam_xl330_servo: a Dynamixel XL330 that swings a weight, commanded in position, at 200 Hz.

Protocol: logs of gain 100 and 400 are for fitting, those of 200 and 800 are held out; mean
|position error| [rad] of free runs over the whole log (6 s) from its first sample. The bar is 80 %
of friction model M6 identified on the same logs without a residual, best of ten starts (`bare`).
The hybrid's own physics is M6 behind a supply that gives way (`SuppliedServo`): of the fitting logs
M6 misses those that need most of the duty.

Logs: Rhoban/bam (Apache-2.0); models: Duclusaud, Passault, Padois, Ly, Extended Friction Models
for the Physics Simulation of Servo Actuators, 2025, arXiv 2410.08650, section III.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import pi
from pathlib import Path
from types import SimpleNamespace

import casadi as ca
import numpy as np
import torch

from benchmarks.hardware.measured import MeasuredSet
from hybridmodel import Dataset, HybridModel, Trajectory, placement
from hybridmodel.batches import batch
from physics import Parameter, Signal, System

DT, STEPS = 0.005, 1199  # the shortest log has 1199 steps
MOTIONS = ("sin_sin", "lift_and_drop", "up_and_down", "sin_time_square")
VALIDATION = (("kp100", "sin_sin"), ("kp400", "lift_and_drop"))
ERROR_GAIN = 4096 / (2 * pi) / (256 * 885)  # duty per encoder error and unit of firmware gain
FITTED = (
    "arm_mass", "torque_constant", "resistance", "armature", "angle_offset", "duty_lag", "coulomb",
    "viscous", "stribeck", "stribeck_velocity", "stribeck_exponent", "load_motor", "load_external",
    "load_motor_stribeck", "load_external_stribeck", "load_motor_quadratic",
    "load_external_quadratic",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ServoPendulum(System):
    """A weight on a geared DC servo under its own position loop, with friction model M6.

        J q̈ = τ_m + τ_e + τ_f,         J = (m + m_a/3) l² + J_a
        τ_m = e k_t (V D − k_t q̇)/R,    τ_e = −(m + m_a/2) g l sin(q + q₀)
        Ḋ   = (sat(k_p c (q* − q), ±D_max) − D)/T_D
        τ_f = −clip(J q̇/T + τ_m + τ_e, ±B)
        B   = K_c + |μ_e τ_e − μ_m τ_m| + σ (K_s + |ν_e τ_e − ν_m τ_m| + Q) + K_v |q̇|
        σ   = exp(−|q̇/v_s|^α)
        Q   = κ_e τ_e² where τ_m wins, κ_m τ_m² where τ_e wins, while the two oppose each other

    q angle, 0 hangs [rad], q* commanded [rad], D duty of the motor [–], which follows the position
    loop up to D_max within T_D [s] (the source delays the command instead), e torque enabled (0 or
    1), k_p gain of the firmware, c `ERROR_GAIN` [1/rad], V supply [V], k_t [N·m/A], R [Ω], m, m_a
    weight and arm [kg], l [m], J_a rotor seen through the gears [kg·m²], K_c, K_s [N·m], K_v
    [N·m·s/rad], μ, ν [–], κ [1/(N·m)].
    Friction is the torque that stops the joint within T [s], up to the budget B: this holds a
    joint at rest exactly, and needs no step of its own. The source stops within one sample, which
    is T = 5 ms. M1 is the same with all of σ, μ zero.
    Smoothing: clip and sat round their corners over 0.05 of their limit, |·| over 1 mN·m or
    1 mrad/s, the cases of Q over 10 mN·m.
    """

    mass: float = Parameter(0.49, "kg", "positive")
    length: float = Parameter(0.1, "m", "positive")
    gravity: float = Parameter(9.80665, "m/s²", "positive")
    voltage: float = Parameter(7.4, "V", "positive")
    stop_time: float = Parameter(0.005, "s", "positive")
    arm_mass: float = Parameter(0.03, "kg", "positive")
    torque_constant: float = Parameter(0.386696, "N·m/A", "positive")
    resistance: float = Parameter(4.017129, "Ω", "positive")
    armature: float = Parameter(0.00181417, "kg·m²", "positive")
    angle_offset: float = Parameter(0.02, "rad", (-0.1, 0.1))
    duty_limit: float = Parameter(1.0, "", (0.2, 1.2))
    duty_lag: float = Parameter(0.006, "s", (0.003, 0.1))
    coulomb: float = Parameter(0.01, "N·m", "positive")
    viscous: float = Parameter(0.00366167, "N·m·s/rad", "positive")
    stribeck: float = Parameter(0.005, "N·m", "positive")
    stribeck_velocity: float = Parameter(0.2, "rad/s", (0.02, 3.0))
    stribeck_exponent: float = Parameter(1.35, "", (0.5, 10.0))
    load_motor: float = Parameter(0.1, "", (0.0, 1.0))
    load_external: float = Parameter(0.1, "", (0.0, 1.0))
    load_motor_stribeck: float = Parameter(0.05, "", (0.0, 1.0))
    load_external_stribeck: float = Parameter(0.05, "", (0.0, 1.0))
    load_motor_quadratic: float = Parameter(0.003, "1/(N·m)", (0.0, 1.0))
    load_external_quadratic: float = Parameter(0.003, "1/(N·m)", (0.0, 1.0))
    states: tuple[Signal, ...] = (
        Signal("angle", "rad", angle=True),
        Signal("rate", "rad/s", rate_of="angle"),
        Signal("duty"),
    )
    inputs: tuple[Signal, ...] = (Signal("goal", "rad", -pi, pi),)
    exogenous: tuple[Signal, ...] = (Signal("gain"), Signal("enabled", "", 0.0, 1.0))

    @property
    def outputs(self) -> tuple[Signal, ...]:
        """The encoder alone: the logged rate is a quantised difference of it."""
        return (Signal("encoder", "rad", angle=True),)

    def output(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        return x[0]

    def dynamics(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        q, v = x[0], x[1]
        inertia = (p.mass + p.arm_mass / 3) * p.length**2 + p.armature
        duty = p.duty_limit * _clip(d[0] * ERROR_GAIN * (u[0] - q) / p.duty_limit)
        motor, external = self.torques(x, p, d)
        budget = self.budget(v, motor, external, p)
        stopping = inertia * v / p.stop_time + motor + external
        friction = -budget * _clip(stopping / budget)
        acceleration = (motor + external + friction) / inertia
        return ca.vertcat(v, acceleration, (duty - x[2]) / p.duty_lag)

    def torques(self, x: ca.SX, p: SimpleNamespace, d: ca.SX) -> tuple[ca.SX, ca.SX]:
        """τ_m of the motor and τ_e of the weight [N·m]."""
        current = (p.voltage * x[2] - p.torque_constant * x[1]) / p.resistance
        weight = (p.mass + p.arm_mass / 2) * p.gravity * p.length
        return d[1] * p.torque_constant * current, -weight * ca.sin(x[0] + p.angle_offset)

    def budget(self, v: ca.SX, motor: ca.SX, external: ca.SX, p: SimpleNamespace) -> ca.SX:
        """B, the largest torque that friction can take [N·m]."""
        speed = _abs(v, 1e-3)
        still = ca.exp(-((speed / p.stribeck_velocity) ** p.stribeck_exponent))
        load = _abs(p.load_external * external - p.load_motor * motor, 1e-3)
        load_still = _abs(p.load_external_stribeck * external - p.load_motor_stribeck * motor, 1e-3)
        opposed = (1 - ca.tanh(motor * external / 1e-4)) / 2
        motor_wins = (1 + ca.tanh((_abs(motor, 1e-3) - _abs(external, 1e-3)) / 0.01)) / 2
        quadratic = opposed * (
            motor_wins * p.load_external_quadratic * external**2
            + (1 - motor_wins) * p.load_motor_quadratic * motor**2
        )
        resting = p.stribeck + load_still + quadratic
        return p.coulomb + load + still * resting + p.viscous * speed


@dataclass(frozen=True, kw_only=True)
class SuppliedServo(ServoPendulum):
    """The same fed by a supply that gives way: the bus sinks by what the motor draws from it.

        V = V₀ − R_s D i,   R i = V D − k_t q̇   ⇒   i = (V₀ D − k_t q̇)/(R + R_s D²)

    i current of the motor [A], of which the bridge draws D i from the bus on average, V₀ the bus
    without load [V], R_s [Ω] all that the supply, its leads and the bridge lose in proportion. The
    logged voltage sinks by about 0.3 V at full duty, less than what is identified: R_s also stands
    for what else the motor loses at high duty (heat, saturation), which the logs cannot tell apart.
    Erickson, Maksimović, Fundamentals of Power Electronics, 2020, section 3.2 (a converter at
    steady state as a transformer of ratio D).
    """

    supply_resistance: float = Parameter(0.2, "Ω", "positive")

    def torques(self, x: ca.SX, p: SimpleNamespace, d: ca.SX) -> tuple[ca.SX, ca.SX]:
        _, external = super().torques(x, p, d)
        resistance = p.resistance + p.supply_resistance * x[2] ** 2
        current = (p.voltage * x[2] - p.torque_constant * x[1]) / resistance
        return d[1] * p.torque_constant * current, external


def _clip(value: ca.SX, width: float = 0.05) -> ca.SX:
    """The value within ±1, with round corners."""
    return (ca.sqrt((value + 1) ** 2 + width**2) - ca.sqrt((value - 1) ** 2 + width**2)) / 2


def _abs(value: ca.SX, width: float) -> ca.SX:
    return ca.sqrt(value**2 + width**2)


def read(path: Path) -> Trajectory:
    """One log; context `gain` is the firmware's k_p, from the file's name."""
    log = np.genfromtxt(path, delimiter=",", names=True)
    gain = float(path.stem.split("_")[0].removeprefix("kp"))
    n = STEPS
    enabled = log["torque_enable"][:n]
    duty = np.clip(gain * ERROR_GAIN * (log["goal_rad"] - log["q_rad"]), -1, 1)
    duty = np.concatenate([[0.0], duty[:n]])
    x = np.stack([log["q_rad"][: n + 1], log["qd_rad_s"][: n + 1], duty], -1)
    return Trajectory(
        t=np.linspace(0.0, DT * n, n + 1),
        u=log["goal_rad"][:n, None],
        y=x[:, :1],
        d=np.stack([np.full(n, gain), enabled], -1),
        x=x,
        context={"gain": gain},
    )


def errors(model: HybridModel, held_out: Dataset) -> np.ndarray:
    """(logs,) mean |position error| [rad] of one free run over each log."""
    windows = batch(model, held_out, STEPS - model.system.memory_steps, stride=STEPS)
    with torch.no_grad():
        x = model.rollout(windows.x0(model), windows.u, windows.d)
    return (x[..., 0] - windows.y[..., 0]).abs().mean(-1).numpy()


def score(model: HybridModel, held_out: Dataset) -> Mapping[str, float]:
    """Mean |position error| over 6 s [rad], over all held-out logs."""
    return {"position error over 6 s [rad]": float(errors(model, held_out).mean())}


def load(folder: Path) -> MeasuredSet:
    """The set, from `folder` with kp{100,200,400,800}_<motion>.csv."""

    def logs(*gains: str) -> dict[tuple[str, str], Trajectory]:
        return {(g, m): read(folder / f"{g}_{m}.csv") for g in gains for m in MOTIONS}

    fitting, held_out = logs("kp100", "kp400"), Dataset(logs("kp200", "kp800").values())
    return MeasuredSet(
        name="bam_xl330_servo",
        system=SuppliedServo(),
        bare=ServoPendulum(),
        fit_parameters=(*FITTED, "supply_resistance"),
        train=Dataset(log for key, log in fitting.items() if key not in VALIDATION),
        validation=Dataset(fitting[key] for key in VALIDATION),
        horizon=STEPS,
        substeps=1,
        starts=10,
        score=lambda model: score(model, held_out),
        corrected=placement.derivative.on("rate"),
        features=("angle", "rate", "duty"),
        whole=True,
        bars={"position error over 6 s [rad]": (("bare", 0.8),)},
    )
