"""FATROP makes the plans that IPOPT makes, and its word alone counts for nothing."""

from __future__ import annotations

from typing import Any

import casadi as ca
import numpy as np
import pytest
import torch

from hybridmodel import (
    HybridModel,
    MultipleShooting,
    OptimalControlProblem,
    Portfolio,
    Quadratic,
    RandomShooting,
    check_plan,
    receding_horizon,
)
from hybridmodel.planners import Plan, Status
from hybridmodel.planners.shooting.solvers import Fatrop
from physics import CartPole, InputDelay, Quadrotor
from residuals import MLP

START = np.full(4, 0.1)


def hybrid(system, **keywords) -> HybridModel:
    """With weights that matter."""
    model = HybridModel(system, MLP((6,)), dt=0.05, **keywords)
    generator = torch.Generator().manual_seed(0)
    assert model.residual is not None
    with torch.no_grad():
        for weight in model.residual.parameters():
            weight.add_(0.2 * torch.randn(weight.shape, generator=generator, dtype=weight.dtype))
    return model


def cart(system=None, **keywords) -> OptimalControlProblem:
    system = system or CartPole()
    cost = Quadratic(
        system,
        state={"position": 1.0, "angle": 5.0, "velocity": 0.1, "rate": 0.1},
        input={"force": 1e-2},
        target={"angle": np.pi},
    )
    options: dict[str, Any] = {"horizon": 10, "input_bounds": ([-6.0], [6.0])} | keywords
    return OptimalControlProblem(hybrid(system), cost, **options)


def quadrotor() -> OptimalControlProblem:
    system = Quadrotor()
    cost = Quadratic(
        system,
        state={"x": 1.0, "y": 1.0, "z": 1.0, "attitude": 1.0},
        input={s.name: 0.1 for s in system.inputs},
    )
    return OptimalControlProblem(hybrid(system), cost, horizon=4)


HOVER = np.array([0.3, 0.0, 0.2, 12 / 13, 3 / 13, -4 / 13, 0.0, *[0.1] * 6])
CASES = {
    "bounds": (cart, START),
    "discount": (lambda: cart(discount=0.9), START),
    "one step": (lambda: cart(horizon=1), START),
    "state bounds": (
        lambda: cart(state_bounds=([-np.inf] * 4, [np.inf, np.inf, 0.3, np.inf])), START
    ),
    "path": (
        lambda: cart(inequality=lambda x, u, pi: ca.vertcat(x[0] - 0.2, -x[0] - 0.2)), START
    ),
    "equality": (lambda: cart(equality=lambda x, u, pi: u[0] - 2 * ca.sin(x[1])), START),
    "end": (
        lambda: cart(
            terminal_equality=lambda x, pi: x[0] - 0.1,
            terminal_inequality=lambda x, pi: x[2] ** 2 - 0.04,
        ),
        START,
    ),
    "delayed": (lambda: cart(InputDelay(system=CartPole(), steps=2)), np.full(6, 0.1)),
    "quaternion": (quadrotor, HOVER),
}  # fmt: skip


def planner(of: OptimalControlProblem, solver: Any = "fatrop", **keywords) -> MultipleShooting:
    options = {"tolerance": 1e-9, "samples": 0, "form": "matrix", "solver": solver} | keywords
    return MultipleShooting(of, **options)


@pytest.mark.parametrize("name", CASES)
def test_plans_and_multipliers_are_those_of_ipopt(name: str) -> None:
    make, x0 = CASES[name]
    of = make()
    plan = planner(of).plan(x0)
    bare = Plan(u=plan.u, x=plan.x, cost=plan.cost, status=plan.status)
    wanted = planner(of, "ipopt").plan(x0, warm_start=bare)  # there may be more than one optimum
    assert plan.status is wanted.status is Status.CONVERGED
    assert plan.cost == pytest.approx(wanted.cost, rel=1e-6)
    assert plan.u == pytest.approx(wanted.u, abs=1e-3)
    assert plan.multipliers.keys() == wanted.multipliers.keys()
    for key, rows in wanted.multipliers.items():
        assert plan.multipliers[key] == pytest.approx(rows, abs=1e-3), key
    found = check_plan(of, plan)
    assert found.stationarity < 1e-5
    assert found.complementarity < 1e-5
    assert found.violation < 1e-6


