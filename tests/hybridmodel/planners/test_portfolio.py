"""Laws of two planners within one deadline."""

from __future__ import annotations

import time

import numpy as np
import pytest

from hybridmodel import (
    CEM,
    SQP,
    HybridModel,
    MultipleShooting,
    OptimalControlProblem,
    Portfolio,
    Quadratic,
    Status,
)
from hybridmodel.planners.planner import Candidate, Planner, Task
from physics import Pendulum

SYSTEM = Pendulum()
COST = Quadratic(
    SYSTEM, state={"angle": 1.0, "rate": 0.1}, input={"torque": 0.01}, target={"angle": 3.0}
)
PROBLEM = OptimalControlProblem(HybridModel(SYSTEM, dt=0.05), COST, horizon=20)


class Broken(Planner):
    """Gives numbers that are none."""

    problem = PROBLEM

    def search(self, task: Task) -> Candidate:
        return Candidate(np.full((20, 1), np.nan), Status.CONVERGED, 1)


class Slow(CEM):
    """Takes all the time there is."""

    def update(self, judged):
        time.sleep(0.002)
        return super().update(judged)


@pytest.mark.parametrize("fine", [SQP, MultipleShooting])
def test_it_is_as_good_as_the_better_one(fine) -> None:
    wide, exact = CEM(PROBLEM, samples=200, iterations=3), fine(PROBLEM)
    plan = Portfolio(wide, exact).plan(np.zeros(2), seed=1)
    rough = wide.plan(np.zeros(2), seed=1)
    polished = exact.plan(np.zeros(2), warm_start=rough, seed=1)
    assert plan.cost == pytest.approx(min(rough.cost, polished.cost), rel=1e-12)
    assert plan.status is Status.CONVERGED
    assert plan.iterations == rough.iterations + polished.iterations


def test_a_broken_half_does_no_harm() -> None:
    sampler = CEM(PROBLEM, samples=200, iterations=3)
    for pair in (Portfolio(sampler, Broken()), Portfolio(Broken(), sampler)):
        assert pair.plan(np.zeros(2)).cost == pytest.approx(sampler.plan(np.zeros(2)).cost)
    assert Portfolio(Broken(), Broken()).plan(np.zeros(2)).status is Status.FAILED


def test_the_deadline_is_shared() -> None:
    wide = Slow(PROBLEM, samples=50, elites=5, iterations=10**6)
    pair = Portfolio(wide, Slow(PROBLEM, samples=50, elites=5, iterations=10**6), share=0.3)
    pair.plan(np.zeros(2), deadline=0.05)
    started = time.perf_counter()
    plan = pair.plan(np.zeros(2), deadline=0.2)
    assert plan.status is Status.DEADLINE
    assert plan.usable
    assert 0.15 < time.perf_counter() - started < 0.4


def test_arguments_are_checked() -> None:
    other = OptimalControlProblem(HybridModel(SYSTEM, dt=0.05), COST, horizon=20)
    with pytest.raises(ValueError, match="fine: must plan for the same problem"):
        Portfolio(CEM(PROBLEM), CEM(other))
    with pytest.raises(ValueError, match=r"share must lie in \(0, 1\), got 1"):
        Portfolio(CEM(PROBLEM), CEM(PROBLEM), share=1)
