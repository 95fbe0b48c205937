"""Load a borrowed model, log its plant, fit a hybrid model to the logs, plan on it.

logs     from the plant, a model of the same form with other numbers inside
before   validation error of the published model over the longest horizon
after    that of the fitted one: its parameters moved, a residual on the corrected rows
plan     multiple shooting on the fitted model, against holding the idle inputs
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import casadi as ca
import numpy as np

import hybridmodel as hm
from benchmarks.models.borrowed import Borrowed
from hybridmodel import physics, placement, residuals

FINER = 4  # the plant takes this many times the model's Runge–Kutta steps


@dataclass(frozen=True)
class Outcome:
    """What became of one model; costs are those of the fitted model.

    loaded      what `from_casadi` made of it
    before, after   scaled validation error of the published and of the fitted model
    parameters  fitted values by name
    status      of the plan
    cost, idle  of the plan, and of doing nothing
    """

    name: str
    loaded: str
    before: float
    after: float
    parameters: Mapping[str, float]
    status: hm.Status
    cost: float
    idle: float
    seconds: float

    @property
    def fitted(self) -> bool:
        """Whether the error fell."""
        return self.after < self.before

    @property
    def planned(self) -> bool:
        """Whether the plan may be applied and costs less than doing nothing."""
        usable = self.status in (hm.Status.CONVERGED, hm.Status.BUDGET)
        return usable and self.cost < self.idle


class Rolled:
    """The plant as an environment for `collect`: any step x⁺ = F(x, u, p, d), d drawn at random.

    The plants of `hybridmodel.envs` know no exogenous signals and no discrete systems, and end
    an episode where a state leaves its bounds, which here are those of the plan.
    """

    def __init__(self, model: Borrowed) -> None:
        self.dt, self._size = model.dt, np.array(model.disturbance)
        self._step = _hybrid(model, load(model, model.plant), None, finer=FINER).step_function()
        self._x = np.zeros(len(model.states))
        self._rng = np.random.default_rng()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        self._rng = np.random.default_rng((2, seed or 0))
        self._x = np.array((options or {})["state"], dtype=np.float64)
        return self._x, {"x": self._x}

    def step(self, action: np.ndarray, /) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        d = self._size * self._rng.uniform(-1, 1, self._size.size)
        self._x = self._step(self._x, action, self._step.size1_in(2) * [0], d).full()[:, 0]
        return self._x, 0.0, False, False, {"x": self._x, "d": d}


def load(model: Borrowed, function: ca.Function | None = None) -> physics.System:
    """The published Function, or another of its form, as a System; truth in the plant."""
    system = physics.from_casadi(
        model.function if function is None else function,
        states=model.states,
        inputs=model.inputs,
        exogenous=model.exogenous,
        parameters=model.parameters,
        dt=model.dt if model.discrete else None,
        arguments=model.arguments,
        result=model.result,
    )
    return system if function is None else system.with_parameters(**model.true)


def logs(model: Borrowed, *, share: int = 1) -> hm.Dataset:
    """Logs of the plant under random steps, each from another state of the region."""
    plant = Rolled(model)
    excitation = hm.RandomSteps(model.inputs, hold=model.hold, amplitude=model.swing)
    count, steps = model.logs
    low, high = np.array(model.region).T
    starts = np.random.default_rng(0).uniform(low, high, (count // share, len(low)))
    return hm.Dataset(
        hm.collect(plant, excitation, steps=steps, seed=seed, state=start)
        for seed, start in enumerate(starts)
    )


def problem(model: Borrowed, fitted: hm.HybridModel) -> hm.OptimalControlProblem:
    """The published task, as a quadratic cost, on a fitted model."""
    cost = hm.Quadratic(fitted.system, state=model.state, input=model.input, target=model.target)
    return hm.OptimalControlProblem(fitted, cost, horizon=model.horizon)


def run(model: Borrowed, *, quick: bool = False) -> Outcome:
    """Load, fit and plan; `quick` takes a third of the logs and few epochs."""
    started = time.perf_counter()
    system = load(model)
    data = logs(model, share=3 if quick else 1)
    train, validation = data.split((0.75, 0.25))
    residual = residuals.MLP((16, 16)) if model.corrected else None
    # a few numbers settle sooner than a network
    epochs = (40, 10) if model.corrected else (20, 10)
    fit = hm.fit(
        _hybrid(model, system, residual),
        train,
        validation,
        horizons=(1,) if quick else (1, 5),
        epochs=20 if quick else epochs,
        batch_size=32,
        rate=2e-2,
        parameter_rate=0.05,
    )
    task = problem(model, fit.model)
    x0, pi = np.array(model.start), np.zeros(len(model.disturbance)) if model.disturbance else None
    plan = hm.MultipleShooting(task, iterations=100).plan(x0, parameters=pi)
    rest = np.tile(model.idle, (model.horizon, 1))
    return Outcome(
        name=model.name,
        loaded=f"{type(system).__name__}: {system.nx} states, {system.nu} inputs, "
        f"{system.nd} exogenous, {len(system.parameters)} parameters",
        before=fit.physics,
        after=fit.validation,
        parameters=fit.model.system.parameters if model.true else {},
        status=plan.status,
        cost=plan.cost,
        idle=task.evaluate(x0, rest, pi)[0],
        seconds=time.perf_counter() - started,
    )


def _hybrid(
    model: Borrowed, system: physics.System, residual: residuals.Residual | None, finer: int = 1
) -> hm.HybridModel:
    place = placement.next_state if model.discrete else placement.derivative
    return hm.HybridModel(
        system,
        residual,
        dt=model.dt,
        placement=place.on(*model.corrected),
        fit_parameters=() if finer > 1 else tuple(model.true),
        substeps=1 if model.discrete else finer * model.substeps,
    )
