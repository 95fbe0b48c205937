"""When is which placement the right one? A truth for each, whose hidden effect lives there.

Each study fits the same network to the same logs, once at the placement of its name and once
where an ordinary user would put it, and compares free runs on held-out logs. Three seeds draw
logs, noise and weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import casadi as ca
import numpy as np
import torch

from benchmarks.figures import Row
from benchmarks.truths import (
    Plan,
    Study,
    Truth,
    error,
    logged,
    output_error,
    over_seeds,
    physics_of,
    placed,
    rivals,
    split,
    trained,
)
from hybridmodel import placement
from hybridmodel.data import Dataset
from hybridmodel.model import HybridModel
from physics import CartPole, DoublePendulum, Parameter, Pendulum, Signal, System, TwoTanks
from physics.mechanical import Mechanical
from residuals import Potential

FREE = "free-run error"


@dataclass(frozen=True, kw_only=True)
class Puck(Mechanical):
    """m (ẍ, ÿ) = −k (x, y) + u: a puck on a plane, held by a spring."""

    mass: float = Parameter(0.5, "kg", "positive")
    stiffness: float = Parameter(4.0, "N/m", "positive")
    states: tuple[Signal, ...] = (
        Signal("x", "m"),
        Signal("y", "m"),
        Signal("x_rate", "m/s", rate_of="x"),
        Signal("y_rate", "m/s", rate_of="y"),
    )
    inputs: tuple[Signal, ...] = (Signal("push_x", "N", -2, 2), Signal("push_y", "N", -2, 2))

    def mass_matrix(self, q: ca.SX, p: SimpleNamespace) -> ca.SX:
        return p.mass * ca.SX.eye(2)

    def bias(self, q: ca.SX, v: ca.SX, p: SimpleNamespace) -> ca.SX:
        return p.stiffness * q

    def input_map(self, q: ca.SX, p: SimpleNamespace) -> ca.SX:
        return ca.SX.eye(2)


@dataclass(frozen=True, kw_only=True)
class FilledArm(DoublePendulum):
    """A double pendulum whose lower link is a bottle; how full it is, is known."""

    exogenous: tuple[Signal, ...] = (Signal("fill"),)


@dataclass(frozen=True, kw_only=True)
class SensedPendulum(Pendulum):
    """A pendulum whose sensors are not its state."""

    @property
    def outputs(self) -> tuple[Signal, ...]:
        return (Signal("encoder", "rad"), Signal("gyro", "rad/s"))


@dataclass(frozen=True, kw_only=True)
class Boiler(System):
    """A boiler as its controller knows it, sampled each 5 s: level, temperature; pump, heater."""

    loss: float = Parameter(0.02, "", "positive")
    states: tuple[Signal, ...] = (Signal("level"), Signal("temperature"))
    inputs: tuple[Signal, ...] = (Signal("pump", "", 0, 1), Signal("heater", "", 0, 1))
    dt: float = 5.0  # type: ignore[assignment]

    def dynamics(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        level = x[0] + 0.05 * u[0] - 0.05 * x[0]
        return ca.vertcat(level, x[1] + 0.1 * u[1] - p.loss * x[1] - 0.05 * u[0] * x[1])


def _pair(
    system: System,
    data: tuple[Dataset, Dataset, Dataset],
    seed: int,
    quick: bool,
    dt: float,
    choices: dict[str, dict[str, Any]],
    **options: Any,
) -> dict[str, HybridModel]:
    """Physics, and a fitted model for each choice of placement, features and residual."""
    models = {}
    for name, choice in choices.items():
        model = placed(system, seed, dt, getattr(placement, name.split()[0]), **choice)
        models[name] = trained(model, *data[:2], quick, **options)
    return {"physics": physics_of(next(iter(models.values())))} | models


def _errors(
    models: dict[str, HybridModel],
    test: Dataset,
    horizon: int,
    measure: Callable[[HybridModel, Dataset, int], float] = error,
) -> dict[str, float]:
    return {name: measure(model, test, horizon) for name, model in models.items()}


# -- one study for each placement ----------------------------------------------------------------


def of_acceleration(seed: int, quick: bool) -> list[Row]:
    """A pendulum with drag and a load that nobody knows, logged every 0.1 s."""
    system = Pendulum()

    def law(x: ca.SX, u: ca.SX, p: Any, d: ca.SX) -> ca.SX:
        pull = -0.03 * x[1] * ca.fabs(x[1]) + 0.4 * ca.cos(2 * x[0])
        return system.forced_dynamics(x, u, pull, p, d)

    truth = Truth(system=system, law=law)
    plan = Plan(dt=0.1, steps=80, count=6, start=(1.5, 3.0))
    data = split(truth, plan, seed)
    models = _pair(system, data, seed, quick, plan.dt, {"acceleration": {}, "next_state": {}})
    fine = logged(truth, replace(plan, dt=0.05, steps=160), seed + 200)
    finer = {"physics": error(HybridModel(system, dt=0.05), fine, 60)}
    for name in ("acceleration", "next_state"):
        model = models[name]
        again = HybridModel(system, model.residual, dt=0.05, placement=model.placement)
        finer[name] = error(again, fine, 60)
    pair = ("acceleration", "next_state")
    return [
        *rivals(
            f"{FREE} over 3 s in the steps of the logs, 0.1 s",
            _errors(models, data[2], 30),
            *pair,
            bar="",
        ),
        *rivals(f"{FREE} over 3 s with the same residual in steps of 0.05 s", finer, *pair),
    ]


def of_force(seed: int, quick: bool) -> list[Row]:
    """Dry friction in the joints of a double pendulum, whose inertia varies."""
    system = DoublePendulum()

    def law(x: ca.SX, u: ca.SX, p: Any, d: ca.SX) -> ca.SX:
        friction = ca.vertcat(0.4 * ca.tanh(x[2] / 0.3), 0.2 * ca.tanh(x[3] / 0.3))
        return system.forced_dynamics(x, u, -friction, p, d)

    truth = Truth(system=system, law=law)
    plan = Plan(dt=0.02, steps=150, count=6, start=(0.8, 1.5, 1, 2), amplitude=0.3)
    data = split(truth, plan, seed)
    models = _pair(system, data, seed, quick, plan.dt, {"acceleration": {}, "force": {}})
    return rivals(f"{FREE} over 1 s", _errors(models, data[2], 50), "force", "acceleration")


def of_derivative(seed: int, quick: bool) -> list[Row]:
    """Two tanks: a hole in the wall of the upper, sediment in the outlet of the lower."""
    system = TwoTanks()

    def law(x: ca.SX, u: ca.SX, p: Any, d: ca.SX) -> ca.SX:
        hole = 1.5e-5 / (1 + ca.exp(-(x[0] - 0.12) / 0.01))
        sediment = 0.06e-4 * ca.sqrt(2 * p.gravity * ca.fmax(x[1], 1e-4))
        change = ca.vertcat(-hole / p.upper_area, sediment / p.lower_area)
        return system.dynamics(x, u, p, d) + change

    truth = Truth(system=system, law=law)
    plan = Plan(
        dt=2.0,
        steps=150,
        count=4,
        start=(0.05, 0.05),
        center=(0.1, 0.1),
        band=(0.002, 0.03),
        amplitude=0.4,
    )
    data = split(truth, plan, seed)
    models = _pair(system, data, seed, quick, plan.dt, {"derivative": {}, "next_state": {}})
    fine = logged(truth, replace(plan, dt=0.5, steps=600), seed + 200)
    finer = {"physics": error(HybridModel(system, dt=0.5), fine, 200)}
    for name in ("derivative", "next_state"):
        model = models[name]
        again = HybridModel(system, model.residual, dt=0.5, placement=model.placement)
        finer[name] = error(again, fine, 200)
    pair = ("derivative", "next_state")
    return [
        *rivals(
            f"{FREE} over 100 s in the steps of the logs, 2 s",
            _errors(models, data[2], 50),
            *pair,
            bar="",
        ),
        *rivals(f"{FREE} over 100 s with the same residual in steps of 0.5 s", finer, *pair),
    ]


def of_input(seed: int, quick: bool) -> list[Row]:
    """A cart-pole whose motor has a dead zone of 2 N and four fifths of its force."""
    system = CartPole()

    def law(x: ca.SX, u: ca.SX, p: Any, d: ca.SX) -> ca.SX:
        felt = 0.8 * (u - 2.0 * ca.tanh(u / 2.0))
        return system.dynamics(x, felt, p, d)

    truth = Truth(system=system, law=law)
    plan = Plan(dt=0.04, steps=120, count=4, start=(0.3, 1.0, 0.5, 1.0))
    data = split(truth, plan, seed)
    motor = {"features": (system.inputs[0].name,)}
    models = _pair(system, data, seed, quick, plan.dt, {"acceleration": {}, "input": motor})
    return rivals(f"{FREE} over 2 s", _errors(models, data[2], 50), "input", "acceleration")


def of_parameters(seed: int, quick: bool) -> list[Row]:
    """The mass of an arm's lower link depends on how full it is, which each log says."""
    system = FilledArm()

    def law(x: ca.SX, u: ca.SX, p: Any, d: ca.SX) -> ca.SX:
        full = SimpleNamespace(**vars(p) | {"mass2": p.mass2 * (0.6 + 1.2 * d[0] ** 2)})
        return system.dynamics(x, u, full, d)

    truth = Truth(system=system, law=law)
    plan = Plan(dt=0.02, steps=80, count=12, start=(0.8, 1.5, 1, 2), amplitude=0.3)

    def fill(random: np.random.Generator) -> np.ndarray:
        return np.full((plan.steps, 1), random.uniform())

    data = split(truth, plan, seed, exogenous=fill)
    mass = {"features": ("fill",)}
    # the placement that moves one parameter alone
    model = placed(system, seed, plan.dt, placement.parameters.on("mass2"), **mass)
    moved = trained(model, *data[:2], quick)
    models = _pair(system, data, seed, quick, plan.dt, {"acceleration": {}})
    errors = _errors(models | {"parameters": moved}, data[2], 50)
    return rivals(f"{FREE} over 1 s", errors, "parameters", "acceleration")


