"""The oracle: it moves as the plant does, and loops close on what it remembers."""

from __future__ import annotations

from dataclasses import replace

import casadi as ca
import numpy as np
import pytest
import torch

from hybridmodel import envs
from hybridmodel.collection import collect
from hybridmodel.envs import HiddenEffects, OdePlant, rollout_gap
from hybridmodel.envs.effects import RobotEffects
from hybridmodel.envs.parity.gaps import measured_accelerations, modelled_accelerations
from hybridmodel.tasks.observing import Predicted, beginning, observer
from hybridmodel.tasks.oracle import Actuated, oracle, truth
from hybridmodel.tasks.pendulum import PENDULUM
from hybridmodel.tasks.study_tasks import EFFECTS, STUDY_TASKS
from hybridmodel.tasks.task import Task
from physics import Pendulum

# |v̇ plant − v̇ oracle| / max(1, |v̇|) at kinks as they are; the car's wheels are no tyres
LARGEST = {
    "pendulum": 1e-6,
    "cartpole": 1e-6,
    "double-pendulum": 1e-6,
    "quadrotor": 1e-6,
    "kuka": 1e-5,
}


@pytest.fixture(scope="module")
def tasks() -> dict[str, Task]:
    return {name: make() for name, make in STUDY_TASKS.items()}


