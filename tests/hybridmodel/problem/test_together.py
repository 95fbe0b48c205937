"""Laws that hold where several wishes of a problem meet."""

from __future__ import annotations

import casadi as ca
import numpy as np
import pytest
import torch

from hybridmodel import (
    CEM,
    ILQR,
    SQP,
    Caution,
    Chance,
    CostToGo,
    GradientDescent,
    HybridModel,
    MinimumTime,
    MultipleShooting,
    OptimalControlProblem,
    Plan,
    Planner,
    Portfolio,
    Quadratic,
    Status,
    free_time,
)
from physics import Pendulum
from residuals import Ensemble

SYSTEM = Pendulum()
COST = Quadratic(
    SYSTEM, state={"angle": 1.0, "rate": 0.1}, input={"torque": 0.01}, target={"angle": 0.5}
)
X0, BOUNDS = np.zeros(2), ((-5.0, -5.0), (0.3, 5.0))
PLANNERS = (
    SQP,
    ILQR,
    lambda of: CEM(of, samples=100),
    lambda of: GradientDescent(of, iterations=40),
)


def model() -> HybridModel:
    found = HybridModel(SYSTEM, dt=0.05)
    found.noise[:] = torch.tensor([1e-6, 1e-5], dtype=torch.float64)
    return found


@pytest.mark.parametrize("planner", PLANNERS)
def test_rates_have_no_margin_beside_tightened_bounds(planner) -> None:
    of = OptimalControlProblem(
        model(), COST, horizon=10, state_bounds=BOUNDS, input_rate=[5.0], chance=Chance(0.95)
    )
    plan = planner(of).plan(X0, previous_input=np.array([0.2]))
    assert plan.status is not Status.FAILED
    assert np.abs(np.diff(plan.u[:, 0], prepend=0.2)).max() <= 5 * 0.05 + 1e-4


@pytest.mark.parametrize("planner", [*PLANNERS, lambda of: MultipleShooting(of, samples=0)])
@pytest.mark.parametrize("where", ["inequality", "terminal_inequality"])
def test_a_constraint_that_is_no_number_is_not_kept(planner, where) -> None:
    of = OptimalControlProblem(
        model(), COST, horizon=6, **{where: lambda x, *_: ca.log(x[0] - 100)}
    )
    assert np.isnan(of.evaluate(X0, np.zeros((6, 1)))[2])
    assert planner(of).plan(X0).status is Status.FAILED


def test_descent_tells_of_the_inputs_that_it_returns() -> None:
    """The input before lies outside the bounds, which no rate can mend at once."""
    of = OptimalControlProblem(
        model(), COST, horizon=8, input_bounds=([1.0], [3.0]), input_rate=[2.0]
    )
    plan = GradientDescent(of, iterations=20).plan(X0)
    assert plan.cost == pytest.approx(of.evaluate(plan.x[0], plan.u)[0], rel=1e-10)
    assert plan.status is Status.INFEASIBLE


def test_descent_keeps_a_feasible_guess() -> None:
    steep = Quadratic(SYSTEM, state={"angle": 1e5}, input={}, target={"angle": 2.0})
    of = OptimalControlProblem(model(), steep, horizon=10, state_bounds=((-5, -9), (0.2, 9)))
    guess = SQP(of).plan(X0)
    plan = GradientDescent(of, iterations=30).plan(X0, warm_start=guess)
    assert plan.usable
    assert plan.cost <= guess.cost * (1 + 1e-9)


def test_caution_about_a_residual_that_was_replaced_is_refused() -> None:
    of = HybridModel(SYSTEM, Ensemble((4,), count=2), dt=0.05)
    problem = OptimalControlProblem(of, COST, horizon=4, caution=Caution(disagreement=1.0))
    planner = SQP(problem)
    planner.plan(X0)
    of.residual = HybridModel(SYSTEM, Ensemble((4,), count=2, seed=1), dt=0.05).residual
    with pytest.raises(ValueError, match="residual of its model was replaced"):
        planner.plan(X0)


def test_a_discounted_horizon_ends_in_a_discounted_cost_to_go() -> None:
    upright = Quadratic(SYSTEM, state={"angle": 1.0, "rate": 0.1}, input={"torque": 0.1})
    ends = CostToGo(model(), upright, discount=0.8)
    x0 = np.array([1e-4, 0.0])
    costs = [
        SQP(OptimalControlProblem(model(), ends, horizon=h, discount=0.8), tolerance=1e-12)
        .plan(x0)
        .cost
        for h in (2, 20)
    ]
    assert costs[0] == pytest.approx(costs[1], rel=1e-6)


def test_free_time_has_no_chance() -> None:
    free = free_time(model())
    with pytest.raises(ValueError, match="chance: noise is that of a step"):
        OptimalControlProblem(free, MinimumTime(free), horizon=3, chance=Chance())


class Raising(Planner):
    def __init__(self, problem: OptimalControlProblem) -> None:
        self.problem = problem

    def search(self, task):
        raise ZeroDivisionError("nothing here")


def test_a_portfolio_keeps_the_plan_that_it_has() -> None:
    of = OptimalControlProblem(model(), COST, horizon=6)
    cem = CEM(of, samples=50, elites=5)
    for pair in ((cem, Raising(of)), (Raising(of), cem)):
        assert Portfolio(*pair).plan(X0).usable
    with pytest.raises(ZeroDivisionError):
        Portfolio(Raising(of), Raising(of)).plan(X0)
    for deadline in (1e-6, 1e-5, 1e-4, 1e-3):
        assert isinstance(Portfolio(cem, SQP(of)).plan(X0, deadline=deadline), Plan)


def test_wishes_of_another_kind_are_refused() -> None:
    for name in ("caution", "risk", "chance", "stop"):
        with pytest.raises(ValueError, match=f"{name} must be a"):
            OptimalControlProblem(model(), COST, horizon=3, **{name: 0.95})
    with pytest.raises(ValueError, match="horizon must be a whole number"):
        OptimalControlProblem(model(), COST, horizon=2.5)  # type: ignore[arg-type]
