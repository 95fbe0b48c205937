"""A real double pendulum: bring your own System, identify it from logs, learn what is left.

The hardware is a geared double pendulum of DFKI's Underactuated Lab. Its logs are public
(BSD-3-Clause): repository dfki-ric-underactuated-lab/double_pendulum, folder
data/experiment_records/design_C.1/sys_id/20230629. Save the trajectory.csv of each record as
designC1_<hhmmss>.csv in one folder and run

    python demos/real_double_pendulum.py --data FOLDER

The encoders are zeroed at every start, where friction (±0.26 N·m) may hold the links some degrees
off hanging. This error δ of the zero differs from log to log and costs the physics more accuracy
than all else, so it becomes a state that does not move, estimated from the past of each log. Of
what is left, little repeats from log to log: early stopping keeps the network near zero.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import casadi as ca
import numpy as np
import torch
from scipy.signal import butter, filtfilt

import hybridmodel as hm
from hybridmodel import physics, residuals
from physics import Parameter, Signal

JOINTS = ("shoulder", "elbow")
TRAIN = ("143339", "143524", "143704", "143747", "143906")
STOP, SCORE = ("144003", "144115"), "143601"  # early stopping; looked at once, for the table
RAW, EVERY, H = 0.002, 5, 50  # logged step [s], samples a model step of 0.01 s, steps of 0.5 s
NOISE = np.array([0.03, 0.05, 0.3, 0.5])  # deviation of a 0.5 s prediction [rad, rad/s]
OFF_HANGING = 0.06  # deviation of the encoders' zero δ [rad]


@dataclass(frozen=True, kw_only=True)
class GearedDoublePendulum(physics.Mechanical):
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
        return ca.blockcat([[M11, M12], [M12, M22]])

    def bias(self, q: ca.SX, v: ca.SX, p: SimpleNamespace) -> ca.SX:
        coriolis = p.mass2 * p.length1 * p.center2 * ca.sin(q[1])
        weight1 = (p.mass1 * p.center1 + p.mass2 * p.length1) * p.gravity * ca.sin(q[0])
        weight2 = p.mass2 * p.center2 * p.gravity * ca.sin(q[0] + q[1])
        friction = ca.vertcat(p.damping1, p.damping2) * v
        friction += ca.vertcat(p.friction1, p.friction2) * ca.atan(100 * v)
        centrifugal = ca.vertcat(-(2 * v[0] + v[1]) * v[1], v[0] ** 2)
        return coriolis * centrifugal + ca.vertcat(weight1 + weight2, weight2) + friction

    def input_map(self, q: ca.SX, p: SimpleNamespace) -> ca.SX:
        return ca.SX.eye(2)


@dataclass(frozen=True, kw_only=True)
class Miszeroed(physics.System):
    """The same seen by encoders that read δ too low: x = (q, q̇, δ), δ̇ = 0, y = (q, q̇)."""

    pendulum: GearedDoublePendulum
    states = (*GearedDoublePendulum.states, *(Signal(f"{joint}_zero", "rad") for joint in JOINTS))
    inputs = GearedDoublePendulum.inputs
    outputs = GearedDoublePendulum.states

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
FITTED = ("mass1", "center2", "inertia1", "inertia2", "rotor_inertia")
FITTED += ("damping1", "damping2", "friction1", "friction2")
PUBLISHED = {
    "published model_1.0": GearedDoublePendulum(),
    "published model_2.0": GearedDoublePendulum(
        mass1=0.758644, mass2=0.336937, center2=0.468438, inertia1=0.0421116, inertia2=0.0510353,
        damping1=0.00369087, damping2=0.000645085, friction1=0.174672, friction2=0.11,
    ),
}  # fmt: skip


def read(path: Path) -> hm.Trajectory:
    """One log, zero-phase low-pass at 15 Hz, torques averaged over each step."""
    log = hm.read_csv(path, GearedDoublePendulum(), columns=COLUMNS, dt=RAW, resample=True)
    y, u = (filtfilt(*butter(2, 15.0, fs=1 / RAW), signal, axis=0) for signal in (log.y, log.u))
    n = log.steps // EVERY * EVERY
    u = u[:n].reshape(-1, EVERY, 2).mean(1)
    return hm.Trajectory(t=log.t[: n + 1 : EVERY], u=u, y=y[: n + 1 : EVERY])


def model(system: physics.System, residual: torch.nn.Module | None = None) -> hm.HybridModel:
    """Friction is stiff near rest: at 100 c / M₂₂ ≈ 250 /s, RK4 needs steps below 10 ms."""
    return hm.HybridModel(
        system,
        residual,
        dt=RAW * EVERY,
        substeps=2,
        fit_parameters=FITTED,
        placement=hm.placement.input,
        features=("shoulder_rate", "elbow_rate"),
    )


def with_zeros(pendulum: GearedDoublePendulum, log: hm.Trajectory) -> hm.Trajectory:
    """The log with the estimated state x = (q, q̇, δ): δ_k from what was measured until step k.

        δ_k = argmin ‖δ/σ‖² + 1/H Σ_j ‖W (y_{j+H} − ŷ_{j+H}(0) − S_j δ)‖²,   j + H ≤ k

    ŷ is the rollout from y_j, S = ∂ŷ/∂δ by central differences, W = diag(1/noise). A rollout that
    starts at step k holds δ_k; in the first H steps of a log it is 0.
    """
    seen, windows = model(Miszeroed(pendulum=pendulum)), hm.Dataset([log]).windows(H)
    y0, u = torch.tensor(windows.y[:, 0]), torch.tensor(windows.u)

    def end(*zero: float) -> np.ndarray:
        with torch.no_grad():
            x0 = torch.cat([y0, torch.tensor(zero, dtype=u.dtype).expand(len(y0), 2)], -1)
            return seen.rollout(x0, u)[:, -1, :4].numpy() / NOISE

    h = 0.02  # rad
    S = np.stack([end(h, 0) - end(-h, 0), end(0, h) - end(0, -h)], -1) / (2 * h)  # (N, 4, 2)
    error = windows.y[:, -1] / NOISE - end(0, 0)  # (N, 4)
    normal = np.cumsum(np.einsum("nyi,nyj->nij", S, S), 0) / H + np.eye(2) / OFF_HANGING**2
    right = np.cumsum(np.einsum("nyi,ny->ni", S, error), 0) / H
    zeros = np.linalg.solve(normal, right[..., None])[..., 0]  # (N, 2), N = steps − H + 1
    x = np.hstack([log.y, np.vstack([np.zeros((H, 2)), zeros])])
    return hm.Trajectory(t=log.t, u=log.u, y=log.y, x=x)


def fitted(data: Path, quick: bool = False, seed: int = 0) -> dict[str, hm.HybridModel]:
    """Identified physics, the same with zeros, and with zeros and residual, from training logs."""
    effort = {"horizon": H, "stride": 200 if quick else 20, "iterations": 2 if quick else 10}
    train, stop = ([read(data / f"designC1_{name}.csv") for name in part] for part in (TRAIN, STOP))
    logs = hm.Dataset([*train, *stop])
    start = model(GearedDoublePendulum())
    physical = hm.identify(start, logs, logs, starts=1 if quick else 5, seed=seed, **effort).model
    train, stop = (
        hm.Dataset(with_zeros(physical.system, x) for x in part) for part in (train, stop)
    )
    logs = hm.Dataset([*train, *stop])
    start = model(Miszeroed(pendulum=physical.system))
    zeroed = hm.identify(start, logs, logs, starts=1, seed=seed, **effort).model
    hybrid = hm.fit(
        model(zeroed.system, residuals.MLP((8,), seed=seed)),
        train,
        stop,
        horizons=(H,),
        epochs=1 if quick else 20,
        stride=200 if quick else 20,
        batch_size=64,
        rate=1e-3,
        parameter_rate=1e-3,
        residual_penalty=1e-2,
        seed=seed,
    ).model
    return {"identified": physical, "identified, zeros": zeroed, "hybrid, zeros": hybrid}


def errors(candidate: hm.HybridModel, log: hm.Trajectory, every: float) -> np.ndarray:
    """RMSE of q₁, q₂ [rad] at the end of 0.5 s, restarted `every` [s]."""
    stride = round(every / candidate.dt)
    return hm.evaluate(candidate, hm.Dataset([log]), horizon=H, stride=stride).rmse[-1, :2]


def rows(data: Path, quick: bool = False, seed: int = 0) -> list[dict[str, object]]:
    """Figures of the score log: the bars are identified ≤ published, hybrid ≤ 0.8 identified."""
    log = read(data / f"designC1_{SCORE}.csv")
    models = {name: model(system) for name, system in PUBLISHED.items()} | fitted(data, quick, seed)
    aware = with_zeros(models["identified"].system, log)
    found = {
        (name, every): errors(
            candidate, aware if candidate.system.ny < candidate.system.nx else log, every
        )
        for name, candidate in models.items()
        for every in (0.05, 0.5)
    }
    identified, hybrid = found["identified", 0.05], found["hybrid, zeros", 0.05]
    bars = {
        ("identified", 0.05): np.min([found[name, 0.05] for name in PUBLISHED], axis=0),
        ("hybrid, zeros", 0.05): 0.8 * identified,
    }
    table = []
    for (name, every), error in found.items():
        for i, value in enumerate(error):
            figure = f"{name}: q{i + 1} after 0.5 s, restart every {every} s"
            table.append(_row(figure, value, "rad", bars.get((name, every), (None, None))[i]))
    saved = {
        "zeros below identified": 1 - found["identified, zeros", 0.05] / identified,
        "hybrid below identified": 1 - hybrid / identified,
        "hybrid below zeros, the residual's share": 1 - hybrid / found["identified, zeros", 0.05],
    }
    for name, share in saved.items():
        table += [_row(f"{name}: q{i + 1}", 100 * value, "%") for i, value in enumerate(share)]
    known = models["identified, zeros"].system.parameters
    return table + [_row(name, known[name], known[name].unit) for name in FITTED]


def _row(figure: str, value: float, unit: str, bar: float | None = None) -> dict[str, object]:
    holds = None if bar is None else bool(value <= bar)
    bar = None if bar is None else float(bar)
    return {"figure": figure, "value": float(value), "unit": unit, "bar": bar, "holds": holds}


def main(data: Path, quick: bool = False) -> None:
    torch.set_num_threads(1)
    for row in rows(data, quick):
        verdict = {None: "", True: "PASS", False: "MISS"}[row["holds"]]
        bar = "" if row["bar"] is None else f"≤ {row['bar']:.4f}"
        print(f"{row['figure']:60} {row['value']:9.4g} {row['unit']:10} {bar:9} {verdict}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A real double pendulum")
    parser.add_argument("--data", type=Path, required=True, help="folder of designC1_*.csv")
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes")
    arguments = parser.parse_args()
    main(arguments.data, arguments.quick)