def near(task: Task, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """States and inputs (count, …) about the start of the task, moving, nowhere at rest."""
    random = np.random.default_rng(seed)
    start, system = task.control.start(task.system), task.system
    states = start + random.uniform(-0.5, 0.5, (count, len(start)))
    rates = list(system.velocity_rows)
    states[:, rates] += np.where(states[:, rates] >= start[rates], 0.4, -0.4)
    for row in system.quaternion_rows:
        states[:, row : row + 4] /= np.linalg.norm(states[:, row : row + 4], axis=1)[:, None]
    low, high = (np.array([getattr(s, end) for s in system.inputs]) for end in ("low", "high"))
    return states, random.uniform(low, high, (count, system.nu))


@pytest.mark.parametrize("effect", EFFECTS)
@pytest.mark.parametrize("name", list(LARGEST))
def test_it_accelerates_as_the_engine_does(tasks: dict[str, Task], name: str, effect: str) -> None:
    task = tasks[name].under(effect)
    # an engine tells accelerations under a settled command: no lag, no delay
    settled = replace(task.hidden, input_lag=0.0, input_delay=0)
    plant = replace(task, hidden=settled).plant("pybullet")
    states, inputs = near(task, 20)
    modelled = modelled_accelerations(truth(task.system, settled), states, inputs)
    measured = measured_accelerations(plant, states, inputs)
    plant.close()
    gap = np.abs(measured - modelled) / np.maximum(1.0, np.abs(modelled))
    if settled.coulomb:  # what turns round within a step of the engine sticks
        before = states[:, list(task.system.velocity_rows)]
        after = before + plant.dt / plant.substeps * modelled
        gap = gap[(np.sign(before) == np.sign(after)).all(axis=1)]
        assert len(gap) >= 5
    assert gap.max() < LARGEST[name]


@pytest.mark.parametrize("effect", EFFECTS)
def test_the_car_moves_as_its_truth_and_nearer_to_the_engine_than_its_physics(
    tasks: dict[str, Task], effect: str
) -> None:
    task = tasks["car"].under(effect)
    settled = replace(task, hidden=replace(task.hidden, input_lag=0.0, input_delay=0))
    states, inputs = near(task, 20)
    states[:, 3] = 1.0
    exact = modelled_accelerations(truth(task.system, settled.hidden), states, inputs)
    ode = settled.plant("ode")
    np.testing.assert_allclose(exact, measured_accelerations(ode, states, inputs), rtol=1e-9)
    x0 = np.array([0.0, 0.0, 0.0, 1.0, 0.0, 0.0])
    u = np.tile([0.25, 0.1], (20, 1))
    plant = settled.plant("pybullet")
    gaps = [
        rollout_gap(plant, x0, u, system, substeps=50)[-1, :2].max()
        for system in (oracle(settled).system, task.system)
    ]
    plant.close()
    assert gaps[0] < 0.5 * gaps[1]


@pytest.mark.parametrize("name", ["pendulum", "quadrotor"])
def test_with_memory_it_rolls_out_as_the_plant(tasks: dict[str, Task], name: str) -> None:
    task = tasks[name].under("lag")
    assert task.hidden.input_lag
    hidden = replace(task.hidden, input_delay=2, observation_noise=0.0)
    task = replace(task, hidden=hidden)
    model = oracle(task)
    plant = task.plant("ode", substeps=100)
    start = task.control.start(task.system)
    _, u = near(task, 12, seed=1)
    plant.reset(seed=0, options={"state": start})
    x = np.array([plant.step(command)[4]["x"] for command in u])
    with torch.no_grad():
        rolled = model.rollout(torch.tensor(beginning(model, start)), torch.tensor(u)).numpy()
    scale = np.ptp(x, axis=0).max()
    np.testing.assert_allclose(rolled[1:, : x.shape[1]], x, atol=2e-3 * scale)


def test_the_estimate_knows_what_was_commanded() -> None:
    task = PENDULUM.under("lag")
    model = oracle(task)
    estimator = observer(model)
    assert isinstance(estimator, Predicted)
    random = np.random.default_rng(0)
    u = random.uniform(-3, 3, (6, 1))
    y = random.uniform(-1, 1, (7, 2))
    x = estimator.update(y[0], None)
    np.testing.assert_array_equal(x[2:], 0.0)  # the motor at rest, nothing under way
    a, lag, delay = 0.0, task.hidden.input_lag, task.hidden.input_delay
    for k in range(6):
        x = estimator.update(y[k + 1], u[k])
        arrived = u[k - delay, 0] if k >= delay else 0.0
        a = arrived + (a - arrived) * np.exp(-task.dt / lag)
        np.testing.assert_array_equal(x[:2], y[k + 1])
        assert x[2] == pytest.approx(a, abs=1e-3)
        assert x[3] == u[k, 0]
    assert observer(oracle(PENDULUM.under("all"))) is None


@pytest.mark.parametrize("planner", ["cem", "sqp"])
def test_loops_close_on_a_model_with_memory(planner: str) -> None:
    task = PENDULUM.under("lag").quick()
    model = oracle(task)
    policy = task.control.policy(task, model, planner, 0)
    plant = task.plant("ode")
    log = collect(plant, policy, steps=10, seed=0, state=task.control.start(task.system))
    assert not policy.events
    problem = task.control.problem(task, model)
    assert np.isfinite(task.control.score(task, problem, log).cost)


def test_a_smooth_dead_zone_becomes_the_exact_one() -> None:
    hidden = HiddenEffects(input_gain=0.8, dead_zone=0.5)
    u = ca.SX.sym("u")

    def applied(width: float) -> ca.Function:
        law = Actuated(system=Pendulum(), hidden=hidden, smoothing=width)
        return ca.Function("a", [u], [law.applied(u)])

    grid = np.linspace(-3, 3, 61)
    exact = np.asarray(applied(0.0)(grid)).ravel()
    for width in (0.5, 0.1, 0.01):
        smooth = np.asarray(applied(width)(grid)).ravel()
        assert np.abs(smooth - exact).max() <= 0.8 * width / 2
        np.testing.assert_allclose(smooth, -smooth[::-1], atol=1e-15)  # odd
    assert (np.diff(np.asarray(applied(0.1)(grid)).ravel()) > 0).all()


@pytest.mark.parametrize(
    ("hidden", "name"),
    [
        (HiddenEffects(push=(0.0, 1.0, (1.0,))), "push"),
        (HiddenEffects(wind=1.0), "wind"),
        (RobotEffects(table=0.0), "table"),
    ],
)
def test_what_has_no_closed_form_is_refused_by_name(hidden: HiddenEffects, name: str) -> None:
    system = STUDY_TASKS["kuka"]().system if name == "table" else PENDULUM.system
    with pytest.raises(ValueError, match=f"^{name} "):
        oracle(replace(PENDULUM, system=system, hidden=hidden))


def test_it_is_the_truth_of_a_plant_without_an_engine() -> None:
    task = PENDULUM.under("all")
    exact = OdePlant(task.system, dt=task.dt, hidden=task.hidden)
    states, inputs = near(task, 50)
    gap = modelled_accelerations(truth(task.system, task.hidden), states, inputs)
    gap -= measured_accelerations(exact, states, inputs)
    assert np.abs(gap[np.abs(states[:, 1]) > 0.05]).max() < 1e-3  # friction smooth over 0.01
    assert envs.OdePlant is OdePlant
