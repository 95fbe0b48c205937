"""Load a borrowed model, log its plant, fit a hybrid model to the logs, plan on it, apply the plan.

logs     from the plant, a model of the same form with other numbers or a term more inside
before   validation error of the published model over the longest horizon
after    that of the fitted one: a residual on the corrected rows, its parameters moved
plan     multiple shooting on the fitted model, against holding the idle inputs
applied  the plan on the plant, open loop, or made anew at every step where that is unstable
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import casadi as ca
import numpy as np

import hybridmodel as hm
from benchmarks.models.borrowed import Borrowed
from hybridmodel import physics, placement, residuals

Policy = Callable[[float, np.ndarray], np.ndarray]

FINER = 4  # the plant takes this many times the model's Runge–Kutta steps


@dataclass(frozen=True)
class Outcome:
    """What became of one model.

    loaded      what `from_casadi` made of it
    before, after   scaled validation error of the published and of the fitted model
    parameters  fitted values by name
    status      of the plan
    cost, idle  of the plan and of doing nothing, as the fitted model foretells them
    applied, waited   of the same two on the plant
    """

    name: str
    loaded: str
    before: float
    after: float
    parameters: Mapping[str, float]
    status: hm.Status
    cost: float
    idle: float
    applied: float
    waited: float
    seconds: float

    @property
    def fitted(self) -> bool:
        """Whether the error is at most half of what it was."""
        return self.after <= self.before / 2

    @property
    def planned(self) -> bool:
        """Whether the plan is usable and costs less on the plant than doing nothing there."""
        usable = self.status in (hm.Status.CONVERGED, hm.Status.BUDGET)
        return usable and self.applied < self.waited


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


def fit(model: Borrowed, *, quick: bool = False) -> hm.FitResult:
    """A residual, and the parameters that differ, fitted to logs; `quick` is for tests."""
    train, validation = logs(model, share=3 if quick else 1).split((0.75, 0.25))
    return hm.fit(
        _hybrid(model, load(model), residuals.MLP((16, 16))),
        train,
        validation,
        horizons=(1,) if quick else (1, 5),
        epochs=20 if quick else (50, 10),
        batch_size=32,
        rate=2e-2,
        parameter_rate=0.05,
        patience=25,
        residual_penalty=1e-6,  # logs have no noise, and steps are short: errors are small
    )


def applied(model: Borrowed, task: hm.OptimalControlProblem, policy: Policy) -> float:
    """Cost of a policy u(t, x) on the plant over the horizon of the task, from the start."""
    plant = Rolled(model)
    x, _ = plant.reset(seed=0, options={"state": model.start})
    size = np.zeros(len(model.disturbance))  # the cost reads no exogenous signal
    cost = 0.0
    for k in range(task.horizon):
        u = policy(k * model.dt, x)
        cost += float(task.stage(x, u, k, size, task.weights()))
        x = plant.step(u)[0]
    return cost + float(task.terminal(x, size, task.weights()))


def run(model: Borrowed, *, quick: bool = False) -> Outcome:
    """Load, fit, plan and apply; `quick` takes a third of the logs and few epochs."""
    started = time.perf_counter()
    system, found = load(model), fit(model, quick=quick)
    task = problem(model, found.model)
    planner = hm.MultipleShooting(task, iterations=100)
    x0, pi = np.array(model.start), np.zeros(len(model.disturbance)) if model.disturbance else None
    plan = planner.plan(x0, parameters=pi)
    rest = np.tile(model.idle, (model.horizon, 1))
    policy = _open_loop(model, plan.u)
    if model.closed_loop:
        policy = hm.receding_horizon(planner, parameters=pi, first_plan=plan)
        policy.reset(0)
    return Outcome(
        name=model.name,
        loaded=f"{type(system).__name__}: {system.nx} states, {system.nu} inputs, "
        f"{system.nd} exogenous, {len(system.parameters)} parameters",
        before=found.physics,
        after=found.validation,
        parameters=found.model.system.parameters if model.true else {},
        status=plan.status,
        cost=plan.cost,
        idle=task.evaluate(x0, rest, pi)[0],
        applied=applied(model, task, policy),
        waited=applied(model, task, _open_loop(model, rest)),
        seconds=time.perf_counter() - started,
    )


def _open_loop(model: Borrowed, u: np.ndarray) -> Policy:
    return lambda t, x: u[round(t / model.dt)]


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