def of_dissipation(seed: int, quick: bool) -> list[Row]:
    """Drag that depends on angle and speed; then twice the speeds of the data, motor off."""
    system = Pendulum(damping=1e-6)

    def law(x: ca.SX, u: ca.SX, p: Any, d: ca.SX) -> ca.SX:
        drag = (0.03 + 0.05 * (1 + ca.cos(x[0])) + 0.01 * ca.fabs(x[1])) * x[1]
        return system.forced_dynamics(x, u, -drag, p, d)

    truth = Truth(system=system, law=law)
    plan = Plan(dt=0.05, steps=100, count=4, start=(1.0, 2.0), amplitude=0.4)
    data = split(truth, plan, seed)
    choices = {"acceleration": {}, "dissipation": {}}
    models = _pair(system, data, seed, quick, plan.dt, choices)
    fast = replace(plan, start=(3.0, 1.0), center=(0.0, 12.0), count=8)
    beyond = logged(truth, fast, seed + 300, still=True)

    def energy(x: np.ndarray) -> np.ndarray:
        inertia = system.inertia + system.mass * system.length**2
        weight = system.mass * system.gravity * system.length
        return inertia / 2 * x[..., 1] ** 2 + weight * (1 - np.cos(x[..., 0]))

    rows = rivals(f"{FREE} over 2 s", _errors(models, data[2], 40), "dissipation", "acceleration")
    rows += rivals(
        f"{FREE} over 2 s from 11 to 13 rad/s, which no log has",
        _errors(models, beyond, 40),
        "dissipation",
        "acceleration",
    )
    for name in choices:
        E = energy(_free(models[name], beyond))
        rise = np.maximum(np.diff(E, axis=1), 0).sum(1) / E[:, 0]
        rows.append(
            Row(f"energy that {name} creates in 5 s there, of what it has", 100 * rise.mean(), "%")
        )
    return rows