def test_the_kernel_serves_it_too() -> None:
    of = cart()
    one, other = (planner(of, form=form).plan(START) for form in ("matrix", "kernel"))
    assert one.status is other.status is Status.CONVERGED
    assert one.u == pytest.approx(other.u, abs=1e-7)


def test_either_solver_starts_from_the_others_plan() -> None:
    of = cart()
    for solver, other in (("fatrop", "ipopt"), ("ipopt", "fatrop")):
        first, cold = planner(of, solver).plan(START), planner(of, other).plan(START)
        warm = planner(of, other).plan(START, warm_start=first)
        assert warm.status is Status.CONVERGED
        assert warm.iterations < cold.iterations
        assert warm.cost <= first.cost
    again = planner(of).plan(START, warm_start=first.shift())
    assert again.status is Status.CONVERGED
    assert planner(of).plan(START) == planner(of).plan(START)


# -- its word ------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_numbers_that_are_none_are_told_and_forgotten(bad: float) -> None:
    of = cart()
    shooting = planner(of)
    good = shooting.plan(START)
    residual: Any = of.model.residual
    bias = residual.chain[-2].bias
    with torch.no_grad():
        kept = bias.clone()
        bias.fill_(bad)
    assert shooting.plan(START).status is Status.FAILED
    assert not shooting.plan(START, warm_start=good).usable
    with torch.no_grad():
        bias.copy_(kept)
    assert shooting.plan(START).u == pytest.approx(good.u, abs=1e-12)


class Flattering:
    """A solver that reports success wherever it was told to start."""

    def __init__(self, honest: ca.Function) -> None:
        self.honest = honest

    def __call__(self, **arguments: Any) -> dict[str, ca.DM]:
        found = self.honest(**arguments)
        return found | {"x": ca.DM(arguments["x0"])}

    def stats(self) -> dict[str, Any]:
        return {"success": True, "iter_count": 0}


def test_success_at_a_point_that_is_no_optimum_is_not_believed() -> None:
    shooting = planner(cart())
    solver = shooting._program._solver
    assert isinstance(solver, Fatrop)
    solver._cold = Flattering(solver._cold)  # type: ignore[assignment]
    plan = shooting.plan(START)
    assert plan.status is Status.FAILED
    assert shooting.plan(START).status is Status.CONVERGED  # with a solver made anew


def test_budgets_and_what_cannot_be_met_are_told() -> None:
    assert planner(cart(), iterations=3).plan(START).status is Status.BUDGET
    never = cart(terminal_equality=lambda x, pi: x[0] - 50.0)
    assert planner(never).plan(START).status is Status.INFEASIBLE
    blocked = cart(inequality=lambda x, u, pi: 1 + x[0] ** 2)
    assert planner(blocked).plan(START).status is Status.INFEASIBLE


# -- deadlines -----------------------------------------------------------------------------


def test_it_says_that_it_cannot_be_interrupted() -> None:
    of = cart()
    fatrop, ipopt = planner(of), planner(of, "ipopt")
    assert ipopt.interruptible
    assert not fatrop.interruptible
    assert not Portfolio(RandomShooting(of, samples=20), fatrop).interruptible
    with pytest.raises(ValueError, match="MultipleShooting cannot be interrupted"):
        receding_horizon(fatrop)


def test_a_deadline_that_has_passed_keeps_it_from_starting() -> None:
    late = planner(cart()).plan(START, deadline=1e-9)
    assert late.status is Status.DEADLINE
    assert late.iterations == 0
    assert late.usable
    first = planner(cart()).plan(START)
    kept = planner(cart()).plan(START, warm_start=first, deadline=1e-9)
    assert isinstance(kept, Plan)
    assert kept.cost == first.cost


def test_what_it_cannot_take_is_refused() -> None:
    with pytest.raises(ValueError, match="curvature: 'cost' is for 'ipopt'"):
        planner(cart(), curvature="cost")
    with pytest.raises(ValueError, match=r"solver must be one of .*'fatrop'\), got 'snopt'"):
        planner(cart(), "snopt")
