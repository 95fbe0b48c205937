"""A planner in a process: the same plans, whatever happens there."""

from __future__ import annotations

import os
import time
from functools import partial

import numpy as np
import pytest
import torch

from hybridmodel import (
    CEM,
    HybridModel,
    Learned,
    OptimalControlProblem,
    Quadratic,
    Status,
    receding_horizon,
)
from hybridmodel.planners.planner import Candidate, Planner, Task
from hybridmodel.planners.worker import Worker
from physics import Pendulum

H = 6
X0 = np.array([0.4, 0.0])
RAISES, HANGS, DIES = 1.0, 2.0, 3.0  # angles at which the planner below does so


class Valued(Quadratic):
    """A cost with a learned value at its end."""

    def __init__(self, system: Pendulum) -> None:
        super().__init__(system, state={"angle": 1.0}, input={"torque": 1.0})
        torch.manual_seed(0)
        self.value = torch.nn.Linear(2, 1, dtype=torch.float64)

    def terminal(self, x, pi):
        return Learned(self.value)(x) ** 2


def problem(mass: float = 1.0) -> OptimalControlProblem:
    system = Pendulum(mass=mass)
    cost = Valued(system)
    model = HybridModel(system, dt=0.1, fit_parameters=("mass",))
    return OptimalControlProblem(model, cost, horizon=H, input_bounds=([-1.0], [1.0]))


def weight(of: OptimalControlProblem) -> torch.Tensor:
    """That of the learned value."""
    return next(of.networks[0].parameters())


class Stubborn(Planner):
    """A planner that nothing stops, with some bad habits."""

    interruptible = False

    def __init__(self) -> None:
        self.problem = problem()
        self.inner = CEM(self.problem, samples=16, elites=4, iterations=2)

    def search(self, task: Task) -> Candidate:
        habit = task.x0[0]
        if habit == RAISES:
            raise ZeroDivisionError("a bad habit")
        if habit == DIES:
            os._exit(3)
        while habit == HANGS:
            time.sleep(0.01)
        return self.inner.search(task)


@pytest.fixture(scope="module")
def worker():
    with_process = Worker(Stubborn)
    yield with_process
    with_process.close()


def awake(worker: Worker) -> None:
    """Wait until its process is there again."""
    for _ in range(400):
        if worker.plan(X0).usable:
            return
        time.sleep(0.05)
    raise TimeoutError("the process did not come back")


def test_plans_are_those_of_the_planner_itself(worker: Worker) -> None:
    own = Stubborn()
    first = worker.plan(X0, seed=3)
    assert first == own.plan(X0, seed=3)
    warm = {"warm_start": first.shift(), "previous_input": np.array([0.2]), "deadline": 50.0}
    assert worker.plan(X0, **warm) == own.plan(X0, **warm)
    assert not worker.events
    assert worker.interruptible


def test_changes_of_the_model_reach_the_process(worker: Worker) -> None:
    own, theta = Stubborn(), worker.problem.model.theta.detach().clone()
    for model in (own.problem.model, worker.problem.model):
        model.theta.data += 0.7
    heavy = worker.plan(X0, seed=3)
    assert heavy == own.plan(X0, seed=3)
    worker.problem.model.theta.data.copy_(theta)
    assert worker.plan(X0, seed=3) != heavy


def test_changes_of_a_learned_cost_reach_it_too(worker: Worker) -> None:
    own = Stubborn()
    for problem in (own.problem, worker.problem):
        weight(problem).data.mul_(3.0)
    moved = worker.plan(X0, seed=3)
    assert moved == own.plan(X0, seed=3)
    weight(worker.problem).data.div_(3.0)
    assert worker.plan(X0, seed=3) != moved


@pytest.mark.parametrize(
    ("habit", "event"), [(RAISES, "raised ZeroDivisionError"), (DIES, "ended")]
)
def test_errors_and_the_end_of_the_process_are_failed_plans(worker, habit, event) -> None:
    worker.events.clear()
    plan = worker.plan(np.array([habit, 0.0]))
    assert plan.status is Status.FAILED
    assert worker.events == {event: 1}
    awake(worker)


def test_a_hung_planner_is_killed_and_the_loop_goes_on(worker: Worker) -> None:
    with pytest.raises(ValueError, match="Stubborn cannot be interrupted"):
        receding_horizon(Stubborn())
    worker.events.clear()
    assert worker.plan(X0, deadline=1e-4).status is Status.FAILED
    assert worker.events == {"no time": 1}  # which is no reason to kill anybody
    worker.events.clear()
    process = worker._child._process
    policy = receding_horizon(worker, deadline=0.2)
    actions, seconds = [], []
    for k in range(5):
        started = time.perf_counter()
        actions.append(policy(0.1 * k, np.array([HANGS if k == 1 else 0.4, 0.0])))
        seconds.append(time.perf_counter() - started)
    process.join(5)
    assert process.exitcode == -9
    assert worker.events == {"late": 1, "starting": 3}
    assert policy.events["plan failed"] == 4
    assert policy.links == {"plan": 1, "shifted plan": 4}
    assert np.isfinite(actions).all()
    assert 0.18 < seconds[1] < 0.25
    assert max(seconds[2:]) < 0.05  # nobody waits for the new process
    awake(worker)
    policy(0.5, X0)
    assert policy.links["plan"] == 2


def test_what_is_closed_plans_no_more() -> None:
    worker = Worker(partial(Stubborn))
    process = worker._child._process
    worker.close()
    process.join(5)
    assert not process.is_alive()
    assert worker.plan(X0).status is Status.FAILED
    assert worker.events == {"closed": 1}
    with pytest.raises(ValueError, match="limit must be a positive number"):
        Worker(Stubborn, limit=0.0)
