"""A torque-controlled pendulum: records of six controllers until somebody first pushed it.

Predictions of 0.5 s start from a measured state every 0.05 s; the error is that of the angle at
the end. The bob was changed between records: the one with 1 kg is held out, as are the records of
direct collocation and SAC.

Data of dfki-ric-underactuated-lab/torque_limited_simple_pendulum (BSD-3-Clause).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import casadi as ca
import numpy as np
import torch
from scipy.signal import butter, filtfilt

from benchmarks.hardware.measured import MeasuredSet
from hybridmodel import Dataset, HybridModel, Trajectory, identify
from hybridmodel.batches import batch, outputs
from physics import Mechanical, Parameter, Signal

UNDISTURBED = {  # [s]
    "ddp": 6.0,
    "direct_collocation": 3.5,
    "energy_shaping": 4.0,
    "ilqr": 5.0,
    "sac": 4.5,
    "energy_shaping_1kg": 10.0,
}
TRAIN, STOP = ("ddp", "energy_shaping"), ("ilqr",)
SCORE = ("direct_collocation", "sac", "energy_shaping_1kg")
STEP, SUBSTEPS = 0.01, 2  # [s]
HORIZON, RESTART = 50, 5  # steps of 0.5 s and 0.05 s
LOW_PASS = 15.0  # zero phase [Hz]; half of what a log of 20 ms can hold
FITTED = ("inertia", "moment", "damping", "friction", "offset")


@dataclass(frozen=True, kw_only=True)
class TorqueLimitedPendulum(Mechanical):
    """J q̈ + b q̇ + c atan(100 q̇) + m_c g sin q + o = τ, q = 0 hangs.

    J inertia [kg·m²], b viscous [N·m·s/rad] and c Coulomb friction [N·m], m_c moment of mass
    [kg·m], o torque offset [N·m]; `system_identification.txt` of the repository above.
    """

    inertia: float = Parameter(0.06259, "kg·m²", "positive")
    moment: float = Parameter(0.1022, "kg·m", "positive")
    damping: float = Parameter(0.04707, "N·m·s/rad", "positive")
    friction: float = Parameter(0.1839, "N·m", "positive")
    offset: float = Parameter(-0.07586, "N·m")
    gravity: float = Parameter(9.81, "m/s²", "positive")
    states = (Signal("angle", "rad", angle=True), Signal("rate", "rad/s", rate_of="angle"))
    inputs = (Signal("torque", "N·m"),)

    def mass_matrix(self, q: ca.SX, p: SimpleNamespace) -> ca.SX:
        return type(q)(ca.DM(1)) * p.inertia

    def bias(self, q: ca.SX, v: ca.SX, p: SimpleNamespace) -> ca.SX:
        friction = p.damping * v + p.friction * ca.atan(100 * v)
        return friction + p.moment * p.gravity * ca.sin(q) + p.offset

    def input_map(self, q: ca.SX, p: SimpleNamespace) -> ca.SX:
        return type(q)(ca.DM(1))


TEXTBOOK = TorqueLimitedPendulum(  # a point mass on a rod, from the controllers' files
    inertia=0.6755 * 0.5**2, moment=0.6755 * 0.5, damping=0.1, friction=0.01, offset=0.0
)


def read(folder: Path, name: str) -> Trajectory:
    """One record until somebody first pushed the pendulum, on a grid of 10 ms."""
    table = np.genfromtxt(Path(folder) / f"{name}.csv", delimiter=",", skip_header=1)
    t, *signals = table[table[:, 0] <= UNDISTURBED[name]].T
    fine = 0.001  # [s]
    grid = np.arange(t[0], t[-1], fine)
    cut = min(LOW_PASS, 0.4 / np.median(np.diff(t)))
    low_pass = butter(2, cut, fs=1 / fine)
    q, v = (filtfilt(*low_pass, np.interp(grid, t, s)) for s in signals[:2])
    held = signals[2][np.searchsorted(t, grid, side="right") - 1]
    u = filtfilt(*low_pass, held)
    every = round(STEP / fine)
    n = (len(grid) - 1) // every
    return Trajectory(
        t=np.arange(n + 1, dtype=np.float64) * STEP,
        u=u[: n * every].reshape(n, every).mean(1)[:, None],
        y=np.column_stack([q, v])[: n * every + 1 : every],
    )


def load(folder: Path) -> MeasuredSet:
    """Fitted to two records, stopped by a third, scored on the rest."""
    logs = {name: read(folder, name) for name in UNDISTURBED}
    return MeasuredSet(
        name="dfki_simple_pendulum",
        system=TEXTBOOK,
        fit_parameters=FITTED,
        train=Dataset(logs[name] for name in TRAIN),
        validation=Dataset(logs[name] for name in STOP),
        horizon=HORIZON,
        substeps=SUBSTEPS,
        starts=5,
        score=partial(score, logs={name: logs[name] for name in SCORE}),
        published=TorqueLimitedPendulum(),
    )


def identified(measured: MeasuredSet, *, stride: int = 5, seed: int = 0) -> HybridModel:
    """Our own identification, on all records that may be fitted to."""
    model = HybridModel(
        measured.system, dt=STEP, substeps=SUBSTEPS, fit_parameters=measured.fit_parameters
    )
    logs = Dataset((*measured.train, *measured.validation))
    return identify(
        model,
        logs,
        logs,
        horizon=measured.horizon,
        starts=measured.starts,
        stride=stride,
        iterations=20,
        seed=seed,
    ).model


def score(model: HybridModel, logs: Mapping[str, Trajectory]) -> dict[str, float]:
    """RMSE of the angle at the end of 0.5 s, restarts every 0.05 s, by record."""
    figures = {}
    for name, log in logs.items():
        windows = batch(model, Dataset([log]), HORIZON, stride=RESTART)
        with torch.no_grad():
            error = (outputs(model, windows) - windows.y)[:, -1, 0]
        figures[f"{name} at 0.5 s [rad]"] = float(error.square().mean().sqrt())
    return figures
