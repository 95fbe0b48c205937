"""Where a model is tried: on the plant of the logs, on others, or against measured logs."""

from __future__ import annotations

from dataclasses import dataclass

from hybridmodel.tasks.task import Task

LOGGED, MEASURED = "logged", "measured"
OTHERS = ("mujoco", "ode")


@dataclass(frozen=True)
class Plant:
    """A task with what its plant hides, and the simulator."""

    task: Task
    engine: str


def plant_of(task: Task, effect: str, name: str) -> Plant:
    """The plant of a name: "logged", another engine, or another effect of the task in its engine.

    Raises ValueError where it is none of them.
    """
    if name == LOGGED:
        return Plant(task.under(effect), task.engine)
    if name in OTHERS:
        return Plant(task.under(effect), name)
    if name not in task.effects:
        raise ValueError(
            f"plants: {name!r} is none of {[LOGGED, *OTHERS]}, and {task.name} has no such effect: "
            f"{list(task.effects)}; logs of the real machine are given as measured"
        )
    return Plant(task.under(name), task.engine)
