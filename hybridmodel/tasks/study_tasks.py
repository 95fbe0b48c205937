"""The tasks of studies: six systems with five hidden effects each, in sizes that many fits and
closed loops can afford.

Logs for fitting are 60 s in all; shorter ones are part of them, see `first_seconds`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from hybridmodel.tasks import car, kuka, quadrotor
from hybridmodel.tasks.cartpole import CARTPOLE
from hybridmodel.tasks.double_pendulum import DOUBLE_PENDULUM
from hybridmodel.tasks.following import Following, Motions
from hybridmodel.tasks.pendulum import PENDULUM
from hybridmodel.tasks.swing_up import Attempts, SwingUp
from hybridmodel.tasks.task import Task
from physics import DoublePendulum

_HIGH = 2.7  # m, of the quadrotor's logs
EFFECTS = ("parameters", "friction", "actuator", "lag", "all")


def pendulum() -> Task:
    """As in the demonstration."""
    return _swung(PENDULUM)


def cartpole() -> Task:
    """As in the demonstration."""
    return _swung(CARTPOLE)


def double_pendulum() -> Task:
    """With motors that cannot lift it at once."""
    weak = zip(DOUBLE_PENDULUM.system.inputs, (4.5, 2.2), strict=True)
    inputs = tuple(replace(s, low=-torque, high=torque) for s, torque in weak)
    system = DoublePendulum(inputs=inputs)
    return _swung(
        replace(DOUBLE_PENDULUM, system=system, smoothing=0.5),
        horizon=30,
        every=4,
        samples=300,
        elites=15,
        iterations=8,
        knots=10,
        warm_spread=0.1,
        sqp_tolerance=1e-2,
    )


def small_car() -> Task:
    """As it is."""
    return _followed(car.task(), stride=2)


def flight() -> Task:
    """One lap of the eight; logs are of higher up, since weak motors let it sink."""
    task = quadrotor.task()
    assert isinstance(task.logging, Motions)
    x, y, _, *rest = task.logging.start
    _, _, _, heading = task.logging.center
    high = replace(task.logging, center=(x, y, _HIGH, heading), start=(x, y, _HIGH, *rest))
    return _followed(
        replace(task, substeps=8, logging=high),
        stride=3,
        seconds=5.5,
        samples=400,
        elites=20,
        knots=7,
        warm_spread=0.1,
        sqp_rti=True,
    )


def arm() -> Task:
    """One lap of the eight, followed closely and planned not far ahead."""
    task = kuka.task()
    known = (*task.recipe.fit_parameters, *(f"{kuka.FLANGE}.center_{axis}" for axis in "xyz"))
    recipe = replace(task.recipe, fit_parameters=known)
    return _followed(
        replace(task, smoothing=1.0, oracle_substeps=1, recipe=recipe),
        stride=10,
        weight=1e5,
        seconds=3.0,
        settle=1.0,
        horizon=8,
        samples=300,
        elites=15,
        iterations=8,
        knots=2,
        warm_spread=0.05,
        sqp_tolerance=1e-2,
    )


def _followed(task: Task, stride: int, **control: object) -> Task:
    """Fewer held-out logs, and one fit in place of a sweep."""
    assert isinstance(task.logging, Motions)
    assert isinstance(task.control, Following)
    return replace(
        task,
        logging=replace(task.logging, held_out=2),
        recipe=replace(task.recipe, stride=stride, sweep=(1e-2,), starts=1),
        control=replace(task.control, **control),  # type: ignore[arg-type]
    )


def _swung(task: Task, **control: object) -> Task:
    """Attempts by SQP, and one fit in place of a sweep."""
    assert isinstance(task.logging, Attempts)
    assert isinstance(task.control, SwingUp)
    return replace(
        task,
        logging=replace(task.logging, planner="sqp"),
        recipe=replace(task.recipe, sweep=(1e-2,), starts=3),
        control=replace(task.control, **control),  # type: ignore[arg-type]
    )


STUDY_TASKS: Mapping[str, Callable[[], Task]] = {
    "pendulum": pendulum,
    "cartpole": cartpole,
    "double-pendulum": double_pendulum,
    "car": small_car,
    "quadrotor": flight,
    "kuka": arm,
}
