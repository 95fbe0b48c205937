"""What the planner is given: shaped or sparse reward; an ensemble's mean, one member, or a risk.

    reward   cart-pole swing-up on a hybrid fitted on 24 s: CEM on the task's own cost, or on a
             reward of 1 for a pole within 0.3 rad of upright and a cart within 1 m, else 0, at
             several budgets, and on the latter with twice the horizon
    members  the same task with a hybrid ensemble fitted on 15 s (3 s more stop the training): CEM
             on the mean, on member 0, or under a risk over the members' own ways

Both in PyBullet, both judged by the task's own cost and success along the true states.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import casadi as ca
import numpy as np
import torch

import hybridmodel as hm
from benchmarks.figures import Row
from benchmarks.rl.fitted import TASKS, excited, fitted
from hybridmodel.data import Dataset
from hybridmodel.model import HybridModel
from hybridmodel.statistics import interquartile_mean, interval
from hybridmodel.tasks.swing_up import SwingUp
from hybridmodel.tasks.task import split
from residuals import Ensemble

TASK = TASKS["cartpole"]
BUDGETS = (100, 300, 1000)  # samples of each of five iterations
SAMPLES = 300  # where the budget is not what is asked
RISKS: dict[str, Any] = {
    "mean": None,
    "member 0": None,
    "expected": hm.Expected(),
    "tail of 40 %": hm.TailMean(0.4),
    "worst": hm.Worst(),
}
REWARDS = {"shaped": 1, "sparse": 1, "sparse, twice as far": 2}  # horizons of the task
COUNT, LITTLE = 5, 5  # members; logs of 3 s


class Sparse(hm.Cost):
    """−1 where the pole is within 0.3 rad of upright and the cart within 1 m, else 0."""

    def stage(self, x: ca.SX, u: ca.SX, k: ca.SX, pi: ca.SX) -> ca.SX:
        return -self._there(x)

    def terminal(self, x: ca.SX, pi: ca.SX) -> ca.SX:
        return -self._there(x)

    def _there(self, x: ca.SX) -> ca.SX:
        upright = -ca.cos(x[1]) > np.cos(0.3)
        return ca.logic_and(upright, ca.fabs(x[0]) < 1.0)


def cells(quick: bool) -> list[dict[str, Any]]:
    seeds = range(1 if quick else 5)
    reward = [
        {"kind": "reward", "reward": reward, "samples": samples, "seed": seed, "quick": quick}
        for seed in seeds
        for reward in REWARDS
        for samples in BUDGETS
        if samples == SAMPLES or (REWARDS[reward] == 1 and not quick)
    ]
    members = [
        {"kind": "members", "plans with": risk, "seed": seed, "quick": quick}
        for seed in seeds
        for risk in RISKS
    ]
    return reward + members


def cell(arguments: dict[str, Any]) -> dict[str, Any]:
    torch.set_num_threads(1)
    control, seed = TASK.control, arguments["seed"]
    assert isinstance(control, SwingUp)
    if arguments["kind"] == "reward":
        model, samples, risk = _hybrid(seed, arguments["quick"]), arguments["samples"], None
    else:
        model, samples = _ensemble(seed, arguments["quick"]), SAMPLES
        risk = RISKS[arguments["plans with"]]
        if arguments["plans with"] == "member 0":
            model = _alone(model, 0)
    shaped = control.problem(TASK, model)
    reward = arguments.get("reward", "shaped")
    cost = shaped.cost if reward == "shaped" else Sparse()
    horizon = REWARDS[reward] * control.horizon
    problem = hm.OptimalControlProblem(
        model, cost, horizon=horizon, state_bounds=control.state_bounds, risk=risk
    )
    planner = hm.CEM(problem, samples=samples, elites=samples // 10, iterations=5, knots=12)
    loop = hm.receding_horizon(planner, every=control.every)
    steps = round(control.seconds / TASK.dt)
    with TASK.plant("pybullet") as plant:
        log = hm.collect(plant, loop, steps=steps, seed=seed, state=np.zeros(TASK.system.nx))
    score = control.score(TASK, shaped, log)
    return {
        "cost": score.cost,
        "success": 100.0 * score.success,
        "ms per plan": 1e3 * float(np.median([plan.seconds for _, plan in loop.plans])),
    }


def rows(results: list[tuple[dict[str, Any], dict[str, Any]]]) -> Iterator[Row]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for c, numbers in results:
        if c["kind"] == "reward":
            name = f"objectives, reward {c['reward']}, {c['samples']} samples"
        else:
            name = f"objectives, ensemble on 15 s, plans with {c['plans with']}"
        groups.setdefault(name, []).append(numbers)
    for name, found in groups.items():
        for figure, unit in (("cost", ""), ("success", "%"), ("ms per plan", "ms")):
            values = [n[figure] for n in found]
            if figure == "success":
                yield Row(f"{name}: {figure}", float(np.mean(values)), unit, seeds=len(values))
            else:
                yield Row(
                    f"{name}: {figure}",
                    interquartile_mean(values),
                    unit,
                    seeds=len(values),
                    spread=interval(values),
                )


@cache
def _hybrid(seed: int, quick: bool) -> HybridModel:
    return fitted(TASK, excited(TASK, logs=8, seed=seed), "hybrid", seed=seed, quick=quick)


@cache
def _ensemble(seed: int, quick: bool) -> HybridModel:
    """The hybrid with five members, on five logs of 3 s and a sixth that stops the training.

    On two logs the residual does not improve on the identified physics, and no member is kept."""
    data = excited(TASK, logs=LITTLE + 1, seed=seed)
    identified = fitted(TASK, data, "identified", seed=seed, quick=quick)
    train, validation = map(Dataset, split(list(data)))
    recipe = replace(TASK.recipe, epochs=(4, 6, 8) if quick else (10, 20, 30))
    model = HybridModel(
        identified.system,
        Ensemble(recipe.hidden, count=COUNT, seed=seed),
        dt=TASK.dt,
        placement=recipe.placement,
        fit_parameters=recipe.fit_parameters,
        hold=recipe.hold,
    )
    return hm.fit(
        model,
        train,
        validation,
        horizons=recipe.horizons,
        epochs=recipe.epochs,
        rate=recipe.rate,
        loss="likelihood",
        seed=seed,
    ).model


def _alone(model: HybridModel, member: int) -> HybridModel:
    """The model with one of its members in place of their mean."""
    residual: Any = model.residual
    alone = HybridModel(
        model.system,
        residual.member(member),
        dt=model.dt,
        placement=model.placement,
        fit_parameters=model.fit_parameters,
        hold=model.hold,
    )
    with torch.no_grad():
        alone.theta.copy_(model.theta)
    return alone
