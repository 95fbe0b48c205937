"""Swing-ups in PyBullet of plants that hide things, by every planner on one hybrid model a task.

Plants, logs and fits are those of `hybridmodel demo` (`swing_up_tasks` adds acrobot and pendubot):
friction, gains and masses that the physics does not know, noisy sensors. One model is fitted a
task; all planners share it, replan every few steps from what is measured, and start from rest
± 0.1 (rad, m, rad/s, m/s). Gradient planners are given a first plan by a longer CEM search, since
rest is a stationary point. GradientDescent is left out where the loop replans at every step: a
plan of its there takes seconds. Success: all angles within the tolerance of upright throughout the
last second. Settings were settled on seeds below 10 and from 100 on; the figures are of seeds 10
to 19, of one fit a task.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks.figures import Row
from benchmarks.planning.swing_up_tasks import TASKS, Budget, hybrid
from hybridmodel import (
    CEM,
    ICEM,
    ILQR,
    MPPI,
    SQP,
    GradientDescent,
    HybridModel,
    MultipleShooting,
    OptimalControlProblem,
    Planner,
)
from hybridmodel.baselines import identified_row
from hybridmodel.closed_loop import receding_horizon
from hybridmodel.collection import collect
from hybridmodel.data import Dataset
from hybridmodel.tasks.swing_up import SwingUp
from hybridmodel.tasks.task import Task
from hybridmodel.workers import pool

FIRST_SEED = 10
START = 0.1
Make = Callable[[OptimalControlProblem, Budget], Planner]

SAMPLING: Mapping[str, Make] = {
    "CEM": lambda p, b: CEM(p, elites=b.elites, **_drawn(b)),
    "ICEM": lambda p, b: ICEM(p, elites=b.elites, **_drawn(b)),
    "MPPI": lambda p, b: MPPI(p, **_drawn(b)),
}
GRADIENT: Mapping[str, Make] = {
    "MultipleShooting": lambda p, b: MultipleShooting(p, iterations=b.newton),
    "SQP": lambda p, b: SQP(p, iterations=b.newton),
    "ILQR": lambda p, b: ILQR(p, iterations=b.newton, second_order=True),
    "GradientDescent": lambda p, b: GradientDescent(p, iterations=b.descent, rate=0.05),
}
PLANNERS = {**SAMPLING, **GRADIENT}
QUICK = ("CEM", "SQP")


@dataclass(frozen=True)
class Loop:
    """One closed loop: whether it held upright, its cost, seconds of each plan, and faults."""

    held: bool
    cost: float
    seconds: tuple[float, ...]
    events: Mapping[str, int]


def rows(quick: bool) -> Iterator[Row]:
    """All tasks and planners over ten seeds; where it is quick two of each over two."""
    tasks = ("pendulum", "cart-pole") if quick else tuple(TASKS)
    seeds = range(FIRST_SEED, FIRST_SEED + (2 if quick else 10))
    with pool(2) as processes:
        fits = {name: processes.submit(fitted, name, FIRST_SEED, quick) for name in tasks}
        jobs = {}
        for name in tasks:
            model = fits[name].result()
            jobs |= {
                (name, kind): processes.submit(loops, name, model, kind, seeds)
                for kind in _kinds(name, quick)
            }
        for name in tasks:
            found = {kind: jobs[name, kind].result() for kind in _kinds(name, quick)}
            yield from _table(name, found)


def _kinds(name: str, quick: bool) -> tuple[str, ...]:
    """The planners that a task is tried with."""
    if quick:
        return QUICK
    task, _ = TASKS[name]
    return tuple(k for k in PLANNERS if k != "GradientDescent" or _control(task).every > 1)


def fitted(name: str, seed: int, quick: bool) -> HybridModel:
    """The hybrid model of a task from the logs of one seed."""
    task, _ = TASKS[name]
    if quick:
        short = task.quick()
        task = replace(task, logging=short.logging, recipe=short.recipe)
    plant = task.plant("pybullet")
    logs = task.logging.make(task, plant, seed)
    plant.close()
    train, validation = Dataset(logs.train), Dataset(logs.validation)
    known = identified_row(task.system, train, validation, task.recipe, seed=seed).model
    return hybrid(task, known, train, validation, seed)


def loops(name: str, model: HybridModel, kind: str, seeds: Sequence[int]) -> list[Loop]:
    """Closed loops of one planner, one a seed."""
    task, budget = TASKS[name]
    problem = _control(task).problem(task, model)
    planner = PLANNERS[kind](problem, budget)
    search = CEM(problem, elites=budget.elites, **_drawn(replace(budget, iterations=20)))
    return [_loop(task, planner, None if kind in SAMPLING else search, seed) for seed in seeds]


def _loop(task: Task, planner: Planner, search: CEM | None, seed: int) -> Loop:
    control, nx = _control(task), task.system.nx
    start = START * np.random.default_rng((5, seed)).uniform(-1, 1, nx)
    first = None if search is None else search.plan(start, seed=seed)
    policy = receding_horizon(planner, every=control.every, first_plan=first)
    plant = task.plant("pybullet")
    steps = round(control.seconds / task.dt)
    trajectory = collect(plant, policy, steps=steps, seed=seed, state=start)
    plant.close()
    score = control.score(task, planner.problem, trajectory)
    seconds = tuple(plan.seconds for _, plan in policy.plans)
    return Loop(score.success, score.cost, seconds, dict(policy.events))


def _table(name: str, found: Mapping[str, Sequence[Loop]]) -> Iterator[Row]:
    """Success, cost and time of every planner, then the best of each family."""
    held = {kind: sum(loop.held for loop in each) for kind, each in found.items()}
    for kind, each in found.items():
        what, count = f"swing-up, {name}, {kind}", len(each)
        costs = [loop.cost for loop in each]
        times = 1e3 * np.concatenate([loop.seconds for loop in each])
        yield Row(f"{what}: held upright", held[kind], f"of {count}", seeds=count)
        ends = min(costs), max(costs)
        yield Row(f"{what}: cost", float(np.median(costs)), "median", "", count, ends)
        ends = float(np.quantile(times, 0.05)), float(np.quantile(times, 0.95))
        yield Row(f"{what}: one plan", float(np.median(times)), "ms", "", count, ends)
        faults = sum(sum(loop.events.values()) for loop in each)
        yield Row(f"{what}: plans or steps that failed", faults, seeds=count)
    for family, kinds in (("sampling", SAMPLING), ("gradient", GRADIENT)):
        best = max(held[kind] for kind in kinds if kind in held)
        count = len(next(iter(found.values())))
        what = f"swing-up, {name}: held upright by the best {family} planner"
        yield Row(what, best, f"of {count}", f"≥ {count}", count)


def _drawn(budget: Budget) -> dict[str, Any]:
    """What all sampling planners are given."""
    names = ("samples", "iterations", "knots", "warm_spread")
    return {name: getattr(budget, name) for name in names} | {"precision": "float32"}


def _control(task: Task) -> SwingUp:
    control = task.control
    assert isinstance(control, SwingUp)
    return control