def of_gyroscopic(seed: int, quick: bool) -> list[Row]:
    """A charged puck in a magnetic field that is strongest in the middle."""
    system = Puck()

    def law(x: ca.SX, u: ca.SX, p: Any, d: ca.SX) -> ca.SX:
        field = 1.5 * ca.exp(-(x[0] ** 2 + x[1] ** 2) / 0.3)
        return system.forced_dynamics(x, u, ca.vertcat(-field * x[3], field * x[2]), p, d)

    truth = Truth(system=system, law=law)
    choices = {"acceleration": {}, "gyroscopic": {"placement": placement.gyroscopic}}
    none = lambda q: np.zeros(q.shape[:-1])  # noqa: E731
    return conserving(truth, choices, "gyroscopic", "acceleration", seed, quick, none)


def of_potential(seed: int, quick: bool) -> list[Row]:
    """A puck over two magnets in the table."""
    truth, hidden = magnets()
    choices = {
        "acceleration": {},
        "potential": {
            "placement": placement.potential,
            "residual": Potential((24, 24), seed=seed),
        },
    }
    return conserving(truth, choices, "potential", "acceleration", seed, quick, hidden)


def magnets() -> tuple[Truth, Callable[[np.ndarray], np.ndarray]]:
    """A puck over two magnets, and the energy that they give it at q (…, 2)."""
    system = Puck()

    def well(x: Any, y: Any, exp: Callable[[Any], Any]) -> Any:
        places = ((0.4, 0.2), (-0.3, 0.3))
        return sum(-0.3 * exp(-((x - a) ** 2 + (y - b) ** 2) / 0.12) for a, b in places)

    def law(x: ca.SX, u: ca.SX, p: Any, d: ca.SX) -> ca.SX:
        q = ca.SX.sym("q", 2)
        slope = ca.substitute(ca.gradient(well(q[0], q[1], ca.exp), q), q, x[:2])
        return system.forced_dynamics(x, u, -slope, p, d)

    return Truth(system=system, law=law), lambda q: well(q[..., 0], q[..., 1], np.exp)


