"""Laws of the check that a plan is what it says."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from hybridmodel import (
    SQP,
    HybridModel,
    MultipleShooting,
    OptimalControlProblem,
    Quadratic,
    check_plan,
)
from physics import Pendulum
from residuals import MLP

SYSTEM = Pendulum()
COST = Quadratic(
    SYSTEM, state={"angle": 1.0, "rate": 0.1}, input={"torque": 0.01}, target={"angle": 3.0}
)


def model() -> HybridModel:
    found = HybridModel(SYSTEM, MLP((8,)), dt=0.05)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in found.residual.parameters():
            weight += 0.1 * torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
    return found


CONSTRAINED = {
    "free": {},
    "input bound": {"input_bounds": ([-1.0], [1.0])},
    "state bound": {"state_bounds": ([-10.0, -2.0], [10.0, 2.0])},
    "path": {"inequality": lambda x, u, pi: x[1] + 0.1 * u[0] - 2},
    "end": {"terminal_equality": lambda x, pi: x[1] - 0.5},
}


@pytest.mark.parametrize("planner", [MultipleShooting, SQP])
@pytest.mark.parametrize("constraint", CONSTRAINED)
def test_an_optimum_is_one_by_other_derivatives_too(planner, constraint: str) -> None:
    problem = OptimalControlProblem(model(), COST, horizon=20, **CONSTRAINED[constraint])
    plan = planner(problem, tolerance=1e-8).plan(np.zeros(2))
    found = check_plan(problem, plan)
    assert found.stationarity < 1e-5
    assert found.complementarity < 1e-5
    assert found.violation < 1e-4
    assert found.cost_gap < 1e-10
    assert found.gradient_gap < 1e-7
    assert found.fine is not None
    assert found.fine < 1e-4


def test_what_is_no_optimum_is_told() -> None:
    problem = OptimalControlProblem(model(), COST, horizon=20)
    plan = SQP(problem).plan(np.zeros(2))
    u = plan.u + 0.1 * np.sin(np.arange(20.0))[:, None]
    cost, x, _ = problem.evaluate(plan.x[0], u)
    off = dataclasses.replace(plan, u=u, x=x, cost=cost)
    assert check_plan(problem, off).stationarity > 1e-3
    assert check_plan(problem, dataclasses.replace(plan, cost=plan.cost - 1)).cost_gap > 1e-3


def test_a_coarse_step_is_told() -> None:
    coarse = OptimalControlProblem(HybridModel(SYSTEM, dt=0.5), COST, horizon=8)
    found = check_plan(coarse, SQP(coarse).plan(np.zeros(2)))
    assert found.fine is not None
    assert found.fine > 1e-3


def test_shapes_are_checked() -> None:
    problem = OptimalControlProblem(model(), COST, horizon=20)
    plan = SQP(problem).plan(np.zeros(2))
    with pytest.raises(ValueError, match=r"plan must have u \(20, 1\)"):
        check_plan(problem, dataclasses.replace(plan, u=plan.u[:-1]))
    with pytest.raises(ValueError, match="plan must be finite"):
        check_plan(problem, dataclasses.replace(plan, u=np.nan * plan.u))
