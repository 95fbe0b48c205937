"""Inverse models in PyBullet: do the inputs lead where they should, and help a planner?

    learned   p(u_{t:t+n} | s_t, s_{t+n}) fitted on 24 s of excitations
    physics   solved through the nominal physics,   hybrid  through the hybrid, fitted on the same

Reached: windows of n steps of other logs; the n inputs are applied to the plant, open loop, and the
state that it reaches is compared with the window's last, scaled by the range of each state.
Planned: CEM with few samples on the hybrid, from rest to upright ("up") and between states of a
log that are 10 steps apart ("reach"), with the inverse of n = 10 as its policy; "warm" is the
latter with the n inputs as its warm start instead. Costs in the model, and of the inputs in the
plant. Time: of one pair of states (n = 10, 15 iterations where it is solved), and of a plan from
rest to upright with the inverse as its policy (3 iterations at every step).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.figures import Row
from benchmarks.rl.fitted import TASKS, excited, fitted
from hybridmodel.costs import Quadratic
from hybridmodel.data import Dataset
from hybridmodel.envs import Environment
from hybridmodel.model import HybridModel
from hybridmodel.planners import CEM, Plan, Status
from hybridmodel.problem import OptimalControlProblem
from hybridmodel.rl.exploitation import exploitation_gap
from hybridmodel.rl.inverse import fit_inverse
from hybridmodel.rl.open_loop import open_loop
from hybridmodel.rl.proposals import Inverse, proposal
from hybridmodel.rl.solved_inverse import ModelInverse
from hybridmodel.statistics import interquartile_mean, interval
from hybridmodel.tasks.swing_up import SwingUp
from hybridmodel.tasks.task import Task

SWINGS = ("pendulum", "cartpole")
KINDS = ("none", "learned", "physics", "hybrid")
STEPS = (1, 5, 10)
WINDOWS = 40
COSTS = {  # as the figures say it
    f"{key} {where}": f"{plan}: cost in the {of}"
    for key, plan in (
        ("up", "upright, as a policy"),
        ("reach", "10 steps ahead, as a policy"),
        ("warm", "10 steps ahead, as a warm start"),
    )
    for where, of in (("plan", "model"), ("plant", "plant"))
}
BUDGET = {"samples": 40, "elites": 6, "iterations": 3}  # of each plan
REACH = STEPS[-1]  # steps
TIMES = ("time of an inverse", "time of a plan")


def cells(quick: bool) -> list[dict[str, Any]]:
    return [
        {"task": task, "inverse": kind, "seed": seed, "quick": quick}
        for task in (SWINGS[:1] if quick else SWINGS)
        for kind in KINDS
        for seed in range(1 if quick else 5)
    ]


def cell(arguments: dict[str, Any]) -> dict[str, Any]:
    torch.set_num_threads(1)
    task, kind, seed = TASKS[arguments["task"]], arguments["inverse"], arguments["seed"]
    data, others, hybrid = _known(arguments["task"], seed, arguments["quick"])
    numbers: dict[str, Any] = {"seconds of data": data.seconds}
    with task.plant("pybullet") as plant:
        for n in STEPS:
            inverse = _inverse(task, kind, data, hybrid, n, seed, iterations=15)
            errors = _reached(task, plant, others, inverse, n, seed)
            numbers[f"rms {n}"] = 100 * float(np.sqrt(np.mean(errors**2)))
            numbers[f"median {n}"] = 100 * float(np.median(errors))
            if inverse is not None and n == STEPS[-1]:
                numbers[TIMES[0]] = _milliseconds(inverse, others, n)
        # in a policy the search is done again at every step, and need not end
        quick = _inverse(task, kind, data, hybrid, STEPS[-1], seed, iterations=3)
        whole = replace(quick, iterations=30) if isinstance(quick, ModelInverse) else quick
        return numbers | _planned(task, plant, hybrid, others, quick, whole, seed)


def rows(results: list[tuple[dict[str, Any], dict[str, Any]]]) -> Iterator[Row]:
    off = {f"{w} {n}": f"off after {n} steps, {w}" for n in STEPS for w in ("rms", "median")}
    units = dict.fromkeys(off, "% of range") | dict.fromkeys(TIMES, "ms")
    for task in SWINGS:
        for kind in KINDS:
            found = [n for c, n in results if (c["task"], c["inverse"]) == (task, kind)]
            for name, told in (off | COSTS | dict(zip(TIMES, TIMES, strict=True))).items():
                values = [n[name] for n in found if name in n]
                if values:
                    yield Row(
                        f"inverse, {task}, {kind}: {told}",
                        interquartile_mean(values),
                        units.get(name, ""),
                        seeds=len(values),
                        spread=interval(values),
                    )


@cache
def _known(name: str, seed: int, quick: bool) -> tuple[Dataset, Dataset, HybridModel]:
    """Logs to fit, others, and the hybrid, which the cells of a seed share."""
    task = TASKS[name]
    data = excited(task, logs=8, seed=seed)
    hybrid = fitted(task, data, "hybrid", seed=seed, quick=quick)
    hybrid.backend = "kernel"  # a policy asks for a few rollouts again and again
    return data, excited(task, logs=3, seed=seed, part=1), hybrid


def _inverse(
    task: Task,
    kind: str,
    data: Dataset,
    hybrid: HybridModel,
    n: int,
    seed: int,
    *,
    iterations: int,
) -> Inverse | None:
    if kind == "none":
        return None
    if kind == "learned":
        return fit_inverse(task.system, data, steps=n, seed=seed)
    model = hybrid if kind == "hybrid" else HybridModel(task.system, dt=task.dt, backend="kernel")
    states = np.concatenate([log.x for log in data if log.x is not None])
    scale = np.ptp(states, axis=0)
    weights = {s.name: 1 / r**2 for s, r in zip(task.system.states, scale.tolist(), strict=True)}
    return ModelInverse(model, steps=n, weights=weights, effort=1e-6, iterations=iterations)


def _reached(
    task: Task, plant: Environment, data: Dataset, inverse: Inverse | None, n: int, seed: int
) -> np.ndarray:
    """(N,) rms over scaled states of where n inputs lead the plant, from where they should."""
    windows = data.windows(n)
    assert windows.x is not None
    chosen = np.random.default_rng((47, seed)).choice(len(windows), WINDOWS, replace=False)
    x = torch.tensor(windows.x[chosen])
    nu = task.system.nu
    with torch.no_grad():
        u = torch.zeros(WINDOWS, n, nu) if inverse is None else inverse.mean(x[:, 0], x[:, -1])
    low, high = (np.array([getattr(s, b) for s in task.system.inputs]) for b in ("low", "high"))
    commanded = np.clip(u.numpy().astype(float), low, high)
    ends = [
        open_loop(plant, task.system, a, b)[-1] for a, b in zip(x[:, 0], commanded, strict=True)
    ]
    states = np.concatenate([log.x for log in data if log.x is not None])
    error = (np.array(ends) - x[:, -1].numpy()) / np.ptp(states, axis=0)
    return np.sqrt(np.mean(error**2, axis=1))


def _milliseconds(inverse: Inverse, data: Dataset, n: int) -> float:
    """Median over single pairs of states, once all is compiled."""
    windows = data.windows(n)
    assert windows.x is not None
    spent = []
    with torch.no_grad():
        for x in torch.tensor(windows.x[:: max(1, len(windows) // 11)]):
            began = time.perf_counter()
            inverse.mean(x[0], x[-1])
            spent.append(time.perf_counter() - began)
    return 1e3 * float(np.median(spent[1:]))


def _planned(
    task: Task,
    plant: Environment,
    model: HybridModel,
    data: Dataset,
    inverse: Inverse | None,
    whole: Inverse | None,
    seed: int,
) -> dict[str, float]:
    """Costs of plans from rest to upright, and from a log's state to that 10 steps later."""
    control = task.control
    assert isinstance(control, SwingUp)
    up = control.problem(task, model)
    target = torch.tensor(control.target_state(task.system))
    generator = np.random.default_rng((53, seed))
    rest = generator.uniform(-0.1, 0.1, (4, task.system.nx))
    policy = _policy(inverse, target)
    plans = [_planner(up, policy).plan(x0, seed=seed + k) for k, x0 in enumerate(rest)]
    found = [_costs(plant, up, plan) for plan in plans]
    windows = data.windows(REACH)
    assert windows.x is not None
    between, warm = [], []
    for k, i in enumerate(generator.choice(len(windows), 8, replace=False)):
        ends = windows.x[i, [0, -1]]
        problem = _reaching(task, model, data, ends[1])
        policy = _policy(inverse, torch.tensor(ends[1]))
        plan = _planner(problem, policy).plan(ends[0], seed=seed + k)
        between.append(_costs(plant, problem, plan))
        guess = None
        if whole is not None:
            u = whole.mean(*torch.tensor(ends)).detach().numpy()
            u = np.clip(u, problem.input_low, problem.input_high)
            cost, x, _ = problem.evaluate(ends[0], u)
            guess = Plan(u=u, x=x, cost=cost, status=Status.BUDGET)
        plan = _planner(problem, None).plan(ends[0], seed=seed + k, warm_start=guess)
        warm.append(_costs(plant, problem, plan))
    numbers = {TIMES[1]: 1e3 * float(np.median([plan.seconds for plan in plans[1:]]))}
    for name, costs in (("up", found), ("reach", between), ("warm", warm)):
        numbers[f"{name} plan"], numbers[f"{name} plant"] = np.mean(costs, axis=0).tolist()
    return numbers


