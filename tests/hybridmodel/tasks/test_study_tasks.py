"""The tasks of studies: what each holds, and what can be asked of it."""

from __future__ import annotations

import pickle
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from hybridmodel.baselines import physics_row
from hybridmodel.data import Trajectory
from hybridmodel.excitation import FourierMotion
from hybridmodel.tasks.car import Pursuit
from hybridmodel.tasks.pendulum import PENDULUM
from hybridmodel.tasks.study_tasks import EFFECTS, STUDY_TASKS
from hybridmodel.tasks.task import Logs, Task, first_seconds, mixed


@pytest.fixture(scope="module", params=list(STUDY_TASKS))
def task(request: pytest.FixtureRequest) -> Task:
    return STUDY_TASKS[request.param]()


def log(steps: int, mark: float, dt: float = 0.1) -> Trajectory:
    t = dt * np.arange(steps + 1, dtype=np.float64)
    return Trajectory(t=t, u=np.zeros((steps, 1)), y=np.full((steps + 1, 1), mark))


def logs(train: int, validation: int, steps: int = 30) -> Logs:
    marks = iter(range(train + validation))
    return Logs(
        [log(steps, next(marks)) for _ in range(train)],
        [log(steps, next(marks)) for _ in range(validation)],
        [log(steps, -1)],
    )


def seconds(some: Logs) -> float:
    return sum(one.seconds for one in (*some.train, *some.validation))


def marks(some: list[Trajectory]) -> set[float]:
    return {float(one.y[0, 0]) for one in some}


def test_every_task_has_the_same_effects_and_each_fits_its_plant(task: Task) -> None:
    assert tuple(task.effects) == EFFECTS
    for effect in EFFECTS:
        under = task.under(effect)
        assert under.hidden == task.effects[effect]
        assert np.any(under.hidden.observation_noise)
        under.hidden.check(task.system)
    assert task.effects["lag"].input_lag or task.effects["lag"].input_delay
    for effect in ("parameters", "friction", "actuator"):
        assert not task.effects[effect].input_lag
        assert not task.effects[effect].input_delay


def test_a_task_crosses_to_workers(task: Task) -> None:
    again = pickle.loads(pickle.dumps(task.under("lag")))
    assert again.hidden == task.effects["lag"]
    assert again.recipe == task.recipe


def test_another_effect_takes_the_story_of_what_is_hidden_with_it() -> None:
    assert PENDULUM.under("all") == PENDULUM  # what the demonstration hides
    other = replace(PENDULUM, true_parameters={"damping": 1.0}).under("lag")
    assert other.story != PENDULUM.story
    assert not other.truth()
    with pytest.raises(ValueError, match=r"effect must be one of \['actuator', .*got 'wind'"):
        PENDULUM.under("wind")


def test_logs_for_fitting_are_a_minute_at_most(task: Task) -> None:
    logging = task.logging
    count = getattr(logging, "logs", 0) or logging.excited + logging.attempts  # type: ignore[attr-defined]
    assert count * logging.steps * task.dt <= 60 + 1e-9
    assert 2 * logging.steps * task.dt <= 15  # a quarter of them is two logs at least


def test_fewer_seconds_are_part_of_more_and_keep_the_shares() -> None:
    every = logs(17, 3)
    parts = [first_seconds(every, span) for span in (15, 30, 60)]
    for part, span in zip(parts, (15, 30, 60), strict=True):
        assert seconds(part) == pytest.approx(span)
        assert len(part.validation) == max(1, round(0.15 * span / 3))
        assert part.test == every.test
    for few, more in pairwise(parts):
        assert marks(few.train) < marks(more.train)
        assert marks(few.validation) <= marks(more.validation)
    assert marks(parts[-1].train) == marks(every.train)
    assert seconds(first_seconds(every, 1e9)) == seconds(every)


def test_few_logs_are_of_every_kind() -> None:
    # 10 excited logs before 7 attempts: of four, two are of each
    first = first_seconds(logs(17, 3), 15).train
    assert 1 <= sum(one.y[0, 0] >= 10 for one in first) <= 3
    for n in (5, 12, 40):
        order = mixed(range(n))
        assert sorted(order) == list(range(n))
        for k in range(4, n):  # nowhere a gap of more than twice the even one
            assert np.diff(sorted(order[:k])).max(initial=0) <= np.ceil(2.7 * n / k)


def test_too_few_seconds_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"seconds must leave at least two logs.*5 s leave 1"):
        first_seconds(logs(17, 3), 5)
    with pytest.raises(ValueError, match="seconds must leave"):
        first_seconds(Logs([log(30, 0)], [], []), 60)


def test_unknown_planners_are_refused_with_those_there_are(task: Task) -> None:
    model = physics_row(task.system, task.dt, task.recipe)
    with pytest.raises(ValueError, match=r"planner must be one of \['cem', 'gradient', 'sqp'\]"):
        task.control.policy(task, model, "newton", 0)


@pytest.mark.parametrize("planner", ["cem", "sqp"])
@pytest.mark.parametrize("name", ["pendulum", "cartpole"])
def test_both_families_of_planners_drive_it(name: str, planner: str) -> None:
    task = STUDY_TASKS[name]()
    control = replace(task.control, horizon=10, iterations=2, samples=40, elites=8, knots=4)
    task = replace(task, control=control)
    policy = control.policy(task, physics_row(task.system, task.dt, task.recipe), planner, 0)
    policy.reset(0)
    u = policy(0.0, control.start(task.system))
    assert u.shape == (task.system.nu,)
    assert not policy.events


def test_a_driver_follows_a_motion_of_a_nominal_car() -> None:
    task = STUDY_TASKS["car"]()
    motion = FourierMotion((0.0, 0.0), (1.0, 1.0), period=8.0, harmonics=1)
    driver = Pursuit(task.system, motion)  # type: ignore[arg-type]
    plant = replace(task, hidden=replace(task.hidden, **_none(task))).plant("ode")
    driver.reset(3)
    y, _ = plant.reset(seed=0, options={"state": task.control.start(task.system)})
    apart = []
    for k in range(400):
        y, *_ = plant.step(driver(k * task.dt, y))
        apart.append(np.linalg.norm(y[:2] - motion((k + 1) * task.dt).value))
    assert np.mean(apart[200:]) < 0.4
    low, high = (np.array([getattr(s, end) for s in task.system.inputs]) for end in ("low", "high"))
    for state in np.random.default_rng(0).uniform(-2, 2, (20, 6)):
        u = driver(1.0, state)
        assert (u >= low).all()
        assert (u <= high).all()


def _none(task: Task) -> dict[str, object]:
    return {
        "parameters": {},
        "tyre_friction": 1.0,
        "input_gain": 1.0,
        "dead_zone": 0.0,
        "observation_noise": 0.0,
    }
