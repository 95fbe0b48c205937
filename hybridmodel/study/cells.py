"""The jobs of a study, each a pure function of its arguments and of files' bytes.

    log          a plant that hides something is logged; log_drawn: many that are drawn
    fit_model    a model is made from some seconds of the logs, and predicts others
    close_loop   a planner drives a plant with it
    predict      instead of that, where the plant is a log of the real machine

All run on one thread, so that numbers are the same wherever they are made.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hybridmodel.baselines import physics_row
from hybridmodel.checkpoint import describe, load, save
from hybridmodel.closed_loop import RecedingHorizon
from hybridmodel.collection import Policy, collect
from hybridmodel.data import Dataset, Trajectory, load_npz, save_npz
from hybridmodel.evaluation import evaluate
from hybridmodel.model import HybridModel
from hybridmodel.online import adapt
from hybridmodel.problem import OptimalControlProblem
from hybridmodel.study.jobs import Number, Result
from hybridmodel.study.measures import CEILING
from hybridmodel.study.models import kind_of, placed
from hybridmodel.study.plants import Plant
from hybridmodel.study.randomisation import randomised_logs
from hybridmodel.tasks.task import Logs, Task, first_seconds
from hybridmodel.uncertainty import calibration

PARTS = ("train", "validation", "test")
MODEL, LOOP = "model.safetensors", "loop.npz"
STEPS = (1, 10, 50)  # of open-loop errors


def log(task: Task, seed: int) -> Result:
    """Train, validation and test logs of one plant."""
    torch.set_num_threads(1)
    plant = task.plant(task.engine)
    logs = task.logging.make(task, plant, seed)
    plant.close()
    return _logged({name: Dataset(getattr(logs, name)) for name in PARTS})


def log_drawn(task: Task, seed: int) -> Result:
    """Train and validation logs of plants that are drawn, see `randomisation`."""
    torch.set_num_threads(1)
    train, validation = randomised_logs(task, seed)
    return _logged({"train": Dataset(train), "validation": Dataset(validation)})


def _logged(parts: dict[str, Dataset]) -> Result:
    return Result(
        {f"{name} seconds": data.seconds for name, data in parts.items()},
        {
            f"{name}.npz": packed(lambda path, d=data: save_npz(d, path))
            for name, data in parts.items()
        },
    )


def fit_model(
    task: Task,
    name: str,
    placement: str,
    data: float,
    seed: int,
    *,
    train: bytes,
    validation: bytes,
    test: bytes,
) -> Result:
    """One model from the first `data` seconds of the logs, and its errors on the test logs."""
    torch.set_num_threads(1)
    logs = Logs(*(list(_unpacked(load_npz, part)) for part in (train, validation, test)))
    if data:
        logs = first_seconds(logs, data)
    kind, task = kind_of(name), placed(task, placement)
    used = Dataset(logs.train), Dataset(logs.validation)
    model = kind.make(task, *used, seed)
    numbers = errors(model, Dataset(logs.test), task.error_stride)
    if kind.unsure:
        numbers["covered"] = covered(model, Dataset(logs.test), task.error_stride)
    if kind.data == "none":
        return Result({**numbers, "seconds of data": 0.0})
    seconds = sum(part.seconds for part in used)
    return Result(
        {**numbers, "seconds of data": seconds},
        {MODEL: packed(lambda path: save(model, path))},
    )


def close_loop(
    task: Task, name: str, planner: str, plant: Plant, seed: int, *, model: bytes = b""
) -> Result:
    """The task's goal on a plant, from its start; `task` is the one that the model knows."""
    torch.set_num_threads(1)
    kind, control = kind_of(name), task.control
    known = plant.task if name == CEILING else task  # the ceiling is that of each plant
    made = _loaded(task, model) if model else _unfitted(known, name)
    closing = control.policy(task, made, planner, seed)
    policy: Policy = adapt(closing, made, residual=True) if kind.adapts else closing
    steps = round(control.seconds / task.dt)
    machine = plant.task.plant(plant.engine)
    start = control.start(task.system)
    trajectory = collect(machine, policy, steps=steps, seed=seed, state=start)
    machine.close()
    nominal = physics_row(task.system, task.dt, task.recipe)
    problem = control.problem(task, nominal)  # what is paid does not depend on the model
    score = control.score(task, problem, trajectory)
    milliseconds = np.array([1e3 * plan.seconds for _, plan in closing.plans])
    promised, paid = promises(problem, closing, trajectory)
    numbers: dict[str, Number] = {
        "cost": score.cost,
        "success": bool(score.success),
        **{f"task {name}": value for name, value in score.figures.items()},
        "promised": promised,
        "paid": paid,
        "plans": len(closing.plans),
        "not fresh": sum(closing.events.values()),
        "ms per plan": float(np.median(milliseconds)) if len(milliseconds) else float("nan"),
        "ms per plan, 99 %": float(np.quantile(milliseconds, 0.99))
        if len(milliseconds)
        else float("nan"),
    }
    return Result(numbers, {LOOP: packed(lambda path: save_npz(Dataset([trajectory]), path))})