def conserving(
    truth: Truth,
    choices: dict[str, dict[str, Any]],
    right: str,
    usual: str,
    seed: int,
    quick: bool,
    hidden: Callable[[np.ndarray], np.ndarray],
) -> list[Row]:
    """A model that conserves energy against one that need not, over 2 s and over 40 s."""
    system: Any = truth.system
    plan = Plan(dt=0.05, steps=100, count=8, start=(0.6, 0.6, 1.0, 1.0), amplitude=0.3)
    train, validation, test = split(truth, plan, seed)
    models = {
        name: trained(placed(system, seed, plan.dt, **choice), train, validation, quick)
        for name, choice in choices.items()
    }
    free = logged(truth, replace(plan, steps=800, noise=0.0), seed + 300, still=True)

    def energy(x: np.ndarray) -> np.ndarray:
        kinetic = system.mass / 2 * (x[..., 2:] ** 2).sum(-1)
        return kinetic + system.stiffness / 2 * (x[..., :2] ** 2).sum(-1) + hidden(x[..., :2])

    drifts = {}
    for name in (usual, right):
        E = energy(_free(models[name], free))
        drifts[name] = 100 * float(np.mean(np.abs(E[:, -1] - E[:, 0])) / np.mean(np.abs(E[:, 0])))
    models = {"physics": physics_of(models[usual])} | models
    return [
        *rivals(f"{FREE} over 2 s", _errors(models, test, 40), right, usual, ""),
        *rivals("change of energy in 40 s without input", drifts, right, usual),
    ]


def of_next_state(seed: int, quick: bool) -> list[Row]:
    """A model that is sampled, x⁺ = f(x, u), of a boiler with a relief valve that acts in jumps."""
    system = Boiler()

    def law(x: ca.SX, u: ca.SX, p: Any, d: ca.SX) -> ca.SX:
        after = system.dynamics(x, u, p, d)
        opens = 1 / (1 + ca.exp(-(after[1] - 1.1) / 0.03))
        return ca.vertcat(after[0] * (1 - 0.2 * opens), after[1] * (1 - 0.25 * opens))

    truth = Truth(system=system, law=law)
    plan = Plan(
        dt=5.0,
        steps=100,
        count=6,
        start=(0.3, 0.5),
        center=(0.5, 1.2),
        band=(0.002, 0.03),
        amplitude=1.0,
    )
    data = split(truth, plan, seed)
    models = _pair(system, data, seed, quick, plan.dt, {"input": {}, "next_state": {}})
    return rivals(f"{FREE} over 30 steps", _errors(models, data[2], 30), "next_state", "input")


def of_output(seed: int, quick: bool) -> list[Row]:
    """An encoder that sits off the axis of a pendulum; the logs hold a reference of the state."""
    system = SensedPendulum()

    def sensor(x: ca.SX, u: ca.SX, p: Any, d: ca.SX) -> ca.SX:
        return ca.vertcat(x[0] + 0.12 * ca.sin(x[0]) + 0.05 * ca.cos(2 * x[0]), x[1])

    truth = Truth(system=system, sensor=sensor)
    plan = Plan(dt=0.05, steps=100, count=4, start=(1.5, 3.0))
    data = split(truth, plan, seed)
    choices = {"acceleration": {}, "output": {"features": ("angle",)}}
    models = _pair(system, data, seed, quick, plan.dt, choices)
    errors = _errors(models, data[2], 40, output_error)
    rows = rivals("error of what the sensors say over 2 s", errors, "output", "acceleration")
    states = _errors(models, data[2], 40)
    return rows + [
        Row(f"error of the state over 2 s, {name}", states[name], "%") for name in choices
    ]


def _free(model: HybridModel, data: Dataset) -> np.ndarray:
    """(logs, T+1, n) free runs from the true beginnings of logs, under their inputs."""
    x0 = torch.as_tensor(np.stack([log.x[0] for log in data if log.x is not None]))
    u = torch.as_tensor(np.stack([log.u for log in data]))
    with torch.no_grad():
        return model.rollout(x0, u).nan_to_num(nan=math.inf).numpy()


STUDIES: dict[str, Study] = {
    name: globals()[f"of_{name}"] for name in (each.name for each in placement.ALL)
}


def rows(quick: bool) -> list[Row]:
    """The figures of all placements."""
    return [
        row
        for name, study in STUDIES.items()
        for row in over_seeds(f"placement {name}", study, quick)
    ]
