"""iLQR and DDP against a Riccati recursion, and against IPOPT where bounds and constraints act."""

from __future__ import annotations

import numpy as np
import pytest

from hybridmodel import HybridModel, OptimalControlProblem, Quadratic, Status
from hybridmodel.planners.ilqr import ILQR
from hybridmodel.planners.multiple_shooting import MultipleShooting
from hybridmodel.planners.tvlqr import tvlqr
from physics import CartPole, Linear

OSCILLATOR = Linear(A=((0.0, 1.0), (-1.0, -0.2)), B=((0.0,), (1.0,)))
X0 = np.array([1.0, -0.5])


def regulator(bound: float) -> OptimalControlProblem:
    cost = Quadratic(OSCILLATOR, state={"x0": 1.0, "x1": 0.1}, input={"u0": 0.05})
    model = HybridModel(OSCILLATOR, dt=0.1)
    bounds = ([-bound], [bound])
    return OptimalControlProblem(model, cost, horizon=10, input_bounds=bounds)


@pytest.mark.parametrize("second_order", [False, True])
def test_one_step_solves_a_regulator_with_the_gains_of_riccati(second_order: bool) -> None:
    problem = regulator(50.0)
    plan = ILQR(problem, second_order=second_order).plan(X0)
    assert plan.status is Status.CONVERGED
    assert plan.iterations <= 2
    law = tvlqr(problem, plan, np.diag([1.0, 0.1]), np.diag([0.05])).gains
    assert plan.gains == pytest.approx(law, abs=1e-9)
    assert plan.u == pytest.approx(np.einsum("kij,kj->ki", law, plan.x[:-1]), abs=1e-9)


def test_a_bound_that_acts_is_met_exactly() -> None:
    problem = regulator(1.0)
    plan = ILQR(problem).plan(X0)
    assert np.abs(plan.u).max() == 1.0
    assert plan.cost == pytest.approx(MultipleShooting(problem).plan(X0).cost, rel=1e-6)


@pytest.mark.parametrize("name", ["inequality", "terminal_equality"])
def test_constraints_are_met_at_the_cost_of_ipopt(name: str) -> None:
    system = CartPole()
    cost = Quadratic(
        system, state={"position": 5.0}, input={"force": 1e-3}, target={"position": 1.0}
    )
    given = {name: lambda x, u, pi=None: x[0] - 0.25}
    problem = OptimalControlProblem(HybridModel(system, dt=0.1), cost, horizon=12, **given)
    plan = ILQR(problem).plan(np.zeros(4))
    assert plan.status is Status.CONVERGED
    assert problem.evaluate(np.zeros(4), plan.u)[2] < 1e-4
    assert plan.cost == pytest.approx(MultipleShooting(problem).plan(np.zeros(4)).cost, rel=1e-3)
