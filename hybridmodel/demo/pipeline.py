"""Log → fit → plan → close the loop, for one task and one seed.

Every stage is a set of jobs: pure functions of picklable arguments, run on as many processes
as asked for with the same result.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from hybridmodel.baselines import ROWS, hybrid_row, identified_row, network_row, physics_row
from hybridmodel.collection import collect
from hybridmodel.data import Dataset, Trajectory
from hybridmodel.evaluation import Evaluation, evaluate
from hybridmodel.fitting import FitResult
from hybridmodel.model import HybridModel
from hybridmodel.planners import Plan
from hybridmodel.tasks.task import Score, Task
from hybridmodel.workers import Report, finished, pool, tell

Engine = Literal["pybullet", "ode"]


@dataclass(frozen=True)
class Run:
    """One closed loop of one planner on one model.

    trajectory, score along the true states, `plans` (t, plan), events that were not a fresh plan.
    """

    trajectory: Trajectory
    score: Score
    plans: tuple[tuple[float, Plan], ...]
    events: Mapping[str, int]

    def milliseconds(self) -> np.ndarray:
        """Time of each plan [ms]."""
        return np.array([1e3 * plan.seconds for _, plan in self.plans])


@dataclass(frozen=True)
class Outcome:
    """All of one task with one seed."""

    task: Task
    engine: Engine
    seed: int
    train: Dataset
    validation: Dataset
    test: Dataset
    models: Mapping[str, HybridModel]
    fits: Mapping[str, FitResult]
    sweep: Mapping[float, float]
    errors: Mapping[str, Evaluation]
    runs: Mapping[tuple[str, str], Run]  # (planner, row)
    settings: Mapping[str, Any]  # what the engine was told
    seconds: Mapping[str, float] = field(default_factory=dict)  # by stage


def run_task(
    task: Task,
    *,
    seed: int = 0,
    engine: Engine = "pybullet",
    workers: int = 2,
    report: Report = lambda stage, what: None,
) -> Outcome:
    """Everything for one seed; `report(stage, what)` is called as things happen.

    All numbers are made in worker processes of one thread each, so they do not depend on how
    many workers there are or how many threads the caller has.
    """
    clock, seconds = time.perf_counter(), {}

    def lap(stage: str) -> None:
        nonlocal clock
        seconds[stage], clock = time.perf_counter() - clock, time.perf_counter()

    with pool(workers) as processes:
        submit = processes.submit
        logging = {submit(make_logs, task, seed, engine): "log"}
        (((train, validation, test, settings), _),) = finished(logging, processes.messages, report)
        report("log", {"seconds": train.seconds + validation.seconds, "settings": settings})
        lap("log")
        jobs = {
            submit(_fit_physical, task, train, validation, seed): "hybrid",
            submit(_fit_network, task, train, validation, seed): "network",
        }
        fits: dict[str, FitResult] = {}
        sweep: Mapping[float, float] = {}
        for job, what in finished(jobs, processes.messages, report):
            if what == "hybrid":
                fits["identified"], fits["hybrid"] = job
            else:
                fits["network"], sweep = job
        lap("fit")
        models = {"physics": physics_row(task.system, task.dt, task.recipe)}
        models |= {row: fits[row].model for row in ROWS[1:]}
        horizon = min(50, task.logging.steps)
        checks = {
            submit(evaluate, models[row], test, horizon=horizon, stride=task.error_stride): row
            for row in ROWS
        }
        errors = {row: error for error, row in finished(checks, processes.messages, report)}
        report("predict", {row: error.at(horizon) for row, error in errors.items()})
        lap("predict")
        loops = {
            submit(close_loop, task, models[row], planner, engine, seed): (planner, row)
            for planner in task.control.planners
            for row in reversed(ROWS)  # the slowest first
        }
        runs = {}
        for run, (planner, row) in finished(loops, processes.messages, report):
            runs[planner, row] = run
            report("control", {"planner": planner, "row": row, "run": run})
        lap("control")
    return Outcome(
        task=task,
        engine=engine,
        seed=seed,
        train=train,
        validation=validation,
        test=test,
        models=models,
        fits=fits,
        sweep=sweep,
        errors=errors,
        runs={
            (planner, row): runs[planner, row] for planner in task.control.planners for row in ROWS
        },
        settings=settings,
        seconds=seconds,
    )


def make_logs(
    task: Task, seed: int, engine: Engine
) -> tuple[Dataset, Dataset, Dataset, Mapping[str, Any]]:
    """Logs for fitting (train, validation), held-out ones, and the engine's settings."""
    plant = task.plant(engine)
    settings = plant.settings
    logs = task.logging.make(task, plant, seed)
    plant.close()
    return Dataset(logs.train), Dataset(logs.validation), Dataset(logs.test), settings


def close_loop(task: Task, model: HybridModel, planner: str, engine: Engine, seed: int) -> Run:
    """The task's goal, from its start."""
    control = task.control
    policy = control.policy(task, model, planner, seed)
    plant = task.plant(engine)
    steps = round(control.seconds / task.dt)
    start = control.start(task.system)
    trajectory = collect(plant, policy, steps=steps, seed=seed, state=start)
    plant.close()
    score = control.score(task, control.problem(task, model), trajectory)
    return Run(trajectory, score, tuple(policy.plans), dict(policy.events))


def _fit_physical(task: Task, train: Dataset, validation: Dataset, seed: int):
    identified = identified_row(
        task.system, train, validation, task.recipe, seed=seed, progress=tell("identified")
    )
    hybrid = hybrid_row(
        identified.model, train, validation, task.recipe, seed=seed, progress=tell("hybrid")
    )
    return identified, hybrid


def _fit_network(task: Task, train: Dataset, validation: Dataset, seed: int):
    return network_row(
        task.system, train, validation, task.recipe, seed=seed, progress=tell("network")
    )
