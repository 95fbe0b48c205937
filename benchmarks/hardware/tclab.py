"""tclab: two heaters and two thermistors on one board, sampled every few seconds.

Protocol: fit on mimo_2nd_order.csv, simulate mimo_600s_1s.csv (every third sample) and
mimo_600s_3s.csv from their first measurement; root mean square error of each temperature [K].
The third log gives heater factors that are a sixth to a third lower, so it may be another board.

Logs: APMonitor/arduino (Apache-2.0), `2_Regression`; model of its Energy_balance_MIMO.
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
from hybridmodel import Dataset, HybridModel, Trajectory
from physics import Parameter, Signal, System

DT, ZERO_CELSIUS = 3.0, 273.15
TRAIN, HELD_OUT = "mimo_2nd_order", ("mimo_600s_1s", "mimo_600s_3s")
BLOCK = 0.75  # of the one fitting log is for training, the block after it for early stopping
FITTED = ("transfer", "heater1", "heater2")


@dataclass(frozen=True, kw_only=True)
class TwoHeaters(System):
    """Heated sensors that lose heat to the room and to each other.

        m c Ṫ₁ = U A (T_a − T₁) + ε σ A (T_a⁴ − T₁⁴) + U A_s (T₂ − T₁) + ε σ A_s (T₂⁴ − T₁⁴) + α₁ Q₁
        m c Ṫ₂ = the same with 1 and 2 exchanged

    T temperatures [K], Q heaters [%], T_a of the room [K], U heat transfer [W/(K·m²)], A, A_s
    surfaces to the room and to the other [m²], ε emissivity [–], σ = 5.67e-8 W/(m²·K⁴), α heater
    factors [W/%], m mass [kg], c heat capacity [J/(kg·K)].
    T_a is an exogenous signal, since the logs were taken in rooms of 17 to 20 °C.
    """

    mass: float = Parameter(0.004, "kg", "positive")
    heat_capacity: float = Parameter(500.0, "J/(kg·K)", "positive")
    area: float = Parameter(1e-3, "m²", "positive")
    shared_area: float = Parameter(2e-4, "m²", "positive")
    emissivity: float = Parameter(0.9, "", (0.0, 1.0))
    transfer: float = Parameter(10.0, "W/(K·m²)", "positive")
    heater1: float = Parameter(0.01, "W/%", "positive")
    heater2: float = Parameter(0.0075, "W/%", "positive")
    states: tuple[Signal, ...] = (Signal("temperature1", "K"), Signal("temperature2", "K"))
    inputs: tuple[Signal, ...] = (
        Signal("heating1", "%", 0.0, 100.0),
        Signal("heating2", "%", 0.0, 100.0),
    )
    exogenous: tuple[Signal, ...] = (Signal("ambient", "K"),)

    def dynamics(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        radiation = p.emissivity * 5.67e-8
        room = p.area * (p.transfer * (d[0] - x) + radiation * (d[0] ** 4 - x**4))
        between = p.transfer * (x[1] - x[0]) + radiation * (x[1] ** 4 - x[0] ** 4)
        exchanged = p.shared_area * ca.vertcat(between, -between)
        heat = ca.vertcat(p.heater1, p.heater2) * u
        return (room + exchanged + heat) / (p.mass * p.heat_capacity)


def read(path: Path) -> Trajectory:
    """One log on a grid of 3 s, in kelvin.

    Before it is heated the board is as warm as the room: what the two sensors differ by at first
    is their offset, halved between them, and their mean is the room.
    """
    t, q1, q2, t1, t2 = np.loadtxt(path, delimiter=",", skiprows=1, usecols=range(5)).T
    grid = np.arange(0.0, t[-1], DT)
    y = np.stack([np.interp(grid, t, t1), np.interp(grid, t, t2)], -1) + ZERO_CELSIUS
    y -= y[0] - y[0].mean()
    last = np.searchsorted(t, grid[:-1] + 1e-9, side="right") - 1  # heaters hold their command
    u = np.stack([q1, q2], -1)[last]
    d = np.full((len(u), 1), y[0].mean())
    return Trajectory(t=grid, u=u, y=y, d=d)


def errors(model: HybridModel, log: Trajectory) -> np.ndarray:
    """(2,) RMSE [K] of a free run over a whole log from its first measurement."""
    start, u, d = (torch.tensor(a[None]) for a in (log.y[0], log.u, log.d))
    with torch.no_grad():
        x = model.rollout(model.initial_state(start), u, d)[0, :, :2].numpy()
    return np.sqrt(np.mean((x - log.y) ** 2, axis=0))


def score(model: HybridModel, held_out: Mapping[str, Trajectory]) -> Mapping[str, float]:
    """RMSE [K] of both temperatures in each held-out log."""
    return {
        f"{name}, temperature {i + 1} [K]": float(error)
        for name, log in held_out.items()
        for i, error in enumerate(errors(model, log))
    }


def load(folder: Path) -> MeasuredSet:
    """The set, from `folder` with the three logs named above."""
    log = read(folder / f"{TRAIN}.csv")
    held_out = {name: read(folder / f"{name}.csv") for name in HELD_OUT}
    block = round(BLOCK * log.steps)
    return MeasuredSet(
        name="tclab",
        system=TwoHeaters(),
        fit_parameters=FITTED,
        train=Dataset([log[:block]]),
        validation=Dataset([log[block:]]),
        horizon=log.steps - block,
        substeps=1,
        starts=5,
        score=lambda model: score(model, held_out),
        published=TwoHeaters(),
    )
