"""Laws of constraints that hold with a probability."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
import torch

from hybridmodel import (
    CEM,
    ILQR,
    SQP,
    Chance,
    HybridModel,
    MultipleShooting,
    OptimalControlProblem,
    Portfolio,
    Quadratic,
    Status,
    placement,
    receding_horizon,
)
from physics import Linear, Signal
from residuals import Ensemble

SYSTEM = Linear(
    A=((0.0, 1.0), (0.0, 0.0)),
    B=((0.0,), (1.0,)),
    states=(Signal("place", "m"), Signal("speed", "m/s")),
    inputs=(Signal("push", "m/s²", -4.0, 4.0),),
)
COST = Quadratic(SYSTEM, state={"place": 5.0}, input={"push": 0.05}, target={"place": 1.0})
WALL, H, DT = 0.6, 15, 0.1
X0 = np.zeros(2)
BOUNDS = ((-np.inf, -np.inf), (WALL, np.inf))


def noisy() -> HybridModel:
    model = HybridModel(SYSTEM, dt=DT)
    model.noise[:] = torch.tensor([1e-5, 1e-4], dtype=torch.float64)
    return model


def problem(chance: Chance | None = None, **options) -> OptimalControlProblem:
    options = options or {"state_bounds": BOUNDS}
    return OptimalControlProblem(noisy(), COST, horizon=H, chance=chance, **options)


def spread(u: np.ndarray) -> np.ndarray:
    """σ of the place under additive noise, which no input changes."""
    step, noise = np.array([[1.0, DT], [0.0, 1.0]]), np.diag([1e-5, 1e-4])
    covariance, found = np.zeros((2, 2)), [0.0]
    for _ in u:
        covariance = step @ covariance @ step.T + noise
        found.append(np.sqrt(covariance[0, 0]))
    return np.array(found)


PLANNERS = {
    "shooting": lambda of: MultipleShooting(of, samples=0),
    "SQP": SQP,
    "ILQR": ILQR,
    "CEM": lambda of: CEM(of, samples=200, elites=20),
    "portfolio": lambda of: Portfolio(CEM(of, samples=100, elites=10), SQP(of)),
}


@pytest.mark.parametrize("name", PLANNERS)
def test_rows_stay_away_by_z_sigma(name) -> None:
    plan = PLANNERS[name](problem(Chance(0.95))).plan(X0)
    assert plan.usable
    away = (WALL - plan.x[:, 0])[1:] / spread(plan.u)[1:]
    assert away.min() >= NormalDist().inv_cdf(0.95) - 0.02
    if plan.status is Status.CONVERGED:
        assert away.min() == pytest.approx(NormalDist().inv_cdf(0.95), rel=0.01)


def test_it_is_the_share_of_sampled_paths() -> None:
    plan = SQP(problem(Chance(0.9))).plan(X0)
    model, generator = noisy(), torch.Generator().manual_seed(0)
    x, outside = torch.zeros(20000, 2, dtype=torch.float64), []
    with torch.no_grad():
        for u in torch.tensor(plan.u):
            x = model.sample(x, u.expand(len(x), -1), generator=generator)
            outside.append(float((x[:, 0] > WALL).double().mean()))
    assert max(outside) == pytest.approx(0.1, abs=0.01)


def test_constraints_are_tightened_as_bounds_are() -> None:
    as_row = problem(Chance(0.95), inequality=lambda x, u, pi: x[0] - WALL)
    as_bound = problem(Chance(0.95))
    ours, theirs = (SQP(of).plan(X0) for of in (as_row, as_bound))
    # a row holds before the last step, a bound at it too
    apart = np.abs(ours.x[:-1, 0] - theirs.x[:-1, 0])
    assert apart.max() < 0.05
    assert ours.x[:-1, 0].max() == pytest.approx(theirs.x[:-1, 0].max(), abs=2e-3)


def test_half_is_no_margin_and_an_exact_model_needs_none() -> None:
    plain = SQP(problem()).plan(X0)
    for of in (problem(Chance(0.5)), problem(Chance(0.99, noise=False))):
        plan = SQP(of).plan(X0)
        assert plan.status is Status.CONVERGED
        np.testing.assert_allclose(plan.u, plain.u, atol=1e-5)


def test_members_that_part_count() -> None:
    model = HybridModel(SYSTEM, Ensemble((4,), count=3), dt=DT, placement=placement.derivative)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.3 * torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
    of = OptimalControlProblem(
        model, COST, horizon=H, state_bounds=BOUNDS, chance=Chance(0.95, noise=False)
    )
    plan = ILQR(of).plan(X0)
    assert plan.usable
    assert plan.x[1:, 0].max() < WALL - 0.01


def test_a_state_outside_its_bounds_may_come_back() -> None:
    plan = SQP(problem(Chance(0.95))).plan(np.array([WALL + 0.01, -4.0]))
    assert plan.usable


def test_a_warm_start_needs_one_search_and_a_loop_accepts_it() -> None:
    of = problem(Chance(0.95))
    cold = SQP(of).plan(X0)
    warm = SQP(of).plan(X0, warm_start=cold)
    assert warm.iterations <= 2
    np.testing.assert_allclose(warm.u, cold.u, atol=2e-2)
    policy = receding_horizon(SQP(of), verify=True)
    for k in range(3):
        policy(k * DT, np.array([0.1 * k, 0.2]))
    assert policy.links["plan"] == 3


def test_bad_values_are_named() -> None:
    with pytest.raises(ValueError, match=r"probability must lie in \[0.5, 1\)"):
        Chance(1.0)
    with pytest.raises(ValueError, match="method must be one"):
        Chance(method="guess")  # type: ignore[arg-type]