def predict(task: Task, name: str, measured: bytes, *, model: bytes = b"") -> Result:
    """How well a model foretells logs of the real machine; nothing is driven."""
    torch.set_num_threads(1)
    made = _loaded(task, model) if model else _unfitted(task, name)
    return Result(errors(made, _unpacked(load_npz, measured), task.error_stride))


def errors(model: HybridModel, data: Dataset, stride: int) -> dict[str, Number]:
    """Free-run error after so many steps, scaled by the range of each signal."""
    longest = min(log.steps for log in data)
    steps = [k for k in STEPS if k <= longest]
    found = evaluate(model, data, horizon=steps[-1], stride=stride)
    return {f"error, {k} steps": found.at(k) for k in steps}


def covered(model: HybridModel, data: Dataset, stride: int) -> float:
    """Share of what was measured inside the 90 % intervals, after 1 … 10 steps."""
    found = calibration(model, data, horizon=10, stride=4 * stride, particles=20)
    return float(found.pooled.mean())


def promises(
    problem: OptimalControlProblem, policy: RecedingHorizon, trajectory: Trajectory
) -> tuple[float, float]:
    """What plans promised for their horizon, and what the loop then paid; means over all plans.

        Σ_{k < n} ℓ(x̂_k, û_k) dt,    Σ_{k < n} ℓ(x_k, u_k) dt

    x̂, û of the plan, x, u of the loop that went on from there with newer plans, n the horizon or
    what was left of the loop. Paid over promised is how far a planner was misled by its model.
    """
    assert trajectory.x is not None
    dt, nx, weights = problem.model.dt, problem.model.system.nx, problem.weights()
    totals = []
    for t, plan in policy.plans:
        start = round(t / dt)
        given = policy.parameters(t) if callable(policy.parameters) else policy.parameters
        pi = problem.problem_parameters(given)
        n = min(len(plan.u), trajectory.steps - start)
        pairs = (
            (plan.x[:n, :nx], plan.u[:n]),
            (trajectory.x[start : start + n], trajectory.u[start : start + n]),
        )
        totals.append(
            [
                dt * sum(float(problem.stage(x[k], u[k], k, pi[k], weights)) for k in range(n))
                for x, u in pairs
            ]
        )
    promised, paid = np.mean(totals, axis=0) if totals else (float("nan"),) * 2
    return float(promised), float(paid)


def _loaded(task: Task, data: bytes) -> HybridModel:
    """A fitted model; a system of a class that is not this project's is that of the task."""

    def read(path: Path) -> HybridModel:
        ours = describe(path)["system"]["ours"]
        return load(path, system=None if ours else task.system)

    return _unpacked(read, data)


def _unfitted(task: Task, name: str) -> HybridModel:
    nothing: Any = None
    return kind_of(name).make(task, nothing, nothing, 0)


def packed(write: Callable[[Path], None]) -> bytes:
    """What `write` puts into a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        write(path)
        return path.read_bytes()


def _unpacked(read: Callable[[Path], Any], data: bytes) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_bytes(data)
        return read(path)
