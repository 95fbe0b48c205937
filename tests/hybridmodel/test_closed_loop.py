"""A planner as a policy: whatever happens, the action is finite and inside its bounds."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybridmodel import (
    CEM,
    ILQR,
    HybridModel,
    OptimalControlProblem,
    Plan,
    Planner,
    Quadratic,
    Status,
    collect,
    receding_horizon,
)
from hybridmodel.closed_loop.standing import followed
from hybridmodel.planners.planner import Candidate
from physics import InputDelay, Pendulum, Quadrotor

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
    assert policy.events == {"observation of another shape": 1, "safe input": 1}


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
    assert [asked["deadline"] for asked in planner.asked] == [9.0 - policy.reserve] * 2
    assert 0 < policy.reserve < 0.1  # what checking a stranger's plan takes
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


def test_the_warm_start_is_dropped_after_a_failure() -> None:
    planner = Scripted(problem(), [None, fail, of(status=Status.INFEASIBLE), None, None])
    policy = receding_horizon(planner)
    for k in range(5):
        policy(0.1 * k, Y)
    warm = [asked["warm_start"] is not None for asked in planner.asked]
    assert warm == [False, True, False, False, True]
    assert policy.links == {"plan": 3, "shifted plan": 2}


GAINS = np.array([[[-2.0, 0.5]]] * H) * (1 + np.arange(H))[:, None, None]


@pytest.mark.parametrize("every", [1, 3])
def test_gains_correct_the_plan_towards_its_states(every: int) -> None:
    planner = Scripted(problem(), [of(gains=GAINS), *[fail] * 9])
    policy = receding_horizon(planner, every=every)
    xs = np.array([0.3, 0.0]) + 0.05 * np.arange(H)[:, None]
    actions = np.array([policy(0.1 * k, x) for k, x in enumerate(xs)])
    plan = policy.plans[0][1]
    wanted = [plan.u[k] + GAINS[k] @ (xs[k] - plan.x[k]) for k in range(H)]
    assert actions == pytest.approx(np.clip(wanted, -0.5, 2.0))
    lost = policy(0.1 * H, np.full(2, np.nan))
    assert lost.tolist() == [0.0]
    assert policy.links["safe input"] == 1
    back = policy(0.1 * H, xs[-1])  # beyond the plan its last gains hold
    assert back == pytest.approx(np.clip(wanted[-1], -0.5, 2.0))
    assert policy.events["feedback"] == 1


def test_gains_of_overflowing_states_leave_the_plan_alone() -> None:
    policy = receding_horizon(Scripted(problem(), [of(gains=1e10 * GAINS)]), every=2)
    policy(0.0, Y)
    assert policy(0.1, np.full(2, 1e300)).tolist() == [1.1]


def test_gains_of_rotations_take_q_and_minus_q_for_one() -> None:
    system = Quadrotor()
    model = HybridModel(system, dt=0.02)
    rng, x = np.random.default_rng(0), np.array(system.neutral)
    K = rng.standard_normal((1, system.nu, model.nx))
    plan = Plan(np.ones((1, system.nu)), np.array([x, x]), 0.0, Status.BUDGET, gains=K)
    moved = model.equations.state_retract(x, 0.3 * rng.standard_normal(12)).full().ravel()
    law = followed(model, plan, 0, moved)
    assert law == pytest.approx(1 + K[0] @ (moved - x))
    row = system.quaternion_rows[0]
    moved[row : row + 4] *= -1
    assert followed(model, plan, 0, moved) == pytest.approx(law)
    assert followed(model, plan, 0, None).tolist() == [1.0] * system.nu


def test_a_loop_uses_the_gains_of_planners_on_rotations() -> None:
    system = Quadrotor()
    names, hover = [s.name for s in system.inputs], 9.81 * float(system.parameters["mass"]) / 4
    cost = Quadratic(
        system,
        state={"z": 1.0, "attitude": 1.0},
        input=dict.fromkeys(names, 0.1),
        target=dict.fromkeys(names, hover),
    )
    of = OptimalControlProblem(HybridModel(system, dt=0.05), cost, horizon=5)
    policy = receding_horizon(ILQR(of), every=3)
    x = np.array(system.neutral)
    x[2] = 0.1
    policy(0.0, x)
    assert not policy.events
    off = policy.plans[0][1].x[1].copy()
    off[2] += 0.05
    assert np.abs(policy(0.05, off) - policy.plans[0][1].u[1]).max() > 1e-4


def test_turns_of_an_angle_are_no_deviation() -> None:
    found = []
    for turns in (0, 1, -3):
        policy = receding_horizon(Scripted(problem(), [of(gains=GAINS)]), every=2)
        policy(0.0, Y)
        found.append(policy(0.1, Y + np.array([2 * np.pi * turns, 0.0])))
    assert found[1] == pytest.approx(found[0])
    assert found[2] == pytest.approx(found[0])


def test_beyond_the_plan_a_law_or_the_last_input_holds() -> None:
    def law(t: float, x: np.ndarray) -> np.ndarray:
        if t > 0.25:
            raise OSError("no law here")
        return np.array([np.nan]) if t > 0.15 else -x[:1]

    policy = receding_horizon(Scripted(problem(), [fail] * 4), fallback=law)
    actions = [policy(0.1 * k, Y)[0] for k in range(5)]
    assert actions == pytest.approx([-0.3, -0.3, 0, 0, 1])
    assert policy.links == {"feedback": 2, "safe input": 2, "plan": 1}
    assert policy.events["fallback unusable"] == policy.events["fallback raised OSError"] == 1

    planner = Scripted(problem(), [None, *[fail] * 99])
    policy = receding_horizon(planner, fallback="hold")
    actions = [policy(0.1 * k, Y)[0] for k in range(2 * H + 2)]
    assert actions[H - 1 :] == pytest.approx([1.5] * (H + 1) + [0.0] * 2)  # a horizon at most
    assert policy.events["hold"] == H
    lost = receding_horizon(Scripted(problem(), [fail]), fallback="hold")
    assert lost(0.0, Y).tolist() == [0.0]  # there is nothing to hold


@pytest.mark.parametrize("own", [False, True])
def test_rates_are_limited_whichever_link_acts(own: bool) -> None:
    control = problem()
    control.input_rate = np.array([3.0])
    planner = Scripted(control, [None, *[fail] * H, None])
    limit = {"rate_limit": [2.0]} if own else {}
    policy = receding_horizon(planner, safe_input=np.array([-0.5]), **limit)
    actions = np.array([policy(0.1 * k, Y)[0] for k in range(9)])
    step = 0.2 if own else 0.3
    assert np.abs(np.diff(actions)).max() == pytest.approx(step)
    assert actions[H] == pytest.approx(1.5 - step)  # on the way to the safe input
    assert planner.asked[-1]["previous_input"] == actions[-2]


@pytest.mark.parametrize("seen", [None, np.zeros(3), 0.0, "text", [[1.0]], {}, object(), [None, 1]])
def test_any_observation_is_survived(seen) -> None:
    policy = receding_horizon(Scripted(problem()))
    policy(0.0, Y)
    assert policy(0.1, seen).tolist() == [1.1]
    assert policy.events.total() == 1
    assert policy.links == {"plan": 1, "shifted plan": 1}


def test_parameters_that_fail_are_survived() -> None:
    def told(t: float) -> np.ndarray:
        if t > 0.25:
            return np.zeros(3)
        raise KeyError(t) if t > 0.15 else GeneratorExit

    policy = receding_horizon(Scripted(problem()), parameters=told)
    assert [policy(0.1 * k, Y)[0] for k in range(4)] == [0.0] * 4
    assert policy.events == {
        "parameters raised GeneratorExit": 2,
        "parameters raised KeyError": 1,
        "parameters raised ValueError": 1,
        "safe input": 4,
    }


def test_an_order_to_stop_stops() -> None:
    def stop(plan: Plan) -> Plan:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        receding_horizon(Scripted(problem(), [stop]))(0.0, Y)


def test_planners_of_the_package_are_not_checked_twice() -> None:
    assert not receding_horizon(CEM(problem(), samples=8, elites=2)).verify
    assert receding_horizon(Scripted(problem())).verify
    assert receding_horizon(CEM(problem(), samples=8, elites=2), verify=True).verify


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
    for rate in ([1.0, 1.0], [0.0], [np.nan]):
        with pytest.raises(ValueError, match="rate_limit must be 1 positive numbers"):
            receding_horizon(planner, rate_limit=rate)
    with pytest.raises(ValueError, match="fallback must be None, 'hold' or a law"):
        receding_horizon(planner, fallback="stay")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"deadline must exceed .* which checking a plan takes"):
        receding_horizon(planner, deadline=1e-9)
    planner.interruptible = False
    with pytest.raises(ValueError, match=r"Scripted cannot be interrupted.*Worker"):
        receding_horizon(planner)
    planner.interruptible = True
    assert receding_horizon(planner, safe_input=np.array([9.0])).safe_input.tolist() == [2.0]
