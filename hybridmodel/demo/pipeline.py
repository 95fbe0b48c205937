"""Log → fit → plan → close the loop, for one task and one seed.

Every stage is a set of jobs: pure functions of picklable arguments, run on as many processes
as asked for with the same result.
"""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing import get_context, parent_process
from typing import Any, Literal

import numpy as np
import torch

from hybridmodel import envs
from hybridmodel.baselines import ROWS, hybrid_row, identified_row, network_row, physics_row
from hybridmodel.closed_loop import receding_horizon
from hybridmodel.collection import Policy, collect
from hybridmodel.data import Dataset, Trajectory
from hybridmodel.demo.tasks import Task
from hybridmodel.evaluation import Evaluation, evaluate
from hybridmodel.excitation import Dithered, RandomSteps
from hybridmodel.fitting import FitResult
from hybridmodel.model import HybridModel
from hybridmodel.planners import CEM, MultipleShooting, Plan
from hybridmodel.problem import OptimalControlProblem

Engine = Literal["pybullet", "ode"]
Report = Callable[[str, Mapping[str, Any]], None]  # (stage, what happened)
PLANNERS = ("gradient", "cem")


@dataclass(frozen=True)
class Run:
    """One closed loop of one planner on one model.

    trajectory, cost (the task's cost along the true states), success, `plans` (t, plan),
    events that were not a fresh plan.
    """

    trajectory: Trajectory
    cost: float
    success: bool
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

    with _pool(workers) as pool:
        submit = pool.submit
        logging = {submit(make_logs, task, seed, engine): "log"}
        (((train, validation, test, settings), _),) = _finished(logging, pool.messages, report)
        report("log", {"seconds": train.seconds + validation.seconds, "settings": settings})
        lap("log")
        jobs = {
            submit(_fit_physical, task, train, validation, seed): "hybrid",
            submit(_fit_network, task, train, validation, seed): "network",
        }
        fits: dict[str, FitResult] = {}
        sweep: Mapping[float, float] = {}
        for job, what in _finished(jobs, pool.messages, report):
            if what == "hybrid":
                fits["identified"], fits["hybrid"] = job
            else:
                fits["network"], sweep = job
        lap("fit")
        models = {"physics": physics_row(task.system, task.dt, task.recipe)}
        models |= {row: fits[row].model for row in ROWS[1:]}
        horizon = min(50, task.logging.steps)
        checks = {submit(evaluate, models[row], test, horizon=horizon): row for row in ROWS}
        errors = {row: error for error, row in _finished(checks, pool.messages, report)}
        report("predict", {row: error.at(horizon) for row, error in errors.items()})
        lap("predict")
        loops = {
            submit(close_loop, task, models[row], planner, engine, seed): (planner, row)
            for planner in PLANNERS
            for row in reversed(ROWS)  # the slowest first
        }
        runs = {}
        for run, (planner, row) in _finished(loops, pool.messages, report):
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
        runs={(planner, row): runs[planner, row] for planner in PLANNERS for row in ROWS},
        settings=settings,
        seconds=seconds,
    )


def make_logs(
    task: Task, seed: int, engine: Engine
) -> tuple[Dataset, Dataset, Dataset, Mapping[str, Any]]:
    """Logs for fitting (85 % train, 15 % validation), held-out ones, and the engine's settings."""
    log = task.logging
    plant = envs.make(task.system, engine=engine, dt=task.dt, hidden=task.hidden)
    settings = plant.settings
    excited = _logs(
        task,
        plant,
        lambda k: log.excitation(task.system, k),
        log.excited + log.held_out,
        seed=(seed, 0),
    )
    first = Dataset(excited[: log.excited])
    known = identified_row(
        task.system, first, first, replace(task.recipe, starts=1, stride=2), seed=seed
    ).model
    controller = receding_horizon(
        MultipleShooting(problem(task, known), iterations=task.control.shooting_iterations),
        every=task.control.every,
        first_plan=_searched(task, known, seed),
    )
    dither = Dithered(controller, RandomSteps(task.system.inputs, amplitude=log.dither))
    attempts = _logs(task, plant, lambda k: dither, log.attempts, seed=(seed, 1))
    plant.close()
    validation_share = 0.15
    train, validation = [], []
    for logs in (excited[: log.excited], attempts):
        held_back = max(1, round(validation_share * len(logs)))
        train += logs[:-held_back]
        validation += logs[-held_back:]
    return Dataset(train), Dataset(validation), Dataset(excited[log.excited :]), settings


def _logs(
    task: Task,
    plant: envs.Environment,
    policy: Callable[[int], Policy],
    count: int,
    *,
    seed: tuple[int, int],
) -> list[Trajectory]:
    """`count` whole logs; one that runs into a limit of the plant is made again elsewhere."""
    generator = np.random.default_rng((2, *seed))
    logs: list[Trajectory] = []
    for attempt in range(4 * count):
        start = generator.uniform(-1, 1, plant.system.nx) * np.array(task.logging.start)
        trajectory = collect(
            plant,
            policy(len(logs)),
            steps=task.logging.steps,
            seed=100_000 * seed[0] + 1_000 * seed[1] + attempt,
            state=start,
        )
        if trajectory.steps == task.logging.steps:
            logs.append(trajectory)
        if len(logs) == count:
            return logs
    raise RuntimeError(f"task {task.name}: its logs keep running into the limits of the plant")


