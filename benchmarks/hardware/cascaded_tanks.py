"""cascaded_tanks: a pump fills a tank that drains into a second one; both may overflow.

Protocol: the first two thirds of train.csv are for fitting; the last third is simulated, running
on from the estimated state at the beginning of the record without any measurement in between;
root mean square error of the sensor [V]. Bars: the plain model with a residual no worse than the
overflow model identified; the overflow model with a residual at least 15 % below it.
The upper level is not measured, so both models declare their initial levels and are identified by
output error over the whole fitting part (`identify_output_error`); the logs of the set hold the
levels that this gave as x.

Logs: Schoukens, Mattsson, Wigren, Noël, Cascaded tanks benchmark combining soft and hard
nonlinearities, 2016.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import casadi as ca
import numpy as np
import torch

from benchmarks.hardware.measured import MeasuredSet
from benchmarks.hardware.output_error import OutputError, identify_output_error
from hybridmodel import Dataset, HybridModel, Trajectory
from physics import Parameter, Signal, System

DT, SUBSTEPS, SHARE = 4.0, 2, 2 / 3
BLOCK = 0.85  # of the fitting part is for training, the block after it for early stopping
RIM = 10.0  # V, where the sensor saturates
LEVELS = ("initial_upper", "initial_lower")
PLAIN = ("upper_outlet", "lower_inlet", "lower_outlet", "pump", *LEVELS)
FITTED = (
    *PLAIN, "upper_leak", "lower_leak", "spilled_share", "lower_rim", "rim_time",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class CascadedTanks(System):
    """Torricelli's outflow from two tanks, levels in volts of the lower one's sensor.

        ẋ₁ = k₄ u − k₁ √x₁,    ẋ₂ = k₂ √x₁ − k₃ √x₂,    y = min(x₂, 10 V)

    x levels [V], u pump voltage [V], k₁ … k₃ [√V/s], k₄ [1/s]. The initial levels are parameters
    because nothing measures the upper one. Only k₁ : k₂ and k₂ k₄ can be told from y: the scale of
    x₁ is free.
    Smoothing: √x is x (x² + η²)^(−1/4), η = 0.05 V; min rounds its corner over 0.1 V.
    Benchmark document, eq. 1–3.
    """

    upper_outlet: float = Parameter(0.05, "√V/s", "positive")
    lower_inlet: float = Parameter(0.05, "√V/s", "positive")
    lower_outlet: float = Parameter(0.05, "√V/s", "positive")
    pump: float = Parameter(0.04, "1/s", "positive")
    initial_upper: float = Parameter(5.0, "V", "positive")
    initial_lower: float = Parameter(5.2, "V", "positive")
    states: tuple[Signal, ...] = (Signal("upper_level", "V"), Signal("lower_level", "V"))
    inputs: tuple[Signal, ...] = (Signal("pump_voltage", "V", 0.0, 10.0),)

    @property
    def outputs(self) -> tuple[Signal, ...]:
        return (Signal("sensor", "V"),)

    @property
    def start(self) -> tuple[float, ...]:
        """x at the beginning of the record."""
        return (float(self.initial_upper), float(self.initial_lower))

    def dynamics(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        upper, lower = _root(x[0]), _root(x[1])
        return ca.vertcat(
            p.pump * u[0] - p.upper_outlet * upper,
            p.lower_inlet * upper - p.lower_outlet * lower,
        )

    def output(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        return RIM - _positive(RIM - x[1], 0.1)


@dataclass(frozen=True, kw_only=True)
class OverflowingTanks(CascadedTanks):
    """The same with rims: what stands above one spills within T, part of it into the lower tank.

        q₁ = k₁ √x₁ + c₁ x₁,    q₂ = k₃ √x₂ + c₃ x₂
        s₁ = max(0, k₄ u − q₁ + (x₁ − 10 V)/T),    s₂ = max(0, n₂ + (x₂ − R₂)/T)
        ẋ₁ = k₄ u − q₁ − s₁,    ẋ₂ = n₂ − s₂,    n₂ = (k₂/k₁) (q₁ + γ s₁) − q₂

    c leaks beside Torricelli's law [1/s], s what spills [V/s], γ the share of it that falls into
    the lower tank [–], R₂ its rim [V], T [s]. The upper rim is 10 V, which sets the scale of x₁.
    Smoothing: max(0, ·) rounds its corner over 0.02 V/s.
    Benchmark document, section 2, which gives no equation for the spilling.
    """

    upper_leak: float = Parameter(0.001, "1/s", "real")
    lower_leak: float = Parameter(0.001, "1/s", "real")
    spilled_share: float = Parameter(0.3, "", (0.0, 1.0))
    lower_rim: float = Parameter(10.0, "V", (9.0, 13.0))
    rim_time: float = Parameter(4.0, "s", (1.5, 30.0))

    def dynamics(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        q1 = p.upper_outlet * _root(x[0]) + p.upper_leak * x[0]
        q2 = p.lower_outlet * _root(x[1]) + p.lower_leak * x[1]
        net = p.pump * u[0] - q1
        spilled = _positive(net + (x[0] - RIM) / p.rim_time, 0.02)
        below = p.lower_inlet / p.upper_outlet * (q1 + p.spilled_share * spilled) - q2
        return ca.vertcat(
            net - spilled, below - _positive(below + (x[1] - p.lower_rim) / p.rim_time, 0.02)
        )


def _root(level: ca.SX) -> ca.SX:
    return level / ca.sqrt(ca.sqrt(level**2 + 0.05**2))


def _positive(value: ca.SX, width: float) -> ca.SX:
    return (value + ca.sqrt(value**2 + width**2)) / 2


def read(path: Path) -> Trajectory:
    """The record, without states."""
    log = np.genfromtxt(path, delimiter=",", names=True)
    t = np.linspace(0.0, DT * (len(log) - 1), len(log))
    return Trajectory(t=t, u=log["u_V"][:-1, None], y=log["y_V"][:, None])


def simulate(model: HybridModel, record: Trajectory) -> tuple[np.ndarray, np.ndarray]:
    """x (T+1, 2) and y (T+1, 1) of a free run over the record from the system's own start."""
    x0, u = torch.tensor([model.system.start]), torch.tensor(record.u[None])  # type: ignore[attr-defined]
    with torch.no_grad():
        x = model.rollout(x0.to(u), u)
        y = model.output(x, torch.cat([u[:, :1], u], 1))
    return x[0].numpy(), y[0].numpy()


