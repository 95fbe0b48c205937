"""Many steps with faults of every kind: no bad action, no error, every fault counted."""

from __future__ import annotations

import time

import numpy as np
import pytest

from benchmarks.planning.faults import OBSERVATIONS, OUTCOMES, Faulty, Polling, strain
from hybridmodel import CEM, HybridModel, OptimalControlProblem, Quadratic, receding_horizon
from hybridmodel.closed_loop import Recording, replay
from hybridmodel.envs import OdePlant
from hybridmodel.planners.planner import Candidate, Task
from physics import Pendulum

DT, RATE = 0.05, np.array([20.0])
SYSTEM = Pendulum()
PLANT = OdePlant(SYSTEM, dt=DT, substeps=1)


def problem() -> OptimalControlProblem:
    cost = Quadratic(SYSTEM, state={"angle": 1.0, "rate": 5.0}, input={"torque": 1.0})
    bounds = [-2.0], [1.5]
    return OptimalControlProblem(HybridModel(SYSTEM, dt=DT), cost, horizon=5, input_bounds=bounds)


@pytest.mark.parametrize(("share", "steps"), [(0.06, 1500), (0.9, 800)])
@pytest.mark.parametrize("fallback", [None, "hold"])
def test_many_steps_with_faults(share: float, steps: int, fallback) -> None:
    planner = Faulty(Polling(problem()))
    policy = receding_horizon(planner, rate_limit=RATE, fallback=fallback)
    tally = strain(policy, planner, PLANT, steps=steps, share=share, seed=1, rate=RATE)
    assert (tally.steps, tally.raised, tally.violations) == (steps, 0, 0)
    assert tally.uncounted() == 0
    assert tally.links.total() == steps
    injected = set(tally.wanted) - {"", "plan late"}
    kinds = {event for _, event in (OBSERVATIONS | OUTCOMES).values() if event} - {"plan late"}
    assert injected >= kinds if share > 0.5 else len(injected) > len(kinds) / 2
    fresh = steps - sum(tally.wanted.values()) + tally.wanted["gains unusable"]
    assert tally.links["plan"] == fresh + tally.wanted["plan late"]


def test_the_same_with_a_real_planner() -> None:
    planner = Faulty(CEM(problem(), samples=16, elites=4, iterations=2))
    policy = receding_horizon(planner, rate_limit=RATE, every=1)
    tally = strain(policy, planner, PLANT, steps=120, share=0.3, seed=2, rate=RATE)
    assert (tally.raised, tally.violations, tally.uncounted()) == (0, 0, 0)


def test_a_planner_that_polls_keeps_its_deadline() -> None:
    planner, deadline = Faulty(Polling(problem())), 1e-3
    policy = receding_horizon(planner, deadline=deadline)
    tally = strain(policy, planner, PLANT, steps=300, share=0.0, seed=3)
    over = np.array(tally.seconds) - deadline
    assert np.median(over) < 1e-3  # a busy machine takes its time now and then
    slow = Faulty(Polling(problem()))
    slow.fault = "slow"
    policy = receding_horizon(slow, deadline=deadline)
    policy(0.0, np.zeros(2))
    assert policy.events == {"plan late": 1}


class Tidying(Polling):
    """Still has to do something when its deadline is there."""

    def search(self, task: Task) -> Candidate:
        found = super().search(task)
        time.sleep(3e-3)
        return found


def test_what_a_planner_needs_beyond_its_deadline_is_learned() -> None:
    deadline = 12e-3
    policy = receding_horizon(Tidying(problem()), deadline=deadline)
    seconds = []
    for k in range(80):
        started = time.perf_counter()
        policy(DT * k, np.zeros(2))
        seconds.append(time.perf_counter() - started)
    assert min(seconds[:3]) > deadline + 2e-3
    assert np.quantile(seconds[40:], 0.25) < deadline + 1e-3


@pytest.mark.parametrize("plans", ["recorded", "anew"])
@pytest.mark.parametrize("steps", [1, 60, 120])
def test_what_was_dumped_replays_to_the_same_bits(steps: int, plans, tmp_path) -> None:
    planner = Faulty(CEM(problem(), samples=16, elites=4, iterations=2))
    policy = receding_horizon(planner, rate_limit=RATE, every=2)
    rng, actions = np.random.default_rng(steps), []
    y, _ = PLANT.reset(seed=4)
    policy.reset(4)
    names = ["", "", "NaN", "raises", "too cheap"] if plans == "recorded" else [""]
    for k in range(steps):
        planner.fault = str(rng.choice(names))
        seen = np.full(2, np.nan) if rng.uniform() < 0.2 else y
        actions.append(policy(DT * k, seen))
        y, *_ = PLANT.step(actions[-1])
    path = tmp_path / "loop.npz"
    policy.recording().save(path)
    found = Recording.load(path)
    kept = min(steps, 100)
    np.testing.assert_array_equal(found.u, actions[-kept:])
    planner.fault = ""
    fresh = receding_horizon(Faulty(planner.inner), rate_limit=RATE, every=2)
    again = replay(found, fresh, plans=plans)
    np.testing.assert_array_equal(again, found.u)
    for name in ("t", "y", "x", "u", "seconds"):
        np.testing.assert_array_equal(getattr(found, name), getattr(policy.recording(), name))
    assert found.answers == policy.recording().answers
    assert (found.link, found.status) == (policy.recording().link, policy.recording().status)
    assert (found.events, found.links) == (policy.events, policy.links)
    assert found.t.shape == (kept,)


def test_recordings_refuse_what_they_are_not(tmp_path) -> None:
    policy = receding_horizon(Polling(problem()))
    with pytest.raises(ValueError, match="policy has made no steps"):
        policy.recording()
    path = tmp_path / "other.npz"
    path.write_bytes(b"something else")
    with pytest.raises(ValueError, match="is no recording"):
        Recording.load(path)
    np.savez(path, a=np.zeros(3))
    with pytest.raises(ValueError, match="is no recording"):
        Recording.load(path)
    policy(0.0, np.zeros(2))
    recording = policy.recording()
    with pytest.raises(ValueError, match="plans must be 'recorded' or 'anew'"):
        replay(recording, policy, plans="new")  # pyright: ignore[reportArgumentType]
    before = policy.recording().u
    replay(recording, policy)
    np.testing.assert_array_equal(policy.recording().u, before)  # it is left as it was
