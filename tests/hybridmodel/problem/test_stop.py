"""Laws of a horizon that ends where members part."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hybridmodel import (
    CEM,
    ILQR,
    SQP,
    GradientDescent,
    HybridModel,
    MultipleShooting,
    OptimalControlProblem,
    Quadratic,
    Stop,
)
from physics import Pendulum
from residuals import Doubt, Ensemble

SYSTEM, H = Pendulum(), 12
COST = Quadratic(
    SYSTEM,
    state={"angle": 1.0, "rate": 0.1},
    input={"torque": 0.1},
    terminal={"angle": 5.0},
    target={"angle": 2.0},
)
X0 = np.zeros(2)


@pytest.fixture(scope="module")
def model() -> HybridModel:
    """Members that part the more the farther the pendulum is from hanging."""
    found = HybridModel(SYSTEM, Ensemble((8,), count=3), dt=0.05)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in found.parameters():
            weight += 0.3 * torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
    return found


def problem(model: HybridModel, stop: Stop | None) -> OptimalControlProblem:
    return OptimalControlProblem(model, COST, horizon=H, discount=0.95, stop=stop)


def level(model: HybridModel, at: int) -> float:
    """A level that the plain plan oversteps first near this step."""
    plan = SQP(problem(model, None)).plan(X0)
    assert isinstance(model.residual, Ensemble)
    with torch.no_grad():
        z = model.residual_features(torch.tensor(plan.x[:-1]), torch.tensor(plan.u))
        doubt = Doubt(model.residual)(z)[:, 0].numpy()
    return float(np.maximum.accumulate(doubt)[at - 1] * (1 + 1e-6))


def ends(plan) -> int:
    return int(plan.adapted[:, 1].argmax())


def test_far_level_changes_nothing(model) -> None:
    plain, far = (SQP(problem(model, stop)).plan(X0) for stop in (None, Stop(1e6)))
    np.testing.assert_allclose(plain.u, far.u, atol=1e-9)
    assert ends(far) == H
    assert far.cost == pytest.approx(plain.cost, rel=1e-12)


@pytest.mark.parametrize(
    "planner",
    [SQP, ILQR, lambda of: MultipleShooting(of, samples=0), lambda of: CEM(of, samples=100)],
    ids=["SQP", "ILQR", "shooting", "CEM"],
)
def test_cost_is_that_of_the_shorter_horizon(model, planner) -> None:
    plan = planner(problem(model, Stop(level(model, 6)))).plan(X0)
    T = ends(plan)
    assert 1 <= T < H
    short = OptimalControlProblem(model, COST, horizon=T, discount=0.95)
    assert plan.cost == pytest.approx(short.evaluate(X0, plan.u[:T])[0], rel=1e-10)
    best = SQP(short).plan(X0, warm_start=None)
    assert plan.cost <= best.cost * (1.05 if planner is not SQP else 1 + 1e-6)


def test_horizon_only_shortens_and_has_its_least(model) -> None:
    tiny = problem(model, Stop(1e-12, least=3))
    assert ends(GradientDescent(tiny, iterations=10).plan(X0)) == 3


def test_refused_where_nothing_parts() -> None:
    with pytest.raises(ValueError, match="stop: needs a model whose residual has members"):
        problem(HybridModel(SYSTEM, dt=0.05), Stop())
    with pytest.raises(ValueError, match="disagreement must be a level"):
        Stop(0.0)
    with pytest.raises(ValueError, match="least must be"):
        Stop(least=0)
