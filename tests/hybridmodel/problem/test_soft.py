"""Laws of constraints that may be overstepped at a cost."""

from __future__ import annotations

from dataclasses import replace

import casadi as ca
import numpy as np
import pytest

from hybridmodel import (
    CEM,
    ILQR,
    Cost,
    HybridModel,
    MultipleShooting,
    OptimalControlProblem,
    Quadratic,
    Soft,
)
from physics import CartPole, Linear

SYSTEM = CartPole()
COST = Quadratic(SYSTEM, state={"position": 1.0}, input={"force": 0.01}, target={"position": 1.0})
X0, H = np.zeros(4), 12


def wall(x: ca.SX, u: ca.SX, pi: ca.SX) -> ca.SX:
    return x[0] - 0.1


def problem(**constraints) -> OptimalControlProblem:
    model = HybridModel(SYSTEM, dt=0.05)
    return OptimalControlProblem(model, COST, horizon=H, **constraints)


def test_cost_is_that_of_the_amount() -> None:
    """λ h(s) + ½ μ s² with its round foot, summed over the steps."""
    linear, quadratic, width = 3.0, 7.0, 0.02
    soft = Soft(wall, linear=linear, quadratic=quadratic, width=width)
    rng = np.random.default_rng(0)
    for scale in (1.0, 12.0):
        u = scale * rng.uniform(-1, 1, (H, 1)) + scale / 4
        plain, x, _ = problem().evaluate(X0, u)
        cost, _, violation = problem(inequality=soft).evaluate(X0, u)
        s = np.maximum(x[:-1, 0] - 0.1, 0)
        h = np.where(s < width, s**2 / (2 * width), s - width / 2)
        assert cost - plain == pytest.approx((linear * h + quadratic / 2 * s**2).sum(), abs=1e-12)
        assert violation == 0


def test_equality_and_end_are_asked_too() -> None:
    u = np.full((H, 1), 4.0)
    plain, x, _ = problem().evaluate(X0, u)
    at_end = problem(terminal_equality=Soft(lambda x, pi: x[0] - 5.0, quadratic=2.0))
    assert at_end.evaluate(X0, u)[0] - plain == pytest.approx((x[-1, 0] - 5) ** 2)
    along = problem(equality=[Soft(lambda x, u, pi: x[0] + 1.0, quadratic=2.0)])
    assert along.evaluate(X0, u)[0] - plain == pytest.approx(((x[:-1, 0] + 1) ** 2).sum())


def test_hard_and_soft_stand_side_by_side() -> None:
    both = problem(inequality=[wall, Soft(lambda x, u, pi: -u, linear=1.0)])
    assert both.path_g.numel_out(0) == 1
    u = np.full((H, 1), -2.0)
    assert both.evaluate(X0, u)[0] > problem().evaluate(X0, u)[0] + 1.9 * H


@pytest.mark.parametrize("planner", [MultipleShooting, ILQR, CEM])
def test_price_above_the_multiplier_keeps_it(planner) -> None:
    """An ℓ₁ penalty is exact where it is dear enough, and gives way where it is not."""
    hard = MultipleShooting(problem(inequality=wall)).plan(X0)
    worth = float(hard.multipliers["inequality"].max())
    apart = {}
    for factor in (0.2, 5.0):
        soft = problem(inequality=Soft(wall, linear=factor * worth, width=1e-4))
        found = planner(soft).plan(X0, warm_start=replace(hard, multipliers={}))
        apart[factor] = found.x[:-1, 0].max() - 0.1
    assert apart[5.0] < 1e-3
    assert apart[0.2] > 1e-2 or planner is CEM


def test_bad_values_are_named() -> None:
    with pytest.raises(ValueError, match="linear must be a cost"):
        Soft(wall, linear=-1.0)
    with pytest.raises(ValueError, match="width must be positive"):
        Soft(wall, width=0.0)
    with pytest.raises(ValueError, match="constraint must be a function"):
        Soft(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="inequality must be a function or Soft"):
        problem(inequality=[1.0])
    with pytest.raises(ValueError, match="equality must return a column"):
        problem(equality=lambda x, u, pi: ca.SX(1, 2))


def test_a_cost_without_slope_elsewhere_keeps_nan() -> None:
    class Nowhere(Cost):
        def stage(self, x, u, k, pi):
            return ca.SX(0)

        def terminal(self, x, pi):
            return ca.SX(0)

    system = Linear(A=((0.0,),), B=((1.0,),))
    soft = Soft(lambda x, u, pi: x, linear=1.0)
    of = OptimalControlProblem(HybridModel(system, dt=0.1), Nowhere(), horizon=2, inequality=soft)
    assert np.isnan(of.evaluate(np.array([np.nan]), np.zeros((2, 1)))[0])
