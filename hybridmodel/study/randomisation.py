"""Domain randomisation as a source of data: logs of drawn plants, none of them the true one.

Each number that an effect of the task changes is drawn from an interval that reaches 1.5 times as
far from the nominal value as the effects do, to both sides where that has a meaning. Tobin et al.,
Domain randomization for transferring deep neural networks from simulation to the real world, IROS
2017, for dynamics Peng et al., Sim-to-real transfer of robotic control with dynamics randomization,
ICRA 2018. Delays, of whole steps, are drawn up to the task's own.
"""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Any

import numpy as np

from hybridmodel.data import Dataset, Trajectory
from hybridmodel.envs import HiddenEffects
from hybridmodel.envs.randomized import Interval, Randomized
from hybridmodel.tasks.following import Motions
from hybridmodel.tasks.swing_up import Attempts
from hybridmodel.tasks.task import Task, split

BEYOND = 1.5  # how much further than the task's own effects
_FIXED = {"parameters", "observation_noise", "ripple_waves", "push", "wind", "wind_time"}


def drawn(task: Task, seed: int) -> Randomized:
    """Plants about the nominal one, half as far again from it as any of the task's effects."""
    effects = list(task.effects.values())
    plain = type(effects[0])(observation_noise=effects[0].observation_noise)
    nominal = {k: float(v) for k, v in task.system.parameters.items()}
    furthest: dict[str, float] = {}
    for hidden in effects:
        for name, value in hidden.parameters.items():
            off = abs(value - nominal[name])
            furthest[name] = max(furthest.get(name, 0.0), off)
    parameters = {
        name: Interval(
            max(nominal[name] - BEYOND * off, nominal[name] / 4), nominal[name] + BEYOND * off
        )
        for name, off in furthest.items()
    }
    fields = [f.name for f in dataclasses.fields(plain) if f.name not in _FIXED]
    spread = {name: _interval(name, [getattr(e, name) for e in effects], plain) for name in fields}
    return Randomized(
        parameters=parameters,
        effects={name: value for name, value in spread.items() if value is not None},
        always=replace(plain, ripple_waves=max(e.ripple_waves for e in effects)),
        seed=seed,
    )


def randomised_logs(task: Task, seed: int) -> tuple[list[Trajectory], list[Trajectory]]:
    """Train and validation: as many logs as the task has of its own, each of another plant."""
    logging, plants = task.logging, drawn(task, seed)
    if isinstance(logging, Motions):
        count, start = logging.logs, np.array(logging.start)
        policies = [logging.excitation(task.system)] * count
    elif isinstance(logging, Attempts):
        count, start = logging.excited + logging.attempts, np.zeros(task.system.nx)
        policies = [logging.excitation(task.system, k) for k in range(count)]
    else:
        raise ValueError(f"task: logs of {type(logging).__name__} cannot be randomised")

    def make(hidden: HiddenEffects) -> Any:
        return replace(task, hidden=hidden).plant(task.engine, initial_state=start)

    logs = [
        log
        for k, policy in enumerate(policies)
        for log in plants.collect(make, policy, plants=[k], steps=logging.steps, seed=seed)
    ]
    whole = Dataset([log for log in logs if log.steps >= logging.steps // 2])
    return split(list(whole))


def _interval(name: str, values: list[Any], plain: HiddenEffects) -> Any:
    """The interval of one field, of each entry where it is a tuple; None where no effect has it."""
    nominal = getattr(plain, name)
    given = [value for value in values if value != nominal and value is not None]
    if not given or isinstance(given[0], str):
        return given[0] if given else None
    if isinstance(given[0], tuple):
        columns = list(zip(*given, strict=True))
        return tuple(Interval(BEYOND * min(0.0, *c), BEYOND * max(0.0, *c)) for c in columns)
    if name == "input_delay":
        return Interval(0, max(given), "whole")
    if name in ("input_gain", "tyre_friction"):
        off = BEYOND * max(abs(value - nominal) for value in given)
        return Interval(max(nominal - off, 0.1), nominal + off)
    if name == "ripple":
        return Interval(0.0, min(1.0, BEYOND * max(given)))
    return Interval(0.0, BEYOND * max(given))