def score(model: HybridModel, record: Trajectory) -> Mapping[str, float]:
    """RMSE [V] over the last third of the record, and over the two thirds before."""
    error = simulate(model, record)[1] - record.y
    cut = round(SHARE * len(error))
    return {
        "simulation error, last third [V]": float(np.sqrt(np.mean(error[cut:] ** 2))),
        "simulation error, fitting part [V]": float(np.sqrt(np.mean(error[:cut] ** 2))),
    }


def identified(system: CascadedTanks, record: Trajectory, *, seed: int = 0) -> OutputError:
    """The best of five starts of this system's parameters on the fitting part."""
    cut = round(SHARE * len(record.y)) - 1
    return identify_output_error(
        system,
        record[:cut],
        declared=FITTED if isinstance(system, OverflowingTanks) else PLAIN,
        initial=LEVELS,
        substeps=SUBSTEPS,
        starts=5,
        seed=seed,
    )


def load(folder: Path, *, overflow: bool = True) -> MeasuredSet:
    """The set with the overflow model, or the plain one; its system is identified already."""
    record = read(folder / "train.csv")
    system = identified(OverflowingTanks() if overflow else CascadedTanks(), record).system
    x, _ = simulate(HybridModel(system, dt=DT, substeps=SUBSTEPS), record)
    cut = round(SHARE * len(record.y)) - 1
    known = Trajectory(t=record.t, u=record.u, y=record.y, x=x)
    block = round(BLOCK * cut)
    return MeasuredSet(
        name="cascaded_tanks" if overflow else "cascaded_tanks, plain",
        system=system,
        fit_parameters=FITTED if overflow else PLAIN,
        train=Dataset([known[:cut]]),
        validation=Dataset([known[block:cut]]),
        horizon=cut - block,
        substeps=SUBSTEPS,
        starts=5,
        score=lambda model: score(model, record),
        whole=True,
        initial=LEVELS,
        bars={
            "simulation error, last third [V]": (
                ("identified", 0.85) if overflow else ("cascaded_tanks identified", 1.0),
            )
        },
    )