def problem(task: Task, model: HybridModel) -> OptimalControlProblem:
    """The task's swing-up under one model."""
    return OptimalControlProblem(
        model,
        task.cost(),
        horizon=task.control.horizon,
        state_bounds=task.control.state_bounds,
    )


def close_loop(task: Task, model: HybridModel, planner: str, engine: Engine, seed: int) -> Run:
    """Swing up and hold, from rest at the bottom."""
    c, ocp = task.control, problem(task, model)
    if planner == "gradient":
        # a swing-up has many local optima, and rest is a stationary point: start from samples
        first = _searched(task, model, seed)
        policy = receding_horizon(
            MultipleShooting(ocp, iterations=c.shooting_iterations), every=c.every, first_plan=first
        )
    else:
        policy = receding_horizon(_cem(task, ocp, c.iterations), every=c.every)
    plant = envs.make(task.system, engine=engine, dt=task.dt, hidden=task.hidden)
    steps = round(c.seconds / task.dt)
    rest = np.zeros(task.system.nx)
    trajectory = collect(plant, policy, steps=steps, seed=seed, state=rest)
    plant.close()
    cost, success = score(task, ocp, trajectory, steps)
    return Run(trajectory, cost, success, tuple(policy.plans), dict(policy.events))


def _cem(task: Task, ocp: OptimalControlProblem, iterations: int) -> CEM:
    c = task.control
    return CEM(ocp, samples=c.samples, elites=c.elites, iterations=iterations, knots=c.knots)


def _searched(task: Task, model: HybridModel, seed: int) -> Plan:
    """A first plan from rest, by a longer search over samples."""
    cem = _cem(task, problem(task, model), 2 * task.control.iterations)
    return cem.plan(np.zeros(task.system.nx), seed=seed)


def score(
    task: Task, ocp: OptimalControlProblem, trajectory: Trajectory, steps: int
) -> tuple[float, bool]:
    """The task's cost along the true states, and whether it ended holding the target.

    A run that left the plant's limits pays the cost of its last state for the steps it missed.
    """
    assert trajectory.x is not None
    stages = [
        float(ocp.stage(x, u, k, np.zeros(ocp.n_parameters)))
        for k, (x, u) in enumerate(zip(trajectory.x, trajectory.u, strict=False))
    ]
    cost = task.dt * (sum(stages) + (steps - trajectory.steps) * stages[-1])
    held = round(task.control.hold_seconds / task.dt)
    angles = list(task.system.angle_rows)
    error = trajectory.x[-held:, angles] - task.target()[angles]
    error = np.abs((error + math.pi) % (2 * math.pi) - math.pi)
    return cost, trajectory.steps == steps and bool((error < task.control.tolerance).all())


def _fit_physical(task: Task, train: Dataset, validation: Dataset, seed: int):
    identified = identified_row(
        task.system, train, validation, task.recipe, seed=seed, progress=_tell("identified")
    )
    hybrid = hybrid_row(
        identified.model, train, validation, task.recipe, seed=seed, progress=_tell("hybrid")
    )
    return identified, hybrid


def _fit_network(task: Task, train: Dataset, validation: Dataset, seed: int):
    return network_row(
        task.system, train, validation, task.recipe, seed=seed, progress=_tell("network")
    )


# -- processes -----------------------------------------------------------------------------------

_messages: Any = None


def _start_worker(messages: Any) -> None:
    global _messages
    _messages = messages
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is asked, and ends its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose parent was killed ends too."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _be_ready() -> None:
    """Nothing; a worker that has run it has imported this module."""


def _tell(what: str) -> Callable[[Mapping[str, float]], None]:
    def send(row: Mapping[str, float]) -> None:
        if _messages is not None:
            _messages.put((what, dict(row)))

    return send


class _Pool(ProcessPoolExecutor):
    messages: Any


@contextmanager
def _pool(workers: int) -> Iterator[_Pool]:
    context = get_context("spawn")
    messages = context.Queue()
    with _Pool(workers, context, _start_worker, (messages,)) as pool:
        pool.messages = messages
        for _ in range(workers):
            pool.submit(_be_ready)  # all import everything now, while one logs the plant
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _finished(
    jobs: Mapping[Future, Any], messages: Any, report: Report
) -> Iterator[tuple[Any, Any]]:
    """(result, name) of each job in the order of submission, passing messages on meanwhile."""
    for job, name in jobs.items():
        while not wait([job], timeout=0.1).done:
            while not messages.empty():
                what, row = messages.get()
                report("fit", {"row": what, **row})
        yield job.result(), name
