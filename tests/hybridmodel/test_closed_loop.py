"""A planner as a policy: whatever happens, the action is finite and inside its bounds."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybridmodel import (
    CEM,
    HybridModel,
    OptimalControlProblem,
    Plan,
    Planner,
    Quadratic,
    Status,
    collect,
    receding_horizon,
)
from hybridmodel.planners.planner import Candidate
from physics import InputDelay, Pendulum

H = 6
SYSTEM = Pendulum()


def problem(system=SYSTEM) -> OptimalControlProblem:
    cost = Quadratic(system, state={"angle": 1.0}, input={"torque": 0.1})
    model = HybridModel(system, dt=0.1)
    return OptimalControlProblem(model, cost, horizon=H, input_bounds=([-0.5], [2.0]))


class Scripted(Planner):
    """Plans 1, 1.1, 1.2, … from its k-th call on; remembers what it was asked."""

    def __init__(self, problem: OptimalControlProblem, script=()) -> None:
        self.problem, self.script, self.asked = problem, list(script), []

    def search(self, task) -> Candidate:
        u = 1 + 0.1 * np.arange(H)[:, None]
        return Candidate(u=u, status=Status.BUDGET, iterations=1)

    def plan(self, x0, **keywords) -> Plan:
        self.asked.append({"x0": np.array(x0), **keywords})
        plan = super().plan(x0, **keywords)
        act = self.script.pop(0) if self.script else None
        return plan if act is None else act(plan)


def fail(plan: Plan) -> Plan:
    raise RuntimeError("the solver fell over")


def of(**changes):
    return lambda plan: dataclasses.replace(plan, **changes)


BROKEN = {
    "raises": (fail, "planner raised RuntimeError"),
    "nothing": (lambda plan: None, "plan unusable"),
    "nan": (of(u=np.full((H, 1), np.nan)), "plan unusable"),
    "one_nan": (of(u=np.array([[1.0]] * (H - 1) + [[np.inf]])), "plan unusable"),
    "wrong_width": (of(u=np.ones((H, 2))), "plan unusable"),
    "wrong_length": (of(u=np.ones((0, 1))), "plan unusable"),
    "flat": (of(u=np.ones(H)), "plan unusable"),
    "failed": (of(status=Status.FAILED), "plan failed"),
    "infeasible": (of(status=Status.INFEASIBLE), "plan infeasible"),
}
Y = np.array([0.3, 0.0])


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_first_plan_gives_the_safe_input(name: str) -> None:
    act, event = BROKEN[name]
    policy = receding_horizon(Scripted(problem(), [act]), safe_input=np.array([0.25]))
    assert policy(0.0, Y).tolist() == [0.25]
    assert policy.events == {event: 1, "safe input": 1}
    assert policy(0.1, Y).tolist() == [1.0]  # the next plan is fine


@pytest.mark.parametrize("name", BROKEN)
def test_after_a_broken_plan_the_one_before_is_followed(name: str) -> None:
    act, event = BROKEN[name]
    planner = Scripted(problem(), [None, *[act] * 9])
    policy = receding_horizon(planner, safe_input=np.array([-0.25]))
    actions = [policy(0.1 * k, Y)[0] for k in range(8)]
    assert actions == pytest.approx([1, 1.1, 1.2, 1.3, 1.4, 1.5, -0.25, -0.25])
    assert policy.events == {event: 7, "safe input": 2}


def test_a_lost_observation_follows_the_plan() -> None:
    policy = receding_horizon(Scripted(problem()), every=2)
    observations = [Y, np.full(2, np.nan), np.array([0.0, np.inf]), Y, Y]
    actions = [policy(0.1 * k, y)[0] for k, y in enumerate(observations)]
    assert actions == pytest.approx([1, 1.1, 1.2, 1, 1.1])
    assert policy.events == {"observation not finite": 2}


def test_observations_of_another_shape_are_survived() -> None:
    policy = receding_horizon(Scripted(problem()))
    assert policy(0.0, np.zeros(5)).tolist() == [0.0]
    assert policy.events == {"estimator raised ValueError": 1, "safe input": 1}


class Moody:
    """An estimator that fails in one way or another."""

    def __init__(self, answer) -> None:
        self.answer = answer

    def reset(self) -> None:
        """Nothing to forget."""

    def update(self, y, previous_input, d=None):
        if self.answer is None:
            raise RuntimeError("diverged")
        return self.answer


@pytest.mark.parametrize("answer", [None, np.full(2, np.nan), np.zeros(7)], ids=str)
def test_a_failing_estimator_is_survived(answer) -> None:
    policy = receding_horizon(Scripted(problem()), estimator=Moody(answer))
    assert policy(0.0, Y).tolist() == [0.0]
    assert policy.events["safe input"] == 1
    assert policy.events.total() == 2


@settings(derandomize=True, deadline=None, max_examples=15)
@given(
    faults=st.lists(st.sampled_from([None, *(act for act, _ in BROKEN.values())]), max_size=12),
    lost=st.lists(st.booleans(), min_size=12, max_size=12),
    every=st.integers(1, H),
    size=st.floats(-1e300, 1e300),
)
def test_actions_are_always_finite_and_inside_the_bounds(faults, lost, every, size) -> None:
    policy = receding_horizon(Scripted(problem(), faults), every=every)
    for k, gone in enumerate(lost):
        u = policy(0.1 * k, np.full(2, np.nan) if gone else size * Y)
        assert u.shape == (1,)
        assert -0.5 <= u[0] <= 2.0


@pytest.mark.parametrize("every", [1, 2, 5])
def test_between_plans_the_plan_is_followed(every: int) -> None:
    planner = Scripted(problem())
    policy = receding_horizon(planner, every=every)
    actions = [policy(0.1 * k, Y)[0] for k in range(10)]
    assert actions == pytest.approx([1 + 0.1 * (k % every) for k in range(10)])
    assert [t for t, _ in policy.plans] == pytest.approx(0.1 * np.arange(0, 10, every))
    assert len(planner.asked) == len(policy.plans)
    assert not policy.events
    again = planner.asked[1]
    assert again["warm_start"] == policy.plans[0][1].shift(every)
    assert again["previous_input"].tolist() == actions[every - 1 : every]
    assert np.array_equal(again["x0"], Y)


def test_what_is_given_is_handed_to_the_planner() -> None:
    planner = Scripted(problem())
    first = planner.plan(Y)
    planner.asked.clear()
    policy = receding_horizon(planner, deadline=9.0, first_plan=first)
    policy.reset(5)
    policy(0.0, Y)
    policy(0.1, Y)
    assert [asked["deadline"] for asked in planner.asked] == [9.0, 9.0]
    assert [asked["seed"] for asked in planner.asked] == [5, 6]
    assert planner.asked[0]["warm_start"] == first
    assert planner.asked[0]["previous_input"] is None


def test_reset_forgets_everything() -> None:
    system = InputDelay(system=SYSTEM, steps=2)
    policy = receding_horizon(Scripted(problem(system), [fail]))
    first = [policy(0.1 * k, Y)[0] for k in range(3)]
    policy.planner.script = [fail]
    policy.reset(0)
    assert not policy.plans
    assert not policy.events
    assert [policy(0.1 * k, Y)[0] for k in range(3)] == first


def test_memory_knows_inputs_whose_observation_was_lost() -> None:
    planner = Scripted(problem(InputDelay(system=SYSTEM, steps=3)))
    policy = receding_horizon(planner, every=2)
    lost = np.full(2, np.nan)
    given = [policy(0.1 * k, y)[0] for k, y in enumerate([Y, lost, lost, Y])]
    assert planner.asked[-1]["x0"][2:] == pytest.approx(given[:3])


def test_the_callers_copy_is_his_own() -> None:
    policy = receding_horizon(Scripted(problem()))
    policy(0.0, Y)[:] = 99.0
    assert policy(0.1, Y).tolist() == [1.0]
    assert policy.planner.asked[-1]["previous_input"].tolist() == [1.0]


class Plant:
    """The model itself as a plant."""

    dt = 0.1

    def __init__(self, model: HybridModel) -> None:
        step = model.step_function()
        self.step_ = lambda x, u: step(x, u, [], []).full()[:, 0]

    def reset(self, *, seed=None, options=None):
        self.x = np.array([0.5, 0.0]) if options is None else options["state"]
        return self.x, {"x": self.x}

    def step(self, u):
        self.x = self.step_(self.x, u)
        return self.x, 0.0, False, False, {"x": self.x}


class Rest:
    """No input at all."""

    def reset(self, seed) -> None:
        """Nothing to forget."""

    def __call__(self, t, y):
        return np.zeros(1)


def test_a_closed_loop_repeats_and_does_what_it_is_for() -> None:
    control = problem()
    plant = Plant(control.model)
    policy = receding_horizon(CEM(control, samples=60, elites=8, iterations=3), every=2)
    log = collect(plant, policy, steps=20, seed=1)
    assert log == collect(plant, policy, steps=20, seed=1)
    assert log != collect(plant, policy, steps=20, seed=2)
    rest = collect(plant, Rest(), steps=20, seed=1)
    assert np.square(log.y[:, 0]).sum() < 0.8 * np.square(rest.y[:, 0]).sum()


def test_errors_name_the_argument() -> None:
    planner = Scripted(problem())
    for every in (0, H + 1):
        with pytest.raises(ValueError, match=rf"every must lie in \[1, horizon {H}\], got {every}"):
            receding_horizon(planner, every=every)
    for safe in (np.zeros(2), np.array([np.nan])):
        with pytest.raises(ValueError, match="safe_input must be 1 finite numbers"):
            receding_horizon(planner, safe_input=safe)
    assert receding_horizon(planner, safe_input=np.array([9.0])).safe_input.tolist() == [2.0]
