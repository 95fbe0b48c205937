"""When is which residual the right one? A situation for each, and the MLP in the same place.

All models of a study have the same physics, placement, features and logs; networks have the same
widths. Three seeds draw logs, noise and weights.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import casadi as ca
import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.figures import Row
from benchmarks.placements import conserving, magnets
from benchmarks.truths import (
    Plan,
    Study,
    Truth,
    error,
    logged,
    network,
    over_seeds,
    physics_of,
    placed,
    remembered,
    rivals,
    split,
    trained,
)
from hybridmodel import placement
from hybridmodel.data import Dataset
from hybridmodel.density import log_prob, transition
from hybridmodel.fitting import regress
from hybridmodel.model import HybridModel
from hybridmodel.online import ResidualUpdate
from hybridmodel.uncertainty import disagreement
from physics import DoublePendulum, InputDelay, Pendulum, Signal, System
from residuals import GRU, Ensemble, GaussianProcess, Linear, Potential, Supported, Window

FREE = "free-run error"
SHARP = 1.6448536269514722  # deviations to either side that hold 90 %


def _regressed(
    system: System,
    residual: nn.Module,
    train: Dataset,
    validation: Dataset,
    dt: float,
    **where: Any,
) -> HybridModel:
    model = HybridModel(system, residual, dt=dt, **where)
    return regress(model, train, validation, horizon=10).model


def _rubbing(system: Any, x: ca.SX, u: ca.SX, p: Any, d: ca.SX) -> ca.SX:
    """ẋ of a pendulum with friction that depends on its angle, and a load."""
    friction = (0.25 + 0.15 * ca.cos(x[0])) * ca.tanh(x[1] / 0.5)
    return system.forced_dynamics(x, u, 0.3 * ca.sin(2 * x[0]) - friction, p, d)


def _rubbing_pendulum() -> tuple[Pendulum, Truth]:
    system = Pendulum()
    return system, Truth(system=system, law=lambda x, u, p, d: _rubbing(system, x, u, p, d))


FORCE: dict[str, Any] = {"placement": placement.force}


# -- one study for each family -------------------------------------------------------------------


def of_mlp(seed: int, quick: bool) -> list[Row]:
    """Many noisy samples of a function of six features: dry friction of a double pendulum."""
    system = DoublePendulum()

    def law(x: ca.SX, u: ca.SX, p: Any, d: ca.SX) -> ca.SX:
        friction = ca.vertcat(0.4 * ca.tanh(x[2] / 0.3), 0.2 * ca.tanh(x[3] / 0.3))
        return system.forced_dynamics(x, u, -friction, p, d)

    truth = Truth(system=system, law=law)
    plan = Plan(dt=0.02, steps=150, count=6, start=(0.8, 1.5, 1, 2), amplitude=0.3, noise=0.01)
    train, validation, test = split(truth, plan, seed)
    mlp = trained(placed(system, seed, plan.dt, **FORCE), train, validation, quick)
    data = (train, validation, plan.dt)
    models = {
        "physics": physics_of(mlp),
        "MLP": mlp,
        "Linear": _regressed(system, Linear(degree=3), *data, **FORCE),
        "GaussianProcess": _regressed(system, GaussianProcess(maximum=1000), *data, **FORCE),
    }
    errors = {name: error(model, test, 50) for name, model in models.items()}
    rows = rivals(f"{FREE} over 1 s, 900 noisy samples", errors, "MLP", "GaussianProcess", "")
    micro = {name: 1e6 * _seconds(models[name]) for name in ("MLP", "GaussianProcess")}
    rows += [Row(f"one step in CasADi, {name}", value, "µs") for name, value in micro.items()]
    ratio = micro["MLP"] / micro["GaussianProcess"]
    return [*rows, Row("one step in CasADi, MLP / GaussianProcess", ratio, "×", "< 1")]


def of_ensemble(seed: int, quick: bool) -> list[Row]:
    """A pendulum in gusts that grow with its speed: how wide is the next state?"""
    system = Pendulum()
    gusty = _Gusty()

    def law(x: ca.SX, u: ca.SX, p: Any, d: ca.SX) -> ca.SX:
        return _rubbing(gusty, x, u, p, d) + ca.vertcat(0, 1.5 * x[1] * d[0])

    truth = Truth(system=gusty, law=law)
    plan = Plan(dt=0.05, steps=150, count=6, start=(1.5, 3.0), noise=0.001)

    def gusts(random: np.random.Generator) -> np.ndarray:
        return random.standard_normal((plan.steps, 1))

    train, validation, test = split(truth, plan, seed, exogenous=gusts, visible=system)
    models = {}
    for name, residual in {
        "MLP": network(seed),
        "Ensemble": Ensemble((24, 24), count=5, seed=seed),
    }.items():
        model = HybridModel(system, residual, dt=plan.dt)
        models[name] = trained(
            model,
            train,
            validation,
            quick,
            loss="likelihood",
            horizons=(1,),
            epochs=(300,),
            patience=100,
            rate=1e-2,
        )
    x, u, after = _steps(test)
    fast = x[:, 1].abs() > x[:, 1].abs().median()
    with torch.no_grad():
        nats = {n: -float(log_prob(m, x, u, after).mean()) for n, m in models.items()}
    rows = [
        Row("free-run error over 0.5 s, " + n, error(m, test, 10), "%") for n, m in models.items()
    ]
    rows += [Row(f"negative log-likelihood of a step, {n}", v, "nats") for n, v in nats.items()]
    gain = nats["Ensemble"] - nats["MLP"]
    rows.append(Row("negative log-likelihood, Ensemble − MLP", gain, "nats", "< 0"))
    for name, model in models.items():
        with torch.no_grad():
            mean, covariance = transition(model, x, u)
        width = SHARP * covariance.diagonal(dim1=-2, dim2=-1).sqrt()[:, 1]
        inside = (after - mean)[:, 1].abs() < width
        for half, chosen in {"slow": ~fast, "fast": fast}.items():
            share = 100 * float(inside[chosen].double().mean())
            rows.append(Row(f"90 % interval of the rate covers, {half} half, {name}", share, "%"))
    outside = x * x.new_tensor([1.0, 5.0])
    with torch.no_grad():
        known, far = (float(disagreement(models["Ensemble"], v, u).mean()) for v in (x, outside))
    rise = far / known if known else 1.0  # members that validation kept at zero never part
    rows.append(Row("disagreement at five times the speeds / on the data", rise, "×", "≥ 2"))
    return rows


def of_linear(seed: int, quick: bool) -> list[Row]:
    """Two seconds of data of a law whose form is nearly known; then the law changes."""
    system = Pendulum()

    def law(x: ca.SX, u: ca.SX, p: Any, d: ca.SX) -> ca.SX:
        pull = 0.4 * ca.cos(x[0]) - 0.1 * x[1] - 0.15 * u
        return system.forced_dynamics(x, u, pull, p, d)

    truth = Truth(system=system, law=law)
    plan = Plan(dt=0.05, steps=40, count=1, start=(1.0, 2.0))
    train = logged(truth, plan, seed)
    validation = logged(truth, plan, seed + 100)
    test = logged(truth, replace(plan, count=6, steps=80), seed + 200)
    mlp = trained(placed(system, seed, plan.dt, **FORCE), train, validation, quick, stride=1)
    linear = _regressed(system, Linear(degree=1), train, validation, plan.dt, **FORCE)
    models = {"physics": physics_of(mlp), "MLP": mlp, "Linear": linear}
    errors = {name: error(model, test, 40) for name, model in models.items()}
    rows = rivals(f"{FREE} over 2 s after 2 s of data", errors, "Linear", "MLP")

    def loaded(x: ca.SX, u: ca.SX, p: Any, d: ca.SX) -> ca.SX:
        return law(x, u, p, d) - ca.vertcat(0, 4.0 * ca.sin(x[0]))

    changed = Truth(system=system, law=loaded)
    later = logged(changed, replace(plan, steps=80), seed + 300)
    other = logged(changed, replace(plan, count=6, steps=80), seed + 400)
    config: dict[str, Any] = linear.residual.config() | {"forgetting": 0.95}  # type: ignore[union-attr]
    online = HybridModel(system, Linear(**config), dt=plan.dt, **FORCE)
    online.residual.load_state_dict(linear.residual.state_dict())  # type: ignore[union-attr]
    online.noise.copy_(linear.noise)
    learner = ResidualUpdate(online)
    before = error(online, other, 40)
    seconds = []
    log = later[0]
    for k in range(log.steps):
        began = time.perf_counter()
        learner.learn(log.y[k], log.u[k], log.d[k], log.y[k + 1])
        seconds.append(time.perf_counter() - began)
    after = error(online, other, 40)
    return [
        *rows,
        Row(f"{FREE} over 2 s once a load came, as fitted", before, "%"),
        Row(f"{FREE} over 2 s once a load came, after 4 s of updates", after, "%"),
        Row("updated / as fitted", after / before, "×", "< 1"),
        Row("one update", 1e3 * float(np.median(seconds)), "ms", "< 1"),
    ]


def of_gaussian_process(seed: int, quick: bool) -> list[Row]:
    """Three seconds of data of a smooth law of unknown form."""
    system, truth = _rubbing_pendulum()
    plan = Plan(dt=0.05, steps=60, count=1, start=(1.0, 2.0), noise=0.001)
    train = logged(truth, plan, seed)
    validation = logged(truth, plan, seed + 100)
    test = logged(truth, replace(plan, count=6, steps=80), seed + 200)
    mlp = trained(placed(system, seed, plan.dt, **FORCE), train, validation, quick, stride=1)
    data = (train, validation, plan.dt)
    models = {
        "physics": physics_of(mlp),
        "MLP": mlp,
        "Linear": _regressed(system, Linear(degree=2), *data, **FORCE),
        "GaussianProcess": _regressed(system, GaussianProcess(), *data, **FORCE),
    }
    errors = {name: error(model, test, 40) for name, model in models.items()}
    rows = rivals(f"{FREE} over 2 s after 3 s of data", errors, "GaussianProcess", "MLP")
    return [*rows, Row("one step in CasADi", 1e6 * _seconds(models["GaussianProcess"]), "µs")]


def of_window(seed: int, quick: bool) -> list[Row]:
    """A motor that acts three steps late, which nobody has told the model."""
    system = Pendulum()
    truth = InputDelay(system=system, steps=3)
    plan = Plan(dt=0.05, steps=120, count=6, start=(1.0, 2.0), noise=0.002)
    train, validation, test = split(truth, plan, seed)
    choices: dict[str, nn.Module] = {
        "MLP": network(seed),
        "Window": Window((24, 24), steps=4, seed=seed),
    }
    errors = _with_memory(system, choices, (train, validation, test), plan, quick)
    return rivals(f"{FREE} over 2 s", errors, "Window", "MLP")


def of_gru(seed: int, quick: bool) -> list[Row]:
    """A motor that loses torque as it warms up, over two seconds."""
    system = Pendulum()
    plan = Plan(dt=0.05, steps=160, count=6, start=(1.0, 2.0, 0.0), noise=0.002)
    train, validation, test = split(_Warm(), plan, seed, visible=system)
    choices: dict[str, nn.Module] = {
        "MLP": network(seed),
        "Window": Window((24, 24), steps=4, seed=seed),
        "GRU": GRU(12, hidden=(24,), warmup=30, seed=seed),
    }
    errors = _with_memory(system, choices, (train, validation, test), plan, quick, history=30)
    rows = rivals(f"{FREE} over 2 s", errors, "GRU", "MLP")
    return [
        *rows,
        Row(f"{FREE} over 2 s, GRU / Window", errors["GRU"] / errors["Window"], "×", "< 1"),
    ]


def _with_memory(
    system: System,
    choices: dict[str, nn.Module],
    data: tuple[Dataset, Dataset, Dataset],
    plan: Plan,
    quick: bool,
    history: int = 8,
) -> dict[str, float]:
    models = {
        name: trained(
            HybridModel(system, residual, dt=plan.dt, **FORCE),
            *data[:2],
            quick,
            horizons=(1, 20),
            epochs=(40, 20),
            rate=1e-2,
        )
        for name, residual in choices.items()
    }
    models = {"physics": physics_of(models["MLP"])} | models
    return {name: remembered(model, data[2], 40, history) for name, model in models.items()}


def of_potential(seed: int, quick: bool) -> list[Row]:
    """A puck over two magnets: at the placement `potential`, a gradient against any function."""
    truth, hidden = magnets()
    here = placement.potential
    choices = {
        "MLP": {"placement": here},
        "Potential": {"placement": here, "residual": Potential((24, 24), seed=seed)},
    }
    return conserving(truth, choices, "Potential", "MLP", seed, quick, hidden)


def of_supported(seed: int, quick: bool) -> list[Row]:
    """Five times the speeds of the logs, where a drag goes on, or has ended (Stribeck)."""
    system = Pendulum()

    def brush(x: ca.SX, u: ca.SX, p: Any, d: ca.SX) -> ca.SX:
        drag = 0.5 * x[1] * ca.exp(-((x[1] / 1.5) ** 2))
        return system.forced_dynamics(x, u, 0.3 * ca.sin(2 * x[0]) - drag, p, d)

    truths = {"goes on": _rubbing_pendulum()[1], "ends": Truth(system=system, law=brush)}
    rows: list[Row] = []
    for what, truth in truths.items():
        plan = Plan(dt=0.05, steps=100, count=4, start=(0.5, 1.0), amplitude=0.4)
        train, validation, test = split(truth, plan, seed)
        top = float(np.abs(np.concatenate([log.y for log in train])).max(0)[1])
        far = replace(plan, start=(0.5, 1.0), center=(0.0, 5 * top), count=8, steps=40)
        beyond = logged(truth, far, seed + 300)
        fits = {
            "MLP": placed(system, seed, plan.dt, **FORCE),
            "Supported": placed(system, seed, plan.dt, residual=Supported(network(seed)), **FORCE),
        }
        fits = {name: trained(model, train, validation, quick) for name, model in fits.items()}
        models = {"physics": physics_of(fits["MLP"])} | fits
        inside, outside = (
            {name: error(model, data, horizon) for name, model in models.items()}
            for data, horizon in ((test, 40), (beyond, 10))
        )
        where = f"the drag {what}"
        rows += [
            Row(f"{where}: {FREE} over 2 s on the data, {n}", v, "%") for n, v in inside.items()
        ]
        far_away = f"{where}: {FREE} over 0.5 s at five times the speeds"
        rows += [Row(f"{far_away}, {n}", v, "%") for n, v in outside.items()]
        ratios = {n: outside[n] / outside["physics"] for n in fits}
        rows.append(Row(f"{where}: there, MLP / physics", ratios["MLP"], "×"))
        rows.append(Row(f"{where}: there, Supported / physics", ratios["Supported"], "×", "≤ 1.05"))
    return rows


class Friction(nn.Module):
    """r = tanh(eˢ (z − c)) + b (z − c), dry and viscous friction, of which the gate is the size.

    z is the rate in standard units, in which c is rest: a module behind a gate sees those.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sharpness, self.rest = nn.Parameter(torch.ones(1)), nn.Parameter(torch.zeros(1))
        self.viscous = nn.Parameter(torch.zeros(1))

    def forward(self, z: Tensor) -> Tensor:
        speed = z - self.rest
        return torch.tanh(torch.exp(self.sharpness) * speed) + self.viscous * speed


