"""The rows of a demonstration's task, fitted on its logs: what several parts begin with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hybridmodel.baselines import Recipe, hybrid_row, identified_row, network_row, physics_row
from hybridmodel.collection import collect
from hybridmodel.data import Dataset
from hybridmodel.model import HybridModel
from hybridmodel.tasks.cartpole import CARTPOLE
from hybridmodel.tasks.double_pendulum import DOUBLE_PENDULUM
from hybridmodel.tasks.pendulum import PENDULUM
from hybridmodel.tasks.swing_up import Attempts
from hybridmodel.tasks.task import Task, split

TASKS: dict[str, Task] = {t.name: t for t in (PENDULUM, CARTPOLE, DOUBLE_PENDULUM)}


def excited(task: Task, *, logs: int, seed: int, part: int = 0) -> Dataset:
    """Logs of multisines and random steps in turn, whole or as long as the plant allows.

    part   another one is another draw: 0 to fit, 1 to judge
    """
    logging = task.logging
    if not isinstance(logging, Attempts):
        raise ValueError(f"task must have logs by Attempts, got {type(logging).__name__}")
    generator = np.random.default_rng((41, part, seed))
    found = []
    with task.plant("pybullet") as plant:
        while len(found) < logs:
            start = generator.uniform(-1, 1, task.system.nx) * np.array(logging.start)
            log = collect(
                plant,
                logging.excitation(task.system, len(found)),
                steps=logging.steps,
                seed=int(generator.integers(2**31)),
                state=start,
            )
            if log.steps >= logging.steps // 2:  # one that soon ran into a limit tells little
                found.append(log)
    return Dataset(found)


def fitted(task: Task, data: Dataset, row: str, *, seed: int, quick: bool) -> HybridModel:
    """One of the four rows on these logs, the last of which stop the training."""
    train, validation = map(Dataset, split(list(data)))
    recipe: Recipe = replace(
        task.recipe, sweep=(1e-2,), epochs=(4, 6, 8) if quick else (10, 20, 40)
    )
    if row == "physics":
        return physics_row(task.system, data.dt, recipe)
    if row == "network":
        return network_row(task.system, train, validation, recipe, seed=seed)[0].model
    identified = identified_row(task.system, train, validation, recipe, seed=seed).model
    if row == "identified":
        return identified
    if row != "hybrid":
        raise ValueError(f"row must be physics, identified, network or hybrid, got {row!r}")
    return hybrid_row(identified, train, validation, recipe, seed=seed).model
