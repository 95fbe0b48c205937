"""Laws of a horizon that ends in the cost of balancing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hybridmodel import (
    SQP,
    CostToGo,
    HybridModel,
    OptimalControlProblem,
    Quadratic,
)
from physics import CartPole, InputDelay, Linear, Signal
from residuals import MLP

SYSTEM = Linear(
    A=((0.0, 1.0), (2.0, -0.1)),
    B=((0.0,), (1.0,)),
    states=(Signal("place", "m"), Signal("speed", "m/s")),
    inputs=(Signal("push", "m/s²"),),
)
COST = Quadratic(SYSTEM, state={"place": 1.0, "speed": 0.2}, input={"push": 0.1})


def test_of_a_linear_system_no_horizon_is_too_short() -> None:
    model, x0 = HybridModel(SYSTEM, dt=0.1), np.array([1.0, -0.5])
    ends, firsts = CostToGo(model, COST), []
    for horizon in (1, 3, 30):
        plan = SQP(OptimalControlProblem(model, ends, horizon=horizon)).plan(x0)
        firsts.append(plan.u[0, 0])
        assert plan.cost == pytest.approx(float(x0 @ ends.P @ x0), rel=1e-8)
    np.testing.assert_allclose(firsts, firsts[0], rtol=1e-7)


def test_of_angles_it_is_periodic_and_quadratic_near_the_target() -> None:
    system = CartPole()
    model = HybridModel(system, MLP((4,)), dt=0.05)
    cost = Quadratic(
        system, state={"angle": 1.0, "position": 0.5}, input={"force": 0.1}, target={"angle": np.pi}
    )
    ends = CostToGo(model, cost)
    problem = OptimalControlProblem(model, ends, horizon=1)
    goal = np.array([s.name == "angle" for s in system.states]) * np.pi
    e = 1e-4 * np.array([1.0, -2.0, 0.5, 3.0])

    def value(x: np.ndarray) -> float:
        return float(problem.terminal(x, [], []))

    assert value(goal + e) == pytest.approx(e @ ends.P @ e, rel=1e-5)
    assert value(goal + e + 2 * np.pi * (goal > 0)) == pytest.approx(value(goal + e), rel=1e-6)
    assert value(goal) == pytest.approx(0, abs=1e-12)


def test_what_cannot_be_kept_is_refused() -> None:
    apart = replace(SYSTEM, A=((2.0, 0.0), (0.0, -1.0)))  # what the push does not reach grows
    with pytest.raises(ValueError, match="target cannot be kept"):
        CostToGo(HybridModel(apart, dt=0.1), COST)
    delayed = HybridModel(InputDelay(system=SYSTEM, steps=1), dt=0.1)
    with pytest.raises(ValueError, match="its states are not all plain"):
        CostToGo(delayed, COST)


def test_of_a_straight_model_slopes_of_motions_are_the_tangent() -> None:
    model, motion = HybridModel(SYSTEM, dt=0.1), (0.1, 0.2, 0.3)
    tangent, regressed = CostToGo(model, COST), CostToGo(model, COST, motion=motion)
    np.testing.assert_allclose(regressed.P, tangent.P, rtol=1e-9)
    with pytest.raises(ValueError, match="motion must be 3 positive"):
        CostToGo(model, COST, motion=(0.1, 0.2))