def of_module(seed: int, quick: bool) -> list[Row]:
    """A friction law whose form is known, from two seconds; then speeds that no log has."""
    system = Pendulum()

    def law(x: ca.SX, u: ca.SX, p: Any, d: ca.SX) -> ca.SX:
        return system.forced_dynamics(x, u, -0.4 * ca.tanh(x[1] / 0.4) - 0.05 * x[1], p, d)

    truth = Truth(system=system, law=law)
    plan = Plan(dt=0.05, steps=40, count=1, start=(1.0, 2.0))
    train, validation = logged(truth, plan, seed), logged(truth, plan, seed + 100)
    test = logged(truth, replace(plan, count=6, steps=80), seed + 200)
    fast = replace(plan, start=(0.5, 1.0), center=(0.0, 12.0), count=6, steps=80)
    beyond = logged(truth, fast, seed + 300)
    rate = {"features": ("rate",), **FORCE}
    models = {
        "MLP": placed(system, seed, plan.dt, **rate),
        "own module": placed(system, seed, plan.dt, residual=Friction(), **rate),
    }
    models = {
        name: trained(
            model,
            train,
            validation,
            quick,
            stride=1,
            rate=1e-2,
            epochs=(200, 60),
            batch_size=16,
            patience=100,
        )
        for name, model in models.items()
    }
    models = {"physics": physics_of(models["MLP"])} | models
    near, far = (
        {name: error(model, data, 40) for name, model in models.items()} for data in (test, beyond)
    )
    return [
        *rivals(f"{FREE} over 2 s after 2 s of data", near, "own module", "MLP", ""),
        *rivals(f"{FREE} over 2 s from 11 to 13 rad/s", far, "own module", "MLP"),
    ]


