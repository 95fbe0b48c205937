"""Errors that matter for control: where plans ask, what they promise, and contacts.

queries   swing-ups in PyBullet by CEM on each of the four rows, fitted on 24 s of excitations:
          error on held-out logs, on the executed loop and on the plans; exploitation gap
contact   a pendulum whose ball meets a table: error of windows with and without contact
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from benchmarks.figures import Row
from benchmarks.rl.contact import PendulumOverTable, touches
from benchmarks.rl.fitted import TASKS, excited, fitted
from hybridmodel.baselines import ROWS
from hybridmodel.collection import collect
from hybridmodel.data import Dataset
from hybridmodel.data.trajectory import Array
from hybridmodel.envs import HiddenEffects
from hybridmodel.evaluation import evaluate
from hybridmodel.excitation import RandomSteps
from hybridmodel.rl.exploitation import exploitation_gap
from hybridmodel.rl.queries import COLUMNS, query_errors
from hybridmodel.rl.rare_events import event_errors
from hybridmodel.statistics import interquartile_mean, interval
from hybridmodel.tasks.pendulum import PENDULUM
from physics import Pendulum, Signal

SWINGS = ("pendulum", "cartpole")
STEPS = (1, 5, 20)
CONTACT_DT = 0.02  # s
_SWING = (9.0, 0.9)  # N·m/rad, N·m·s/rad: what brings the arm back up


class Swinging:
    """Random steps about a weak pull to upright: the ball touches the table now and then."""

    def __init__(self, system: Pendulum) -> None:
        self._wave = RandomSteps(system.inputs, amplitude=0.7, hold=(0.1, 0.6))
        self._most = system.inputs[0].high

    def reset(self, seed: int | None) -> None:
        self._wave.reset(seed)

    def __call__(self, t: float, y: Array) -> Array:
        pull = _SWING[0] * np.sin(np.pi - y[0]) - _SWING[1] * y[1]
        return np.clip(self._wave(t, y) + pull, -self._most, self._most)


def cells(quick: bool) -> list[dict[str, Any]]:
    seeds = range(1 if quick else 5)
    tasks = SWINGS[-1:] if quick else SWINGS
    queries = [
        {"kind": "queries", "task": task, "row": row, "seed": seed, "quick": quick}
        for task in tasks
        for row in ROWS
        for seed in seeds
    ]
    contact = [
        {"kind": "contact", "row": row, "seed": seed, "quick": quick}
        for row in ROWS
        for seed in seeds
    ]
    return queries + contact


def cell(arguments: dict[str, Any]) -> dict[str, Any]:
    torch.set_num_threads(1)
    return {"queries": _queries, "contact": _contact}[arguments["kind"]](arguments)


def rows(results: list[tuple[dict[str, Any], dict[str, Any]]]) -> Iterator[Row]:
    for task in SWINGS:
        for row in ROWS:
            found = [
                n
                for c, n in results
                if c["kind"] == "queries" and (c["task"], c["row"]) == (task, row)
            ]
            if not found:
                continue
            for column in COLUMNS:
                for step in STEPS:
                    name = f"control errors, {task}, {row}: error {column}, {step} steps"
                    yield _row(name, [n[f"{column} {step}"] for n in found], "% of range")
            yield _row(
                f"control errors, {task}, {row}: promised too little, half of the horizon",
                [n["gap half"] for n in found],
                "% of |cost|",
            )
            yield _row(
                f"control errors, {task}, {row}: promised too little, whole horizon",
                [n["gap whole"] for n in found],
                "% of |cost|",
            )
            yield _row(
                f"control errors, {task}, {row}: plans that promised too much",
                [n["optimism"] for n in found],
                "%",
            )
            yield _row(
                f"control errors, {task}, {row}: closed-loop cost", [n["cost"] for n in found]
            )
    for row in ROWS:
        found = [n for c, n in results if c["kind"] == "contact" and c["row"] == row]
        if not found:
            continue
        for kind in ("all", "contact", "quiet"):
            yield _row(
                f"control errors, table, {row}: error {kind}",
                [n[kind] for n in found],
                "% of range",
            )
        yield _row(
            f"control errors, table, {row}: contact / quiet", [n["ratio"] for n in found], "×"
        )
        yield _row(
            f"control errors, table, {row}: steps in contact", [n["share"] for n in found], "%"
        )


def _row(figure: str, values: list[float], unit: str = "") -> Row:
    return Row(figure, interquartile_mean(values), unit, seeds=len(values), spread=interval(values))


def _queries(arguments: dict[str, Any]) -> dict[str, Any]:
    task, seed, quick = TASKS[arguments["task"]], arguments["seed"], arguments["quick"]
    data = excited(task, logs=8, seed=seed)
    held_out = excited(task, logs=4, seed=seed, part=1)
    model = fitted(task, data, arguments["row"], seed=seed, quick=quick)
    policy = task.control.policy(task, model, "cem", seed)
    problem = policy.planner.problem
    steps = round(task.control.seconds / task.dt)
    with task.plant("pybullet") as plant:
        log = collect(plant, policy, steps=steps, seed=seed, state=np.zeros(task.system.nx))
        errors = query_errors(
            model,
            plant,
            policy.plans,
            executed=Dataset([log]),
            held_out=held_out,
            steps=STEPS,
            count=100,
            seed=seed,
        )
        gap = exploitation_gap(problem, plant, policy.plans, seed=seed)
    middle = 100 * gap.quantiles((0.5,))[0]
    numbers = {
        f"{column} {step}": 100 * errors.at(column, step) for column in COLUMNS for step in STEPS
    }
    score = task.control.score(task, problem, log)
    return numbers | {
        "gap half": float(middle[problem.horizon // 2 - 1]),
        "gap whole": float(middle[-1]),
        "optimism": 100 * float(gap.optimism()[-1]),
        "cost": score.cost,
        "success": float(score.success),
        "plans": len(gap.t),
    }


def _contact(arguments: dict[str, Any]) -> dict[str, Any]:
    seed, quick = arguments["seed"], arguments["quick"]
    system = Pendulum(inputs=(Signal("torque", "N·m", -10.0, 10.0),))
    hidden = HiddenEffects(
        parameters={"mass": 1.15}, coulomb=(0.15,), input_gain=0.85, observation_noise=(2e-3, 1e-2)
    )
    task = replace(PENDULUM, system=system, hidden=hidden, dt=CONTACT_DT)
    generator = np.random.default_rng((43, seed))
    policy = Swinging(system)
    with PendulumOverTable(system, dt=CONTACT_DT, hidden=hidden) as plant:
        logs = [
            collect(
                plant,
                policy,
                steps=150,
                seed=1000 * seed + k,
                state=np.pi + generator.uniform(-1, 1, 2) * [0.5, 1.0],
            )
            for k in range(20)
        ]
    data, held_out = Dataset(logs[:8]), Dataset(logs[8:])
    model = fitted(task, data, arguments["row"], seed=seed, quick=quick)
    masks = [touches(system, CONTACT_DT, log.x) for log in held_out if log.x is not None]
    found = event_errors(model, held_out, masks, horizon=10, seed=seed)
    whole = evaluate(model, held_out, horizon=10)
    return {
        "all": 100 * float(np.sqrt(np.mean(whole.curve() ** 2))),
        "contact": 100 * found.event.rmse,
        "quiet": 100 * found.quiet.rmse,
        "ratio": found.ratio,
        "ratio low": found.ratio_interval[0],
        "ratio high": min(found.ratio_interval[1], 1e9),
        "windows": found.event.windows,
        "share": 100 * found.steps[0] / found.steps[1],
    }
