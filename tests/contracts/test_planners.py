"""Laws of every planner on every model."""

from __future__ import annotations

import numpy as np
import pytest

from hybridmodel import Status


def test_a_plan_is_a_rollout_inside_the_bounds(planning) -> None:
    problem, x0, plan = planning.problem, planning.x0, planning.plan
    assert plan.usable
    assert (problem.input_low <= plan.u).all()
    assert (plan.u <= problem.input_high).all()
    cost, x, violation = problem.evaluate(x0, plan.u, planning.parameters)
    assert violation == 0.0
    assert plan.cost == pytest.approx(cost, rel=1e-10)  # by the kernel for some, CasADi for others
    assert plan.x == pytest.approx(x, rel=1e-10, abs=1e-10)
    assert np.array_equal(plan.x[0], x0)
    assert plan.x.shape == (problem.horizon + 1, planning.nx)


def test_any_plan_starts_any_planner_and_is_never_made_worse(planning) -> None:
    guess = planning.other_planner().plan(planning.x0, parameters=planning.parameters)
    assert guess.usable
    plan = planning.planner.plan(planning.x0, parameters=planning.parameters, warm_start=guess)
    assert plan.usable
    assert plan.cost <= guess.cost + 1e-9 * abs(guess.cost)


def test_the_same_seed_gives_the_same_plan(planning) -> None:
    again = planning.planner.plan(planning.x0, parameters=planning.parameters, seed=3)
    assert again == planning.plan
    assert again.status in (Status.CONVERGED, Status.BUDGET)


def test_a_wrong_state_is_named(planning) -> None:
    nx = planning.nx
    for x0 in (np.full(nx, np.nan), np.zeros(nx + 1), np.zeros((1, nx))):
        with pytest.raises(ValueError, match=f"x0 must be {nx} finite numbers"):
            planning.planner.plan(x0, parameters=planning.parameters)