# -- truths ----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Gusty(Pendulum):
    exogenous: tuple[Signal, ...] = (Signal("gust"),)


@dataclass(frozen=True, kw_only=True)
class _Warm(System):
    """A pendulum with a state h more, ḣ = (u² − h)/2 s, that weakens the motor: k u/(1 + h)."""

    pendulum: Pendulum = Pendulum()
    states: tuple[Signal, ...] = (*Pendulum().states, Signal("heat"))
    inputs: tuple[Signal, ...] = Pendulum().inputs

    def dynamics(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        swing = self.pendulum.dynamics(x[:2], u / (1 + x[2]), p, d)
        return ca.vertcat(swing, (u**2 - x[2]) / 2.0)


def _steps(data: Dataset) -> tuple[Tensor, Tensor, Tensor]:
    """x, u and the next x of all steps, as measured."""
    parts = zip(*((log.y[:-1], log.u, log.y[1:]) for log in data), strict=True)
    x, u, after = (torch.as_tensor(np.concatenate(part)) for part in parts)
    return x, u, after


def _seconds(model: HybridModel, rounds: int = 200) -> float:
    step = model.step_function()
    arguments = [np.full(step.numel_in(i), 0.1) for i in range(step.n_in())]
    step(*arguments)
    began = time.perf_counter()
    for _ in range(rounds):
        step(*arguments)
    return (time.perf_counter() - began) / rounds


STUDIES: dict[str, Study] = {
    "MLP": of_mlp,
    "Ensemble": of_ensemble,
    "Linear": of_linear,
    "GaussianProcess": of_gaussian_process,
    "Window": of_window,
    "GRU": of_gru,
    "Potential": of_potential,
    "Supported": of_supported,
    "own module": of_module,
}


def rows(quick: bool) -> list[Row]:
    """The figures of all families."""
    return [
        row
        for name, study in STUDIES.items()
        for row in over_seeds(f"residual {name}", study, quick)
    ]