def _policy(inverse: Inverse | None, goal: Tensor) -> Callable[[Tensor], Tensor] | None:
    return None if inverse is None else proposal(inverse, goal)


def _reaching(
    task: Task, model: HybridModel, data: Dataset, goal: np.ndarray
) -> OptimalControlProblem:
    """Squared distance from the goal at the end, in ranges [%²], and next to no effort."""
    states = np.concatenate([log.x for log in data if log.x is not None])
    names = [s.name for s in task.system.states]
    weights = dict(zip(names, (1e4 / np.ptp(states, axis=0) ** 2).tolist(), strict=True))
    cost = Quadratic(
        task.system,
        state={},
        input={s.name: 1e-3 / s.high**2 for s in task.system.inputs},
        terminal=weights,
        target=dict(zip(names, goal.tolist(), strict=True)),
    )
    return OptimalControlProblem(model, cost, horizon=REACH)


def _planner(problem: OptimalControlProblem, policy: Callable[[Tensor], Tensor] | None) -> CEM:
    knots = min(10, problem.horizon)
    return CEM(problem, **BUDGET, knots=knots, policy=policy, policy_share=0.25)


def _costs(plant: Environment, problem: OptimalControlProblem, plan: Plan) -> tuple[float, float]:
    """Cost of one plan, and of its inputs in the plant."""
    return tuple(exploitation_gap(problem, plant, [(0.0, plan)]).total[0].tolist())
