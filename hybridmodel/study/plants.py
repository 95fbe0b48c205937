"""Where a model is tried: on the plant of the logs, on others, or against measured logs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hybridmodel.tasks.task import Task

Engine = Literal["pybullet", "mujoco", "ode"]

LOGGED, MEASURED = "logged", "measured"
ENGINES: dict[str, Engine] = {LOGGED: "pybullet", "mujoco": "mujoco", "ode": "ode"}


@dataclass(frozen=True)
class Plant:
    """A task with what its plant hides, and the simulator."""

    task: Task
    engine: Engine


def plant_of(task: Task, effect: str, name: str) -> Plant:
    """The plant of a name: "logged", "mujoco", "ode", or another effect of the task in PyBullet.

    Raises ValueError where it is none of them.
    """
    if name in ENGINES:
        return Plant(task.under(effect), ENGINES[name])
    if name not in task.effects:
        raise ValueError(
            f"plants: {name!r} is none of {list(ENGINES)}, and {task.name} has no such effect: "
            f"{list(task.effects)}; logs of the real machine are given as measured"
        )
    return Plant(task.under(name), "pybullet")
