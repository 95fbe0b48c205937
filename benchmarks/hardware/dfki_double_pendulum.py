"""A geared double pendulum: two joints under sinusoidal torques, logged at 500 Hz.

Each prediction of 0.5 s starts from a measured state, every 0.05 s, and its error is that of the
angles at the end. The encoders are zeroed at every start, where friction (±0.26 N·m) may hold the
links some degrees off hanging, so the zero δ differs from log to log: it is a state that does not
move, estimated from the past of each log alone.

Data and published parameters of dfki-ric-underactuated-lab/double_pendulum (BSD-3-Clause).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import casadi as ca
import numpy as np
import torch
from scipy.signal import butter, filtfilt

from benchmarks.hardware.measured import MeasuredSet
from hybridmodel import Dataset, HybridModel, Trajectory, identify, placement, read_csv
from hybridmodel.batches import batch, outputs
from physics import Mechanical, Parameter, Signal, System

JOINTS = ("shoulder", "elbow")
TRAIN, STOP = ("143339", "143524", "143704", "143747", "143906"), ("144003", "144115")
SCORE = ("143601",)  # these three parts are of rig C1
TRAIN_C0, STOP_C0, SCORE_C0 = ("00", "01", "02", "03"), ("04",), ("05", "06")
RAW, EVERY = 0.002, 5  # logged step [s], samples in a model step of 0.01 s
HORIZON, RESTART = 50, 5  # steps of 0.5 s and 0.05 s
SUBSTEPS = 2
LOW_PASS = 15.0  # zero phase [Hz]
NOISE = np.array([0.03, 0.05, 0.3, 0.5])  # deviation of a 0.5 s prediction [rad, rad/s]
OFF_HANGING = 0.06  # deviation of δ [rad]


@dataclass(frozen=True, kw_only=True)
class GearedDoublePendulum(Mechanical):
    """Links driven through gears; q₁ = 0 hangs, q₂ is relative to link 1.

        M₁₁ = I₁ + I₂ + m₂ l₁² + 2 m₂ l₁ r₂ cos q₂ + (1 + g_r²) I_r
        M₁₂ = I₂ + m₂ l₁ r₂ cos q₂ − g_r I_r,    M₂₂ = I₂ + g_r² I_r
        b₁  = −m₂ l₁ r₂ sin q₂ (2 q̇₁ + q̇₂) q̇₂ + (m₁ r₁ + m₂ l₁) g sin q₁ + m₂ r₂ g sin(q₁ + q₂) + F₁
        b₂  =  m₂ l₁ r₂ sin q₂ q̇₁² + m₂ r₂ g sin(q₁ + q₂) + F₂
        F_i = b_i q̇_i + c_i atan(100 q̇_i)

    I link inertias about the joints and I_r of a rotor [kg·m²], b viscous [N·m·s/rad] and
    c Coulomb friction [N·m], g_r gear ratio. `symbolic_plant.py` of the repository above; the
    default values are its design C.1 model_1.0.
    """

    mass1: float = Parameter(0.523460, "kg", "positive")
    mass2: float = Parameter(0.625568, "kg", "positive")
    length1: float = Parameter(0.2, "m", "positive")
    center1: float = Parameter(0.2, "m", "positive")
    center2: float = Parameter(0.255693, "m", "positive")
    inertia1: float = Parameter(0.0318872, "kg·m²", "positive")
    inertia2: float = Parameter(0.0508698, "kg·m²", "positive")
    rotor_inertia: float = Parameter(6.28720e-5, "kg·m²", "positive")
    gear_ratio: float = Parameter(6.0, "", "positive")
    damping1: float = Parameter(0.001, "N·m·s/rad", "positive")
    damping2: float = Parameter(0.001, "N·m·s/rad", "positive")
    friction1: float = Parameter(0.16, "N·m", "positive")
    friction2: float = Parameter(0.12, "N·m", "positive")
    gravity: float = Parameter(9.81, "m/s²", "positive")
    states = (
        *(Signal(joint, "rad", angle=True) for joint in JOINTS),
        *(Signal(f"{joint}_rate", "rad/s", rate_of=joint) for joint in JOINTS),
    )
    inputs = tuple(Signal(f"{joint}_torque", "N·m") for joint in JOINTS)

    def mass_matrix(self, q: ca.SX, p: SimpleNamespace) -> ca.SX:
        coupling = p.mass2 * p.length1 * p.center2 * ca.cos(q[1])
        M12 = p.inertia2 + coupling - p.gear_ratio * p.rotor_inertia
        M22 = p.inertia2 + p.gear_ratio**2 * p.rotor_inertia
        M11 = p.inertia1 + p.mass2 * p.length1**2 + 2 * coupling + p.rotor_inertia + M22
        rows = [[M11, M12], [M12, M22]]
        return ca.vertcat(*(ca.horzcat(*row) for row in rows))

    def bias(self, q: ca.SX, v: ca.SX, p: SimpleNamespace) -> ca.SX:
        coriolis = p.mass2 * p.length1 * p.center2 * ca.sin(q[1])
        weight1 = (p.mass1 * p.center1 + p.mass2 * p.length1) * p.gravity * ca.sin(q[0])
        weight2 = p.mass2 * p.center2 * p.gravity * ca.sin(q[0] + q[1])
        friction = ca.vertcat(p.damping1, p.damping2) * v
        friction += ca.vertcat(p.friction1, p.friction2) * ca.atan(100 * v)
        centrifugal = ca.vertcat(-(2 * v[0] + v[1]) * v[1], v[0] ** 2)
        return coriolis * centrifugal + ca.vertcat(weight1 + weight2, weight2) + friction

    def input_map(self, q: ca.SX, p: SimpleNamespace) -> ca.SX:
        return ca.SX(ca.DM.eye(2))


@dataclass(frozen=True, kw_only=True)
class Miszeroed(System):
    """The same seen by encoders that read δ too low: x = (q, q̇, δ), δ̇ = 0, y = (q, q̇)."""

    pendulum: GearedDoublePendulum = GearedDoublePendulum()
    states = (*GearedDoublePendulum.states, *(Signal(f"{joint}_zero", "rad") for joint in JOINTS))
    inputs = GearedDoublePendulum.inputs

    @property
    def outputs(self) -> tuple[Signal, ...]:
        return GearedDoublePendulum.states

    def dynamics(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        actual = x[:4] + ca.vertcat(x[4:], 0, 0)
        return ca.vertcat(self.pendulum.dynamics(actual, u, p, d), 0, 0)

    def output(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        return x[:4]


COLUMNS = {
    f"{joint}{signal}": f"{column}_meas{i}"
    for i, joint in enumerate(JOINTS, 1)
    for signal, column in (("", "pos"), ("_rate", "vel"), ("_torque", "tau"))
}
RIGID = ("mass1", "center2", "inertia1", "inertia2", "rotor_inertia")
FITTED = (*RIGID, "damping1", "damping2", "friction1", "friction2")
PUBLISHED = {
    "C1 model_1.0": GearedDoublePendulum(),
    "C1 model_2.0": GearedDoublePendulum(
        mass1=0.758644, mass2=0.336937, center2=0.468438, inertia1=0.0421116, inertia2=0.0510353,
        damping1=0.00369087, damping2=0.000645085, friction1=0.174672, friction2=0.11,
    ),
    "C0 model_3.0": GearedDoublePendulum(
        mass1=0.641694, mass2=0.563936, center2=0.321267, inertia1=0.0267108, inertia2=0.0538781,
        rotor_inertia=9.93728e-5, friction1=0.093, friction2=0.078,
    ),
    "C0 model_h1.0": GearedDoublePendulum(
        mass1=0.547622, mass2=0.597862, center2=0.275, inertia1=0.0242107, inertia2=0.0534503,
        damping1=0.0110781, damping2=0.0043965, friction1=0.0928418, friction2=0.0770829,
    ),
}  # fmt: skip


def read(path: Path) -> Trajectory:
    """One log, zero-phase low-pass at 15 Hz, torques averaged over each step."""
    log = read_csv(path, GearedDoublePendulum(), columns=COLUMNS, dt=RAW, resample=True)
    y, u = (filtfilt(*butter(2, LOW_PASS, fs=1 / RAW), s, axis=0) for s in (log.y, log.u))
    n = log.steps // EVERY * EVERY
    u = u[:n].reshape(-1, EVERY, 2).mean(1)
    return Trajectory(t=log.t[: n + 1 : EVERY], u=u, y=y[: n + 1 : EVERY])


def load(folder: Path, rig: str = "C1") -> MeasuredSet:
    """Rig C1, or C0 for the transfer; zeros in x are those that the nominal model sees.

    Raises ValueError for another rig.
    """
    parts = {"C1": (TRAIN, STOP, SCORE), "C0": (TRAIN_C0, STOP_C0, SCORE_C0)}
    if rig not in parts:
        raise ValueError(f"rig must be one of {list(parts)}, got {rig!r}")
    train, stop, scored = (
        [read(Path(folder) / f"design{rig}_{name}.csv") for name in part] for part in parts[rig]
    )
    nominal = PUBLISHED["C1 model_1.0" if rig == "C1" else "C0 model_3.0"]
    measured = MeasuredSet(
        name=f"dfki_double_pendulum {rig}",
        system=Miszeroed(pendulum=nominal),
        fit_parameters=FITTED,
        train=Dataset(train),
        validation=Dataset(stop),
        horizon=HORIZON,
        substeps=SUBSTEPS,
        starts=5,
        score=partial(score, logs=scored),
        published=nominal,
        corrected=placement.input,
        features=tuple(s.name for s in (*nominal.states[len(JOINTS) :], *nominal.inputs)),
        seen_by=seen_by,
        bare=nominal,
        bars={
            f"{joint} at 0.5 s [rad]": (("bare", 0.75), ("identified", 0.75)) for joint in JOINTS
        },
    )
    return seen_by(_model(measured.system), measured)


def seen_by(model: HybridModel, measured: MeasuredSet) -> MeasuredSet:
    """The same set with the zeros that this Miszeroed model sees; its logs begin 0.5 s later."""

    def again(logs: Dataset) -> Dataset:
        first = 0 if logs[0].x is not None else HORIZON
        return Dataset(with_zeros(model, log)[first:] for log in logs)

    return dataclasses.replace(
        measured, train=again(measured.train), validation=again(measured.validation)
    )


def identified(measured: MeasuredSet, *, stride: int = 25, seed: int = 0) -> HybridModel:
    """The bar: parameters from several starts without zeros, then twice more with them.

    Fitted to all logs that may be fitted to, since nothing here needs early stopping; with zeros
    seen once by the first result and once by the second, after which they stay.
    """
    fitted = partial(identify, horizon=measured.horizon, stride=stride, iterations=10, seed=seed)
    nominal = measured.system
    if not isinstance(nominal, Miszeroed):
        raise ValueError(f"measured must hold a Miszeroed system, got {type(nominal).__name__}")
    logs = Dataset(
        Trajectory(t=log.t, u=log.u, y=log.y) for log in (*measured.train, *measured.validation)
    )
    plain = fitted(_model(nominal.pendulum), logs, logs, starts=measured.starts).model
    found = _model(Miszeroed(pendulum=plain.system))  # type: ignore[arg-type]
    for _ in range(2):
        seen = seen_by(found, measured)
        logs = Dataset((*seen.train, *seen.validation))
        found = fitted(found, logs, logs, starts=1).model
    return found


def score(model: HybridModel, logs: Sequence[Trajectory]) -> dict[str, float]:
    """RMSE of both angles at the end of 0.5 s, restarts every 0.05 s, over all logs.

    A Miszeroed model sees the zeros itself, residual included, from the past of each restart.
    """
    miszeroed = model.system.ny < model.system.nx
    seen = Dataset([with_zeros(model, log) if miszeroed else log for log in logs])
    windows = batch(model, seen, HORIZON, stride=RESTART)
    with torch.no_grad():
        error = (outputs(model, windows) - windows.y)[:, -1, : len(JOINTS)]
    root = error.square().mean(0).sqrt().tolist()
    return {f"{joint} at 0.5 s [rad]": e for joint, e in zip(JOINTS, root, strict=True)}


def _model(system: System) -> HybridModel:
    """Friction is stiff near rest: at 100 c / M₂₂ ≈ 250 /s, RK4 needs steps below 10 ms."""
    return HybridModel(system, dt=RAW * EVERY, substeps=SUBSTEPS, fit_parameters=FITTED)


def with_zeros(model: HybridModel, log: Trajectory) -> Trajectory:
    """The log with the estimated state x = (q, q̇, δ): δ_k from what was measured until step k.

        δ_k = argmin ‖δ/σ‖² + 1/H Σ_j ‖W (y_{j+H} − ŷ_{j+H}(0) − S_j δ)‖²,   j + H ≤ k

    ŷ is the rollout of a Miszeroed model from y_j, S = ∂ŷ/∂δ by central differences,
    W = diag(1/noise). A rollout that starts at step k holds δ_k; in the first H steps of a log it
    is 0.
    """
    windows = Dataset([log]).windows(HORIZON)
    y0, u = torch.tensor(windows.y[:, 0]), torch.tensor(windows.u)

    def end(*zero: float) -> np.ndarray:
        with torch.no_grad():
            x0 = torch.cat([y0, torch.tensor(zero, dtype=u.dtype).expand(len(y0), 2)], -1)
            return model.rollout(x0, u)[:, -1, :4].numpy() / NOISE

    h = 0.02  # rad
    S = np.stack([end(h, 0) - end(-h, 0), end(0, h) - end(0, -h)], -1) / (2 * h)  # (N, 4, 2)
    error = windows.y[:, -1] / NOISE - end(0, 0)  # (N, 4)
    normal = np.cumsum(np.einsum("nyi,nyj->nij", S, S), 0) / HORIZON + np.eye(2) / OFF_HANGING**2
    right = np.cumsum(np.einsum("nyi,ny->ni", S, error), 0) / HORIZON
    zeros = np.linalg.solve(normal, right[..., None])[..., 0]  # (N, 2), N = steps − H + 1
    x = np.hstack([log.y, np.vstack([np.zeros((HORIZON, 2)), zeros])]).astype(np.float64)
    return Trajectory(t=log.t, u=log.u, y=log.y, x=x)
