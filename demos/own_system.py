"""Bring your own system: a water tank, in ten lines of CasADi, corrected by a residual.

The outflow of a real tank is not quite Torricelli's. The logs here come from a plant whose
outlet narrows as it empties; nothing in the system knows that.

    python demos/own_system.py
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import casadi as ca
import numpy as np

import hybridmodel as hm
from hybridmodel import physics, placement, residuals
from physics import Parameter, Signal


@dataclass(frozen=True, kw_only=True)
class Tank(physics.System):
    """A ḣ = k u − a √(2 g h): level h [m], pump voltage u [V] (Torricelli, 1644)."""

    area: float = Parameter(0.015, "m²", "positive")
    outlet: float = Parameter(5e-5, "m²", "positive")
    pump: float = Parameter(1.5e-5, "m³/(V·s)", "positive")
    states = (Signal("level", "m", 0.0, 0.6),)
    inputs = (Signal("voltage", "V", 0.0, 12.0),)

    def dynamics(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        level = ca.fmax(x, 1e-4)  # √ has no slope at an empty tank
        return (p.pump * u - p.outlet * ca.sqrt(2 * 9.81 * level)) / p.area


@dataclass(frozen=True, kw_only=True)
class RealTank(Tank):
    """What the logs come from: the outlet loses up to 40 % of its width as the tank empties."""

    def dynamics(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        level = ca.fmax(x, 1e-4)
        outlet = p.outlet * (1 - 0.4 * ca.exp(-level / 0.1))
        return (p.pump * u - outlet * ca.sqrt(2 * 9.81 * level)) / p.area


def main(quick: bool = False) -> None:
    system, dt = Tank(), 2.0
    plant = hm.HybridModel(RealTank(pump=1.4e-5), dt=dt, substeps=4).step_function()
    logs = [_log(plant, dt, seed) for seed in range(4 if quick else 10)]
    train, validation, test = hm.Dataset(logs).split((0.5, 0.25, 0.25))

    model = hm.HybridModel(
        system,
        residuals.MLP((16,)),
        dt=dt,
        placement=placement.derivative,
        fit_parameters=("outlet", "pump"),
    )
    identified = hm.HybridModel(system, dt=dt, fit_parameters=("outlet", "pump"))
    identified = hm.identify(identified, train, validation).model
    hybrid = hm.fit(model, train, validation, epochs=5 if quick else 40).model
    for name, candidate in (("identified", identified), ("hybrid", hybrid)):
        error = hm.evaluate(candidate, test, horizon=50)
        print(f"{name:10} level after 100 s: {1e3 * error.rmse[-1, 0]:.2f} mm")

    cost = hm.Quadratic(system, state={"level": 100.0}, input={"voltage": 1e-4},
                        target={"level": 0.3})  # fmt: skip
    problem = hm.OptimalControlProblem(hybrid, cost, horizon=60)
    plan = hm.MultipleShooting(problem).plan(np.array([0.05]))
    print(f"{plan.status.value}: the level reaches {plan.x[-1, 0]:.3f} m after {60 * dt:.0f} s")
    print(hm.check_agreement(hybrid))


def _log(plant: ca.Function, dt: float, seed: int) -> hm.Trajectory:
    rng = np.random.default_rng(seed)
    u = np.repeat(rng.uniform(0.0, 12.0, 15), 8)[:, None]
    x = [rng.uniform(0.1, 0.4, 1)]
    for u_k in u:
        x.append(plant(x[-1], u_k, [], []).full()[:, 0])
    y = np.array(x) + 1e-3 * rng.standard_normal((len(x), 1))
    return hm.Trajectory(t=dt * np.arange(len(x)), u=u, y=y, x=np.array(x))


if __name__ == "__main__":
    main()
