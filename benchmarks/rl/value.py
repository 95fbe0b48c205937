"""Terminal values: a task that a short horizon alone fails, and the same horizon with a value.

The pendulum of `hybridmodel demo`, whose motor cannot lift it at once, in PyBullet with all that it
hides; the model is the hybrid of one seed's logs as there. Planners look 0.4 s ahead. The value is
fitted on the model alone, by value iteration over drawn states, so that it costs no real step. A
loop is a success as in the demonstration: the angle within 0.3 rad of upright over the last 2 s of
6 s.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from benchmarks.figures import Row
from benchmarks.planning.swing_ups import fitted
from hybridmodel import (
    CEM,
    MPPI,
    SQP,
    Cost,
    OptimalControlProblem,
    Planner,
    Quadratic,
    receding_horizon,
)
from hybridmodel.collection import collect
from hybridmodel.rl.value_iteration import iterate_value
from hybridmodel.tasks.pendulum import PENDULUM
from hybridmodel.tasks.swing_up import SwingUp
from hybridmodel.tasks.task import Task

HORIZON, DISCOUNT = 10, 0.98
TASKS: Mapping[str, tuple[Task, tuple[float, ...]]] = {  # and where its states are drawn, ±
    "pendulum": (PENDULUM, (math.pi, 10.0)),
}
PLANNERS: Mapping[str, Callable[[OptimalControlProblem], Planner]] = {
    "CEM": lambda p: CEM(p, samples=200, elites=20, iterations=3, knots=5, precision="float32"),
    "MPPI": lambda p: MPPI(p, samples=200, iterations=3, knots=5, precision="float32"),
    "SQP": lambda p: SQP(p),
}


def cells(quick: bool) -> list[dict[str, Any]]:
    """Ten seeds; where it is quick one, of a short fit."""
    return [
        {"task": name, "seed": s, "quick": quick}
        for s in range(1 if quick else 10)
        for name in TASKS
    ]


def cell(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Whether each planner holds upright, with the value and without it."""
    seed, (task, reach) = arguments["seed"], TASKS[arguments["task"]]
    control = task.control
    assert isinstance(control, SwingUp)
    model = fitted(arguments["task"], seed, arguments["quick"])
    cost = Quadratic(
        task.system,
        state=control.state,
        input=control.input,
        terminal=control.terminal,
        target=control.target,
    )

    def problem(cost: Cost) -> OptimalControlProblem:
        return OptimalControlProblem(
            model, cost, horizon=HORIZON, discount=DISCOUNT, state_bounds=control.state_bounds
        )

    generator = np.random.default_rng((seed, 3))
    states = generator.uniform(-1, 1, (3000, len(reach))) * np.array(reach)
    began = time.perf_counter()
    with_value = iterate_value(problem(cost), states, seed=seed)
    numbers: dict[str, Any] = {"fit": time.perf_counter() - began}
    for name, of in (("alone", cost), ("value", with_value)):
        search = PLANNERS["CEM"](problem(of))
        for kind, make in PLANNERS.items():
            start = 0.1 * np.random.default_rng((5, seed)).uniform(-1, 1, task.system.nx)
            policy = receding_horizon(
                make(problem(of)),
                every=control.every,
                first_plan=search.plan(start, seed=seed) if kind == "SQP" else None,
            )
            plant = task.plant("pybullet")
            log = collect(
                plant, policy, steps=round(control.seconds / task.dt), seed=seed, state=start
            )
            plant.close()
            score = control.score(task, policy.planner.problem, log)
            numbers[f"{name}, {kind}"] = bool(score.success)
    return numbers


def rows(found: list[tuple[dict[str, Any], dict[str, Any]]]) -> Iterator[Row]:
    """Loops that hold, of each task and planner."""
    for task in TASKS:
        runs = [numbers for c, numbers in found if c["task"] == task]
        for kind in PLANNERS if runs else ():
            for name, what in (("alone", "horizon alone"), ("value", "with the value")):
                held = sum(numbers[f"{name}, {kind}"] for numbers in runs)
                figure = f"terminal value, {task}, 0.4 s ahead, {kind}: held upright, {what}"
                yield Row(figure, held, f"of {len(runs)}", seeds=len(runs))
        if runs:
            seconds = [numbers["fit"] for numbers in runs]
            yield Row(
                f"terminal value, {task}: fitting it",
                float(np.median(seconds)),
                "s",
                "",
                len(runs),
                (min(seconds), max(seconds)),
            )
